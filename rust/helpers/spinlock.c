// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers for raw spinlocks: rust/kernel/tether/raw_lock.rs. raw_spin_lock_init() is a macro
 * with a static lock class, so that each kind of lock has a function of its own.
 */

#include <linux/spinlock.h>

/**
 * rust_helper_tether_queue_lock_init() - Initialises the lock of an Ordered queue.
 * @lock: lock
 *
 * Its class differs from that of the list of queues: the lock of a queue is taken under the lock
 * of the list.
 */
__rust_helper void rust_helper_tether_queue_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

/**
 * rust_helper_tether_queues_lock_init() - Initialises the lock of the list of all Ordered
 * queues.
 * @lock: lock
 */
__rust_helper void rust_helper_tether_queues_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

/**
 * rust_helper_tether_pins_lock_init() - Initialises the lock for the module reference of an
 * owner.
 * @lock: lock
 */
__rust_helper void rust_helper_tether_pins_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

/**
 * rust_helper_tether_kthreads_lock_init() - Initialises the lock for the graph of waits and the
 * binding of works.
 * @lock: lock
 */
__rust_helper void rust_helper_tether_kthreads_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

/**
 * rust_helper_tether_raw_lock() - Disables interrupts and takes a raw spinlock.
 * @lock: lock
 *
 * Wraps raw_spin_lock_irqsave(), which is a macro.
 *
 * Return: the flags of the interrupts, for rust_helper_tether_raw_unlock().
 */
__rust_helper unsigned long rust_helper_tether_raw_lock(raw_spinlock_t *lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	return flags;
}

/**
 * rust_helper_tether_raw_unlock() - Releases a raw spinlock and restores the interrupts.
 * @lock: lock
 * @flags: interrupt flags, as they were saved
 *
 * Wraps raw_spin_unlock_irqrestore(), which is a macro.
 */
__rust_helper void rust_helper_tether_raw_unlock(raw_spinlock_t *lock, unsigned long flags)
{
	raw_spin_unlock_irqrestore(lock, flags);
}
