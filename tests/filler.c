// SPDX-License-Identifier: GPL-2.0
/*
 * A module with text that consists of trap instructions: a call into the text of a module that was
 * at this address before is detected.
 */

#include <linux/module.h>

#ifdef CONFIG_X86
#define TRAP	"0xcccccccc"
#else
/* An invalid instruction. */
#define TRAP	"0"
#endif

asm(".pushsection .text\n\t.fill 4096, 4, " TRAP "\n\t.popsection");

static int __init filler_init(void)
{
	return 0;
}
module_init(filler_init);

static void __exit filler_exit(void)
{
}
module_exit(filler_exit);

MODULE_DESCRIPTION("Test: takes the place of an unloaded module");
MODULE_LICENSE("GPL");
