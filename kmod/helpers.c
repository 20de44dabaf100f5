// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of C headers, which Rust cannot call: like rust/helpers/ in the
 * kernel, for those that are missing there.
 */

#include <asm/barrier.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/kmemleak.h>
#include <linux/mm.h>
#include <linux/spinlock.h>
/* No header for drivers, but the group of a device is opaque without it. */
#include <../drivers/vfio/vfio.h>

#include "helpers.h"

void adit_dma_rmb(void)
{
	dma_rmb();
}

unsigned long adit_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool adit_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void adit_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

/* Marks a mapping as device registers: not cached, and without struct pages. */
void adit_vma_set_registers(struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
}

/*
 * Keeps the numbers of the device's group from being assigned to another group until the next boot:
 * the minor number of its node, which is freed with the last reference to the group's device, and
 * the name of the node, which is the number of its IOMMU group. A container that was granted the
 * node may open that number, no matter which group it denotes by then.
 */
void adit_vfio_keep_group(struct vfio_device *vdev)
{
	struct iommu_group *group = iommu_group_get(vdev->dev);

	if (group)
		kmemleak_not_leak(group);
	get_device(&vdev->group->dev);
	/* Its minor numbers would start anew if the VFIO core were loaded again. */
	__module_get(vdev->group->cdev.owner);
	kmemleak_not_leak(vdev->group);
}

/*
 * Returns whether the device was opened through this file: not that of its group, which does not keep
 * the device open, nor that of its node before it is bound, when another process may have the device.
 * The VFIO core gives the files of a device, and no others, the mapping of the device's own inode.
 */
bool adit_vfio_is_open_as(struct vfio_device *vdev, struct file *file)
{
	struct vfio_device_file *df;

	if (file->f_mapping != vdev->inode->i_mapping)
		return false;
	df = file->private_data;
	/* Pairs with the store that grants access. */
	return smp_load_acquire(&df->access_granted);
}

/*
 * Returns whether the memory of the device's owner is that of an iommufd, not of a container. Called
 * while that memory is being unmapped, so that the device stays bound to the iommufd.
 */
bool adit_vfio_has_iommufd(struct vfio_device *vdev)
{
#if IS_ENABLED(CONFIG_IOMMUFD)
	return vdev->iommufd_access;
#else
	return false;
#endif
}

phys_addr_t adit_page_to_phys(struct page *page)
{
	return page_to_phys(page);
}
