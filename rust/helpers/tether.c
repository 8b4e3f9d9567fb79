// SPDX-License-Identifier: GPL-2.0
/*
 * Pins: what holds a module while somebody may call into it that nobody can wait for.
 *
 * In C because atomic operations are inline functions here, and calls in Rust: a task work is
 * pinned and unpinned each time that it is queued.
 */

#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>

/*
 * @count: how many pins there are, less one, so that its sign tells whether there are some;
 *	TETHER_CLOSED is added to it once there can be no more.
 * @held: a reference to @module is held. It is while there are pins; it changes under @lock.
 */
struct tether_pins {
	atomic_long_t count;
	struct module *module;
	bool held;
	raw_spinlock_t lock;
};

#define TETHER_NONE (-1L)
#define TETHER_CLOSED (LONG_MIN / 2)

__rust_helper void *rust_helper_tether_pins_new(void)
{
	struct tether_pins *pins = kzalloc(sizeof(*pins), GFP_KERNEL);

	if (pins) {
		atomic_long_set(&pins->count, TETHER_NONE);
		raw_spin_lock_init(&pins->lock);
	}
	return pins;
}

/* Opens them, for a module that comes. */
__rust_helper void rust_helper_tether_pins_open(void *data, struct module *module)
{
	struct tether_pins *pins = data;

	pins->module = module;
	atomic_long_set_release(&pins->count, TETHER_NONE);
}

/* There are no more from here on. */
__rust_helper void rust_helper_tether_pins_close(void *data)
{
	struct tether_pins *pins = data;

	guard(raw_spinlock_irqsave)(&pins->lock);
	atomic_long_add(TETHER_CLOSED, &pins->count);
}

/*
 * How many there are. Once there are none, nobody who has dropped one touches the module any more
 * when this has returned.
 */
__rust_helper long rust_helper_tether_pinned(void *data)
{
	struct tether_pins *pins = data;
	long count;

	guard(raw_spinlock_irqsave)(&pins->lock);
	count = atomic_long_read(&pins->count);
	if (count < TETHER_NONE)
		count -= TETHER_CLOSED;
	/* Who has dropped the last one may be about to put the reference. */
	return count - TETHER_NONE ?: pins->held;
}

static noinline bool tether_pin_first(struct tether_pins *pins)
{
	guard(raw_spinlock_irqsave)(&pins->lock);
	if (atomic_long_read(&pins->count) < TETHER_NONE)
		return false;
	if (!pins->held && !try_module_get(pins->module))
		return false;
	pins->held = true;
	atomic_long_inc(&pins->count);
	return true;
}

static noinline void tether_unpinned_last(struct tether_pins *pins)
{
	long count;

	guard(raw_spinlock_irqsave)(&pins->lock);
	count = atomic_long_read(&pins->count);
	if (pins->held && (count == TETHER_NONE || count == TETHER_NONE + TETHER_CLOSED)) {
		pins->held = false;
		module_put(pins->module);
	}
}

static __always_inline void tether_unpin(struct tether_pins *pins)
{
	/* That was the last one, or the module goes. */
	if (unlikely(atomic_long_add_negative(-1, &pins->count)))
		tether_unpinned_last(pins);
}

/* One more, where there is one. */
static __always_inline bool tether_pin_more(struct tether_pins *pins)
{
	return likely(atomic_long_inc_unless_negative(&pins->count));
}

__rust_helper bool rust_helper_tether_pin(void *pins)
{
	return tether_pin_more(pins) || tether_pin_first(pins);
}

__rust_helper void rust_helper_tether_unpin(void *pins)
{
	tether_unpin(pins);
}

/* For a module that goes although it is pinned: its reference count is not looked at any more. */
__rust_helper void rust_helper_tether_unpin_disarmed(void *data)
{
	struct tether_pins *pins = data;

	guard(raw_spinlock_irqsave)(&pins->lock);
	atomic_long_dec(&pins->count);
	pins->held = false;
}

static noinline int tether_add_first(struct task_struct *task, struct callback_head *work,
				     enum task_work_notify_mode mode, void *pins)
{
	return tether_pin_first(pins) ? task_work_add(task, work, mode) : -ENODEV;
}

/*
 * Pins, and queues @work to @task, which does not touch it after it was queued.
 *
 * -ESRCH is task_work_add()'s own, and the only error that it has here: then the pin is still
 * there, for the caller to drop. So that this has nothing to do afterwards.
 */
__rust_helper int rust_helper_tether_task_work_add(struct task_struct *task,
						   struct callback_head *work,
						   enum task_work_notify_mode mode, void *pins)
{
	/* A kernel thread would run it when it ends. */
	if (unlikely(READ_ONCE(task->flags) & PF_KTHREAD))
		return -EINVAL;
	if (unlikely(!tether_pin_more(pins)))
		return tether_add_first(task, work, mode, pins);
	return task_work_add(task, work, mode);
}
