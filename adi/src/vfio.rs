// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Access to an ADI through the kernel's VFIO: by group and container, or by cdev and iommufd.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use adit_uapi::vfio::{
    region, AdiInfo, MailboxReply, MailboxRequest, INFO_MAGIC, INFO_VERSION, MAX_PAYLOAD_LEN,
    NUM_REGIONS, PAGE_LEN,
};
use adit_uapi::virtchnl2::adi::{op as adi_op, ResetAdi};
use memmap2::{MmapOptions, MmapRaw};
use rustix::ioctl::{ioctl, opcode, NoArg, Opcode, Updater};
use vfio_bindings::bindings::vfio::{vfio_region_info, VFIO_BASE, VFIO_TYPE};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::space::AddressSpace;
use crate::{Descriptors, Device, Error, Member, Memory, Message, Page, Pages};

/// The directories in which devices are found by name.
const BUSES: [&str; 2] = ["/sys/bus/auxiliary/devices", "/sys/bus/mdev/devices"];
/// The request number of VFIO_DEVICE_RESET: `_IO(VFIO_TYPE, VFIO_BASE + 11)`. (vfio-ioctls ignores
/// its result.)
const RESET: Opcode = opcode::none(VFIO_TYPE, VFIO_BASE as u8 + 11);
/// The request number of VFIO_DEVICE_GET_REGION_INFO: `_IO(VFIO_TYPE, VFIO_BASE + 8)`.
const GET_REGION_INFO: Opcode = opcode::none(VFIO_TYPE, VFIO_BASE as u8 + 8);
/// The prefix of the names of ADIs' auxiliary devices, followed by the number.
const NAME_PREFIX: &str = "adit.adi.";

/// Finds the sysfs directory of an ADI, given by its name (`adit.adi.N`), its number, the UUID of
/// its mediated device, or that directory.
///
/// # Errors
/// Fails when there is none.
pub fn find(name: &str) -> Result<PathBuf, Error> {
    let none = |path| Error::NoSuchAdi {
        name: name.to_owned(),
        path,
    };
    if name.contains('/') {
        let path = PathBuf::from(name);
        return if path.is_dir() {
            Ok(path)
        } else {
            Err(none(path))
        };
    }
    let full = match name.parse::<u32>() {
        Ok(number) => format!("{NAME_PREFIX}{number}"),
        Err(_) => name.to_owned(),
    };
    let mut paths = BUSES.iter().map(|bus| Path::new(bus).join(&full));
    paths
        .find(|path| path.is_dir())
        .ok_or_else(|| none(Path::new(BUSES[0]).join(&full)))
}

/// Lists the ADIs that can be opened, open or not, by name in sysfs: auxiliary devices
/// (`adit.adi.N`), then UUIDs of mediated devices.
///
/// # Errors
/// Fails when sysfs cannot be read.
pub fn list() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for bus in BUSES {
        let entries = match fs::read_dir(bus) {
            Ok(entries) => entries,
            // The bus exists once a module of it is loaded.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut on_bus = Vec::new();
        for entry in entries {
            let entry = entry?;
            // `instance` distinguishes an ADI from other devices on these buses; the group exists
            // once the ADI is a VFIO device.
            let exists = |attribute| entry.path().join(attribute).exists();
            if exists("instance") && exists("iommu_group") {
                on_bus.extend(entry.file_name().into_string());
            }
        }
        // Of two numbers the longer one is larger.
        on_bus.sort_by_key(|name| (name.len(), name.clone()));
        names.append(&mut on_bus);
    }
    Ok(names)
}

/// A region of the device's file.
#[derive(Clone, Copy, Debug, Default)]
struct Region {
    offset: u64,
    size: u64,
}

/// An open ADI.
pub struct VfioDevice {
    file: File,
    space: AddressSpace,
    regions: [Region; NUM_REGIONS as usize],
    /// Serializes requests, so that each receives its own reply.
    mailbox: Mutex<u64>,
}

impl VfioDevice {
    /// Opens an ADI, named as for [`find`]. Devices in `/dev/vfio/devices` are preferred to groups
    /// if both exist.
    ///
    /// # Errors
    /// Fails when there is no such ADI, VFIO cannot open it, or the device is no ADI.
    pub fn open(name: &str) -> Result<Self, Error> {
        let path = find(name)?;
        let opened = crate::open::open(&path).map_err(|cause| Error::open(name, &path, cause));
        let (file, space) = opened?;
        Self::new(name, file, space)
    }

    /// Continues with an ADI that another process has opened, by its [`Descriptors`]. The ADI is as that
    /// process has left it, and memory that it has mapped stays so.
    ///
    /// # Errors
    /// Fails when the ADI is gone, or the device is none.
    pub fn inherit(
        name: &str,
        device: OwnedFd,
        space: OwnedFd,
        ioas: Option<u32>,
    ) -> Result<Self, Error> {
        Self::new(name, device.into(), AddressSpace::new(space, ioas))
    }

    fn new(name: &str, file: File, space: AddressSpace) -> Result<Self, Error> {
        let mut regions = [Region::default(); NUM_REGIONS as usize];
        for (index, region) in (0..).zip(&mut regions) {
            *region = region_info(&file, index)?;
        }
        let this = Self {
            file,
            space,
            regions,
            mailbox: Mutex::new(0),
        };
        let info = this.info()?;
        let (magic, version) = (info.magic.get(), info.version.get());
        if magic != INFO_MAGIC || version != INFO_VERSION {
            return Err(Error::NotAnAdi {
                name: name.to_owned(),
                reason: format!(
                    "magic {magic:#010x}, version {version} instead of {INFO_MAGIC:#010x}, version \
                     {INFO_VERSION}"
                ),
            });
        }
        Ok(this)
    }

    /// Returns the offset in the device's file of byte `at` of a region, if it has `len` bytes from
    /// there.
    fn offset(&self, index: u32, at: u64, len: u64) -> io::Result<u64> {
        let region = self.regions.get(index as usize).copied();
        let Region { offset, size } = region.unwrap_or_default();
        match at.checked_add(len) {
            Some(end) if end <= size => Ok(offset + at),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("region {index} of the ADI has {size} bytes"),
            )),
        }
    }

    fn map(&self, index: u32, at: u64, len: u64, what: &'static str) -> Result<MmapRaw, Error> {
        let offset = self.offset(index, at, len).map_err(Error::io(what))?;
        MmapOptions::new()
            .offset(offset)
            .len(len as usize) // bounded by the region's
            .map_raw(&self.file)
            .map_err(Error::io(what))
    }
}

/// Asks for a region.
fn region_info(device: &File, index: u32) -> Result<Region, Error> {
    let mut info = vfio_region_info {
        argsz: size_of::<vfio_region_info>() as u32,
        index,
        ..vfio_region_info::default()
    };
    // SAFETY: the number is VFIO_DEVICE_GET_REGION_INFO, and this its argument without capabilities.
    unsafe { ioctl(device, Updater::<GET_REGION_INFO, _>::new(&mut info)) }
        .map_err(Error::errno("asking for the regions of the ADI"))?;
    let vfio_region_info { offset, size, .. } = info;
    Ok(Region { offset, size })
}

/// A request with its payload.
fn message(opcode: u32, cookie: u64, payload: &[u8]) -> Vec<u8> {
    let request = MailboxRequest {
        opcode: U32::new(opcode),
        payload_len: U32::new(payload.len() as u32), // bounded by the kernel
        cookie: U64::new(cookie),
        ..MailboxRequest::default()
    };
    [request.as_bytes(), payload].concat()
}

impl Device for VfioDevice {
    fn info(&self) -> Result<AdiInfo, Error> {
        let what = "reading what the ADI is";
        let mut info = AdiInfo::default();
        let offset = self
            .offset(region::INFO, 0, AdiInfo::LEN as u64)
            .map_err(Error::io(what))?;
        self.file
            .read_exact_at(info.as_mut_bytes(), offset)
            .map_err(Error::io(what))?;
        Ok(info)
    }

    fn request(&self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let refused = |source| Error::Refused { opcode, source };
        // A panic elsewhere leaves no inconsistent state here.
        let mut cookie = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        *cookie += 1;
        let message = message(opcode, *cookie, payload);
        let offset = self.offset(region::MAILBOX, 0, 0).map_err(refused)?;
        let written = self.file.write_at(&message, offset).map_err(refused)?;
        if written != message.len() {
            return Err(refused(io::ErrorKind::WriteZero.into()));
        }
        let mut reply = vec![0; MailboxReply::LEN + MAX_PAYLOAD_LEN];
        let got = self.file.read_at(&mut reply, offset).map_err(refused)?;
        reply.truncate(got);
        let wrong = |want| Error::Reply { opcode, got, want };
        let (header, rest) =
            MailboxReply::read_from_prefix(&reply).map_err(|_| wrong(MailboxReply::LEN))?;
        let len = header.payload_len.get() as usize;
        if header.cookie.get() != *cookie || len > rest.len() {
            return Err(wrong(MailboxReply::LEN.saturating_add(len)));
        }
        Ok(rest[..len].to_vec())
    }

    fn map_page(&self, index: u32, page: u32) -> Result<MmapRaw, Error> {
        let at = u64::from(page) * PAGE_LEN;
        self.map(index, at, PAGE_LEN, "mapping a page of registers")
    }

    fn map_dma_region(&self, len: u64) -> Result<MmapRaw, Error> {
        self.map(region::DMA, 0, len, "mapping the driver's memory")
    }

    unsafe fn map_memory(&self, memory: &Memory) -> Result<(), Error> {
        let (iova, len, start) = (memory.iova(), memory.len(), memory.as_mut_ptr());
        // SAFETY: by this function's contract.
        unsafe { self.space.map(iova, len, start) }
            .map_err(Error::errno("mapping memory for the ADI"))
    }

    fn unmap_memory(&self, memory: &Memory) -> Result<(), Error> {
        let unmapped = self.space.unmap(memory.iova(), memory.len());
        unmapped.map_err(Error::errno("unmapping memory from the ADI"))
    }

    fn unmap_all(&self) -> Result<(), Error> {
        let unmapped = self.space.unmap_all();
        unmapped.map_err(Error::errno("unmapping all memory from the ADI"))
    }

    fn descriptors(&self) -> Result<Descriptors<'_>, Error> {
        Ok(Descriptors {
            device: self.file.as_fd(),
            space: self.space.as_fd(),
            ioas: self.space.ioas(),
        })
    }

    fn reset_message(&self) -> Result<Message, Error> {
        let offset = self.offset(region::MAILBOX, 0, 0);
        Ok(Message {
            offset: offset.map_err(Error::io("composing a message"))?,
            bytes: message(adi_op::RESET_ADI, 0, ResetAdi::default().as_bytes()),
        })
    }

    fn set_eventfds(
        &self,
        index: u32,
        first: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), Error> {
        crate::irqs::set(&self.file, index, first, eventfds)
    }

    fn reset(&self) -> Result<(), Error> {
        // SAFETY: the number is VFIO_DEVICE_RESET, which takes no argument.
        unsafe { ioctl(&self.file, NoArg::<RESET>::new()) }
            .map_err(Error::errno("resetting the ADI"))
    }

    fn give(&self, pages: &[Page<'_>]) -> Result<Pages, Error> {
        crate::pages::give(&self.file, pages)
    }

    fn member(&self) -> Result<Member<'_>, Error> {
        Ok(Member {
            device: self.file.as_fd(),
            device_adi_id: self.info()?.device_adi_id.get(),
        })
    }

    fn lead(&self, members: &[Member<'_>]) -> Result<(), Error> {
        crate::group::form(&self.file, members)
    }
}
