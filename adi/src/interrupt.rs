// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts: sleeping until there is work to do.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use adit_uapi::regs::dyn_ctl::{DynCtl, INTENA_M, ITR_NONE};
use rustix::event::{epoll, eventfd, EventfdFlags, Timespec};
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

/// The eventfds that a sleep waits for, as epoll's data.
const READY: u64 = 0;
const REQUEST: u64 = 1;
const FAULT: u64 = 2;

/// A vector of the ADI: the register that arms it and the eventfd that it signals.
pub(crate) struct Vector {
    control: Doorbell,
    event: OwnedFd,
    epoll: OwnedFd,
    /// Set if the vector has signalled when a wait ended for another reason.
    signalled: bool,
}

impl Vector {
    /// A vector whose waits also end with the ADI's eventfds.
    pub(crate) fn new(
        control: Doorbell,
        event: OwnedFd,
        request: &OwnedFd,
        fault: &OwnedFd,
    ) -> Result<Self, Error> {
        let what = "an epoll instance for interrupts";
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Error::errno(what))?;
        // Each signal of the vector is an edge, so that its eventfd need not be read: a sleep is one
        // system call.
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        for (fd, data, flags) in [
            (&event, READY, edges),
            (request, REQUEST, epoll::EventFlags::IN),
            (fault, FAULT, epoll::EventFlags::IN),
        ] {
            let data = epoll::EventData::new_u64(data);
            epoll::add(&epoll, fd, data, flags).map_err(Error::errno(what))?;
        }
        Ok(Self {
            control,
            event,
            epoll,
            signalled: false,
        })
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

    /// Sleeps until the vector has signalled since the last call, or one of the ADI's eventfds is
    /// readable.
    pub(crate) fn wait(
        &mut self,
        fault: &OwnedFd,
        timeout: Option<Duration>,
    ) -> Result<Wakeup, Error> {
        if std::mem::take(&mut self.signalled) {
            return Ok(Wakeup::Ready);
        }
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 3];
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let events = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(Wakeup::Ready),
            Err(errno) => return Err(Error::errno("waiting for an interrupt")(errno)),
        };
        let is_ready = |data| events.iter().any(|event| event.data.u64() == data);
        if is_ready(REQUEST) {
            // Left readable, so that every queue is notified.
            return Ok(Wakeup::Released);
        }
        if is_ready(FAULT) {
            self.signalled = is_ready(READY);
            drain(fault);
            return Ok(Wakeup::Fault);
        }
        Ok(match events.is_empty() {
            true => Wakeup::Timeout,
            false => Wakeup::Ready,
        })
    }
}

fn drain(event: &OwnedFd) {
    // It does not block; if there is nothing to read, another thread has already read it.
    let _ = rustix::io::read(event.as_fd(), &mut [0; 8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::Kick;
    use memmap2::{MmapOptions, MmapRaw};
    use std::sync::Arc;

    #[test]
    fn a_fault_hides_no_signal_of_the_vector() {
        let page = || MmapRaw::from(MmapOptions::new().len(0x1000).map_anon().unwrap());
        let kick = Arc::new(Kick {
            page: page(),
            offset: 0,
            asleep_offset: 0x40,
        });
        let [ready, request, fault] = [(); 3].map(|()| event().unwrap());
        let ready_too = ready.try_clone().unwrap();
        let signal = |event: &OwnedFd| rustix::io::write(event, &1_u64.to_ne_bytes()).unwrap();
        let control = Doorbell::new(page(), kick);
        let mut vector = Vector::new(control, ready, &request, &fault).unwrap();
        let mut wait = || {
            vector
                .wait(&fault, Some(Duration::from_millis(10)))
                .unwrap()
        };
        assert_eq!(wait(), Wakeup::Timeout);
        signal(&fault);
        signal(&ready_too);
        assert_eq!(
            [wait(), wait(), wait()],
            [Wakeup::Fault, Wakeup::Ready, Wakeup::Timeout]
        );
        signal(&request);
        // It stays readable, for the other queues.
        assert_eq!([wait(), wait()], [Wakeup::Released; 2]);
    }
}
