// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device that checks its server, for tests and fuzzing.

mod migration;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{ftruncate, memfd_create, MemfdFlags};

use crate::device::{Device, DeviceInfo, DmaMap, MmapArea, Region, RegionMmap, PCI_NUM_REGIONS};
use crate::irq::{EventFd, IrqAction, IrqInfo, IrqRequest, PCI_NUM_IRQS};
use crate::migration::{DirtyLog, Migration, MigrationState, MigrationSupport};
use crate::{Errno, PAGE_SIZE};

pub use migration::{MigrationModel, BROKEN_STATE, LOST_STATE};

/// The size of the scratch device's BAR0 in bytes; its upper half can be mapped.
pub const BAR0_SIZE: u64 = 4 * PAGE_SIZE;
/// Region 1: 16 bytes, read-only.
pub const READ_ONLY: u32 = 1;
/// Region 2: every access fails with `EIO`.
pub const BROKEN: u32 = 2;
/// Region 7: the configuration space, 256 bytes.
pub const CONFIG: u32 = 7;
/// The offset in the configuration space where a write of 16 bytes, address and length, has a device
/// that can be migrated log a DMA write.
pub const DMA_WRITE: u64 = 0x40;
/// The interrupt type with vectors, and their number.
pub const MSIX: (u32, u32) = (2, 20);

/// A device with memory in its regions and eventfds that can be signalled, which panics whenever
/// the server breaks a guarantee of [`Device`].
#[derive(Debug)]
pub struct ScratchDevice {
    regions: Vec<Region>,
    irqs: Vec<IrqInfo>,
    bar0: Vec<u8>,
    config: Vec<u8>,
    connected: bool,
    /// The windows by address.
    pub windows: BTreeMap<u64, DmaMap>,
    /// The eventfds by interrupt.
    pub vectors: BTreeMap<u32, EventFd>,
    /// The number of clients served.
    pub clients: u64,
    /// The number of clients that were announced as those of another worker.
    pub known: u64,
    /// The number of resets.
    pub resets: u64,
    /// The number of clients taken over from another process.
    pub resumed: u64,
    /// The state of its migration, if it can be migrated.
    pub migration: Option<MigrationModel>,
}

impl Default for ScratchDevice {
    fn default() -> Self {
        Self::new()
    }
}

impl ScratchDevice {
    /// A device whose memory is zeroed.
    ///
    /// # Panics
    /// Panics if the system has no memory or no file descriptor left.
    pub fn new() -> Self {
        let memory = memfd_create("scratch", MemfdFlags::CLOEXEC).expect("memfd_create");
        ftruncate(&memory, BAR0_SIZE).expect("ftruncate");
        let mut regions = vec![Region::absent(); PCI_NUM_REGIONS];
        let half = MmapArea {
            offset: BAR0_SIZE / 2,
            size: BAR0_SIZE / 2,
        };
        let mmap = RegionMmap {
            fd: Arc::new(memory),
            offset: 0,
            areas: vec![half],
        };
        regions[0] = Region::trapped(BAR0_SIZE).with_mmap(mmap);
        regions[READ_ONLY as usize] = Region {
            writable: false,
            ..Region::trapped(16)
        };
        regions[BROKEN as usize] = Region::trapped(16);
        regions[CONFIG as usize] = Region::trapped(256);
        let mut irqs = vec![IrqInfo::absent(); PCI_NUM_IRQS];
        irqs[MSIX.0 as usize] = IrqInfo::eventfd(MSIX.1);
        Self {
            regions,
            irqs,
            bar0: vec![0; BAR0_SIZE as usize],
            config: vec![0; 256],
            connected: false,
            windows: BTreeMap::new(),
            vectors: BTreeMap::new(),
            clients: 0,
            known: 0,
            resets: 0,
            resumed: 0,
            migration: None,
        }
    }

    /// The same with migration and a log of DMA writes.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn migratable(support: MigrationSupport) -> Self {
        Self {
            migration: Some(MigrationModel::new(support)),
            ..Self::new()
        }
    }

    fn memory(&mut self, region: u32, offset: u64, len: usize) -> Result<&mut [u8], Errno> {
        assert!(self.connected, "access without a client");
        let size = self.regions[region as usize].size;
        assert!(
            len > 0 && offset + len as u64 <= size,
            "{offset}+{len} of region {region}"
        );
        let from = offset as usize;
        match region {
            0 => Ok(&mut self.bar0[from..from + len]),
            CONFIG | READ_ONLY => Ok(&mut self.config[from..from + len]),
            _ => Err(Errno::IO),
        }
    }
}

impl Device for ScratchDevice {
    fn info(&self) -> DeviceInfo {
        DeviceInfo::PCI
    }

    fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn irqs(&self) -> &[IrqInfo] {
        &self.irqs
    }

    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        assert!(
            data.iter().all(|&b| b == 0),
            "bytes of another message in a reply"
        );
        data.copy_from_slice(self.memory(region, offset, data.len())?);
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        assert_ne!(region, READ_ONLY, "write to a read-only region");
        if let (CONFIG, DMA_WRITE, Ok(range), Some(model)) = (
            region,
            offset,
            <&[u8; 16]>::try_from(data),
            &mut self.migration,
        ) {
            let [iova, len] = zerocopy::transmute!(*range);
            model.dma_written(iova, len);
        }
        self.memory(region, offset, data.len())?
            .copy_from_slice(data);
        Ok(())
    }

    fn dma_map(&mut self, map: DmaMap) -> Result<(), Errno> {
        assert!(self.connected && map.size > 0 && (map.iova | map.size) % PAGE_SIZE == 0);
        let end = map.iova.checked_add(map.size).expect("a window that wraps");
        let below = self.windows.range(..end).next_back();
        assert!(
            below.is_none_or(|(_, w)| w.iova + w.size <= map.iova),
            "windows overlap"
        );
        self.windows.insert(map.iova, map);
        Ok(())
    }

    fn dma_unmap(&mut self, iova: u64, size: u64) {
        let window = self
            .windows
            .remove(&iova)
            .expect("unmap of a window that never was");
        assert_eq!(window.size, size);
    }

    fn set_irqs(&mut self, request: IrqRequest) -> Result<(), Errno> {
        assert!(self.connected);
        let (start, count) = request.range();
        let available = self.irqs[request.index() as usize].count;
        assert!(start.checked_add(count).is_some_and(|end| end <= available));
        match request {
            IrqRequest::DisableAll { .. } => self.vectors.clear(),
            IrqRequest::Assign {
                start,
                eventfds,
                action: IrqAction::Trigger,
                ..
            } => {
                self.vectors.extend((start..).zip(eventfds));
            }
            IrqRequest::Deassign {
                start,
                count,
                action: IrqAction::Trigger,
                ..
            } => {
                self.vectors
                    .retain(|n, _| !(start..start + count).contains(n));
            }
            IrqRequest::Act {
                action: IrqAction::Trigger,
                targets,
                ..
            } => {
                for vector in targets.iter() {
                    assert!((start..start + count).contains(&vector));
                    self.vectors.get(&vector).map_or(Ok(()), EventFd::signal)?;
                }
            }
            _ => return Err(Errno::NOTSUP),
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Errno> {
        self.bar0.fill(0);
        self.resets += 1;
        if let Some(migration) = &mut self.migration {
            migration.enter(MigrationState::Running);
        }
        Ok(())
    }

    fn known_client(&mut self) {
        self.known += 1;
    }

    fn connected(&mut self) {
        assert!(
            !std::mem::replace(&mut self.connected, true),
            "two clients at a time"
        );
        self.clients += 1;
    }

    fn disconnected(&mut self) {
        assert!(
            std::mem::replace(&mut self.connected, false),
            "disconnected twice"
        );
        self.windows.clear();
        self.vectors.clear();
        if let Some(migration) = &mut self.migration {
            migration.enter(MigrationState::Running);
            migration.log = None;
        }
    }

    fn resumed(&mut self) {
        assert!(self.connected, "resumed before connected");
        self.resumed += 1;
    }

    fn migration(&mut self) -> Option<&mut dyn Migration> {
        self.migration.is_some().then_some(self as _)
    }

    fn dirty_log(&mut self) -> Option<&mut dyn DirtyLog> {
        self.migration.as_mut().map(|model| model as _)
    }
}

/// Anonymous memory of `size` bytes, as shared by a client.
///
/// # Panics
/// Panics if the system has no memory or no file descriptor left.
pub fn shared_memory(size: u64) -> OwnedFd {
    let memory = memfd_create("client", MemfdFlags::CLOEXEC).expect("memfd_create");
    File::from(memory.try_clone().expect("dup"))
        .set_len(size)
        .expect("ftruncate");
    memory
}
