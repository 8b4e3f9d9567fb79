// SPDX-License-Identifier: GPL-2.0
/* Helpers for address spaces: rust/kernel/mm/. */

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/oom.h>
#include <linux/userfaultfd_k.h>

/**
 * rust_helper_tether_page_address() - Returns the address of a page in the kernel's mapping.
 * @page: page
 *
 * Wraps page_address(), which is a macro or a function, depending on the configuration.
 *
 * Return: the address, or NULL if the page is not mapped.
 */
__rust_helper void *rust_helper_tether_page_address(struct page *page)
{
	return page_address(page);
}

/**
 * rust_helper_mmap_write_lock_killable() - Takes the mmap_lock for writing.
 * @mm: address space
 *
 * Wraps mmap_write_lock_killable(), which is inline.
 *
 * Return: 0, or -EINTR if the current task is being killed.
 */
__rust_helper int rust_helper_mmap_write_lock_killable(struct mm_struct *mm)
{
	return mmap_write_lock_killable(mm);
}

/**
 * rust_helper_tether_mmap_write_trylock() - Tries to take the mmap_lock for writing.
 * @mm: address space
 *
 * The kernel has no mmap_write_trylock(). mm_lock_seqcount_begin() is part of each write lock.
 *
 * Return: whether the lock was taken.
 */
__rust_helper bool rust_helper_tether_mmap_write_trylock(struct mm_struct *mm)
{
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
	mm_lock_seqcount_begin(mm);
	return true;
}

/**
 * rust_helper_mmap_write_unlock() - Releases the mmap_lock and the write locks of all VMAs.
 * @mm: address space
 *
 * Wraps mmap_write_unlock(), which is inline.
 */
__rust_helper void rust_helper_mmap_write_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
}

/**
 * rust_helper_vma_start_write_killable() - Locks a VMA for writing.
 * @vma: VMA
 *
 * Wraps vma_start_write_killable(), which is inline in some configurations.
 *
 * Return: 0, or -EINTR if the current task is being killed.
 */
__rust_helper int rust_helper_vma_start_write_killable(struct vm_area_struct *vma)
{
	return vma_start_write_killable(vma);
}

/**
 * rust_helper_tether_vma_has_readers() - Tests whether a VMA has readers.
 * @vma: VMA
 *
 * Reads the reference count of the VMA, for which the kernel has no accessor: the count is more
 * than 1 while a reader holds the VMA.
 *
 * Return: false without CONFIG_PER_VMA_LOCK.
 */
__rust_helper bool rust_helper_tether_vma_has_readers(struct vm_area_struct *vma)
{
#ifdef CONFIG_PER_VMA_LOCK
	return refcount_read(&vma->vm_refcnt) > 1;
#else
	return false;
#endif
}

/**
 * rust_helper_tether_mmap_is_write_locked_by_current() - Tests whether the current task holds
 * the mmap_lock for writing.
 * @mm: address space
 *
 * Reads the owner of the semaphore, for which the kernel has no accessor.
 *
 * Return: true if the current task holds the mmap_lock for writing.
 */
__rust_helper bool rust_helper_tether_mmap_is_write_locked_by_current(struct mm_struct *mm)
{
#ifdef CONFIG_PREEMPT_RT
	/*
	 * A writer owns the mutex until it unlocks. Bit 0 is RT_MUTEX_HAS_WAITERS, which is private
	 * to kernel/locking.
	 */
	struct task_struct *owner = READ_ONCE(mm->mmap_lock.rwbase.rtmutex.owner);

	return ((unsigned long)owner & ~1UL) == (unsigned long)current;
#else
	/* If no flag is set in the owner, the owner is a writer. */
	return atomic_long_read(&mm->mmap_lock.owner) == (long)current;
#endif
}

/**
 * rust_helper_tether_vma_is_shadow_stack() - Tests whether a VMA is a shadow stack.
 * @vma: VMA
 *
 * VM_SHADOW_STACK is a macro that depends on the architecture.
 *
 * Return: true if a VMA is a shadow stack.
 */
__rust_helper bool rust_helper_tether_vma_is_shadow_stack(struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_SHADOW_STACK;
}

/**
 * rust_helper_tether_vma_magic() - Returns the magic number of the file system of a mapped file.
 * @vma: VMA
 *
 * Follows vma->vm_file by file_inode(), which is inline.
 *
 * Return: the magic number, or 0 if the VMA does not map a file.
 */
__rust_helper unsigned long rust_helper_tether_vma_magic(struct vm_area_struct *vma)
{
	return vma->vm_file ? file_inode(vma->vm_file)->i_sb->s_magic : 0;
}

/**
 * rust_helper_mmap_read_lock_killable() - Takes the mmap_lock for reading.
 * @mm: address space
 *
 * Wraps mmap_read_lock_killable(), which is inline.
 *
 * Return: 0, or -EINTR if the current task is being killed.
 */
__rust_helper int rust_helper_mmap_read_lock_killable(struct mm_struct *mm)
{
	return mmap_read_lock_killable(mm);
}

/**
 * rust_helper_check_stable_address_space() - Tests whether the OOM reaper has taken pages of an
 * address space.
 * @mm: address space
 *
 * Wraps check_stable_address_space(), which is inline.
 *
 * Return: 0, or VM_FAULT_SIGBUS if pages may be missing.
 */
__rust_helper vm_fault_t rust_helper_check_stable_address_space(struct mm_struct *mm)
{
	return check_stable_address_space(mm);
}

/**
 * rust_helper_userfaultfd_armed() - Tests whether a userfaultfd is registered on a VMA.
 * @vma: VMA
 *
 * Wraps userfaultfd_armed(), which is inline.
 *
 * Return: true if a userfaultfd is registered on a VMA.
 */
__rust_helper bool rust_helper_userfaultfd_armed(struct vm_area_struct *vma)
{
	return userfaultfd_armed(vma);
}
