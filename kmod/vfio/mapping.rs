// SPDX-License-Identifier: GPL-2.0

//! Mappings of register pages into processes: a page is mapped when it is accessed, so that access
//! can be revoked.

use adit_bindings as bindings;
use core::marker::PhantomData;
use kernel::{
    mm::virt::{
        flags,
        VmaNew, //
    },
    page::PAGE_SHIFT,
    prelude::*, //
};

/// Pages that a process can map.
///
/// # Safety
///
/// The process may access the pages: they are registers, or memory that is not freed while the file
/// is open.
pub(super) unsafe trait PageSource: Sync {
    /// Calls `map` with the page frame number for page `page` of the mapped file, and returns its
    /// result; `None` if there is no such page. While `map` runs, access is not being revoked.
    fn map_page<R>(&self, page: u64, map: impl FnOnce(u64) -> R) -> Option<R>;
}

/// Operations of the mappings of a [`PageSource`].
struct Ops<T>(PhantomData<T>);

impl<T: PageSource> Ops<T> {
    const VM_OPS: &'static bindings::vm_operations_struct = &bindings::vm_operations_struct {
        fault: Some(fault::<T>),
        ..pin_init::zeroed()
    };
}

/// Returns the first page and the number of pages of the file that are to be mapped. Fails with
/// `EINVAL` for a private mapping, which would not be of the registers, and for an executable one.
///
/// # Safety
///
/// `vma` is being set up by `mmap()`.
pub(super) unsafe fn range(vma: *mut bindings::vm_area_struct) -> Result<(u64, u64)> {
    // SAFETY: By the function's requirement.
    let (new, first) = unsafe { (VmaNew::from_raw(vma), (*vma).vm_pgoff) };
    if new.flags() & flags::SHARED == 0 {
        return Err(EINVAL);
    }
    // Neither now nor later.
    new.try_clear_mayexec()?;
    // CAST: to wider types, or the same.
    Ok((
        first as u64,
        ((new.end() - new.start()) >> PAGE_SHIFT) as u64,
    ))
}

/// Makes `vma` a mapping of the pages of `source`.
///
/// # Safety
///
/// `vma` is being set up by `mmap()`, and its file keeps `source` valid.
pub(super) unsafe fn map_registers<T: PageSource>(vma: *mut bindings::vm_area_struct, source: &T) {
    // SAFETY: By the function's requirement. Only `fault()` uses the private data, for reading.
    unsafe {
        bindings::adit_vma_set_registers(vma);
        (*vma).vm_private_data = core::ptr::from_ref(source).cast_mut().cast();
        (*vma).vm_ops = Ops::<T>::VM_OPS;
    }
}

/// Handles an access to a page that is not mapped, or no longer mapped.
///
/// # Safety
///
/// Called by the memory manager for a mapping of `map_registers::<T>()`.
unsafe extern "C" fn fault<T: PageSource>(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: By the function's requirement the private data is the source, and the mapping keeps
    // its file open, which keeps the source valid.
    let (vma, address, page, source) = unsafe {
        let place = &(*vmf).__bindgen_anon_1;
        let source = &*(*place.vma).vm_private_data.cast::<T>();
        (place.vma, place.address, place.pgoff, source)
    };
    // CAST: to a wider type, or the same.
    let result = source.map_page(page as u64, |frame| {
        // SAFETY: `vma` has VM_PFNMAP, and the process may access the page, as the source's
        // implementation promises.
        unsafe { bindings::vmf_insert_pfn(vma, address, frame as c_ulong) }
    });
    result.unwrap_or(bindings::vm_fault_reason_VM_FAULT_SIGBUS)
}
