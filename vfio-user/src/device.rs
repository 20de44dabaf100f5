// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a device has to offer to be served over vfio-user.
//!
//! The server calls every method from the one thread that runs
//! [`Server::run`](crate::Server::run), and only with arguments it has
//! checked against what the device said about itself: an access lies within
//! its region, an interrupt range within its index, a DMA window overlaps no
//! other. What it cannot check is marked below.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use vfio_bindings::bindings::vfio;

use crate::irq::{IrqInfo, IrqRequest};
use crate::Errno;

/// A device as a vfio-user client sees it.
pub trait Device {
    /// The device's kind and abilities (`VFIO_USER_DEVICE_GET_INFO`).
    fn info(&self) -> DeviceInfo;

    /// All regions; a region's place in the slice is its index. A PCI device
    /// has at least [`PCI_NUM_REGIONS`], those it lacks with size 0
    /// ([`Region::absent`]). Must not change while a client is connected.
    fn regions(&self) -> &[Region];

    /// All interrupt types; a type's place in the slice is its index. A PCI
    /// device has [`PCI_NUM_IRQS`](crate::irq::PCI_NUM_IRQS), those it lacks
    /// with count 0. Must not change while a client is connected.
    fn irqs(&self) -> &[IrqInfo];

    /// Fills `data` from `offset` of a readable region. `data` is zeroed,
    /// not empty, and as long as the client asked for: not only register
    /// sizes, QEMU reads the whole configuration space at once.
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno>;

    /// Writes `data` at `offset` of a writable region; `data` as in
    /// [`region_read`](Device::region_read).
    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno>;

    /// A window of the client's memory becomes reachable for DMA. An error
    /// refuses the window; it then does not exist.
    fn dma_map(&mut self, map: DmaMap) -> Result<(), Errno>;

    /// The window that was mapped with exactly this address and size ends.
    /// On return the device holds no reference to it and no access is in
    /// flight: the client may reuse the memory at once.
    fn dma_unmap(&mut self, iova: u64, size: u64);

    /// Interrupt set-up and control (`VFIO_USER_DEVICE_SET_IRQS`).
    fn set_irqs(&mut self, request: IrqRequest) -> Result<(), Errno>;

    /// Resets the function. Windows and eventfds stay.
    fn reset(&mut self) -> Result<(), Errno>;

    /// A client has agreed on a protocol version and may now use the device.
    fn connected(&mut self) {}

    /// The client is gone, politely or not; called once after each
    /// [`connected`](Device::connected). All of its windows and eventfds end
    /// here, without a `dma_unmap` or `set_irqs` of their own.
    fn disconnected(&mut self);
}

/// The number of regions that the PCI binding of VFIO names.
pub const PCI_NUM_REGIONS: usize = vfio::VFIO_PCI_NUM_REGIONS as usize;

/// `VFIO_USER_DEVICE_GET_INFO`, the part that the device decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceInfo {
    /// `VFIO_DEVICE_FLAGS_*` of linux/vfio.h.
    pub flags: u32,
}

impl DeviceInfo {
    /// A PCI device that can be reset: the only kind QEMU 11.1 attaches.
    pub const PCI: Self = Self {
        flags: vfio::VFIO_DEVICE_FLAGS_PCI | vfio::VFIO_DEVICE_FLAGS_RESET,
    };
}

/// One region: a BAR, the configuration space, or one of the device's own.
#[derive(Debug, Clone)]
pub struct Region {
    /// Bytes; 0 for a region the device does not have.
    pub size: u64,
    /// May the client read?
    pub readable: bool,
    /// May the client write?
    pub writable: bool,
    /// The part that the client may map, if any.
    pub mmap: Option<RegionMmap>,
}

impl Region {
    /// A region the device does not have; its index must exist all the same.
    pub const fn absent() -> Self {
        Self {
            size: 0,
            readable: false,
            writable: false,
            mmap: None,
        }
    }

    /// A region of `size` bytes, read and written by messages only.
    pub const fn trapped(size: u64) -> Self {
        Self {
            size,
            readable: true,
            writable: true,
            mmap: None,
        }
    }

    /// The same region with a part that the client may map.
    pub fn with_mmap(self, mmap: RegionMmap) -> Self {
        Self {
            mmap: Some(mmap),
            ..self
        }
    }
}

/// Memory behind a region, for the client to map. The client sees the whole
/// of the file, whatever the areas say: put nothing else into it.
#[derive(Debug, Clone)]
pub struct RegionMmap {
    /// A memfd or other file that can be mapped shared.
    pub fd: Arc<OwnedFd>,
    /// Where in the file the region's offset 0 lies.
    pub offset: u64,
    /// The areas that may be mapped (`VFIO_REGION_INFO_CAP_SPARSE_MMAP`);
    /// accesses elsewhere come as messages. Empty: the whole region.
    pub areas: Vec<MmapArea>,
}

/// A mappable part of a region: whole pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MmapArea {
    /// From the region's start, in bytes.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
}

/// A window of client memory that the device may use for DMA
/// (`VFIO_USER_DMA_MAP`).
#[derive(Debug)]
pub struct DmaMap {
    /// Where the device sees it. `iova + size` does not overflow, both are
    /// multiples of [`PAGE_SIZE`](crate::PAGE_SIZE).
    pub iova: u64,
    /// Bytes, never 0.
    pub size: u64,
    /// Where it lies in `fd`; a multiple of the page size. The file reached
    /// `offset + size` when the message came, but its owner can shrink it at
    /// any time: touching such memory raises SIGBUS, unless the file is
    /// sealed against shrinking.
    pub offset: u64,
    /// What the device may do with it.
    pub prot: DmaProt,
    /// The memory; none if it cannot be mapped (QEMU maps other devices'
    /// BARs so).
    pub fd: Option<OwnedFd>,
}

/// What a device may do with a DMA window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaProt {
    /// Only read it.
    Read,
    /// Only write it.
    Write,
    /// Both.
    ReadWrite,
}

impl DmaProt {
    /// May the device read?
    pub const fn readable(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// May the device write?
    pub const fn writable(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}
