// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The address space of a VFIO device: a container, or an IOAS of an iommufd. It is used by its
//! descriptor, so that another process can continue with it. (The types of vfio-ioctls end with the
//! process that has opened the device.)

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use iommufd_bindings::iommufd::{
    iommu_ioas_map, iommu_ioas_unmap, iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE,
};
use rustix::io::{Errno, Result};
use rustix::ioctl::{ioctl, opcode, Opcode, Updater};
use vfio_bindings::bindings::vfio::{
    vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap, VFIO_BASE, VFIO_DMA_MAP_FLAG_READ,
    VFIO_DMA_MAP_FLAG_WRITE, VFIO_DMA_UNMAP_FLAG_ALL, VFIO_TYPE,
};

/// The type of the request numbers of iommufd (`IOMMUFD_TYPE`).
const IOMMUFD_TYPE: u8 = b';';
/// The request numbers: `VFIO_IOMMU_MAP_DMA`, `VFIO_IOMMU_UNMAP_DMA`, `IOMMU_IOAS_MAP` and
/// `IOMMU_IOAS_UNMAP`.
const MAP_DMA: Opcode = opcode::none(VFIO_TYPE, VFIO_BASE as u8 + 13);
const UNMAP_DMA: Opcode = opcode::none(VFIO_TYPE, VFIO_BASE as u8 + 14);
const IOAS_MAP: Opcode = opcode::none(IOMMUFD_TYPE, 0x85);
const IOAS_UNMAP: Opcode = opcode::none(IOMMUFD_TYPE, 0x86);

/// An address space, whose device is attached to it.
pub(crate) enum AddressSpace {
    /// A container, by its file.
    Container(File),
    /// An IOAS, by the file of its iommufd and its id there.
    Ioas(File, u32),
}

impl AddressSpace {
    /// An address space by its descriptor, and the id of its IOAS if that is an iommufd.
    pub(crate) fn new(fd: OwnedFd, ioas: Option<u32>) -> Self {
        match ioas {
            None => Self::Container(fd.into()),
            Some(id) => Self::Ioas(fd.into(), id),
        }
    }

    /// The id of the IOAS, if it is one.
    pub(crate) fn ioas(&self) -> Option<u32> {
        match self {
            Self::Container(_) => None,
            Self::Ioas(_, id) => Some(*id),
        }
    }

    /// Maps memory of this process for reads and writes.
    ///
    /// # Safety
    /// The device may access the memory until it is unmapped, or the device is closed. The memory must
    /// be mapped and not borrowed until then.
    pub(crate) unsafe fn map(&self, iova: u64, len: u64, start: *mut u8) -> Result<()> {
        match self {
            Self::Container(file) => {
                let mut map = vfio_iommu_type1_dma_map {
                    argsz: size_of::<vfio_iommu_type1_dma_map>() as u32,
                    flags: VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                    vaddr: start as u64,
                    iova,
                    size: len,
                };
                // SAFETY: the number is that of VFIO_IOMMU_MAP_DMA, and this its argument; the memory is
                // as the kernel requires it by this function's contract.
                unsafe { ioctl(file, Updater::<MAP_DMA, _>::new(&mut map)) }
            }
            Self::Ioas(file, id) => {
                let mut map = iommu_ioas_map {
                    size: size_of::<iommu_ioas_map>() as u32,
                    flags: iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE
                        | iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE
                        | iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA,
                    ioas_id: *id,
                    user_va: start as u64,
                    length: len,
                    iova,
                    ..iommu_ioas_map::default()
                };
                // SAFETY: as above, of IOMMU_IOAS_MAP.
                unsafe { ioctl(file, Updater::<IOAS_MAP, _>::new(&mut map)) }
            }
        }
    }

    /// Unmaps memory, also that of a process that has ended. Fails with `ENOENT` if it was not mapped with
    /// exactly this address and length.
    pub(crate) fn unmap(&self, iova: u64, len: u64) -> Result<()> {
        match self.unmap_range(iova, len, 0)? {
            unmapped if unmapped == len => Ok(()),
            _ => Err(Errno::NOENT),
        }
    }

    /// Unmaps all memory.
    pub(crate) fn unmap_all(&self) -> Result<()> {
        match self {
            Self::Container(_) => self.unmap_range(0, 0, VFIO_DMA_UNMAP_FLAG_ALL)?,
            Self::Ioas(..) => self.unmap_range(0, u64::MAX, 0)?,
        };
        Ok(())
    }

    /// Unmaps a range; returns the number of bytes that were mapped there.
    fn unmap_range(&self, iova: u64, len: u64, flags: u32) -> Result<u64> {
        match self {
            Self::Container(file) => {
                let mut unmap = vfio_iommu_type1_dma_unmap {
                    argsz: size_of::<vfio_iommu_type1_dma_unmap>() as u32,
                    flags,
                    iova,
                    size: len,
                    ..Default::default()
                };
                // SAFETY: the number is that of VFIO_IOMMU_UNMAP_DMA, and this its argument without a
                // bitmap.
                unsafe { ioctl(file, Updater::<UNMAP_DMA, _>::new(&mut unmap)) }?;
                Ok(unmap.size)
            }
            Self::Ioas(file, id) => {
                let mut unmap = iommu_ioas_unmap {
                    size: size_of::<iommu_ioas_unmap>() as u32,
                    ioas_id: *id,
                    iova,
                    length: len,
                };
                // SAFETY: as above, of IOMMU_IOAS_UNMAP.
                unsafe { ioctl(file, Updater::<IOAS_UNMAP, _>::new(&mut unmap)) }?;
                Ok(unmap.length)
            }
        }
    }
}

impl AsFd for AddressSpace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Container(file) | Self::Ioas(file, _) => file.as_fd(),
        }
    }
}
