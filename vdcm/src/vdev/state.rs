// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a composed device: its slow path and its ADIs, under one lock.

mod suspension;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{fence, Ordering};

use adit_function::layout::{Frames, Register, RegisterLayout};
use adit_function::logging::warn_throttled;
use adit_function::memory::Access;
use adit_function::pci::ConfigEffect;
use adit_function::slow_path::{SlowPath, WriteEffect};
use adit_vfio_user::EventFd;

use super::regions::Pages;
use super::vector::MailboxVector;
use crate::backend::AdiError;
use crate::composition::{Composition, DmaError};
use crate::protocol::{ResetCause, TraceEvent};
use crate::snapshot::StateError;

/// Stores a file of doorbell pages for a successor of this process.
pub(crate) type KeepPages = Box<dyn Fn(BorrowedFd<'_>) + Send>;

/// The state of a device.
pub(crate) struct State {
    pub(crate) slow_path: SlowPath,
    pub(crate) composition: Composition,
    pub(super) mailbox_vector: MailboxVector,
    /// Set while the ADIs are suspended and the mailbox is not served.
    suspended: bool,
    /// Set if it is resumed once a client has set its interrupts.
    pub(super) awaits_client: bool,
    /// Set while its client has stopped it, by a migration.
    pub(super) stopped_by_client: bool,
    /// The vectors that are signalled once, as soon as they have an eventfd and the device runs: their
    /// interrupts may have been lost with the client's former eventfds.
    pub(super) unsignalled: BTreeSet<u32>,
    /// The client's eventfds, by vector, except the mailbox's.
    eventfds: BTreeMap<u32, EventFd>,
    /// The doorbell pages, mapped for accesses that trap.
    pub(super) pages: Pages,
    /// Called with each new file of doorbell pages.
    pub(super) keep_pages: Option<KeepPages>,
    /// Set while a client of a predecessor of this process may have the doorbell pages mapped.
    pub(super) pages_inherited: bool,
    /// Set if the ADIs were left open by a predecessor of this process, with their doorbell pages.
    pub(super) adis_inherited: bool,
    pub(super) connected: bool,
    /// Set while the client goes on in another process, or will go on here.
    pub(super) handed_over: bool,
    /// Set from when a predecessor's state was taken over until the device goes on with it.
    pub(super) taken_over: bool,
    resets: BTreeMap<ResetCause, u64>,
    stray_accesses: u64,
}

impl State {
    pub(super) fn new(slow_path: SlowPath, composition: Composition, pages: Pages) -> Self {
        Self {
            slow_path,
            composition,
            mailbox_vector: MailboxVector::default(),
            suspended: false,
            awaits_client: false,
            stopped_by_client: false,
            unsignalled: BTreeSet::new(),
            eventfds: BTreeMap::new(),
            pages,
            keep_pages: None,
            pages_inherited: false,
            adis_inherited: false,
            connected: false,
            handed_over: false,
            taken_over: false,
            resets: BTreeMap::new(),
            stray_accesses: 0,
        }
    }

    fn layout(&self) -> RegisterLayout {
        self.slow_path.layout()
    }

    pub(super) fn frames(&self) -> Frames {
        self.composition.frames()
    }

    /// The offset in the doorbell pages of an offset of BAR0, if that is one of theirs.
    fn in_pages(&self, offset: u32) -> Option<u64> {
        let range = self.frames().range();
        range
            .contains(&offset)
            .then(|| u64::from(offset - range.start))
    }

    /// Reads a 32-bit register of BAR0.
    pub(super) fn register_read(&mut self, offset: u32) -> u32 {
        if let Some(at) = self.in_pages(offset) {
            let word = self.pages.window.word(at);
            return word.map_or(0, |word| u32::from_le(word.load(Ordering::Acquire)));
        }
        if self.layout().register(offset) == Some(Register::MailboxDynCtl) {
            return self.mailbox_vector.read();
        }
        self.slow_path.register_read(offset).unwrap_or_else(|| {
            self.stray_accesses += 1;
            0
        })
    }

    /// Writes a 32-bit register of BAR0.
    pub(super) fn register_write(&mut self, offset: u32, value: u32) {
        if let Some(at) = self.in_pages(offset) {
            if let Some(word) = self.pages.window.word(at) {
                word.store(value.to_le(), Ordering::Release);
                // A doorbell rings for memory that the client wrote before.
                fence(Ordering::SeqCst);
            }
            return;
        }
        if self.layout().register(offset) == Some(Register::MailboxDynCtl) {
            return self.mailbox_vector.write(value);
        }
        match self.slow_path.register_write(offset, value) {
            Some(WriteEffect::None) => {}
            Some(WriteEffect::Serve) => self.serve(),
            // These layouts have no register that resets; the driver sends a message.
            Some(WriteEffect::Reset) => self.reset_state(ResetCause::Driver),
            None => self.stray_accesses += 1,
        }
    }

    /// Writes configuration space.
    pub(super) fn config_write(&mut self, offset: u64, data: &[u8]) {
        if self.slow_path.config_write(offset, data) == ConfigEffect::FunctionLevelReset {
            self.reset(ResetCause::Function);
        }
    }

    /// Serves the mailbox, unless the device is suspended.
    pub(crate) fn serve(&mut self) {
        if self.slow_path.in_reset() || self.suspended {
            return;
        }
        let served = self.slow_path.serve(&mut self.composition);
        if served.reset {
            self.reset_state(ResetCause::Driver);
        } else if served.posted {
            self.mailbox_vector.raise();
        }
        self.check_gone();
    }

    /// Holds the device in reset if one of its ADIs is gone.
    pub(crate) fn check_gone(&mut self) {
        if self.composition.is_gone() && !self.slow_path.in_reset() {
            self.slow_path.hold_in_reset(true);
            self.reset_state(ResetCause::AdiGone);
        }
    }

    /// Handles an event that an ADI has gone.
    pub(super) fn gone_event(&mut self, vport: u16) {
        self.composition.close_if_gone(vport);
        self.check_gone();
    }

    /// Handles an ADI that has gone.
    pub(crate) fn adi_gone(&mut self, vport: u16) {
        self.composition.close(vport);
        self.check_gone();
    }

    /// Reads the links again, and notifies the driver of changes, unless the device is suspended.
    pub(crate) fn refresh_links(&mut self) {
        if self.suspended {
            return;
        }
        let changed = self.composition.refresh_links();
        for &vport in &changed {
            self.slow_path.link_changed(vport);
        }
        if changed.is_empty() {
            self.check_gone();
        } else {
            self.serve();
        }
    }

    /// Resets the device as a function-level reset does.
    pub(super) fn reset(&mut self, cause: ResetCause) {
        self.before_reset(cause);
        self.slow_path.reset();
        self.check_gone();
    }

    /// Resets the device as its driver does: configuration space is kept.
    pub(super) fn reset_state(&mut self, cause: ResetCause) {
        self.before_reset(cause);
        self.slow_path.reset_state();
        self.check_gone();
    }

    /// Stops the ADIs and the mailbox's vector, which ends a suspension.
    fn before_reset(&mut self, cause: ResetCause) {
        self.reset_adis();
        self.composition.record(TraceEvent::Reset { cause });
        *self.resets.entry(cause).or_default() += 1;
    }

    /// Restores the state after opening in the ADIs and the mailbox's vector.
    fn reset_adis(&mut self) {
        self.composition.reset();
        self.mailbox_vector.reset();
        self.end_suspension();
        self.unsignalled.clear();
    }

    /// Releases all that a client had.
    pub(super) fn disconnect(&mut self) {
        self.reset(ResetCause::Disconnect);
        self.composition.unmap_all();
        self.composition.forget_written();
        self.clear_eventfds();
        self.take_pages_back();
        self.composition.record(TraceEvent::Disconnected);
        self.connected = false;
    }

    /// Prepares for a client that a predecessor of this process has not served. If that one's client has
    /// left while nobody served it, nothing of what it has set up may be there for the next one.
    pub(super) fn new_client(&mut self) {
        if self.pages_inherited {
            self.disconnect();
        }
    }

    /// Makes the doorbell pages that a client may still have mapped useless to it.
    fn take_pages_back(&mut self) {
        if self.composition.revoke_pages() && !self.composition.is_gone() {
            let pages = self.composition.pages();
            match pages.map(|pages| Pages::new(pages, self.frames())) {
                Ok(Ok(pages)) => {
                    self.pages = pages;
                    self.pages_inherited = false;
                    if let Some(keep) = &self.keep_pages {
                        keep(self.pages.file());
                    }
                }
                // The device has no doorbells that work.
                Ok(Err(error)) => self.close_all(&error),
                Err(error) => self.close_all(&error),
            }
        }
        self.check_gone();
    }

    /// Takes doorbell pages over, which a client of a predecessor of this process has mapped. Their
    /// content stays.
    pub(super) fn adopt_pages(&mut self, pages: OwnedFd) -> Result<(), StateError> {
        let adi = self.composition.name(0);
        let failed = |error| StateError::Adi {
            adi: adi.clone(),
            error,
        };
        self.composition.adopt_pages(pages).map_err(failed)?;
        let pages = self.composition.pages().map_err(failed)?;
        let pages = Pages::new(pages, self.frames());
        self.pages = pages.map_err(|error| {
            let what = "mapping the doorbell pages";
            let source = std::io::Error::other(error.to_string());
            failed(AdiError::Io { what, source })
        })?;
        Ok(())
    }

    fn close_all(&mut self, error: &dyn std::fmt::Display) {
        warn_throttled!("the ADIs are closed, they have no doorbell pages: {error}");
        (0..self.frames().adis).for_each(|vport| self.composition.close(vport));
    }

    /// Maps a window of the client's memory.
    pub(super) fn map(
        &mut self,
        iova: u64,
        len: u64,
        access: Access,
        file: Option<(OwnedFd, u64)>,
    ) -> Result<(), DmaError> {
        let result = self.composition.map(iova, len, access, file);
        self.composition.record(TraceEvent::Map {
            iova,
            len,
            error: result.as_ref().err().map(ToString::to_string),
        });
        self.check_gone();
        result
    }

    /// Unmaps a window. When this returns, nothing accesses it.
    pub(super) fn unmap(&mut self, iova: u64, len: u64) {
        self.composition.unmap(iova, len);
        self.composition.record(TraceEvent::Unmap { iova, len });
        self.check_gone();
    }

    /// Sets the eventfd of a vector.
    pub(super) fn set_eventfd(&mut self, vector: u32, eventfd: Option<EventFd>) {
        if vector == 0 {
            self.mailbox_vector.set_eventfd(eventfd);
            return self.signal_unless_suspended();
        }
        // The vector of polled queues is no ADI's, and never signals.
        if let Some((vport, own)) = self.frames().vector(vector) {
            let set = self.composition.set_vector(vport, own, eventfd.as_ref());
            if let Err(error) = set {
                warn_throttled!(vector, "eventfd not set: {error}");
            }
        }
        match eventfd {
            Some(eventfd) => self.eventfds.insert(vector, eventfd),
            None => self.eventfds.remove(&vector),
        };
        self.signal_unless_suspended();
        self.check_gone();
    }

    /// Removes all eventfds.
    pub(super) fn clear_eventfds(&mut self) {
        self.mailbox_vector.set_eventfd(None);
        let vectors: Vec<_> = self.eventfds.keys().copied().collect();
        for vector in vectors {
            self.set_eventfd(vector, None);
        }
    }

    /// Ends the reset in which the device was held, after its ADI was replaced.
    pub(super) fn swapped(&mut self, pages: Pages) {
        self.pages = pages;
        self.slow_path.hold_in_reset(false);
        self.reset(ResetCause::AdiSwapped);
    }

    /// The number of resets by cause.
    pub(super) fn resets(&self) -> &BTreeMap<ResetCause, u64> {
        &self.resets
    }

    /// The number of accesses to offsets without a register.
    pub(super) fn stray_accesses(&self) -> u64 {
        self.stray_accesses
    }

    /// The number of interrupts of the mailbox's vector.
    pub(super) fn interrupts(&self) -> u64 {
        self.mailbox_vector.counts().0
    }
}
