// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts: a device's interrupt types and a client's requests.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{fcntl_getfl, fcntl_setfl, readlinkat, OFlags, CWD};
use vfio_bindings::bindings::vfio;

use crate::Errno;

/// The number of interrupt types defined by the PCI binding of VFIO.
pub const PCI_NUM_IRQS: usize = vfio::VFIO_PCI_NUM_IRQS as usize;

/// One interrupt type (`VFIO_USER_DEVICE_GET_IRQ_INFO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IrqInfo {
    /// The `VFIO_IRQ_INFO_*` flags of linux/vfio.h.
    pub flags: u32,
    /// The number of interrupts of this type; 0 if the device has none.
    pub count: u32,
}

impl IrqInfo {
    /// A type that the device does not have.
    pub const fn absent() -> Self {
        Self { flags: 0, count: 0 }
    }

    /// A type with `count` interrupts signalled through eventfds, like MSI and MSI-X; each can be
    /// set up while others are in use.
    pub const fn eventfd(count: u32) -> Self {
        Self {
            flags: vfio::VFIO_IRQ_INFO_EVENTFD,
            count,
        }
    }
}

/// The action of a request on its interrupts (`VFIO_IRQ_SET_ACTION_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IrqAction {
    /// Masks the interrupt.
    Mask,
    /// Unmasks the interrupt.
    Unmask,
    /// Raises the interrupt.
    Trigger,
}

/// A validated `VFIO_USER_DEVICE_SET_IRQS`: `index` is a type of the device and the range is within
/// the type's count.
#[derive(Debug)]
pub enum IrqRequest {
    /// Removes all eventfds of the type (no data, trigger, start 0, count 0). Also sent for a type
    /// whose count is 0.
    DisableAll {
        /// The interrupt type.
        index: u32,
    },
    /// Assigns eventfds: from now on `action` on interrupt `start + n` signals `eventfds[n]`
    /// instead of its previous eventfd. Never empty.
    Assign {
        /// The interrupt type.
        index: u32,
        /// The first interrupt.
        start: u32,
        /// The action that the eventfds signal.
        action: IrqAction,
        /// One eventfd for each interrupt of the range.
        eventfds: Vec<EventFd>,
    },
    /// Removes the eventfds for `action` on these interrupts.
    Deassign {
        /// The interrupt type.
        index: u32,
        /// The first interrupt.
        start: u32,
        /// The number of interrupts, never 0.
        count: u32,
        /// The action that the eventfds signalled.
        action: IrqAction,
    },
    /// Performs `action` on these interrupts on behalf of the client.
    Act {
        /// The interrupt type.
        index: u32,
        /// The action.
        action: IrqAction,
        /// The interrupts.
        targets: IrqTargets,
    },
}

impl IrqRequest {
    /// Returns the interrupt type.
    pub const fn index(&self) -> u32 {
        match self {
            Self::DisableAll { index }
            | Self::Assign { index, .. }
            | Self::Deassign { index, .. }
            | Self::Act { index, .. } => *index,
        }
    }

    /// Returns the first interrupt and the number of interrupts.
    pub fn range(&self) -> (u32, u32) {
        match self {
            Self::DisableAll { .. } => (0, 0),
            // The number of descriptors of a message fits into u32.
            Self::Assign {
                start, eventfds, ..
            } => (*start, eventfds.len() as u32),
            Self::Deassign { start, count, .. } => (*start, *count),
            Self::Act { targets, .. } => (targets.start, targets.count),
        }
    }
}

/// The interrupts of a range that a request selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IrqTargets {
    pub(crate) start: u32,
    pub(crate) count: u32,
    /// One byte for each interrupt, 0 if it is not selected; `None` selects all.
    pub(crate) chosen: Option<Vec<u8>>,
}

impl IrqTargets {
    /// Iterates over the selected interrupts in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.count)
            .filter(|&n| {
                self.chosen
                    .as_ref()
                    .is_none_or(|c| c.get(n as usize) != Some(&0))
            })
            .map(|n| self.start + n)
    }
}

/// An eventfd received from a client.
///
/// Its type has been checked: other descriptors could block the writer (a full pipe) or be damaged
/// by the write (a file).
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Accepts `fd` if it is an eventfd, and makes it non-blocking.
    pub fn from_client(fd: OwnedFd) -> Result<Self, Errno> {
        use std::os::fd::AsRawFd;
        let link = readlinkat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
        if link.to_bytes() != b"anon_inode:[eventfd]" {
            return Err(Errno::INVAL);
        }
        // The flag is shared with the client, which can clear it: see `signal`.
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self(fd))
    }

    /// Raises the interrupt. Nothing is lost if the counter is full: the client has not read the
    /// earlier signals.
    ///
    /// A full counter is not written to, so that a client that has cleared O_NONBLOCK does not
    /// block the device. (It would have to fill the counter exactly between the poll and the write,
    /// and then blocks its own device.)
    pub fn signal(&self) -> Result<(), Errno> {
        let mut writable = [PollFd::new(&self.0, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if let Ok(0) = poll(&mut writable, Some(&now)) {
            return Ok(());
        }
        loop {
            match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl From<EventFd> for OwnedFd {
    fn from(event: EventFd) -> Self {
        event.0
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{eventfd, EventfdFlags};

    #[test]
    fn a_full_counter_that_blocks_does_not_block_the_device() {
        let client = eventfd(0, EventfdFlags::empty()).unwrap();
        let event = EventFd::from_client(client.try_clone().unwrap()).unwrap();
        fcntl_setfl(&client, OFlags::empty()).unwrap();
        rustix::io::write(&client, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(event.signal()));
        let timeout = std::time::Duration::from_secs(5);
        assert_eq!(ended.recv_timeout(timeout), Ok(Ok(())));
        let mut count = [0; 8];
        rustix::io::read(&client, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), u64::MAX - 1);
    }
}
