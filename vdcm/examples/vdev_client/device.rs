// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vfio-user device and the client's memory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{ensure, Context, Result};
use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use vfio_user::Client;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// BAR0 and the configuration space.
pub(crate) const BAR0: u32 = 0;
pub(crate) const CONFIG: u32 = 7;
/// The interrupts.
const MSIX: u32 = 2;
/// VFIO_IRQ_SET_DATA_EVENTFD and VFIO_IRQ_SET_ACTION_TRIGGER.
const SET_EVENTFDS: u32 = 0x24;
/// The capability, and its enable bit in the message control word.
const CAP_MSIX: u8 = 0x11;
const MSIX_ENABLE: u16 = 1 << 15;
/// The command register: memory space and bus master.
const COMMAND: u64 = 4;
const COMMAND_MEMORY_MASTER: u16 = 6;

/// A part of BAR0 that is mapped.
struct Mapped {
    start: u64,
    map: MmapRaw,
}

/// Memory that the device can access.
pub(crate) struct Memory {
    file: File,
    iova: u64,
    len: u64,
}

impl Memory {
    /// Allocates memory for an address of the device; it is not mapped yet.
    pub(crate) fn new(iova: u64, len: u64) -> Result<Self> {
        let fd = memfd_create(
            "vdev-client",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?;
        ftruncate(&fd, len)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK)?;
        Ok(Self {
            file: fd.into(),
            iova,
            len,
        })
    }

    /// Reads a structure at an address.
    pub(crate) fn read<T: FromBytes + FromZeros + IntoBytes>(&self, at: u64) -> Result<T> {
        let mut value = T::new_zeroed();
        self.file
            .read_exact_at(value.as_mut_bytes(), at - self.iova)?;
        Ok(value)
    }

    /// Reads bytes at an address.
    pub(crate) fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at - self.iova)?;
        Ok(bytes)
    }

    /// Writes a structure or bytes at an address.
    pub(crate) fn write<T: IntoBytes + Immutable + ?Sized>(
        &self,
        at: u64,
        value: &T,
    ) -> Result<()> {
        self.file.write_all_at(value.as_bytes(), at - self.iova)?;
        Ok(())
    }
}

/// The device.
pub(crate) struct Device {
    client: Client,
    mapped: Vec<Mapped>,
}

impl Device {
    /// Connects to a socket and maps what can be mapped of BAR0.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let client = Client::new(socket)?;
        let mapped = Vec::new();
        let mut this = Self { client, mapped };
        let bar = this.client.region(BAR0).context("there is no BAR0")?;
        let areas = bar.sparse_areas.iter();
        let areas: Vec<_> = areas.map(|area| (area.offset, area.size)).collect();
        for (start, len) in areas {
            let map = this.map_part(start, len)?;
            this.mapped.push(Mapped { start, map });
        }
        let mut command: [u8; 2] = [0; 2];
        this.client.region_read(CONFIG, COMMAND, &mut command)?;
        let command = u16::from_le_bytes(command) | COMMAND_MEMORY_MASTER;
        this.client
            .region_write(CONFIG, COMMAND, &command.to_le_bytes())?;
        Ok(this)
    }

    /// Returns the areas of BAR0 that are mapped: start and length.
    pub(crate) fn mapped(&self) -> Vec<(u64, u64)> {
        let areas = self.mapped.iter();
        areas
            .map(|area| (area.start, area.map.len() as u64))
            .collect()
    }

    /// Reads from the configuration space.
    pub(crate) fn config<const N: usize>(&mut self, at: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.client.region_read(CONFIG, at, &mut bytes)?;
        Ok(bytes)
    }

    /// Maps a part of BAR0 that can be mapped.
    pub(crate) fn map_part(&self, offset: u64, len: u64) -> Result<MmapRaw> {
        let bar = self.client.region(BAR0).context("there is no BAR0")?;
        let inside = |start: u64, size: u64| {
            let skipped = offset.checked_sub(start);
            skipped.is_some_and(|skipped| skipped + len <= size)
        };
        let mut areas = bar.sparse_areas.iter();
        let mappable = areas.any(|area| inside(area.offset, area.size));
        let file = bar.file_offset.as_ref().filter(|_| mappable);
        let file = file.with_context(|| format!("BAR0 cannot be mapped at {offset:#x}"))?;
        // The difference of the two may be negative.
        MmapOptions::new()
            .offset(file.start().wrapping_add(offset))
            .len(len as usize)
            .map_raw(file.file())
            .with_context(|| format!("mapping BAR0 at {offset:#x}"))
    }

    fn mapped_register(&self, offset: u64) -> Option<&AtomicU32> {
        let area = self.mapped.iter().find(|area| {
            let end = area.start + area.map.len() as u64;
            (area.start..end).contains(&offset)
        })?;
        assert_eq!(offset % 4, 0, "registers have 4 bytes");
        let at = (offset - area.start) as usize;
        // SAFETY: the word is inside of the mapping, whose length is a multiple of the page size, and
        // aligned, which was just checked. The mapping lives as long as the borrow; the device
        // accesses it concurrently, which atomics permit.
        Some(unsafe { AtomicU32::from_ptr(area.map.as_mut_ptr().add(at).cast()) })
    }

    /// Reads a register.
    pub(crate) fn read(&mut self, offset: u64) -> Result<u32> {
        if let Some(register) = self.mapped_register(offset) {
            return Ok(u32::from_le(register.load(Ordering::SeqCst)));
        }
        let mut bytes = [0; 4];
        self.client.region_read(BAR0, offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes a register.
    pub(crate) fn write(&mut self, offset: u64, value: u32) -> Result<()> {
        if let Some(register) = self.mapped_register(offset) {
            register.store(value.to_le(), Ordering::SeqCst);
            return Ok(());
        }
        self.client
            .region_write(BAR0, offset, &value.to_le_bytes())?;
        Ok(())
    }

    /// Makes memory accessible to the device. (The client does not report a refusal.)
    pub(crate) fn map(&mut self, memory: &Memory) -> Result<()> {
        self.map_file(&memory.file, memory.iova, memory.len)
    }

    /// Makes a file accessible to the device, from its start on.
    pub(crate) fn map_file(&mut self, file: &impl AsRawFd, iova: u64, len: u64) -> Result<()> {
        self.client.dma_map(0, iova, len, file.as_raw_fd())?;
        Ok(())
    }

    /// Takes memory away from the device.
    pub(crate) fn unmap(&mut self, memory: &Memory) -> Result<()> {
        self.unmap_range(memory.iova, memory.len)
    }

    /// Unmaps a range that was mapped as a whole from the device.
    pub(crate) fn unmap_range(&mut self, iova: u64, len: u64) -> Result<()> {
        self.client.dma_unmap(iova, len)?;
        Ok(())
    }

    /// Resets the device with a message of the protocol.
    pub(crate) fn reset(&mut self) -> Result<()> {
        self.client.reset()?;
        Ok(())
    }

    /// Enables MSI-X, with an eventfd for each of `count` vectors.
    pub(crate) fn interrupts(&mut self, count: u32) -> Result<Vec<OwnedFd>> {
        let all = self.client.get_irq_info(MSIX)?.count;
        ensure!(count <= all, "the device has {all} vectors, not {count}");
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let eventfds: Vec<_> = (0..count)
            .map(|_| eventfd(0, flags))
            .collect::<Result<_, _>>()?;
        let borrowed: Vec<_> = eventfds.iter().map(AsFd::as_fd).collect();
        self.set_eventfds(0, &borrowed)?;
        let at = self.capability(CAP_MSIX)?.context("there is no MSI-X")? + 2;
        let control = u16::from_le_bytes(self.config(at)?) | MSIX_ENABLE;
        self.client
            .region_write(CONFIG, at, &control.to_le_bytes())?;
        Ok(eventfds)
    }

    /// Sets the eventfds of vectors, from `first` on.
    pub(crate) fn set_eventfds(&mut self, first: u32, eventfds: &[BorrowedFd<'_>]) -> Result<()> {
        let raw: Vec<_> = eventfds.iter().map(AsRawFd::as_raw_fd).collect();
        let count = u32::try_from(raw.len())?;
        self.client
            .set_irqs(MSIX, SET_EVENTFDS, first, count, &raw)?;
        Ok(())
    }

    /// Finds a capability.
    pub(crate) fn capability(&mut self, id: u8) -> Result<Option<u64>> {
        let [mut at] = self.config(0x34)?;
        // More than fit would be a loop.
        for _ in 0..48 {
            if at == 0 {
                break;
            }
            let [found, next] = self.config(at.into())?;
            if found == id {
                return Ok(Some(at.into()));
            }
            at = next;
        }
        Ok(None)
    }
}
