// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface through which an ADI is accessed.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use adit_uapi::vfio::{op, AdiInfo, RegisterMemory};
use memmap2::MmapRaw;
use zerocopy::little_endian::{U32, U64};
use zerocopy::IntoBytes;

use crate::{Error, Member, Memory, Page, Pages};

/// The descriptors of an open ADI, by which another process can continue with it
/// ([`VfioDevice::inherit`](crate::VfioDevice::inherit)). The ADI is closed with the last copy of the
/// device's.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors<'a> {
    /// The device.
    pub device: BorrowedFd<'a>,
    /// Its address space: a container or an iommufd.
    pub space: BorrowedFd<'a>,
    /// The id of its IOAS, if that is an iommufd.
    pub ioas: Option<u32>,
}

/// Bytes that are a message to an ADI when they are written to its device. Nobody has to read the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The offset in the device's file.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The number of times that memory is registered which is refused because of an unmapping.
const MAX_REGISTRATIONS: u32 = 20;

/// The pause between two of them.
const REGISTRATION_PAUSE: Duration = Duration::from_millis(10);

/// Registers memory, again for a while if the kernel refuses it for an unmapping in the same container
/// (`EAGAIN`).
fn register_again(mut register: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    for _ in 1..MAX_REGISTRATIONS {
        match register() {
            Err(Error::Refused { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(REGISTRATION_PAUSE);
            }
            result => return result,
        }
    }
    register()
}

/// An ADI as exposed by `adit_vfio` (`adit_uapi::vfio`). This is the boundary between rings and
/// VFIO: tests use the device model in place of VFIO.
pub trait Device: Send + Sync {
    /// Reads the information region.
    ///
    /// # Errors
    /// Fails when the device is gone.
    fn info(&self) -> Result<AdiInfo, Error>;

    /// Sends a message through the software mailbox and returns the reply's payload.
    ///
    /// # Errors
    /// Fails with [`Error::Refused`] and the reason.
    fn request(&self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>, Error>;

    /// Maps a page of a region.
    ///
    /// # Errors
    /// Fails when there is no such page.
    fn map_page(&self, region: u32, page: u32) -> Result<MmapRaw, Error>;

    /// Maps the memory that the driver allocated for the ADI.
    ///
    /// # Errors
    /// Fails when there is none.
    fn map_dma_region(&self, len: u64) -> Result<MmapRaw, Error>;

    /// Maps `memory` into the device's address space; the device cannot access it before it is
    /// registered by a message.
    ///
    /// # Safety
    /// From its registration on, the device may write all of `memory` at any time, until
    /// [`unmap_memory`](Self::unmap_memory) has returned or the device is closed. Until then it
    /// must stay mapped, and memory that the device may write must not be borrowed.
    ///
    /// # Errors
    /// Fails when the system returns an error.
    unsafe fn map_memory(&self, memory: &Memory) -> Result<(), Error>;

    /// Unmaps memory from the device, registered or not: no access is in flight when this returns.
    ///
    /// # Errors
    /// Fails when it was not mapped.
    fn unmap_memory(&self, memory: &Memory) -> Result<(), Error>;

    /// Sets the eventfds of an interrupt index, from vector `first` on; `None` removes one.
    ///
    /// # Errors
    /// Fails when the index has fewer vectors.
    fn set_eventfds(
        &self,
        index: u32,
        first: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), Error>;

    /// Resets the ADI: its queues are stopped, their memory stays registered, and pages that were
    /// given away have no effect any longer.
    ///
    /// # Errors
    /// Fails when the device is gone.
    fn reset(&self) -> Result<(), Error>;

    /// Collects pages of registers, in this order, in a file that can map them and do nothing else:
    /// for a process that may ring the ADI's doorbells and no more.
    ///
    /// # Errors
    /// Fails when there are too many pages, duplicates, or pages that do not exist; and when the
    /// ADI of a page is gone.
    fn give(&self, pages: &[Page<'_>]) -> Result<Pages, Error>;

    /// Returns what the leader of a group needs of it.
    ///
    /// # Errors
    /// Fails when the device is gone, or is none that can be in a group.
    fn member(&self) -> Result<Member<'_>, Error> {
        Err(no_groups())
    }

    /// Makes the queues of other ADIs, which are open and at rest, those of this one's virtual port.
    /// The group ends when one of them is closed: the others are then taken away.
    ///
    /// # Errors
    /// Fails when there are too many, one is given twice, in a group, at work, on another port or
    /// VLAN or gone, or the NIC has no groups.
    fn lead(&self, members: &[Member<'_>]) -> Result<(), Error> {
        let _ = members;
        Err(no_groups())
    }

    /// Unmaps all memory, also that which another process has mapped by these [`Descriptors`]: no access
    /// is in flight when this returns.
    ///
    /// # Errors
    /// Fails when the system returns an error, or the device is none over VFIO.
    fn unmap_all(&self) -> Result<(), Error> {
        Err(not_over_vfio("unmapping all memory"))
    }

    /// The descriptors by which another process can continue with the ADI.
    ///
    /// # Errors
    /// Fails when the device is none over VFIO.
    fn descriptors(&self) -> Result<Descriptors<'_>, Error> {
        Err(not_over_vfio("passing an open ADI on"))
    }

    /// The message that resets the ADI, for whoever has the descriptor of its device. Memory stays
    /// registered, and pages that were given away stay valid.
    ///
    /// # Errors
    /// Fails when the device is none over VFIO.
    fn reset_message(&self) -> Result<Message, Error> {
        Err(not_over_vfio("composing a message"))
    }

    /// Registers memory that [`map_memory`](Self::map_memory) has mapped; `flags`
    /// ([`memory_flags`](adit_uapi::vfio::memory_flags)) are the accesses that are permitted. The
    /// memory is pinned, which takes milliseconds for each MiB of a file that has no pages yet.
    ///
    /// # Errors
    /// Fails when a limit of the ADI or of the process (RLIMIT_MEMLOCK) is reached, the memory's
    /// file has become shorter, memory of the container is being unmapped for too long, or the device is gone.
    fn register_memory(&self, memory: &Memory, flags: u32) -> Result<(), Error> {
        let message = range(memory, flags);
        register_again(|| {
            let reply = self.request(op::REGISTER_MEMORY, message.as_bytes());
            reply.map(drop)
        })
    }

    /// Reverses [`register_memory`](Self::register_memory). `flags` is 0, and then enabled queues
    /// are stopped, or [`KEEP_QUEUES`](adit_uapi::vfio::memory_flags::KEEP_QUEUES). When this
    /// returns, no access is in progress or will be made.
    ///
    /// # Errors
    /// Fails when it is not registered, or the device is gone.
    fn unregister_memory(&self, memory: &Memory, flags: u32) -> Result<(), Error> {
        let message = range(memory, flags);
        self.request(op::UNREGISTER_MEMORY, message.as_bytes())?;
        Ok(())
    }
}

fn not_over_vfio(what: &'static str) -> Error {
    let source = io::ErrorKind::Unsupported.into();
    Error::Io { what, source }
}

fn no_groups() -> Error {
    Error::Io {
        what: "joining ADIs in a group",
        source: io::ErrorKind::Unsupported.into(),
    }
}

fn range(memory: &Memory, flags: u32) -> RegisterMemory {
    RegisterMemory {
        iova: U64::new(memory.iova()),
        len: U64::new(memory.len()),
        flags: U32::new(flags),
        ..RegisterMemory::default()
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// Registers with these errors in turn. Returns the last one, and the number of calls.
    fn register(errors: impl IntoIterator<Item = Errno>) -> (Option<i32>, u32) {
        let mut errors = errors.into_iter();
        let mut calls = 0;
        let result = register_again(|| {
            calls += 1;
            let refused = |errno: Errno| Error::Refused {
                opcode: op::REGISTER_MEMORY,
                source: errno.into(),
            };
            errors.next().map_or(Ok(()), |errno| Err(refused(errno)))
        });
        let error = match result {
            Err(Error::Refused { source, .. }) => source.raw_os_error(),
            result => {
                result.unwrap();
                None
            }
        };
        (error, calls)
    }

    #[test]
    fn memory_is_registered_again_after_an_unmapping() {
        let (again, other) = (Errno::AGAIN, Errno::NOSPC);
        assert_eq!(register([again, again]), (None, 3));
        assert_eq!(register([again, other]), (Some(other.raw_os_error()), 2));
        let endless = register(std::iter::repeat(again));
        assert_eq!(endless, (Some(again.raw_os_error()), MAX_REGISTRATIONS));
    }
}
