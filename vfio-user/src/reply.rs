// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Construction of replies, in a buffer that is reused.

use vfio_bindings::bindings::vfio;
use zerocopy::{Immutable, IntoBytes};

use crate::device::Region;
use crate::header::Header;
use crate::wire;
use crate::Errno;

/// The capacity that is kept for the next reply: that of the longest read.
const KEPT: usize = 1 << 20;

/// The bytes of one reply. The header is written last, when the outcome is known.
#[derive(Debug, Default)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    /// Discards the previous reply, and the memory of an unusually long one: a dirty bitmap may be
    /// larger than all other replies, and is rare.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(KEPT);
        self.0.resize(Header::SIZE, 0);
    }

    /// Appends to the payload.
    pub(crate) fn push(&mut self, part: &(impl IntoBytes + Immutable + ?Sized)) {
        self.0.extend_from_slice(part.as_bytes());
    }

    /// Appends `len` zeroes to the payload, for the caller to fill.
    pub(crate) fn push_zeroed(&mut self, len: usize) -> &mut [u8] {
        let at = self.0.len();
        self.0.resize(at + len, 0);
        &mut self.0[at..]
    }

    /// Replaces the first bytes of the payload, which is at least as long.
    pub(crate) fn replace_start(&mut self, part: &(impl IntoBytes + Immutable)) {
        let bytes = part.as_bytes();
        self.0[Header::SIZE..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Shortens the payload to `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(Header::SIZE + len);
    }

    /// Appends the reply to `VFIO_USER_DEVICE_GET_REGION_INFO`, as far as `argsz` permits. Returns
    /// whether all of it fits, in which case the region's file descriptor is sent with it.
    pub(crate) fn push_region_info(&mut self, index: u32, region: &Region, argsz: u32) -> bool {
        let mmap = region.mmap.as_ref();
        let areas = mmap.map_or(&[][..], |m| &m.areas);
        let caps_len = match areas.len() {
            0 => 0,
            n => wire::SparseMmap::SIZE + n * wire::SparseArea::SIZE,
        };
        let needed = wire::RegionInfo::SIZE + caps_len;
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        self.push(&wire::RegionInfo {
            argsz: needed as u32,
            flags: flag(region.readable, vfio::VFIO_REGION_INFO_FLAG_READ)
                | flag(region.writable, vfio::VFIO_REGION_INFO_FLAG_WRITE)
                | flag(mmap.is_some(), vfio::VFIO_REGION_INFO_FLAG_MMAP)
                | flag(caps_len != 0, vfio::VFIO_REGION_INFO_FLAG_CAPS),
            index,
            // Also set if the capabilities do not fit: QEMU checks it before it checks argsz and
            // repeats the request.
            cap_offset: if caps_len != 0 {
                wire::RegionInfo::SIZE as u32
            } else {
                0
            },
            size: region.size,
            offset: mmap.map_or(0, |m| m.offset),
        });
        let fits = argsz as usize >= needed;
        if fits && caps_len != 0 {
            self.push(&wire::SparseMmap {
                id: vfio::VFIO_REGION_INFO_CAP_SPARSE_MMAP as u16,
                version: 1,
                next: 0,
                nr_areas: areas.len() as u32,
                reserved: 0,
            });
            for area in areas {
                self.push(&wire::SparseArea {
                    offset: area.offset,
                    size: area.size,
                });
            }
        }
        fits
    }

    /// Returns the complete successful reply to `request`.
    pub(crate) fn finish(&mut self, request: &Header) -> &[u8] {
        self.seal(request, 0, 0)
    }

    /// Returns the complete error reply to `request`; a partial payload is discarded.
    pub(crate) fn finish_error(&mut self, request: &Header, errno: Errno) -> &[u8] {
        self.clear();
        self.seal(request, Header::ERROR, errno.raw_os_error() as u32)
    }

    fn seal(&mut self, request: &Header, flags: u32, error: u32) -> &[u8] {
        let header = Header {
            id: request.id,
            command: request.command,
            size: self.0.len() as u32,
            flags: Header::TYPE_REPLY | flags,
            error,
        };
        self.0[..Header::SIZE].copy_from_slice(header.as_bytes());
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use zerocopy::FromBytes;

    use super::*;
    use crate::device::{MmapArea, RegionMmap};

    fn region(areas: usize) -> Region {
        let fd: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let areas = (0..areas as u64)
            .map(|n| MmapArea {
                offset: n << 13,
                size: 4096,
            })
            .collect();
        Region::trapped(1 << 20).with_mmap(RegionMmap {
            fd: Arc::new(fd),
            offset: 4096,
            areas,
        })
    }

    #[test]
    fn region_info_tells_the_size_it_needs() {
        for (areas, needed) in [(0, 32), (1, 64), (3, 96)] {
            for argsz in [32, needed - 1, needed, needed + 99] {
                let mut reply = Reply::default();
                reply.clear();
                let fits = reply.push_region_info(5, &region(areas), argsz.max(32));
                let message = reply.finish(&Header::default());
                let (info, caps) = wire::RegionInfo::read_from_prefix(&message[16..]).unwrap();
                assert_eq!((info.argsz, info.index, info.offset), (needed, 5, 4096));
                assert_eq!(fits, argsz.max(32) >= needed);
                assert_eq!(caps.len(), if fits { needed as usize - 32 } else { 0 });
                assert_eq!(info.cap_offset, if areas == 0 { 0 } else { 32 });
            }
        }
    }

    #[test]
    fn an_error_carries_its_errno_and_nothing_else() {
        let mut reply = Reply::default();
        reply.clear();
        reply.push_zeroed(100);
        let request = Header {
            id: 7,
            command: 9,
            size: 32,
            flags: 0,
            error: 0,
        };
        let message = reply.finish_error(&request, Errno::PERM);
        let header = Header::read_from_bytes(message).unwrap();
        assert_eq!(
            header,
            Header {
                id: 7,
                command: 9,
                size: 16,
                flags: 0x21,
                error: 1
            }
        );
    }
}
