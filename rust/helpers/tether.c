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
 * @count: how many pins there are; TETHER_CLOSED is added to it once there can be no more. While
 * there are some a reference to @module is held, which is taken with the first and put with the
 * last, under @lock.
 */
struct tether_pins {
	atomic_long_t count;
	struct module *module;
	raw_spinlock_t lock;
};

#define TETHER_CLOSED (LONG_MIN / 2)

__rust_helper void *rust_helper_tether_pins_new(void)
{
	struct tether_pins *pins = kzalloc(sizeof(*pins), GFP_KERNEL);

	if (pins)
		raw_spin_lock_init(&pins->lock);
	return pins;
}

/* Opens them, for a module that comes. */
__rust_helper void rust_helper_tether_pins_open(void *data, struct module *module)
{
	struct tether_pins *pins = data;

	pins->module = module;
	atomic_long_set_release(&pins->count, 0);
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
	return count < 0 ? count - TETHER_CLOSED : count;
}

static noinline bool tether_pin_first(struct tether_pins *pins)
{
	long count;

	guard(raw_spinlock_irqsave)(&pins->lock);
	count = atomic_long_read(&pins->count);
	if (count < 0 || (count == 0 && !try_module_get(pins->module)))
		return false;
	atomic_long_inc(&pins->count);
	return true;
}

static noinline void tether_unpin_last(struct tether_pins *pins)
{
	long count;

	guard(raw_spinlock_irqsave)(&pins->lock);
	count = atomic_long_dec_return(&pins->count);
	if (count == 0 || count == TETHER_CLOSED)
		module_put(pins->module);
}

static __always_inline void tether_unpin(struct tether_pins *pins)
{
	long count = atomic_long_read(&pins->count);

	do {
		/* The last one, or one of a module that goes. */
		if (unlikely(count <= 1)) {
			tether_unpin_last(pins);
			return;
		}
	} while (!atomic_long_try_cmpxchg(&pins->count, &count, count - 1));
}

/* One more, where there is one. */
static __always_inline bool tether_pin_more(struct tether_pins *pins)
{
	long count = atomic_long_read(&pins->count);

	do {
		if (unlikely(count <= 0))
			return false;
	} while (!atomic_long_try_cmpxchg(&pins->count, &count, count + 1));
	return true;
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
}

static noinline int tether_add_failed(struct tether_pins *pins, int ret)
{
	tether_unpin(pins);
	return ret;
}

static noinline int tether_add_first(struct task_struct *task, struct callback_head *work,
				     enum task_work_notify_mode mode, void *pins)
{
	int ret;

	if (!tether_pin_first(pins))
		return -ENODEV;
	ret = task_work_add(task, work, mode);
	return ret ? tether_add_failed(pins, ret) : 0;
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
	if (unlikely(!tether_pin_more(pins)))
		return tether_add_first(task, work, mode, pins);
	ret = task_work_add(task, work, mode);
	return unlikely(ret) ? tether_add_failed(pins, ret) : 0;
}
