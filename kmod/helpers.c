// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of C headers, which Rust cannot call: as rust/helpers/ in the
 * kernel, for what is missing there.
 */

#include <asm/barrier.h>
#include <linux/io.h>
#include <linux/mm.h>

#include "helpers.h"

void adit_dma_rmb(void)
{
	dma_rmb();
}

/* A mapping of device registers: not cached, and without structures of pages behind it. */
void adit_vma_set_registers(struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
}

phys_addr_t adit_page_to_phys(struct page *page)
{
	return page_to_phys(page);
}
