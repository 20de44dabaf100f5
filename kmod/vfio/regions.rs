// SPDX-License-Identifier: GPL-2.0

//! Regions that the owner of an ADI reads, writes and maps.

use adit_bindings as bindings;
use adit_uapi::{
    regs::adi as frames,
    vfio::{
        adi_state,
        region,
        AdiInfo,
        MailboxReply,
        MailboxRequest,
        INFO_MAGIC,
        INFO_VERSION,
        MAX_PAYLOAD_LEN,
        NUM_REGIONS,
        PAGE_LEN, //
    },
};
use kernel::{
    error::from_result,
    mm::virt::VmaNew,
    page::{
        Page,
        PAGE_SHIFT, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use zerocopy::{
    little_endian::{
        U16,
        U32,
        U64, //
    },
    IntoBytes, //
};

use super::{
    device::{
        self,
        State, //
    },
    mailbox,
    memory::{
        self,
        DmaPages, //
    },
    REGION_SHIFT,
};

/// Maximum number of entries of a ring, and their granularity (nic's limits).
const MAX_RING_LEN: u16 = 8160;
const RING_LEN_MULTIPLE: u16 = 8;
const RING_ALIGN: u16 = 128;

const READ: u32 = bindings::VFIO_REGION_INFO_FLAG_READ;
const WRITE: u32 = bindings::VFIO_REGION_INFO_FLAG_WRITE;
const MMAP: u32 = bindings::VFIO_REGION_INFO_FLAG_MMAP;

/// Returns the length of a region in bytes and its flags.
fn describe(state: &State, index: u32) -> Result<(u64, u32)> {
    let pages = |count| (u64::from(count) * PAGE_LEN, MMAP | READ | WRITE);
    match index {
        region::INFO => Ok((AdiInfo::LEN as u64, READ)),
        region::DOORBELLS | region::INTERRUPTS | region::KICK => {
            Ok(pages(registers(state, index)?.1))
        }
        region::MAILBOX => Ok(((MailboxRequest::LEN + MAX_PAYLOAD_LEN) as u64, READ | WRITE)),
        region::DMA => Ok((
            memory::dma_len(state.ids.layout.queue_pairs),
            MMAP | READ | WRITE,
        )),
        _ => Err(EINVAL),
    }
}

/// Returns the first page of a region of registers in the ADI's frame, and the number of its pages.
pub(super) fn registers(state: &State, index: u32) -> Result<(u32, u32)> {
    let ids = &state.ids.layout;
    let doorbells = u32::from(ids.queue_pairs) * (frames::PAGES_PER_PAIR - 1);
    match index {
        region::DOORBELLS => Ok((0, doorbells)),
        region::INTERRUPTS => Ok((doorbells, ids.vectors().into())),
        region::KICK => Ok((0, 1)),
        _ => Err(EINVAL),
    }
}

/// Returns the properties of the ADI, and its current state.
fn adi_info(state: &State) -> AdiInfo {
    let adi = &state.adi;
    let ids = &state.ids.layout;
    let current = match state.is_alive() {
        true => adi_state::ACTIVE,
        false => adi_state::DEAD,
    };
    AdiInfo {
        magic: U32::new(INFO_MAGIC),
        version: U16::new(INFO_VERSION),
        len: U16::new(AdiInfo::LEN as u16),
        adi_id: U32::new(ids.adi_id.0.into()),
        state: U32::new(current),
        mac: ids.mac,
        vlan: U16::new(0),
        num_queue_pairs: U16::new(ids.queue_pairs),
        num_vectors: U16::new(ids.vectors()),
        max_mtu: U16::new(adi.layout().max_mtu),
        max_ring_len: U16::new(MAX_RING_LEN),
        ring_len_multiple: U16::new(RING_LEN_MULTIPLE),
        ring_align: U16::new(RING_ALIGN),
        max_payload_len: U32::new(MAX_PAYLOAD_LEN as u32),
        max_registrations: U32::new(memory::MAX_REGISTRATIONS as u32),
        asleep_offset: U32::new(adi.layout().asleep_offset),
        kick_offset: U32::new(frames::KICK_OFFSET),
        max_registered_len: U64::new(memory::MAX_REGISTERED_LEN),
        iova_first: U64::new(0),
        iova_last: U64::new(memory::DMA_IOVA - 1),
        dma_iova: U64::new(memory::DMA_IOVA),
        dma_len: U64::new(memory::dma_len(ids.queue_pairs)),
        faults: U64::new(state.faults()),
        ..AdiInfo::default()
    }
}

/// Handles VFIO_DEVICE_GET_REGION_INFO.
pub(super) unsafe extern "C" fn info(
    vdev: *mut bindings::vfio_device,
    info: *mut bindings::vfio_region_info,
    _caps: *mut bindings::vfio_info_cap,
) -> c_int {
    from_result(|| {
        // SAFETY: The VFIO core calls for an open device.
        let state = unsafe { device::state(vdev) };
        // SAFETY: The VFIO core passes a structure of its own.
        let info = unsafe { &mut *info };
        let (size, flags) = describe(state, info.index)?;
        (info.size, info.flags) = (size, flags);
        info.offset = u64::from(info.index) << REGION_SHIFT;
        Ok(0)
    })
}

/// Splits an offset in the device's file into a region and an offset in it.
fn place(offset: i64) -> Result<(u32, usize)> {
    let offset = u64::try_from(offset).map_err(|_| EINVAL)?;
    let index = u32::try_from(offset >> REGION_SHIFT).map_err(|_| EINVAL)?;
    if index >= NUM_REGIONS {
        return Err(EINVAL);
    }
    // CAST: 40 bits.
    Ok((index, (offset & ((1 << REGION_SHIFT) - 1)) as usize))
}

/// Returns up to `len` bytes from `at` on.
fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..len).unwrap_or(rest)
}

pub(super) unsafe extern "C" fn read(
    vdev: *mut bindings::vfio_device,
    buf: *mut c_char,
    len: usize,
    pos: *mut bindings::loff_t,
) -> isize {
    let result = (|| {
        // SAFETY: The VFIO core calls for an open device.
        let state = unsafe { device::state(vdev) };
        // SAFETY: The VFIO core passes a position of its own.
        let (index, at) = place(unsafe { *pos })?;
        let mut writer = UserSlice::new(UserPtr::from_ptr(buf.cast()), len).writer();
        match index {
            region::INFO => {
                let info = adi_info(state);
                let part = part(info.as_bytes(), at, len);
                writer.write_slice(part).map(|()| part.len())
            }
            region::MAILBOX => {
                state.check_alive()?;
                let owner = state.owner.lock();
                let part = part(owner.mailbox.reply(), at, len);
                writer.write_slice(part).map(|()| part.len())
            }
            _ => Err(EINVAL),
        }
    })();
    advance(result, pos)
}

pub(super) unsafe extern "C" fn write(
    vdev: *mut bindings::vfio_device,
    buf: *const c_char,
    len: usize,
    pos: *mut bindings::loff_t,
) -> isize {
    let result = (|| {
        // SAFETY: The VFIO core calls for an open device.
        let state = unsafe { device::state(vdev) };
        // SAFETY: The VFIO core passes a position of its own.
        let (index, at) = place(unsafe { *pos })?;
        let max = MailboxRequest::LEN + MAX_PAYLOAD_LEN;
        if index != region::MAILBOX || at != 0 || !(MailboxRequest::LEN..=max).contains(&len) {
            return Err(EINVAL);
        }
        let mut message = KVec::new();
        UserSlice::new(UserPtr::from_ptr(buf.cast_mut().cast()), len)
            .read_all(&mut message, GFP_KERNEL)?;
        mailbox::handle(vdev, state, &mut message).map(|()| len)
    })();
    advance(result, pos)
}

const _: () = assert!(MailboxRequest::LEN == MailboxReply::LEN);

/// Returns the result of `read()` or `write()`, and advances the position.
fn advance(result: Result<usize>, pos: *mut bindings::loff_t) -> isize {
    match result {
        // CAST: bounded by a region's length.
        Ok(count) => {
            // SAFETY: The VFIO core passes a position of its own.
            unsafe { *pos += count as i64 };
            count as isize
        }
        Err(error) => error.to_errno() as isize,
    }
}

/// Operations of a mapping, which the memory manager only reads.
struct VmOps(bindings::vm_operations_struct);

// SAFETY: They are never written to.
unsafe impl Sync for VmOps {}

/// Operations of mappings of registers: pages are mapped when they are accessed.
static VM_OPS: VmOps = VmOps(bindings::vm_operations_struct {
    fault: Some(fault),
    ..pin_init::zeroed()
});

pub(super) unsafe extern "C" fn mmap(
    vdev: *mut bindings::vfio_device,
    vma: *mut bindings::vm_area_struct,
) -> c_int {
    from_result(|| {
        // SAFETY: The VFIO core calls for an open device.
        let state = unsafe { device::state(vdev) };
        // SAFETY: `vma` is being set up by `mmap()`.
        let (new, pgoff) = unsafe { (VmaNew::from_raw(vma), (*vma).vm_pgoff) };
        state.check_alive()?;
        check_mapping(new)?;
        let index = (pgoff >> (REGION_SHIFT as usize - PAGE_SHIFT)) as u32;
        let first = (pgoff & ((1 << (REGION_SHIFT as usize - PAGE_SHIFT)) - 1)) as u64;
        let count = ((new.end() - new.start()) >> PAGE_SHIFT) as u64;
        let (len, flags) = describe(state, index)?;
        let all = len / PAGE_LEN;
        if flags & MMAP == 0 || first.checked_add(count).is_none_or(|end| end > all) {
            return Err(EINVAL);
        }
        if index == region::DMA {
            if first != 0 {
                return Err(EINVAL);
            }
            let mut pages = state.dma.lock();
            if pages.is_none() {
                *pages = Some(DmaPages::new(state.adi.space(), len)?);
            }
            if let Some(pages) = &*pages {
                // SAFETY: `vma` is being set up by `mmap()`.
                unsafe { pages.map_to_user(vma)? };
            }
            return Ok(0);
        }
        // SAFETY: As above. The device outlives the mapping, which keeps its file open.
        unsafe {
            bindings::adit_vma_set_registers(vma);
            (*vma).vm_private_data = vdev.cast();
            (*vma).vm_ops = &VM_OPS.0;
        }
        Ok(0)
    })
}

/// Handles an access to a register page that is not mapped, or no longer mapped.
unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The memory manager passes a fault in a mapping that `mmap()` set up, whose file keeps
    // the device alive.
    let (vma, address, pgoff, state) = unsafe {
        let place = &(*vmf).__bindgen_anon_1;
        let state = device::state((*place.vma).vm_private_data.cast());
        (place.vma, place.address, place.pgoff, state)
    };
    let index = (pgoff >> (REGION_SHIFT as usize - PAGE_SHIFT)) as u32;
    let page = (pgoff & ((1 << (REGION_SHIFT as usize - PAGE_SHIFT)) - 1)) as u64;
    let mappable = state.mappable.lock();
    let pfn = match *mappable && state.is_alive() {
        true => register_page(state, index, page),
        false => nowhere(state),
    };
    match pfn {
        // SAFETY: `vma` has VM_PFNMAP, and the page is a register page of this ADI, or one that
        // is kept until the device is closed.
        Some(pfn) => unsafe { bindings::vmf_insert_pfn(vma, address, pfn as c_ulong) },
        None => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
    }
}

/// Returns the page frame number of the page that replaces revoked registers.
fn nowhere(state: &State) -> Option<u64> {
    state.nowhere.lock().as_ref().map(page_frame)
}

/// Returns the page frame number of a page of memory.
pub(super) fn page_frame(page: &Page) -> u64 {
    // SAFETY: The page is valid while it is borrowed.
    let phys = unsafe { bindings::adit_page_to_phys(page.as_ptr()) };
    phys >> PAGE_SHIFT
}

/// Checks whether registers may be mapped this way: a private mapping would not be of the
/// registers, and they must not be executable, now or later.
pub(super) fn check_mapping(new: &VmaNew) -> Result {
    if new.flags() & kernel::mm::virt::flags::SHARED == 0 {
        return Err(EINVAL);
    }
    new.try_clear_mayexec()
}

/// Returns the page frame number of a page of a region of registers.
pub(super) fn register_page(state: &State, index: u32, page: u64) -> Option<u64> {
    let (first, count) = registers(state, index).ok()?;
    let page = u32::try_from(page).ok().filter(|page| *page < count)?;
    match index {
        region::KICK => Some(state.adi.kick_page()),
        _ => state.adi.frame_page(first + page),
    }
}

/// Unmaps the registers: accesses get [`nowhere()`] from now on. Granted pages are revoked, too.
pub(super) fn zap(vdev: *mut bindings::vfio_device, state: &State) {
    *state.mappable.lock() = false;
    state.revoke(None);
    let first = u64::from(region::DOORBELLS) << REGION_SHIFT;
    let end = u64::from(region::KICK + 1) << REGION_SHIFT;
    // SAFETY: The device has its own inode from its allocation to its release.
    unsafe {
        bindings::unmap_mapping_range(
            (*(*vdev).inode).i_mapping,
            // CAST: far below 2^63.
            first as i64,
            (end - first) as i64,
            1,
        )
    };
}
