// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client of vfio-user that can migrate a device, and its memory.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use adit_vfio_user::fuzzing::{message, HELLO};
use adit_vfio_user::header::{Command, Header};
use adit_vfio_user::migration::MigrationState;
use adit_vfio_user::wire;
use anyhow::{ensure, Context, Result};
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use vfio_bindings::bindings::vfio;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const BAR0: u32 = vfio::VFIO_PCI_BAR0_REGION_INDEX;
const CONFIG: u32 = vfio::VFIO_PCI_CONFIG_REGION_INDEX;
const MSIX: u32 = vfio::VFIO_PCI_MSIX_IRQ_INDEX;
const GET: u32 = vfio::VFIO_DEVICE_FEATURE_GET;
const SET: u32 = vfio::VFIO_DEVICE_FEATURE_SET;
/// Command register: memory space and bus master.
const COMMAND: u64 = 4;
const COMMAND_MEMORY_MASTER: u16 = 6;
/// The number of bytes of state that are transferred at a time: many parts for each state.
const PART: u32 = 1000;
const PAGE: u64 = 4096;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Memory that a device can access.
pub(crate) struct Memory {
    file: File,
    iova: u64,
    len: u64,
    /// The pages that the driver has written, by number: a hypervisor knows those of its guest.
    touched: RefCell<BTreeSet<u64>>,
}

impl Memory {
    pub(crate) fn new(iova: u64, len: u64) -> Result<Self> {
        let fd = memfd_create("client", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, len)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK)?;
        let file = fd.into();
        Ok(Self {
            file,
            iova,
            len,
            touched: RefCell::default(),
        })
    }

    /// Other memory of the same address and length, zeroed.
    pub(crate) fn alike(&self) -> Result<Self> {
        Self::new(self.iova, self.len)
    }

    /// The numbers of all its pages.
    pub(crate) fn pages(&self) -> BTreeSet<u64> {
        (0..self.len / PAGE).collect()
    }

    /// All of its content.
    pub(crate) fn image(&self) -> Result<Vec<u8>> {
        self.bytes(self.iova, self.len as usize)
    }

    pub(crate) fn read<T: FromBytes + FromZeros + IntoBytes>(&self, at: u64) -> Result<T> {
        let mut value = T::new_zeroed();
        self.file
            .read_exact_at(value.as_mut_bytes(), at - self.iova)?;
        Ok(value)
    }

    pub(crate) fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at - self.iova)?;
        Ok(bytes)
    }

    pub(crate) fn write<T: IntoBytes + Immutable + ?Sized>(&self, at: u64, v: &T) -> Result<()> {
        let (from, len) = (at - self.iova, v.as_bytes().len() as u64);
        let pages = from / PAGE..(from + len).div_ceil(PAGE);
        self.touched.borrow_mut().extend(pages);
        self.file.write_all_at(v.as_bytes(), from)?;
        Ok(())
    }

    /// Takes the pages that the driver has written.
    pub(crate) fn touched(&self) -> BTreeSet<u64> {
        self.touched.take()
    }
}

/// A connection to a device. Doorbells are written by messages.
pub(crate) struct Device {
    stream: UnixStream,
}

impl Device {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut this = Self { stream };
        this.request(Command::Version, HELLO, &[])?;
        Ok(this)
    }

    /// Enables memory space and bus mastering, as a client that boots.
    pub(crate) fn boot(mut self) -> Result<Self> {
        let command = u16::from_le_bytes(self.config(COMMAND)?) | COMMAND_MEMORY_MASTER;
        self.region_write(CONFIG, COMMAND, &command.to_le_bytes())?;
        Ok(self)
    }

    fn request(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ensure!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let bytes = message(1, command, 0, payload);
        let parts = [IoSlice::new(&bytes)];
        let sent = sendmsg(&self.stream, &parts, &mut control, SendFlags::NOSIGNAL)?;
        ensure!(sent == bytes.len(), "a message is cut");
        let mut header = Header::default();
        self.stream.read_exact(header.as_mut_bytes())?;
        let len = header.payload_len().context("a malformed header")?;
        let mut reply = vec![0; len];
        self.stream.read_exact(&mut reply)?;
        let error = std::io::Error::from_raw_os_error(header.error as i32);
        ensure!(header.flags & Header::ERROR == 0, "{command:?}: {error}");
        Ok(reply)
    }

    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<()> {
        let access = wire::RegionAccess {
            offset,
            region,
            count: data.len() as u32,
        };
        let reply = self.request(Command::RegionRead, access.as_bytes(), &[])?;
        data.copy_from_slice(&reply[wire::RegionAccess::SIZE..]);
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<()> {
        let access = wire::RegionAccess {
            offset,
            region,
            count: data.len() as u32,
        };
        let payload = [access.as_bytes(), data].concat();
        self.request(Command::RegionWrite, &payload, &[]).map(drop)
    }

    pub(crate) fn config<const N: usize>(&mut self, at: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.region_read(CONFIG, at, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn capability(&mut self, _id: u8) -> Result<Option<u64>> {
        Ok(None)
    }

    pub(crate) fn mapped(&self) -> Vec<(u64, u64)> {
        Vec::new()
    }

    pub(crate) fn read(&mut self, offset: u64) -> Result<u32> {
        let mut bytes = [0; 4];
        self.region_read(BAR0, offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(crate) fn write(&mut self, offset: u64, value: u32) -> Result<()> {
        self.region_write(BAR0, offset, &value.to_le_bytes())
    }

    pub(crate) fn map(&mut self, memory: &Memory) -> Result<()> {
        let map = wire::DmaMap {
            argsz: wire::DmaMap::SIZE as u32,
            flags: vfio::VFIO_DMA_MAP_FLAG_READ | vfio::VFIO_DMA_MAP_FLAG_WRITE,
            offset: 0,
            address: memory.iova,
            size: memory.len,
        };
        let fds = [memory.file.as_fd()];
        self.request(Command::DmaMap, map.as_bytes(), &fds)
            .map(drop)
    }

    pub(crate) fn unmap(&mut self, memory: &Memory) -> Result<()> {
        let unmap = wire::DmaUnmap {
            argsz: wire::DmaUnmap::SIZE as u32,
            flags: 0,
            address: memory.iova,
            size: memory.len,
        };
        self.request(Command::DmaUnmap, unmap.as_bytes(), &[])
            .map(drop)
    }

    pub(crate) fn reset(&mut self) -> Result<()> {
        self.request(Command::DeviceReset, &[], &[]).map(drop)
    }

    /// Sets an eventfd for each of `count` vectors.
    pub(crate) fn interrupts(&mut self, count: u32) -> Result<Vec<OwnedFd>> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let eventfds = (0..count).map(|_| eventfd(0, flags));
        let eventfds: Vec<_> = eventfds.collect::<Result<_, _>>()?;
        let set = wire::IrqSet {
            argsz: wire::IrqSet::SIZE as u32,
            flags: vfio::VFIO_IRQ_SET_DATA_EVENTFD | vfio::VFIO_IRQ_SET_ACTION_TRIGGER,
            index: MSIX,
            start: 0,
            count,
        };
        let fds: Vec<_> = eventfds.iter().map(AsFd::as_fd).collect();
        self.request(Command::DeviceSetIrqs, set.as_bytes(), &fds)?;
        Ok(eventfds)
    }

    /// Uses a feature; returns the data of the reply.
    fn feature(&mut self, flags: u32, data: &[u8]) -> Result<Vec<u8>> {
        let head = wire::DeviceFeature {
            argsz: 1 << 20,
            flags,
        };
        let payload = [head.as_bytes(), data].concat();
        let mut reply = self.request(Command::DeviceFeature, &payload, &[])?;
        Ok(reply.split_off(wire::DeviceFeature::SIZE))
    }

    /// Sets the migration state of the device.
    pub(crate) fn enter(&mut self, state: MigrationState) -> Result<()> {
        let data = wire::FeatureMigState {
            device_state: state as u32,
            data_fd: 0,
        };
        let feature = vfio::VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
        self.feature(SET | feature, data.as_bytes()).map(drop)
    }

    /// The estimated number of bytes of the state.
    pub(crate) fn state_size(&mut self) -> Result<u64> {
        let feature = vfio::VFIO_DEVICE_FEATURE_MIG_DATA_SIZE;
        let data = self.feature(GET | feature, &[])?;
        let size = wire::FeatureMigDataSize::read_from_bytes(&data);
        Ok(size
            .map_err(|_| anyhow::anyhow!("a size"))?
            .stop_copy_length)
    }

    /// Reads the saved state.
    pub(crate) fn read_state(&mut self) -> Result<Vec<u8>> {
        let mut state = Vec::new();
        loop {
            let request = wire::MigData {
                argsz: wire::MigData::SIZE as u32 + PART,
                size: PART,
            };
            let reply = self.request(Command::MigDataRead, request.as_bytes(), &[])?;
            let part = &reply[wire::MigData::SIZE..];
            if part.is_empty() {
                return Ok(state);
            }
            state.extend_from_slice(part);
        }
    }

    /// Writes a state to be loaded.
    pub(crate) fn write_state(&mut self, state: &[u8]) -> Result<()> {
        for part in state.chunks(PART as usize) {
            let head = wire::MigData {
                argsz: (wire::MigData::SIZE + part.len()) as u32,
                size: part.len() as u32,
            };
            let payload = [head.as_bytes(), part].concat();
            self.request(Command::MigDataWrite, &payload, &[])?;
        }
        Ok(())
    }

    /// Starts to log the pages of memory that the device writes.
    pub(crate) fn start_log(&mut self, memory: &Memory) -> Result<()> {
        let control = wire::LoggingControl {
            page_size: PAGE,
            num_ranges: 1,
            reserved: 0,
        };
        let range = wire::LoggingRange {
            iova: memory.iova,
            length: memory.len,
        };
        let data = [control.as_bytes(), range.as_bytes()].concat();
        let feature = vfio::VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
        self.feature(SET | feature, &data).map(drop)
    }

    /// The pages of memory that the device has written, by number.
    pub(crate) fn written(&mut self, memory: &Memory) -> Result<BTreeSet<u64>> {
        let report = wire::LoggingReport {
            iova: memory.iova,
            length: memory.len,
            page_size: PAGE,
        };
        let feature = vfio::VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;
        let reply = self.feature(GET | feature, report.as_bytes())?;
        let bitmap = &reply[wire::LoggingReport::SIZE..];
        let is_set = |page: u64| bitmap[page as usize / 8] >> (page % 8) & 1 != 0;
        Ok((0..memory.len / PAGE)
            .filter(|&page| is_set(page))
            .collect())
    }

    pub(crate) fn stop_log(&mut self) -> Result<()> {
        let feature = vfio::VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP;
        self.feature(SET | feature, &[]).map(drop)
    }
}

impl Memory {
    /// Copies pages, by number, to other memory.
    pub(crate) fn copy(&self, pages: &BTreeSet<u64>, to: &Self) -> Result<()> {
        for page in pages {
            let at = self.iova + page * PAGE;
            to.write(at, &self.bytes(at, PAGE as usize)?[..])?;
        }
        Ok(())
    }
}
