// SPDX-License-Identifier: GPL-2.0

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/oom.h>
#include <linux/sched/signal.h>
#include <linux/timer.h>
#include <linux/userfaultfd_k.h>
#include <linux/xarray.h>

__rust_helper void *rust_helper_tether_page_address(struct page *page)
{
	return page_address(page);
}

__rust_helper int rust_helper_fatal_signal_pending(struct task_struct *task)
{
	return fatal_signal_pending(task);
}

__rust_helper int rust_helper_mmap_write_lock_killable(struct mm_struct *mm)
{
	return mmap_write_lock_killable(mm);
}

/* mmap_write_lock() by down_write_trylock(): the kernel has no such function. */
__rust_helper bool rust_helper_tether_mmap_write_trylock(struct mm_struct *mm)
{
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
	mm_lock_seqcount_begin(mm);
	return true;
}

__rust_helper void rust_helper_mmap_write_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
}

__rust_helper int rust_helper_vma_start_write_killable(struct vm_area_struct *vma)
{
	return vma_start_write_killable(vma);
}

/* The reference counts of VMAs and the owners of semaphores have no accessors. */
__rust_helper bool rust_helper_tether_vma_has_readers(struct vm_area_struct *vma)
{
#ifdef CONFIG_PER_VMA_LOCK
	return refcount_read(&vma->vm_refcnt) > 1;
#else
	return false;
#endif
}

__rust_helper bool rust_helper_tether_mmap_is_write_locked_by_current(struct mm_struct *mm)
{
#ifdef CONFIG_PREEMPT_RT
	/*
	 * RT_MUTEX_HAS_WAITERS is private to kernel/locking. A writer has the mutex until it
	 * unlocks.
	 */
	struct task_struct *owner = READ_ONCE(mm->mmap_lock.rwbase.rtmutex.owner);

	return ((unsigned long)owner & ~1UL) == (unsigned long)current;
#else
	/* Without flags: a writer that owns it. */
	return atomic_long_read(&mm->mmap_lock.owner) == (long)current;
#endif
}

__rust_helper bool rust_helper_tether_vma_is_shadow_stack(struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_SHADOW_STACK;
}

/* The magic number of the file system that a VMA maps a file of, or 0. */
__rust_helper unsigned long rust_helper_tether_vma_magic(struct vm_area_struct *vma)
{
	return vma->vm_file ? file_inode(vma->vm_file)->i_sb->s_magic : 0;
}

__rust_helper int rust_helper_mmap_read_lock_killable(struct mm_struct *mm)
{
	return mmap_read_lock_killable(mm);
}

__rust_helper vm_fault_t rust_helper_check_stable_address_space(struct mm_struct *mm)
{
	return check_stable_address_space(mm);
}

__rust_helper bool rust_helper_userfaultfd_armed(struct vm_area_struct *vma)
{
	return userfaultfd_armed(vma);
}

__rust_helper void rust_helper_tether_timer_setup(struct timer_list *timer,
						  void (*func)(struct timer_list *))
{
	timer_setup(timer, func, 0);
}

__rust_helper void rust_helper_tether_xa_init_accounted(struct xarray *xa)
{
	xa_init_flags(xa, XA_FLAGS_ACCOUNT);
}
