// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose text is of no use to anybody: who still calls what was in its place before finds
 * out.
 */

#include <linux/module.h>

#ifdef CONFIG_X86
#define TRAP	"0xcccccccc"
#else
/* What is no instruction. */
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

MODULE_DESCRIPTION("Test: takes the place of a module that is gone");
MODULE_LICENSE("GPL");
