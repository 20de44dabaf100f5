/* SPDX-License-Identifier: GPL-2.0 */
/* Wrappers of inline functions and macros, see helpers.c. */

void adit_dma_rmb(void);
unsigned long adit_spin_lock_irqsave(spinlock_t *lock);
bool adit_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void adit_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
void adit_vma_set_registers(struct vm_area_struct *vma);
void adit_vfio_keep_group(struct vfio_device *vdev);
bool adit_vfio_is_open_as(struct vfio_device *vdev, struct file *file);
bool adit_vfio_has_iommufd(struct vfio_device *vdev);
phys_addr_t adit_page_to_phys(struct page *page);
