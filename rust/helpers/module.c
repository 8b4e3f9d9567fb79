// SPDX-License-Identifier: GPL-2.0
/* Helpers for modules and their text: rust/kernel/tether.rs and rust/kernel/tether/. */

#include <linux/module.h>

/**
 * rust_helper_tether_module_name() - Returns the name of a module.
 * @module: module
 *
 * Reads module->name in C, so that no Rust code depends on the layout of struct module.
 *
 * Return: the name of a module.
 */
__rust_helper const char *rust_helper_tether_module_name(const struct module *module)
{
	return module->name;
}

/**
 * rust_helper_tether_module_is_live() - Tests whether the init of a module has succeeded and its
 * removal has not begun.
 * @module: module
 *
 * module_is_live() is different: it is also true while the init runs. Without CONFIG_MODULES,
 * there is only built-in code, which is live.
 *
 * Return: true if the init of a module has succeeded and its removal has not begun.
 */
__rust_helper bool rust_helper_tether_module_is_live(const struct module *module)
{
#ifdef CONFIG_MODULES
	return READ_ONCE(module->state) == MODULE_STATE_LIVE;
#else
	return true;
#endif
}

/**
 * rust_helper_tether_module_is_going() - Tests whether a module is being removed.
 * @module: module, or NULL for text that is not part of a module
 *
 * Return: false without CONFIG_MODULES.
 */
__rust_helper bool rust_helper_tether_module_is_going(const struct module *module)
{
#ifdef CONFIG_MODULES
	return module && READ_ONCE(module->state) == MODULE_STATE_GOING;
#else
	return false;
#endif
}

/**
 * rust_helper_tether_permanent_text() - Tests whether an address is in text that is never
 * unmapped.
 * @address: address in the text of the kernel or of a module that has no owner record
 *
 * As a module, this tests for the text of Tether's own module, which cannot be removed.
 * within_module_core() is inline.
 *
 * Return: true if an address is in text that is never unmapped.
 */
__rust_helper bool rust_helper_tether_permanent_text(unsigned long address)
{
#ifdef MODULE
	return within_module_core(address, THIS_MODULE);
#else
	/* Each module has an owner record, so that all other text is in the kernel image. */
	return true;
#endif
}

/**
 * rust_helper_tether_module_get() - Takes a reference to a module.
 * @module: module
 *
 * Wraps try_module_get(), which is inline if modules cannot be removed.
 *
 * Return: false if the module is being removed.
 */
__rust_helper bool rust_helper_tether_module_get(struct module *module)
{
	return try_module_get(module);
}

/**
 * rust_helper_tether_module_put() - Drops a reference to a module.
 * @module: module
 *
 * Wraps module_put(), which is inline and empty if modules cannot be removed.
 */
__rust_helper void rust_helper_tether_module_put(struct module *module)
{
	module_put(module);
}
