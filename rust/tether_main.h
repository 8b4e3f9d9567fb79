/* SPDX-License-Identifier: GPL-2.0 */
/* Functions of the crate that main.c calls. They are defined in Rust. */
#ifndef _TETHER_MAIN_H
#define _TETHER_MAIN_H

struct module;

int tether_init(void);
int tether_task_work_init(void);
int tether_kthread_init(void);
int tether_mmu_notifier_init(void);
int tether_module_coming(struct module *module, unsigned long start, unsigned long size);
void tether_module_going(struct module *module);

#endif
