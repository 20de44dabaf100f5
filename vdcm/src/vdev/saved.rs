// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Saves and restores the state of a device.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use adit_function::ids::VportId;
use adit_function::layout::Frames;

use super::state::State;
use super::Vdev;
use crate::composition::PortState;
use crate::protocol::{ResetCause, TraceEvent};
use crate::snapshot::{
    AdiState, DeviceShape, DeviceState, StateError, VectorState, FORMAT, VERSION,
};

/// The offset of the first throttling interval in the page of a vector.
const ITR: u32 = adit_uapi::regs::pf::GLINT_ITR_INDEX_SPACING;

/// An estimate of the bytes of a saved state for each queue pair of an ADI, besides the slow path's.
const BYTES_PER_PAIR: u64 = 1024;

impl Vdev {
    /// Suspends the device: it accesses no memory, raises no interrupt, and does not serve its
    /// mailbox, until it is resumed or reset. One that is suspended stays so.
    ///
    /// # Errors
    /// Fails when an ADI is gone or cannot be suspended; the device continues then.
    pub fn suspend(&self) -> Result<(), StateError> {
        self.lock().suspend()
    }

    /// Ends the suspension. A device that runs is not changed.
    ///
    /// # Errors
    /// Fails when an ADI is gone.
    pub fn resume(&self) -> Result<(), StateError> {
        self.lock().resume()
    }

    /// Saves the state of a suspended device.
    ///
    /// # Errors
    /// Fails when the device is not suspended, or an ADI is gone.
    pub fn save(&self) -> Result<DeviceState, StateError> {
        let mut state = self.lock();
        if !state.is_suspended() {
            return Err(StateError::Running);
        }
        let saved = state.save(self.device_shape());
        state.check_gone();
        saved
    }

    /// Checks a state as far as that can be done without changing the device.
    ///
    /// # Errors
    /// Fails when the device cannot have it.
    pub fn check_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        saved.check(&self.device_shape(), self.frames)?;
        Ok(self.lock().slow_path.check_saved(&saved.function)?)
    }

    /// Replaces the state by a saved one; the device is suspended then.
    ///
    /// # Errors
    /// Fails when [`check_state`](Self::check_state) does, or an ADI is gone; the state is that before
    /// then. When the control plane or an ADI does not accept the state; then the device has been
    /// reset, and runs.
    pub fn restore(&self, saved: &DeviceState) -> Result<(), StateError> {
        self.restore_with(saved, true)
    }

    /// Restores a state, with that of the ADIs or without.
    fn restore_with(&self, saved: &DeviceState, adis: bool) -> Result<(), StateError> {
        self.check_state(saved)?;
        let mut state = self.lock();
        if state.slow_path.in_reset() {
            return Err(StateError::Gone);
        }
        let begun = state.begin_restore();
        let restored = begun.and_then(|()| state.restore(saved, adis));
        if restored.is_err() {
            state.reset(ResetCause::Restore);
        } else {
            state.composition.record(TraceEvent::Restored);
        }
        state.check_gone();
        restored
    }

    /// Takes over the state of a predecessor of this process, and the doorbell pages that its client has
    /// mapped; the device is suspended then. Without pages the ADIs are the predecessor's, which have their
    /// own state.
    ///
    /// # Errors
    /// As [`restore`](Self::restore), and when the pages cannot be used.
    pub(crate) fn take_over(
        &self,
        saved: &DeviceState,
        pages: Option<OwnedFd>,
    ) -> Result<(), StateError> {
        match pages {
            None => self.restore_with(saved, false)?,
            Some(pages) => {
                self.restore(saved)?;
                self.lock().adopt_pages(pages)?;
            }
        }
        self.lock().taken_over = true;
        Ok(())
    }

    /// Takes the doorbell pages of a predecessor of this process over, or its ADIs with their pages, in the
    /// state after a reset.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(crate) fn inherit(&self, pages: Option<OwnedFd>) -> Result<(), StateError> {
        let mut state = self.lock();
        match pages {
            Some(pages) => state.adopt_pages(pages)?,
            None => state.composition.begin_anew(),
        }
        // The reset of the ADI clears them.
        state.reset(ResetCause::Restore);
        Ok(())
    }

    /// Lets a device that was restored without a client continue once its client has set its
    /// interrupts, which clients do last.
    pub(crate) fn await_client(&self) {
        self.lock().awaits_client = true;
    }

    /// Has a suspended device stay so until its client ends that: it has stopped the device itself.
    pub(super) fn stopped_by_client(&self) {
        let mut state = self.lock();
        (state.awaits_client, state.stopped_by_client) = (false, true);
    }

    /// Ends the suspension for the operator.
    ///
    /// # Errors
    /// As [`resume`](Self::resume), and when the client has stopped the device: it may have copied
    /// memory already, and does not expect further accesses.
    pub(crate) fn resume_for_operator(&self) -> Result<(), StateError> {
        let mut state = self.lock();
        if state.stopped_by_client {
            return Err(StateError::Stopped);
        }
        state.resume()
    }

    /// Estimates the number of bytes of a saved state.
    ///
    /// # Errors
    /// Fails when there would be none.
    pub fn state_size(&self) -> Result<u64, StateError> {
        let state = self.lock();
        let function = state.slow_path.save(&state.composition)?;
        let function = serde_json::to_vec(&function)?;
        let pairs = u64::from(self.frames.adis) * u64::from(self.frames.pairs);
        Ok(function.len() as u64 + pairs * BYTES_PER_PAIR)
    }

    fn device_shape(&self) -> DeviceShape {
        let Frames {
            adis,
            rx_queues,
            pairs,
            vectors,
        } = self.frames;
        DeviceShape {
            layout: self.shape.layout,
            pci_id: self.shape.pci_id,
            adis,
            queues: rx_queues,
            pairs,
            vectors,
        }
    }
}

impl State {
    fn save(&self, device: DeviceShape) -> Result<DeviceState, StateError> {
        let adis = (0..self.frames().adis).map(|adi| self.save_adi(adi));
        Ok(DeviceState {
            format: FORMAT.to_owned(),
            version: VERSION,
            device,
            function: self.slow_path.save(&self.composition)?,
            mailbox_vector: self.mailbox_vector.save(),
            adis: adis.collect::<Result<_, _>>()?,
        })
    }

    fn save_adi(&self, adi: u16) -> Result<AdiState, StateError> {
        let PortState { queues, pending } = self.composition.save_port(adi.into())?;
        let Frames { pairs, .. } = self.frames();
        let (first, pairs) = (self.first_page(adi), u32::from(pairs));
        let tails = |pages: std::ops::Range<u32>| pages.map(|page| self.page_word(first + page, 0));
        let vector = |(page, pending): (u32, bool)| VectorState {
            dyn_ctl: self.page_word(page, 0),
            itr: [0, 1, 2].map(|n| self.page_word(page, (n + 1) * ITR)),
            pending,
        };
        Ok(AdiState {
            tx_tails: tails(0..pairs).collect(),
            buffer_tails: tails(pairs..3 * pairs).collect(),
            vectors: (first + 3 * pairs..).zip(pending).map(vector).collect(),
            queues,
        })
    }

    /// Restores a state that was checked, as far as the ADIs and the control plane accept it. The ADIs
    /// have been reset and are suspended.
    fn restore(&mut self, saved: &DeviceState, adis: bool) -> Result<(), StateError> {
        let restored = self
            .slow_path
            .restore(&saved.function, &mut self.composition);
        restored?;
        if adis {
            for (adi, state) in (0..).zip(&saved.adis) {
                self.restore_adi(adi, state)?;
            }
        }
        self.mailbox_vector.restore(saved.mailbox_vector);
        for vport in 0..self.frames().adis {
            // The link may be another one here.
            self.slow_path.link_changed(VportId(vport.into()));
        }
        // ADIs that are the same have the same eventfds, and their causes.
        if adis {
            self.unsignalled = (0..self.vectors()).collect();
        }
        Ok(())
    }

    fn restore_adi(&mut self, adi: u16, state: &AdiState) -> Result<(), StateError> {
        let port = PortState {
            queues: state.queues.clone(),
            pending: state.vectors.iter().map(|vector| vector.pending).collect(),
        };
        self.composition.restore_port(adi.into(), &port)?;
        // After the queues, whose configuration clears tails.
        let first = self.first_page(adi);
        let tails = state.tx_tails.iter().chain(&state.buffer_tails);
        for (page, &tail) in (first..).zip(tails) {
            self.set_page_word(page, 0, tail);
        }
        let first = first + 3 * u32::from(self.frames().pairs);
        for (page, vector) in (first..).zip(&state.vectors) {
            self.set_page_word(page, 0, vector.dyn_ctl);
            for (n, &itr) in (1..).zip(&vector.itr) {
                self.set_page_word(page, n * ITR, itr);
            }
        }
        Ok(())
    }

    /// The first doorbell page of an ADI.
    fn first_page(&self, adi: u16) -> u32 {
        u32::from(adi) * self.frames().pages()
    }

    fn page_word(&self, page: u32, offset: u32) -> u32 {
        let register = self.pages.window.register(page, offset);
        register.map_or(0, |r| u32::from_le(r.load(Ordering::Acquire)))
    }

    fn set_page_word(&self, page: u32, offset: u32, value: u32) {
        if let Some(register) = self.pages.window.register(page, offset) {
            register.store(value.to_le(), Ordering::Release);
        }
    }
}
