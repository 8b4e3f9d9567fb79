// SPDX-License-Identifier: GPL-2.0

#include <linux/list.h>
#include <linux/module.h>

__rust_helper const char *rust_helper_tether_module_name(const struct module *module)
{
	return module->name;
}

/* Unlike module_is_live(), which is true while the module's init is running. */
__rust_helper bool rust_helper_tether_module_is_live(const struct module *module)
{
#ifdef CONFIG_MODULES
	return READ_ONCE(module->state) == MODULE_STATE_LIVE;
#else
	return true;
#endif
}

__rust_helper bool rust_helper_tether_module_is_going(const struct module *module)
{
#ifdef CONFIG_MODULES
	return module && READ_ONCE(module->state) == MODULE_STATE_GOING;
#else
	return false;
#endif
}

/* Whether @address is in text that is there for as long as the machine runs. */
__rust_helper bool rust_helper_tether_permanent_text(unsigned long address)
{
#ifdef MODULE
	return within_module_core(address, THIS_MODULE);
#else
	/* What is not in a module that has announced itself is in the kernel's image. */
	return true;
#endif
}

__rust_helper void rust_helper_tether_list_del_init(struct list_head *entry)
{
	list_del_init(entry);
}

/* Inline, or nothing, where modules cannot be removed. */
__rust_helper bool rust_helper_tether_module_get(struct module *module)
{
	return try_module_get(module);
}

__rust_helper void rust_helper_tether_module_put(struct module *module)
{
	module_put(module);
}
