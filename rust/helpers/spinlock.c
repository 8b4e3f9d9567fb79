// SPDX-License-Identifier: GPL-2.0

#include <linux/spinlock.h>

/* A lock class for each kind of lock: that of a queue is taken under that of the list of queues. */
__rust_helper void rust_helper_tether_queue_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

__rust_helper void rust_helper_tether_queues_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

__rust_helper void rust_helper_tether_pins_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

__rust_helper void rust_helper_tether_kthreads_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

__rust_helper unsigned long rust_helper_tether_raw_lock(raw_spinlock_t *lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	return flags;
}

__rust_helper void rust_helper_tether_raw_unlock(raw_spinlock_t *lock, unsigned long flags)
{
	raw_spin_unlock_irqrestore(lock, flags);
}
