// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Access to an ADI through the kernel's VFIO: by group and container, or by cdev and iommufd.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use adit_uapi::vfio::{
    region, AdiInfo, MailboxReply, MailboxRequest, INFO_MAGIC, INFO_VERSION, MAX_PAYLOAD_LEN,
    PAGE_LEN,
};
use iommufd_ioctls::IommuFd;
use memmap2::{MmapOptions, MmapRaw};
use rustix::ioctl::{ioctl, opcode, NoArg, Opcode};
use vfio_bindings::bindings::vfio::{VFIO_BASE, VFIO_TYPE};
use vfio_ioctls::{VfioContainer, VfioError, VfioIommufd, VfioOps};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::held::Held;
use crate::{Device, Error, Member, Memory, Page, Pages};

/// The directories in which devices are found by name.
const BUSES: [&str; 2] = ["/sys/bus/auxiliary/devices", "/sys/bus/mdev/devices"];
/// The request number of VFIO_DEVICE_RESET: `_IO(VFIO_TYPE, VFIO_BASE + 11)`. (vfio-ioctls ignores
/// its result.)
const RESET: Opcode = opcode::none(VFIO_TYPE, VFIO_BASE as u8 + 11);
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

/// An open ADI.
pub struct VfioDevice {
    /// The device's file, for reads and writes that return errors.
    file: File,
    device: Held,
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
        let opened = |cause| Error::open(name, &path, cause);
        let address_space = address_space(&path).map_err(opened)?;
        let device = Held::open(&path, address_space).map_err(opened)?;
        // SAFETY: the device keeps its file descriptor open while it is borrowed here.
        let fd = unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) };
        let fd = fd.try_clone_to_owned();
        let file = File::from(fd.map_err(Error::io("another handle of the device"))?);
        let this = Self {
            file,
            device,
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
        let size = self.device.get_region_size(index);
        match at.checked_add(len) {
            Some(end) if end <= size => Ok(self.device.get_region_offset(index) + at),
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

/// Creates the address space for a device.
fn address_space(path: &Path) -> Result<Arc<dyn VfioOps>, VfioError> {
    if Path::new("/dev/iommu").exists() && path.join("vfio-dev").is_dir() {
        let iommufd = IommuFd::new().map_err(VfioError::NewVfioIommufd)?;
        return Ok(Arc::new(VfioIommufd::new(Arc::new(iommufd), None, None)?));
    }
    Ok(Arc::new(VfioContainer::new(None)?))
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
        let request = MailboxRequest {
            opcode: U32::new(opcode),
            payload_len: U32::new(payload.len() as u32), // bounded by the kernel
            cookie: U64::new(*cookie),
            ..MailboxRequest::default()
        };
        let message = [request.as_bytes(), payload].concat();
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
        let (len, start) = (memory.len() as usize, memory.as_mut_ptr());
        // SAFETY: by this function's contract.
        unsafe {
            self.device
                .address_space()
                .vfio_dma_map(memory.iova(), len, start)
        }
        .map_err(|cause| Error::Vfio {
            what: "to map memory",
            cause,
        })
    }

    fn unmap_memory(&self, memory: &Memory) -> Result<(), Error> {
        self.device
            .address_space()
            .vfio_dma_unmap(memory.iova(), memory.len() as usize)
            .map_err(|cause| Error::Vfio {
                what: "to unmap memory",
                cause,
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
