// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts: sleeping until there is work to do.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use adit_uapi::regs::dyn_ctl::{DynCtl, INTENA_M, ITR_NONE};
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::doorbell::Doorbell;
use crate::Error;

/// The reason that a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// Frames were received or sent. Wake-ups may be spurious.
    Ready,
    /// The timeout expired.
    Timeout,
    /// A queue was stopped by a fault: see [`Adi::fault`](crate::Adi::fault).
    Fault,
    /// The driver requests the ADI back: drop it.
    Released,
}

pub(crate) fn event() -> Result<OwnedFd, Error> {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(Error::errno("an eventfd"))
}

/// A vector of the ADI: the register that arms it and the eventfd that it signals.
pub(crate) struct Vector {
    control: Doorbell,
    event: OwnedFd,
}

impl Vector {
    pub(crate) fn new(control: Doorbell, event: OwnedFd) -> Self {
        Self { control, event }
    }

    /// The eventfd that is readable when the vector has signalled.
    pub(crate) fn event(&self) -> &OwnedFd {
        &self.event
    }

    /// Arms the vector to signal once. Completions from before this call may not be signalled: the
    /// caller must poll the rings after it.
    pub(crate) fn arm(&mut self) {
        let value = DynCtl(INTENA_M).with_itr(ITR_NONE, 0);
        self.control.write(value.0);
    }

    /// Sleeps until the vector, or one of the ADI's eventfds, signals.
    pub(crate) fn wait(
        &self,
        request: &OwnedFd,
        fault: &OwnedFd,
        timeout: Option<Duration>,
    ) -> Result<Wakeup, Error> {
        let mut fds = [
            PollFd::new(&self.event, PollFlags::IN),
            PollFd::new(request, PollFlags::IN),
            PollFd::new(fault, PollFlags::IN),
        ];
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(Wakeup::Timeout),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Wakeup::Ready),
            Err(errno) => return Err(Error::errno("waiting for an interrupt")(errno)),
        }
        let [ready, request_ready, fault_ready] = fds.map(|fd| !fd.revents().is_empty());
        if request_ready {
            // Left readable, so that every queue is notified.
            return Ok(Wakeup::Released);
        }
        if fault_ready {
            drain(fault);
            return Ok(Wakeup::Fault);
        }
        if ready {
            drain(&self.event);
        }
        Ok(Wakeup::Ready)
    }
}

fn drain(event: &OwnedFd) {
    // It does not block; if there is nothing to read, another thread has already read it.
    let _ = rustix::io::read(event.as_fd(), &mut [0; 8]);
}
