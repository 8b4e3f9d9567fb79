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
 * @count: how many pins there are. While it is not zero a reference to @module is held, which is
 * taken with the first pin and put with the last, under @lock.
 */
struct tether_pins {
	atomic_long_t count;
	struct module *module;
	bool closed;
	raw_spinlock_t lock;
};

__rust_helper void *rust_helper_tether_pins_new(void)
{
	struct tether_pins *pins = kzalloc(sizeof(*pins), GFP_KERNEL);

	if (pins)
		raw_spin_lock_init(&pins->lock);
	return pins;
}

__rust_helper void rust_helper_tether_pins_set(void *data, struct module *module, bool closed)
{
	struct tether_pins *pins = data;

	WRITE_ONCE(pins->module, module);
	WRITE_ONCE(pins->closed, closed);
}

static noinline bool tether_pin_first(struct tether_pins *pins)
{
	bool pinned;

	guard(raw_spinlock_irqsave)(&pins->lock);
	pinned = atomic_long_read(&pins->count) || try_module_get(pins->module);
	if (pinned)
		atomic_long_inc(&pins->count);
	return pinned;
}

static noinline void tether_unpin_last(struct tether_pins *pins)
{
	guard(raw_spinlock_irqsave)(&pins->lock);
	if (atomic_long_dec_and_test(&pins->count))
		module_put(pins->module);
}

static __always_inline void tether_unpin(struct tether_pins *pins)
{
	if (unlikely(!atomic_long_add_unless(&pins->count, -1, 1)))
		tether_unpin_last(pins);
}

/*
 * Either a new pin is seen by who closes, who looks at the count after that, or it sees that it is
 * closed: both are fully ordered.
 */
static __always_inline bool tether_pin(struct tether_pins *pins)
{
	if (unlikely(!atomic_long_inc_not_zero(&pins->count)) && !tether_pin_first(pins))
		return false;
	smp_mb__after_atomic();
	if (likely(!READ_ONCE(pins->closed)))
		return true;
	tether_unpin(pins);
	return false;
}

__rust_helper bool rust_helper_tether_pin(void *pins)
{
	return tether_pin(pins);
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
}

/*
 * How many pins there are. Once there are none, nobody who has dropped one touches the module any
 * more when this has returned.
 */
__rust_helper long rust_helper_tether_pinned(void *data)
{
	struct tether_pins *pins = data;

	guard(raw_spinlock_irqsave)(&pins->lock);
	return atomic_long_read(&pins->count);
}

/* Pins, and queues @work to @task. @work is not touched after it was queued. */
__rust_helper int rust_helper_tether_task_work_add(struct task_struct *task,
						   struct callback_head *work,
						   enum task_work_notify_mode mode, void *pins)
{
	int ret;

	/* A kernel thread would run it when it ends. */
	if (unlikely(READ_ONCE(task->flags) & PF_KTHREAD))
		return -EINVAL;
	if (unlikely(!tether_pin(pins)))
		return -ENODEV;
	ret = task_work_add(task, work, mode);
	if (unlikely(ret))
		tether_unpin(pins);
	return ret;
}
