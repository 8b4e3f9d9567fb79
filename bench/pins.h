/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pins of a module, as in rust/kernel/tether/pins.rs: the first pin takes a reference to the
 * module, the last one releases it.
 */

#include <linux/atomic.h>
#include <linux/cleanup.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

/*
 * @count: the number of pins minus one, so that its sign tells whether there is a pin.
 * @held: whether a reference to @module is held. Changes under @lock.
 */
struct pins {
	atomic_long_t count;
	struct module *module;
	bool held;
	raw_spinlock_t lock;
};

static struct pins *pins_new(struct module *module)
{
	struct pins *pins = kzalloc(sizeof(*pins), GFP_KERNEL);

	if (pins) {
		atomic_long_set(&pins->count, -1);
		raw_spin_lock_init(&pins->lock);
		pins->module = module;
	}
	return pins;
}

static noinline bool pin_first(struct pins *pins)
{
	guard(raw_spinlock_irqsave)(&pins->lock);
	if (!pins->held && !try_module_get(pins->module))
		return false;
	pins->held = true;
	atomic_long_inc(&pins->count);
	return true;
}

static __always_inline bool pin(struct pins *pins)
{
	/* Add a pin if there is one already; the first pin needs the lock. */
	return likely(atomic_long_inc_unless_negative(&pins->count)) || pin_first(pins);
}

static noinline void unpinned_last(struct pins *pins)
{
	guard(raw_spinlock_irqsave)(&pins->lock);
	if (pins->held && atomic_long_read(&pins->count) == -1) {
		pins->held = false;
		module_put(pins->module);
	}
}

static __always_inline void unpin(struct pins *pins)
{
	if (unlikely(atomic_long_add_negative(-1, &pins->count)))
		unpinned_last(pins);
}
