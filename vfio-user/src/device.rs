// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface of a device served over vfio-user.
//!
//! The server calls every method from the one thread that runs [`Server::run`](crate::Server::run),
//! and only with arguments that it has validated against the device's own description: an access is
//! within its region, an interrupt range within its index, a DMA window overlaps no other.
//! Arguments that the server cannot validate are marked below.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use vfio_bindings::bindings::vfio;

use crate::irq::{IrqInfo, IrqRequest};
use crate::migration::{DirtyLog, Migration};
use crate::Errno;

/// A device as seen by a vfio-user client.
pub trait Device {
    /// Returns the device's type and capabilities (`VFIO_USER_DEVICE_GET_INFO`).
    fn info(&self) -> DeviceInfo;

    /// Returns all regions; a region's position in the slice is its index. A PCI device has at
    /// least [`PCI_NUM_REGIONS`], with size 0 for those that it lacks ([`Region::absent`]). Must
    /// not change while a client is connected.
    fn regions(&self) -> &[Region];

    /// Returns all interrupt types; a type's position in the slice is its index. A PCI device has
    /// [`PCI_NUM_IRQS`](crate::irq::PCI_NUM_IRQS), with count 0 for those that it lacks. Must not
    /// change while a client is connected.
    fn irqs(&self) -> &[IrqInfo];

    /// Fills `data` from `offset` of a readable region. `data` is zeroed, not empty, and of the
    /// length that the client requested, which is not limited to register sizes: QEMU reads the
    /// whole configuration space at once.
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno>;

    /// Writes `data` at `offset` of a writable region; `data` as in
    /// [`region_read`](Device::region_read).
    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno>;

    /// Makes a window of the client's memory accessible for DMA. After an error the window does not
    /// exist.
    fn dma_map(&mut self, map: DmaMap) -> Result<(), Errno>;

    /// Unmaps the window that was mapped with exactly this address and size. On return the device
    /// holds no reference to it and no access is in flight: the client may reuse the memory at
    /// once.
    fn dma_unmap(&mut self, iova: u64, size: u64);

    /// Sets up and controls interrupts (`VFIO_USER_DEVICE_SET_IRQS`).
    fn set_irqs(&mut self, request: IrqRequest) -> Result<(), Errno>;

    /// Resets the function. Windows, eventfds and a log of DMA writes are kept; a migration ends.
    fn reset(&mut self) -> Result<(), Errno>;

    /// Notifies that a client has negotiated the protocol version and may now use the device.
    fn connected(&mut self) {}

    /// Notifies that a new client is about to be served, which was not connected to a predecessor of
    /// this process ([`relay`](crate::relay)): what that has left for its client must not reach this
    /// one. Only clients of a relay are announced in this way.
    fn new_client(&mut self) {}

    /// Notifies that a client is about to be served, which was connected to a predecessor of this process
    /// ([`relay`](crate::relay)), and sets up here what it has set up there. Its log of DMA writes is started
    /// like any other, but no page may be missing in the first report that the predecessor has written and
    /// not reported.
    fn known_client(&mut self) {}

    /// Notifies that the client has disconnected, orderly or not; called once after each
    /// [`connected`](Device::connected). All of its windows and eventfds are released here, without
    /// calls of `dma_unmap` or `set_irqs`; a migration and a log of DMA writes end.
    fn disconnected(&mut self);

    /// Notifies that a client of another process goes on here ([`handover`](crate::handover)): it
    /// was announced by [`connected`](Device::connected), and all of its windows have been mapped.
    /// Its eventfds and the device's own state are passed on by the device's process. No message of
    /// the client was answered meanwhile.
    fn resumed(&mut self) {}

    /// Returns the interface for saving and loading the device's state; `None` if the device does
    /// not support migration. Must not change while a client is connected.
    fn migration(&mut self) -> Option<&mut dyn Migration> {
        None
    }

    /// Returns the interface for logging DMA writes; `None` if the device does not support that.
    /// Must not change while a client is connected.
    fn dirty_log(&mut self) -> Option<&mut dyn DirtyLog> {
        None
    }
}

/// The number of regions defined by the PCI binding of VFIO.
pub const PCI_NUM_REGIONS: usize = vfio::VFIO_PCI_NUM_REGIONS as usize;

/// The device-specific part of `VFIO_USER_DEVICE_GET_INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The `VFIO_DEVICE_FLAGS_*` of linux/vfio.h.
    pub flags: u32,
}

impl DeviceInfo {
    /// A PCI device that supports reset: the only type that QEMU 11.1 attaches.
    pub const PCI: Self = Self {
        flags: vfio::VFIO_DEVICE_FLAGS_PCI | vfio::VFIO_DEVICE_FLAGS_RESET,
    };
}

/// One region: a BAR, the configuration space, or a device-specific one.
#[derive(Debug, Clone)]
pub struct Region {
    /// The size in bytes; 0 for a region that the device does not have.
    pub size: u64,
    /// Set if the client may read the region.
    pub readable: bool,
    /// Set if the client may write the region.
    pub writable: bool,
    /// The memory that the client may map, if any.
    pub mmap: Option<RegionMmap>,
}

impl Region {
    /// A region that the device does not have; its index must exist nevertheless.
    pub const fn absent() -> Self {
        Self {
            size: 0,
            readable: false,
            writable: false,
            mmap: None,
        }
    }

    /// A region of `size` bytes that is accessed by messages only.
    pub const fn trapped(size: u64) -> Self {
        Self {
            size,
            readable: true,
            writable: true,
            mmap: None,
        }
    }

    /// The same region with memory that the client may map.
    pub fn with_mmap(self, mmap: RegionMmap) -> Self {
        Self {
            mmap: Some(mmap),
            ..self
        }
    }
}

/// The memory of a region, for the client to map. The client can access the whole file, not only
/// the areas: it must contain nothing else.
#[derive(Debug, Clone)]
pub struct RegionMmap {
    /// A memfd or other file that can be mapped shared.
    pub fd: Arc<OwnedFd>,
    /// The offset in the file of the region's offset 0.
    pub offset: u64,
    /// The areas that may be mapped (`VFIO_REGION_INFO_CAP_SPARSE_MMAP`); other accesses are sent
    /// as messages. If empty, the whole region may be mapped.
    pub areas: Vec<MmapArea>,
}

/// A mappable part of a region, in whole pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MmapArea {
    /// The offset from the region's start, in bytes.
    pub offset: u64,
    /// The size in bytes.
    pub size: u64,
}

/// A window of client memory that the device may use for DMA
/// (`VFIO_USER_DMA_MAP`).
#[derive(Debug)]
pub struct DmaMap {
    /// The window's address on the device's side. `iova + size` does not overflow, both are
    /// multiples of [`PAGE_SIZE`](crate::PAGE_SIZE).
    pub iova: u64,
    /// The size in bytes, never 0.
    pub size: u64,
    /// The window's offset in `fd`; a multiple of the page size. The file reached `offset + size`
    /// when the message was received, but its owner can shrink it at any time: an access to such
    /// memory raises SIGBUS, unless the file is sealed against shrinking.
    pub offset: u64,
    /// The accesses permitted to the device.
    pub prot: DmaProt,
    /// The file of the memory; `None` if it cannot be mapped (QEMU maps other devices' BARs this
    /// way).
    pub fd: Option<OwnedFd>,
}

/// The accesses to a DMA window that are permitted to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaProt {
    /// Read-only.
    Read,
    /// Write-only.
    Write,
    /// Read and write.
    ReadWrite,
}

impl DmaProt {
    /// Returns whether the device may read.
    pub const fn readable(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Returns whether the device may write.
    pub const fn writable(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}
