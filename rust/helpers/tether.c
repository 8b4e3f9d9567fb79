// SPDX-License-Identifier: GPL-2.0
/*
 * What changes often in the record of a module: its pins, which hold it while somebody may call into
 * it that nobody can wait for, and its attachments, which are ended with it.
 *
 * In C because atomic operations and locks are inline functions here, and calls in Rust: a task work
 * is pinned and unpinned each time that it is queued, an interval notifier attached and detached.
 */

#include <linux/atomic.h>
#include <linux/list.h>
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
struct tether_owner {
	atomic_long_t count;
	struct module *module;
	bool held;
	raw_spinlock_t lock;
	/*
	 * @lock: under which @list changes. It is the first one, as rust/kernel/tether.rs knows.
	 * @entered: how many are ending something of the module's, or need it for another reason; its
	 *	end waits for them.
	 * @list: what is attached.
	 * @closed: the module goes: nothing more can be made.
	 */
	struct tether_attached {
		spinlock_t lock;
		atomic_t entered;
		struct list_head list;
		bool closed;
	} attached;
};

/* What an attachment begins with, in rust/kernel/tether.rs; and the states that are known here. */
struct tether_attachment {
	struct list_head links;
	unsigned int state;
};

enum { TETHER_FREE, TETHER_MAKING, TETHER_ATTACHED };

#define TETHER_NONE (-1L)
#define TETHER_CLOSED (LONG_MIN / 2)

__rust_helper void *rust_helper_tether_owner_new(void)
{
	struct tether_owner *owner = kzalloc(sizeof(*owner), GFP_KERNEL);

	if (owner) {
		atomic_long_set(&owner->count, TETHER_NONE);
		raw_spin_lock_init(&owner->lock);
		spin_lock_init(&owner->attached.lock);
		INIT_LIST_HEAD(&owner->attached.list);
	}
	return owner;
}

__rust_helper void *rust_helper_tether_owner_attached(void *data)
{
	struct tether_owner *owner = data;

	return &owner->attached;
}

__rust_helper struct list_head *rust_helper_tether_attached_list(void *data)
{
	struct tether_attached *attached = data;

	return &attached->list;
}

/* Opens them, for a module that comes. */
__rust_helper void rust_helper_tether_owner_open(void *data, struct module *module)
{
	struct tether_owner *owner = data;

	owner->module = module;
	WRITE_ONCE(owner->attached.closed, false);
	atomic_long_set_release(&owner->count, TETHER_NONE);
}

/* There are no more pins from here on, and who enters afterwards is refused. */
__rust_helper void rust_helper_tether_owner_close(void *data)
{
	struct tether_owner *owner = data;

	WRITE_ONCE(owner->attached.closed, true);
	scoped_guard(raw_spinlock_irqsave, &owner->lock)
		atomic_long_add(TETHER_CLOSED, &owner->count);
	/* Who does not see it closed is seen by rust_helper_tether_entered(). */
	smp_mb();
}

__rust_helper bool rust_helper_tether_owner_closed(void *data)
{
	struct tether_attached *attached = data;

	return READ_ONCE(attached->closed);
}

__rust_helper bool rust_helper_tether_entered(void *data)
{
	struct tether_attached *attached = data;

	return atomic_read_acquire(&attached->entered);
}

static __always_inline void tether_leave(struct tether_attached *attached)
{
	/* What was done before is done when the module's end sees this. */
	smp_mb__before_atomic();
	atomic_dec(&attached->entered);
}

__rust_helper void rust_helper_tether_leave(void *attached)
{
	tether_leave(attached);
}

/* Makes the module's end wait until rust_helper_tether_leave(). The end must wait for the caller. */
__rust_helper void rust_helper_tether_enter_again(void *data)
{
	struct tether_attached *attached = data;

	atomic_inc(&attached->entered);
}

/* Makes the module's end wait until rust_helper_tether_leave(), unless it has begun. */
__rust_helper bool rust_helper_tether_enter(void *data)
{
	struct tether_attached *attached = data;

	atomic_inc(&attached->entered);
	smp_mb__after_atomic();
	if (likely(!READ_ONCE(attached->closed)))
		return true;
	tether_leave(attached);
	return false;
}

/*
 * Makes the module's end wait until it is TETHER_ATTACHED, or withdrawn, and end it then, unless that
 * end has begun.
 */
__rust_helper bool rust_helper_tether_attach(void *data, void *which)
{
	struct tether_attachment *attachment = which;
	struct tether_attached *attached = data;
	bool open;

	spin_lock(&attached->lock);
	open = !attached->closed;
	if (likely(open)) {
		attachment->state = TETHER_MAKING;
		list_add_tail(&attachment->links, &attached->list);
	}
	spin_unlock(&attached->lock);
	return open;
}

/* It was not made after all. */
__rust_helper void rust_helper_tether_withdraw(void *data, void *which)
{
	struct tether_attachment *attachment = which;
	struct tether_attached *attached = data;

	guard(spinlock)(&attached->lock);
	list_del(&attachment->links);
	attachment->state = TETHER_FREE;
}

/*
 * Takes it off the list, and enters, if it is TETHER_ATTACHED. Returns the state that it was in.
 */
__rust_helper unsigned int rust_helper_tether_detach(void *data, void *which)
{
	struct tether_attachment *attachment = which;
	struct tether_attached *attached = data;
	unsigned int state;

	spin_lock(&attached->lock);
	state = attachment->state;
	if (likely(state == TETHER_ATTACHED)) {
		/* As long as it is in the list the module's end goes on. */
		atomic_inc(&attached->entered);
		list_del(&attachment->links);
		attachment->state = TETHER_FREE;
	}
	spin_unlock(&attached->lock);
	return state;
}

/*
 * How many there are. Once there are none, nobody who has dropped one touches the module any more
 * when this has returned.
 */
__rust_helper long rust_helper_tether_pinned(void *data)
{
	struct tether_owner *owner = data;
	long count;

	guard(raw_spinlock_irqsave)(&owner->lock);
	count = atomic_long_read(&owner->count);
	if (count < TETHER_NONE)
		count -= TETHER_CLOSED;
	/* Who has dropped the last one may be about to put the reference. */
	return count - TETHER_NONE ?: owner->held;
}

static noinline bool tether_pin_first(struct tether_owner *owner)
{
	guard(raw_spinlock_irqsave)(&owner->lock);
	if (atomic_long_read(&owner->count) < TETHER_NONE)
		return false;
	if (!owner->held && !try_module_get(owner->module))
		return false;
	owner->held = true;
	atomic_long_inc(&owner->count);
	return true;
}

static noinline void tether_unpinned_last(struct tether_owner *owner)
{
	long count;

	guard(raw_spinlock_irqsave)(&owner->lock);
	count = atomic_long_read(&owner->count);
	if (owner->held && (count == TETHER_NONE || count == TETHER_NONE + TETHER_CLOSED)) {
		owner->held = false;
		module_put(owner->module);
	}
}

static __always_inline void tether_unpin(struct tether_owner *owner)
{
	/* That was the last one, or the module goes. */
	if (unlikely(atomic_long_add_negative(-1, &owner->count)))
		tether_unpinned_last(owner);
}

/* One more, where there is one. */
static __always_inline bool tether_pin_more(struct tether_owner *owner)
{
	return likely(atomic_long_inc_unless_negative(&owner->count));
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
	struct tether_owner *owner = data;

	guard(raw_spinlock_irqsave)(&owner->lock);
	atomic_long_dec(&owner->count);
	owner->held = false;
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
