// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts: what a device offers and what a client may ask for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{fcntl_getfl, fcntl_setfl, readlinkat, OFlags, CWD};
use vfio_bindings::bindings::vfio;

use crate::Errno;

/// The number of interrupt types that the PCI binding of VFIO names.
pub const PCI_NUM_IRQS: usize = vfio::VFIO_PCI_NUM_IRQS as usize;

/// One interrupt type (`VFIO_USER_DEVICE_GET_IRQ_INFO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IrqInfo {
    /// `VFIO_IRQ_INFO_*` of linux/vfio.h.
    pub flags: u32,
    /// How many interrupts of this type there are; 0 if the device has none.
    pub count: u32,
}

impl IrqInfo {
    /// A type that the device does not have.
    pub const fn absent() -> Self {
        Self { flags: 0, count: 0 }
    }

    /// `count` interrupts signalled through eventfds, as MSI and MSI-X are;
    /// each can be set up while others are in use.
    pub const fn eventfd(count: u32) -> Self {
        Self {
            flags: vfio::VFIO_IRQ_INFO_EVENTFD,
            count,
        }
    }
}

/// What a request does to its interrupts (`VFIO_IRQ_SET_ACTION_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IrqAction {
    /// Hold it back.
    Mask,
    /// Let it through again.
    Unmask,
    /// Raise it.
    Trigger,
}

/// `VFIO_USER_DEVICE_SET_IRQS`, checked: `index` names a type of the device
/// and the range lies within the type's count.
#[derive(Debug)]
pub enum IrqRequest {
    /// Ends all eventfds of the type (no data, trigger, start 0, count 0).
    /// Also comes for a type whose count is 0.
    DisableAll {
        /// The interrupt type.
        index: u32,
    },
    /// From now on `action` on interrupt `start + n` signals `eventfds[n]`,
    /// instead of what it signalled before. Never empty.
    Assign {
        /// The interrupt type.
        index: u32,
        /// The first interrupt.
        start: u32,
        /// What the eventfds tell of.
        action: IrqAction,
        /// One for each interrupt of the range.
        eventfds: Vec<EventFd>,
    },
    /// The eventfds for `action` on these interrupts end.
    Deassign {
        /// The interrupt type.
        index: u32,
        /// The first interrupt.
        start: u32,
        /// How many, never 0.
        count: u32,
        /// What the eventfds told of.
        action: IrqAction,
    },
    /// The client itself performs `action` on these interrupts.
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
    /// The interrupt type.
    pub const fn index(&self) -> u32 {
        match self {
            Self::DisableAll { index }
            | Self::Assign { index, .. }
            | Self::Deassign { index, .. }
            | Self::Act { index, .. } => *index,
        }
    }

    /// First interrupt and number of them.
    pub fn range(&self) -> (u32, u32) {
        match self {
            Self::DisableAll { .. } => (0, 0),
            // A message carries fewer descriptors than u32 counts.
            Self::Assign {
                start, eventfds, ..
            } => (*start, eventfds.len() as u32),
            Self::Deassign { start, count, .. } => (*start, *count),
            Self::Act { targets, .. } => (targets.start, targets.count),
        }
    }
}

/// The interrupts of a range that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IrqTargets {
    pub(crate) start: u32,
    pub(crate) count: u32,
    /// One byte an interrupt, 0 for "leave it alone"; none for "all".
    pub(crate) chosen: Option<Vec<u8>>,
}

impl IrqTargets {
    /// The chosen interrupts in ascending order.
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

/// An eventfd that came from a client.
///
/// It is known to be one: other descriptors could block the writer (a full
/// pipe) or be harmed by the write (a file).
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
        // The flag is shared with the client, which can take it back: see
        // `signal`.
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self(fd))
    }

    /// Raises the interrupt. A counter that is full loses nothing: the
    /// client has not read the signals before this one.
    ///
    /// A full counter is not written to, so that a client that has taken
    /// O_NONBLOCK back does not block the device. (It would have to fill the
    /// counter in the very moment before the write, and then blocks its own.)
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
        let patience = std::time::Duration::from_secs(5);
        assert_eq!(ended.recv_timeout(patience), Ok(Ok(())));
        let mut count = [0; 8];
        rustix::io::read(&client, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), u64::MAX - 1);
    }
}
