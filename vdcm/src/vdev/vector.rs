// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The mailbox's vector, whose DYN_CTL traps.

use adit_uapi::regs::dyn_ctl::{DynCtl, CLEARPBA_M, INTENA_M, SWINT_TRIG_M};
use adit_vfio_user::EventFd;

use crate::snapshot::MailboxVectorState;

/// A vector that the daemon signals. A cause stays latched until the driver has armed the vector.
#[derive(Debug, Default)]
pub(super) struct MailboxVector {
    eventfd: Option<EventFd>,
    /// DYN_CTL, with INTENA while the vector is armed.
    dyn_ctl: u32,
    pending: bool,
    /// Set while the device is suspended: it does not signal.
    held: bool,
    signalled: u64,
    lost: u64,
}

impl MailboxVector {
    /// DYN_CTL.
    pub(super) fn read(&self) -> u32 {
        self.dyn_ctl
    }

    /// Writes DYN_CTL.
    pub(super) fn write(&mut self, value: u32) {
        let written = DynCtl(value);
        let armed = match written.intena_msk() {
            true => self.dyn_ctl & INTENA_M,
            false => value & INTENA_M,
        };
        self.dyn_ctl = value & !(INTENA_M | SWINT_TRIG_M | CLEARPBA_M) | armed;
        self.pending |= written.swint_trig();
        self.signal();
    }

    /// Latches a cause.
    pub(super) fn raise(&mut self) {
        self.pending = true;
        self.signal();
    }

    /// Sets the eventfd.
    pub(super) fn set_eventfd(&mut self, eventfd: Option<EventFd>) {
        self.eventfd = eventfd;
        self.signal();
    }

    /// Disarms the vector and discards the cause; the eventfd is kept.
    pub(super) fn reset(&mut self) {
        (self.dyn_ctl, self.pending) = (0, false);
    }

    /// Keeps causes latched until this ends.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
        self.signal();
    }

    /// Signals without a cause; returns false without an eventfd.
    pub(super) fn signal_once(&self) -> bool {
        let signalled = self.eventfd.as_ref().map(EventFd::signal);
        signalled.is_some()
    }

    /// The state to be saved.
    pub(super) fn save(&self) -> MailboxVectorState {
        MailboxVectorState {
            dyn_ctl: self.dyn_ctl,
            pending: self.pending,
        }
    }

    /// Takes over a saved state; the eventfd is kept.
    pub(super) fn restore(&mut self, saved: MailboxVectorState) {
        (self.dyn_ctl, self.pending) = (saved.dyn_ctl, saved.pending);
    }

    /// The number of interrupts, and of those that could not be signalled.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.signalled, self.lost)
    }

    fn signal(&mut self) {
        let Some(eventfd) = &self.eventfd else { return };
        if self.held || !self.pending || self.dyn_ctl & INTENA_M == 0 {
            return;
        }
        self.pending = false;
        self.dyn_ctl &= !INTENA_M;
        match eventfd.signal() {
            Ok(()) => self.signalled += 1,
            Err(_) => self.lost += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use adit_uapi::regs::dyn_ctl::INTENA_MSK_M;
    use rustix::event::{eventfd, EventfdFlags};

    use super::*;

    fn counted(event: &OwnedFd) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(event, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    #[test]
    fn a_cause_is_signalled_once_for_each_time_that_the_vector_is_armed() {
        let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let mut vector = MailboxVector::default();
        vector.raise();
        vector.write(INTENA_M);
        assert_eq!(counted(&event), 0, "no eventfd");
        let own = EventFd::from_client(event.try_clone().unwrap()).unwrap();
        vector.set_eventfd(Some(own));
        assert_eq!((counted(&event), vector.read() & INTENA_M), (1, 0));
        vector.raise();
        assert_eq!(counted(&event), 0, "not armed");
        vector.write(INTENA_MSK_M | INTENA_M);
        assert_eq!(counted(&event), 0, "the write leaves INTENA unchanged");
        vector.write(INTENA_M);
        assert_eq!(counted(&event), 1);
        vector.write(INTENA_M);
        assert_eq!(counted(&event), 0, "no cause");
        vector.write(INTENA_M | SWINT_TRIG_M);
        assert_eq!(counted(&event), 1);
        vector.raise();
        vector.reset();
        vector.write(INTENA_M);
        assert_eq!(counted(&event), 0);
        assert_eq!(vector.counts(), (3, 0));
    }
}
