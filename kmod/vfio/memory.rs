// SPDX-License-Identifier: GPL-2.0

//! Memory accessible to an ADI: registered by its owner, or allocated here.

use adit_bindings as bindings;
use adit_uapi::vfio::memory_flags;
use core::ptr;
use kernel::{
    current,
    page::{
        Page,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

use super::{
    device::VfioDevice,
    unmap_requests::UnmapRequests, //
};
use crate::{
    adi::Adi,
    pasid::AddressSpace, //
};

/// Maximum number of registrations of an ADI at a time.
pub(super) const MAX_REGISTRATIONS: usize = 1024;
/// Maximum number of bytes that an ADI may have registered at a time; the owner's limit on pinned
/// memory applies besides.
pub(super) const MAX_REGISTERED_LEN: u64 = 64 << 30;
/// Start of the driver's own memory; owners register memory below it.
pub(super) const DMA_IOVA: u64 = 1 << 46;
/// Range in which writes are interrupts, not memory accesses (SDM, volume 3, Message Signalled
/// Interrupts).
const INTERRUPTS: core::ops::Range<u64> = 0xFEE0_0000..0xFEF0_0000;
/// Number of pages that are pinned in one call.
const BATCH: usize = 512;
/// Time for a batch above which a registration gives way to removals: the owner's page faults may
/// last for any time (FUSE), and a removal is called again only ten times ([`super::unmapping`]).
const SLOW: Delta = Delta::from_secs(1);

/// Context for pinning memory and mapping it for an ADI.
pub(super) struct PinContext<'a> {
    /// The device, which is open.
    pub(super) device: &'a VfioDevice,
    /// The address space of the ADI.
    pub(super) space: &'a AddressSpace,
    /// Requests to remove memory, to be notified of each step.
    pub(super) requests: &'a UnmapRequests,
    /// The ADI whose queues may be running while memory is removed; `None` if they are stopped.
    pub(super) running: Option<&'a Adi>,
}

/// A range that is pinned and mapped.
struct Registered {
    iova: u64,
    len: u64,
}

impl Registered {
    fn overlaps(&self, iova: u64, len: u64) -> bool {
        // An end beyond 64 bits saturates to the last address.
        iova < self.iova.saturating_add(self.len) && self.iova < iova.saturating_add(len)
    }
}

/// Memory that the owner of an ADI has registered.
pub(super) struct Memory {
    ranges: KVec<Registered>,
    total: u64,
}

impl Memory {
    pub(super) const fn new() -> Self {
        Self {
            ranges: KVec::new(),
            total: 0,
        }
    }

    /// Returns whether any part of a range is registered.
    pub(super) fn overlaps(&self, iova: u64, len: u64) -> bool {
        self.ranges.iter().any(|range| range.overlaps(iova, len))
    }

    /// Returns the index of the registration of exactly this range.
    pub(super) fn find(&self, iova: u64, len: u64) -> Option<usize> {
        let mut ranges = self.ranges.iter();
        ranges.position(|range| range.iova == iova && range.len == len)
    }

    /// Pins a range of the owner's memory and maps it for the ADI. Fails with `EEXIST` when part of
    /// it is registered, `ENOSPC` when a limit is exceeded, `EAGAIN` when it is about to be removed
    /// from the container, or other memory is and pinning takes long, and otherwise with the error
    /// of pinning. Nothing has changed on failure.
    pub(super) fn add(
        &mut self,
        context: &PinContext<'_>,
        iova: u64,
        len: u64,
        flags: u32,
    ) -> Result {
        let end = iova.checked_add(len).ok_or(EINVAL)?;
        let aligned = (iova | len) % PAGE_SIZE as u64 == 0;
        let interrupts = iova < INTERRUPTS.end && INTERRUPTS.start < end;
        if len == 0 || !aligned || end > DMA_IOVA || interrupts {
            return Err(EINVAL);
        }
        if self.overlaps(iova, len) {
            return Err(EEXIST);
        }
        if self.ranges.len() >= MAX_REGISTRATIONS || len > MAX_REGISTERED_LEN - self.total {
            return Err(ENOSPC);
        }
        self.ranges.reserve(1, GFP_KERNEL)?;
        let writable = flags & memory_flags::WRITE != 0;
        let mut done = 0;
        let result = pin_and_map(context, iova, len, writable, &mut done);
        if let Err(error) = result {
            unmap_and_unpin(context, iova, done);
            return Err(error);
        }
        self.total += len;
        self.ranges.push(Registered { iova, len }, GFP_KERNEL)?;
        Ok(())
    }

    /// Unmaps a registration from the ADI and unpins it.
    pub(super) fn remove(&mut self, context: &PinContext<'_>, place: usize) {
        if let Ok(range) = self.ranges.remove(place) {
            self.total -= range.len;
            unmap_and_unpin(context, range.iova, range.len);
        }
    }

    /// Removes every registration that overlaps a range.
    pub(super) fn remove_overlapping(&mut self, context: &PinContext<'_>, iova: u64, len: u64) {
        while let Some(place) = self.ranges.iter().position(|r| r.overlaps(iova, len)) {
            self.remove(context, place);
        }
    }

    /// Removes all registrations.
    pub(super) fn clear(&mut self, context: &PinContext<'_>) {
        while !self.ranges.is_empty() {
            self.remove(context, self.ranges.len() - 1);
        }
        self.ranges = KVec::new();
    }
}

/// Pins and maps batch by batch; `done` returns the number of bytes pinned, of which the last batch
/// may not be mapped.
fn pin_and_map(
    context: &PinContext<'_>,
    iova: u64,
    len: u64,
    writable: bool,
    done: &mut u64,
) -> Result {
    let mut pages = KVec::from_elem(ptr::null_mut::<bindings::page>(), BATCH, GFP_KERNEL)?;
    let mut slow = false;
    while *done < len {
        // Pinning a GiB takes seconds.
        if current!().signal_pending() {
            return Err(EINTR);
        }
        // A thread that removes this very memory from the container waits for the owner's lock; one
        // that removes other memory does so in vain if each batch takes longer than it waits.
        if context.requests.overlap(iova, len) || (slow && context.requests.is_pending()) {
            return Err(EAGAIN);
        }
        let at = iova + *done;
        // CAST: at most `BATCH`.
        let count = ((len - *done) >> PAGE_SHIFT).min(BATCH as u64) as usize;
        let pages = pages.get_mut(..count).ok_or(EINVAL)?;
        // All of them or an error.
        let start = Instant::<Monotonic>::now();
        let pinned = context.device.pin(at, writable, pages)?;
        slow = start.elapsed() > SLOW;
        *done += (pinned as u64) << PAGE_SHIFT;
        context.requests.step();
        map(context.space, at, &pages[..pinned.min(count)], writable)?;
        if pinned != count {
            return Err(EFAULT);
        }
    }
    Ok(())
}

/// Maps pinned pages; physically contiguous ones are mapped together.
fn map(space: &AddressSpace, iova: u64, pages: &[*mut bindings::page], writable: bool) -> Result {
    // SAFETY: The pages are pinned.
    let phys = |page| unsafe { bindings::adit_page_to_phys(page) };
    let mut at = 0;
    while at < pages.len() {
        let start = phys(pages[at]);
        let mut end = at + 1;
        while end < pages.len() && phys(pages[end]) == start + ((end - at) << PAGE_SHIFT) as u64 {
            end += 1;
        }
        let place = iova as usize + (at << PAGE_SHIFT);
        // SAFETY: The pages are pinned, for writing if the device may write, until they are
        // unpinned after `unmap()`. The owner's lock is held, and the range overlaps no other.
        unsafe { space.map(place, start, (end - at) << PAGE_SHIFT, writable)? };
        at = end;
    }
    Ok(())
}

/// Reverses [`pin_and_map()`], for `len` bytes that are pinned.
fn unmap_and_unpin(context: &PinContext<'_>, iova: u64, len: u64) {
    if len == 0 {
        return;
    }
    context.space.unmap(iova as usize, len as usize);
    context.requests.step();
    if let Some(adi) = context.running {
        adi.forget_translations();
        context.requests.step();
    }
    let mut done = 0;
    while done < len {
        let count = ((len - done) >> PAGE_SHIFT).min(BATCH as u64);
        // SAFETY: `pin_and_map()` pinned the pages here, and the device no longer accesses them:
        // they are unmapped, and its queues are stopped or have forgotten where they were.
        // CAST: at most `BATCH`.
        unsafe { context.device.unpin(iova + done, count as c_int) };
        context.requests.step();
        done += count << PAGE_SHIFT;
    }
}

/// The driver's own memory that an ADI can access, for its owner to map.
pub(super) struct DmaPages {
    pages: KVVec<Page>,
}

impl DmaPages {
    /// Allocates `len` bytes, zeroed, and maps them for the ADI.
    pub(super) fn new(space: &AddressSpace, len: u64) -> Result<Self> {
        let count = (len >> PAGE_SHIFT) as usize;
        let mut this = Self {
            pages: KVVec::with_capacity(count, GFP_KERNEL)?,
        };
        for n in 0..count {
            let result = this.grow(space, n);
            if let Err(error) = result {
                this.release(space);
                return Err(error);
            }
        }
        Ok(this)
    }

    fn grow(&mut self, space: &AddressSpace, n: usize) -> Result {
        let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
        // SAFETY: The page is ours.
        let phys = unsafe { bindings::adit_page_to_phys(page.as_ptr()) };
        let iova = DMA_IOVA as usize + (n << PAGE_SHIFT);
        // SAFETY: The page is kept until `release()` has unmapped it. Owners register memory at
        // other addresses, and the lock around this excludes other calls.
        unsafe { space.map(iova, phys, PAGE_SIZE, true)? };
        self.pages.push(page, GFP_KERNEL)?;
        Ok(())
    }

    /// Unmaps the memory from the ADI, whose queues are stopped, and frees it.
    pub(super) fn release(self, space: &AddressSpace) {
        let len = self.pages.len() << PAGE_SHIFT;
        if len != 0 {
            space.unmap(DMA_IOVA as usize, len);
        }
    }

    /// Maps the memory, from its start, into a process.
    ///
    /// # Safety
    ///
    /// `vma` is being set up by `mmap()`.
    pub(super) unsafe fn map_to_user(&self, vma: *mut bindings::vm_area_struct) -> Result {
        let mut pages = KVVec::with_capacity(self.pages.len(), GFP_KERNEL)?;
        for page in &self.pages {
            pages.push(page.as_ptr(), GFP_KERNEL)?;
        }
        // SAFETY: By the function's requirement. `vm_map_pages_zero()` checks that the mapping is
        // no longer than the pages, and takes its own references to them.
        kernel::error::to_result(unsafe {
            bindings::vm_map_pages_zero(vma, pages.as_mut_ptr(), pages.len())
        })
    }
}
