// SPDX-License-Identifier: GPL-2.0

//! Access to regions by the owner of an ADI: `read()`, `write()` and `mmap()`.

use adit_bindings as bindings;
use adit_uapi::{
    regs::adi as frames,
    vfio::{
        adi_state,
        AdiInfo,
        MailboxReply,
        MailboxRequest,
        INFO_MAGIC,
        INFO_VERSION,
        MAX_PAYLOAD_LEN,
        PAGE_LEN, //
    },
};
use kernel::{
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
    device::VfioDevice,
    mailbox,
    mapping,
    memory::{
        self,
        DmaPages, //
    },
    regions::{
        self,
        Content,
        Region, //
    },
    state::State, //
};

/// Maximum number of entries of a ring, and their granularity (nic's limits).
const MAX_RING_LEN: u16 = 8160;
const RING_LEN_MULTIPLE: u16 = 8;
const RING_ALIGN: u16 = 128;

/// Handles VFIO_DEVICE_GET_REGION_INFO.
pub(super) fn region_info(state: &State, info: &mut bindings::vfio_region_info) -> Result {
    let region = Region::new(info.index, &state.ids.layout).ok_or(EINVAL)?;
    let (readable, writable) = region.access();
    let flags = [
        (readable, bindings::VFIO_REGION_INFO_FLAG_READ),
        (writable, bindings::VFIO_REGION_INFO_FLAG_WRITE),
        (region.can_be_mapped(), bindings::VFIO_REGION_INFO_FLAG_MMAP),
    ];
    info.flags = flags
        .iter()
        .filter(|(possible, _)| *possible)
        .fold(0, |flags, (_, flag)| flags | flag);
    info.size = region.len;
    info.offset = regions::file_offset(info.index);
    Ok(())
}

/// Finds the region at an offset in the device's file, and the offset in it.
fn locate(state: &State, offset: i64) -> Result<(Region, u64)> {
    let offset = u64::try_from(offset).map_err(|_| EINVAL)?;
    let (index, at) = regions::split_offset(offset);
    let region = Region::new(index, &state.ids.layout).ok_or(EINVAL)?;
    Ok((region, at))
}

/// Returns up to `len` bytes from `at` on.
fn part(bytes: &[u8], at: u64, len: usize) -> &[u8] {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..len).unwrap_or(rest)
}

/// Reads up to `len` bytes at an offset in the device's file to the owner's memory, and returns
/// their number.
pub(super) fn read(state: &State, offset: i64, to: UserPtr, len: usize) -> Result<usize> {
    let (region, at) = locate(state, offset)?;
    let mut writer = UserSlice::new(to, len).writer();
    match region.content {
        Content::Info => {
            let info = adi_info(state);
            let part = part(info.as_bytes(), at, len);
            writer.write_slice(part).map(|()| part.len())
        }
        Content::Mailbox => {
            state.check_alive()?;
            let len = len.min(MailboxReply::LEN + MAX_PAYLOAD_LEN);
            let mut copy = KVec::with_capacity(len, GFP_KERNEL)?;
            copy.extend_from_slice(part(&state.owner.lock().reply, at, len), GFP_KERNEL)?;
            // Not under the lock: a fault of the owner's memory (userfaultfd, FUSE) lasts for as
            // long as the owner wants, and unmapping waits for the lock.
            writer.write_slice(&copy).map(|()| copy.len())
        }
        Content::Registers(_) | Content::Memory => Err(EINVAL),
    }
}

/// Writes `len` bytes of the owner's memory at an offset in the device's file: a whole request of
/// the software mailbox. Returns `len`.
pub(super) fn write(
    device: &VfioDevice,
    state: &State,
    offset: i64,
    from: UserPtr,
    len: usize,
) -> Result<usize> {
    let (region, at) = locate(state, offset)?;
    let max = MailboxRequest::LEN + MAX_PAYLOAD_LEN;
    let is_mailbox = region.content == Content::Mailbox;
    if !is_mailbox || at != 0 || !(MailboxRequest::LEN..=max).contains(&len) {
        return Err(EINVAL);
    }
    let mut message = KVec::new();
    UserSlice::new(from, len).read_all(&mut message, GFP_KERNEL)?;
    mailbox::handle(device, state, &mut message).map(|()| len)
}

/// Maps a region, or part of it.
///
/// # Safety
///
/// `vma` is being set up by `mmap()`, and its file keeps `state` valid.
pub(super) unsafe fn map(state: &State, vma: *mut bindings::vm_area_struct) -> Result {
    state.check_alive()?;
    // SAFETY: By the function's requirement.
    let (page, count) = unsafe { mapping::range(vma)? };
    let (index, first) = regions::split_page(page);
    let region = Region::new(index, &state.ids.layout).ok_or(EINVAL)?;
    let end = first.checked_add(count).ok_or(EINVAL)?;
    if end > region.len / PAGE_LEN {
        return Err(EINVAL);
    }
    match region.content {
        Content::Registers(_) => {
            // SAFETY: By the function's requirement.
            unsafe { mapping::map_registers(vma, state) };
            Ok(())
        }
        Content::Memory if first == 0 => {
            let mut pages = state.dma.lock();
            if pages.is_none() {
                *pages = Some(DmaPages::new(state.adi.space(), region.len)?);
            }
            match &*pages {
                // SAFETY: By the function's requirement.
                Some(pages) => unsafe { pages.map_to_user(vma) },
                None => Err(ENOMEM),
            }
        }
        _ => Err(EINVAL),
    }
}

/// Returns the properties of the ADI, and its current state.
fn adi_info(state: &State) -> AdiInfo {
    let layout = &state.ids.layout;
    let current = match state.is_alive() {
        true => adi_state::ACTIVE,
        false => adi_state::DEAD,
    };
    AdiInfo {
        magic: U32::new(INFO_MAGIC),
        version: U16::new(INFO_VERSION),
        len: U16::new(AdiInfo::LEN as u16),
        device_adi_id: U32::new(layout.adi_id.0.into()),
        state: U32::new(current),
        mac: layout.mac,
        vlan: U16::new(0),
        num_queue_pairs: U16::new(layout.queue_pairs),
        num_vectors: U16::new(layout.vectors()),
        max_mtu: U16::new(layout.max_mtu),
        max_ring_len: U16::new(MAX_RING_LEN),
        ring_len_multiple: U16::new(RING_LEN_MULTIPLE),
        ring_align: U16::new(RING_ALIGN),
        max_payload_len: U32::new(MAX_PAYLOAD_LEN as u32),
        max_registrations: U32::new(memory::MAX_REGISTRATIONS as u32),
        asleep_offset: U32::new(layout.asleep_offset),
        kick_offset: U32::new(frames::KICK_OFFSET),
        max_registered_len: U64::new(memory::MAX_REGISTERED_LEN),
        iova_first: U64::new(0),
        iova_last: U64::new(memory::DMA_IOVA - 1),
        dma_iova: U64::new(memory::DMA_IOVA),
        dma_len: U64::new(regions::dma_len(layout.queue_pairs)),
        faults: U64::new(state.faults()),
        ..AdiInfo::default()
    }
}
