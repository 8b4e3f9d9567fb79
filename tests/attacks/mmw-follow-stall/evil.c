// SPDX-License-Identifier: GPL-2.0
/*
 * A static program without a library, which has pages of read-only data, data that does not fill
 * its last page, and a .bss section.
 */
__attribute__((aligned(4096), section(".rodata"))) const char page_b[16384] = { 1 };
__attribute__((aligned(4096))) int page_c[16] = { 1, 2, 3 };
int bss[64];
void _start(void)
{
	for (;;) { long r; __asm__ volatile("syscall" : "=a"(r) : "a"(34L) : "rcx", "r11", "memory"); }
}
