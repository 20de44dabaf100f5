// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Suspension of a device: its ADIs do nothing, and its mailbox is not served.

use adit_function::logging::warn_throttled;

use super::State;
use crate::protocol::TraceEvent;
use crate::snapshot::StateError;

impl State {
    /// The number of MSI-X vectors.
    pub(in super::super) fn vectors(&self) -> u32 {
        self.slow_path.control().profile().vectors().into()
    }

    /// Returns whether the ADIs are suspended and the mailbox is not served.
    pub(in super::super) fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Suspends the device.
    pub(in super::super) fn suspend(&mut self) -> Result<(), StateError> {
        if self.slow_path.in_reset() {
            return Err(StateError::Gone);
        }
        if !self.suspended {
            let suspended = self.composition.suspend();
            self.check_gone();
            suspended?;
            self.suspended = true;
            self.mailbox_vector.hold(true);
            self.composition.record(TraceEvent::Suspended);
        }
        Ok(())
    }

    /// Ends the suspension, with all that was put off.
    pub(in super::super) fn resume(&mut self) -> Result<(), StateError> {
        if !self.suspended {
            return Ok(());
        }
        self.end_suspension();
        let resumed = self.composition.resume();
        self.composition.record(TraceEvent::Resumed);
        self.signal_restored();
        self.serve();
        self.refresh_links();
        resumed
    }

    pub(super) fn end_suspension(&mut self) {
        (self.suspended, self.awaits_client) = (false, false);
        self.stopped_by_client = false;
        self.mailbox_vector.hold(false);
    }

    /// Resumes a device that was restored before its client had connected.
    pub(in super::super) fn continue_restored(&mut self) {
        if self.awaits_client {
            if let Err(error) = self.resume() {
                warn_throttled!("the device is not resumed: {error}");
            }
        }
    }

    /// Signals each vector that has an eventfd once after the state was restored.
    fn signal_restored(&mut self) {
        let eventfds = &self.eventfds;
        self.unsignalled
            .retain(|vector| match eventfds.get(vector) {
                // The only error is a full counter, and then the client has a signal.
                Some(eventfd) => {
                    let _ = eventfd.signal();
                    false
                }
                None => true,
            });
        if self.unsignalled.contains(&0) && self.mailbox_vector.signal_once() {
            self.unsignalled.remove(&0);
        }
    }

    pub(super) fn signal_unless_suspended(&mut self) {
        if !self.suspended && !self.unsignalled.is_empty() {
            self.signal_restored();
        }
    }

    /// Prepares the ADIs for a state that is restored: they are reset and suspended.
    pub(in super::super) fn begin_restore(&mut self) -> Result<(), StateError> {
        self.reset_adis();
        self.suspend()
    }
}
