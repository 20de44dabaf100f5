// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A composed device, as a vfio-user client sees it.
//!
//! One thread serves its client ([`Front`]); another one reports what happened to its ADIs. They
//! share a [`State`] under one lock, which is held while an ADI handles a message: a slow ADI holds
//! up its own device only.

mod front;
mod migration;
mod regions;
mod saved;
mod state;
mod vector;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use adit_function::control::{Capabilities, Profile, ProfileError};
use adit_function::layout::Frames;
use adit_function::pci::{ConfigError, ConfigSpace, PciId};
use adit_function::slow_path::SlowPath;
use parking_lot::{Condvar, Mutex, MutexGuard};
use thiserror::Error;

use crate::backend::{Adi, AdiError, KeptAdi, Properties};
use crate::composition::{Composition, DmaError};
use crate::protocol::{AdiInfo, Layout, Limits, TraceEntry, VdevStats};
use crate::snapshot::StateError;
use regions::Pages;

pub use front::Front;
pub(crate) use state::State;

/// The bytes of a frame that are not its payload: header, two VLAN tags and FCS.
const FRAME_OVERHEAD: u16 = 26;

/// The reason why a device cannot be composed.
#[derive(Debug, Error)]
pub enum ComposeError {
    /// There is no ADI.
    #[error("a device has 1 to {most} ADIs: {count} are given", most = crate::protocol::MAX_ADIS)]
    Count {
        /// The number of ADIs.
        count: usize,
    },
    /// The ADIs differ.
    #[error(
        "ADI {adi} has {pairs} queue pairs and {vectors} vectors, ADI {first} has {first_pairs} and \
         {first_vectors}: the ADIs of a device must be alike"
    )]
    Unlike {
        /// The ADI that differs from the first.
        adi: String,
        /// Its queue pairs.
        pairs: u16,
        /// Its vectors.
        vectors: u16,
        /// The first ADI.
        first: String,
        /// Its queue pairs.
        first_pairs: u16,
        /// Its vectors.
        first_vectors: u16,
    },
    /// The number of RX queues is 0 or larger than an ADI has.
    #[error("{queues} RX queues: there can be 1 to {most}, the queue pairs of the ADI")]
    Queues {
        /// The number of RX queues.
        queues: u16,
        /// The largest possible number.
        most: u16,
    },
    /// An ADI's pages are not those of its queues and vectors.
    #[error("the file of doorbell pages has {pages} pages: {expected} are expected")]
    Pages {
        /// The number of pages.
        pages: u32,
        /// The number of queues and vectors that have a page.
        expected: u32,
    },
    /// The resources do not fit a function.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The configuration space cannot be composed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An ADI failed.
    #[error("ADI {adi}: {error}")]
    Adi {
        /// The ADI.
        adi: String,
        /// Its error.
        error: AdiError,
    },
    /// A window of the client's memory cannot be registered for a new ADI.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// The doorbell pages cannot be mapped.
    #[error("mapping the doorbell pages: {0}")]
    Map(std::io::Error),
    /// A client is connected.
    #[error("a client is connected, and has the doorbells of the ADI mapped: disconnect it first")]
    Connected,
    /// There is no such virtual port.
    #[error("the device has no virtual port {0}")]
    NoSuchPort(u16),
}

/// The operator's choices for a device.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The register layout.
    pub layout: Layout,
    /// Vendor and device id.
    pub pci_id: PciId,
    /// The number of RX queues of each virtual port; `None` for those of the ADI.
    pub queues: Option<u16>,
    /// The limits of the client.
    pub limits: Limits,
}

/// A composed device.
pub struct Vdev {
    shape: Shape,
    frames: Frames,
    vectors: u16,
    state: Mutex<State>,
    /// Notified when a handover ends.
    settled: Condvar,
}

impl Vdev {
    /// Composes a device out of ADIs, which are alike and in the state after opening.
    ///
    /// # Errors
    /// Fails when the ADIs cannot make up a device of this shape.
    pub fn new(adis: Vec<Box<dyn Adi>>, shape: Shape) -> Result<Self, ComposeError> {
        let count = adis.len();
        if count == 0 || count > crate::protocol::MAX_ADIS {
            return Err(ComposeError::Count { count });
        }
        let first = adis[0].properties().clone();
        for adi in &adis[1..] {
            alike(adis[0].name(), &first, adi.as_ref())?;
        }
        let queues = shape.queues.unwrap_or(first.pairs);
        if !(1..=first.pairs).contains(&queues) {
            let most = first.pairs;
            return Err(ComposeError::Queues { queues, most });
        }
        let frames = Frames {
            adis: count as u16, // at most MAX_ADIS
            rx_queues: queues,
            pairs: first.pairs,
            vectors: first.vectors,
        };
        let properties: Vec<_> = adis.iter().map(|adi| adi.properties()).collect();
        let profile = profile(&properties, frames, shape.layout)?;
        let vectors = profile.vectors();
        let config = ConfigSpace::composed(
            shape.pci_id,
            vectors.into(),
            profile.layout(),
            serial(first.mac),
        )?;
        let slow_path = SlowPath::new(config, regions::msix_len(shape.layout), profile);
        let adi = adis[0].name().to_owned();
        let composition = Composition::new(adis, frames, shape.limits);
        let pages = composition.pages();
        let pages = pages.map_err(|error| ComposeError::Adi { adi, error })?;
        let pages = Pages::new(pages, frames)?;
        Ok(Self {
            shape,
            frames,
            vectors,
            state: Mutex::new(State::new(slow_path, composition, pages)),
            settled: Condvar::new(),
        })
    }

    /// Locks the state.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Has `keep` called with each new file of doorbell pages, for a successor of this process. The
    /// present one is `inherited` if it is a predecessor's, whose client has it mapped.
    pub(crate) fn keep_pages(&self, inherited: bool, keep: state::KeepPages) {
        let mut state = self.lock();
        (state.pages_inherited, state.keep_pages) = (inherited, Some(keep));
    }

    /// Sets whether the client goes on in another process, or will go on here: the end of its
    /// connection is not its end then.
    pub(crate) fn hand_over(&self, handed_over: bool) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.handed_over, handed_over);
        state.taken_over &= handed_over;
        if handed_over {
            return;
        }
        if before {
            // Nobody may have handled the events of ADIs meanwhile.
            state.composition.take_faults();
            (0..self.frames.adis).for_each(|vport| state.gone_event(vport));
        }
        self.settled.notify_all();
    }

    /// Locks the state, but not between a state that was taken over and its continuation: what the client
    /// asks for then would not reach ADIs that are held, and is carried out after that.
    pub(crate) fn lock_settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        self.settled
            .wait_while(&mut state, |state| state.taken_over);
        state
    }

    /// Has the device go on, with the ADIs that it has inherited: as their predecessor has left them, or anew
    /// if the device was reset since its state was taken over, which has not reached them.
    pub(crate) fn go_on(&self) -> Result<(), StateError> {
        let mut state = self.lock();
        if !state.is_suspended() {
            state.composition.begin_anew();
            state.check_gone();
        }
        state.resume()
    }

    /// Locks the state as soon as the client is this process's, which it is for as long as the lock is held.
    pub(crate) fn lock_own(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        self.settled
            .wait_while(&mut state, |state| state.handed_over);
        state
    }

    /// Notes that the ADIs were left open by a predecessor of this process, with the doorbell pages that its
    /// client has mapped. If it still `runs`, a client that leaves is its own until its state is taken over.
    pub(crate) fn inherits_adis(&self, runs: bool) {
        let mut state = self.lock();
        (state.pages_inherited, state.adis_inherited) = (true, true);
        state.handed_over = runs;
    }

    /// Returns whether the ADIs were left open by a predecessor of this process.
    pub(crate) fn has_inherited_adis(&self) -> bool {
        self.lock().adis_inherited
    }

    /// The address and the length of each window that is registered for the ADIs.
    pub(crate) fn registered(&self) -> Vec<(u64, u64)> {
        self.lock().composition.registered()
    }

    /// The ADIs that a virtual port consists of; `None` if it has none that is open.
    pub(crate) fn members(&self, vport: u16) -> Option<Vec<KeptAdi>> {
        self.lock().composition.members(vport)
    }

    /// Has clients get this file of doorbell pages, which will be taken over from a predecessor of
    /// this process. Until then a client that leaves is the predecessor's.
    pub(crate) fn expect_pages(&self, file: OwnedFd) {
        let mut state = self.lock();
        state.pages.describe_as(file);
        state.handed_over = true;
    }

    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The resources of its ADIs.
    #[must_use]
    pub fn frames(&self) -> Frames {
        self.frames
    }

    /// The number of its MSI-X vectors.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        self.vectors
    }

    /// Returns whether a client is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.lock().connected
    }

    /// Returns whether one of its ADIs is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.lock().slow_path.in_reset()
    }

    /// Returns whether it is suspended: its ADIs do nothing, and its mailbox is not served.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.lock().is_suspended()
    }

    /// The numbers of queue pairs and vectors of the ADI of this name that a virtual port has, in a group or
    /// alone; `None` if it has none of that name.
    #[must_use]
    pub fn named(&self, vport: u16, name: &str) -> Option<(u16, u16)> {
        self.lock().composition.named(vport, name)
    }

    /// Checks that the ADI of a virtual port can be replaced.
    ///
    /// # Errors
    /// Fails when a client is connected, or there is no such port.
    pub fn check_swap(&self, vport: u16) -> Result<(), ComposeError> {
        self.check_port(&self.lock(), vport)
    }

    /// Closes the ADI of a virtual port, for one with these numbers of queue pairs and vectors. The device is
    /// held in reset.
    ///
    /// # Errors
    /// As [`check_swap`](Self::check_swap), and when the other one, which is named `by`, has other resources.
    pub fn make_way(
        &self,
        vport: u16,
        by: &str,
        (pairs, vectors): (u16, u16),
    ) -> Result<(), ComposeError> {
        let mut state = self.lock();
        self.check_port(&state, vport)?;
        self.check_like(&state, vport, by, (pairs, vectors))?;
        state.adi_gone(vport);
        Ok(())
    }

    fn check_port(&self, state: &State, vport: u16) -> Result<(), ComposeError> {
        if state.connected {
            return Err(ComposeError::Connected);
        }
        match vport < self.frames.adis {
            true => Ok(()),
            false => Err(ComposeError::NoSuchPort(vport)),
        }
    }

    /// Checks that an ADI has the resources of that of a virtual port, which exists.
    fn check_like(
        &self,
        state: &State,
        vport: u16,
        adi: &str,
        (pairs, vectors): (u16, u16),
    ) -> Result<(), ComposeError> {
        if (pairs, vectors) == (self.frames.pairs, self.frames.vectors) {
            return Ok(());
        }
        Err(ComposeError::Unlike {
            adi: adi.to_owned(),
            pairs,
            vectors,
            first: state.composition.name(vport),
            first_pairs: self.frames.pairs,
            first_vectors: self.frames.vectors,
        })
    }

    /// Replaces the ADI of a virtual port.
    ///
    /// # Errors
    /// Fails when a client is connected, or the ADI is not like the others. If the failure is one of
    /// the new ADI, the device has none at this port afterwards.
    pub fn swap(&self, vport: u16, adi: Box<dyn Adi>) -> Result<(), ComposeError> {
        let mut state = self.lock();
        self.check_port(&state, vport)?;
        let given = adi.properties();
        self.check_like(&state, vport, adi.name(), (given.pairs, given.vectors))?;
        let result = self.swap_locked(&mut state, vport, adi);
        if result.is_err() {
            state.adi_gone(vport);
        }
        result
    }

    fn swap_locked(
        &self,
        state: &mut State,
        vport: u16,
        adi: Box<dyn Adi>,
    ) -> Result<(), ComposeError> {
        let name = adi.name().to_owned();
        state.composition.replace(vport, adi)?;
        if state.composition.is_gone() {
            // Another port has no ADI yet, and the device stays in reset.
            return Ok(());
        }
        let pages = state.composition.pages();
        let pages = pages.map_err(|error| ComposeError::Adi { adi: name, error })?;
        let pages = Pages::new(pages, self.frames)?;
        let properties = state.composition.properties();
        let profile = profile(&properties, self.frames, self.shape.layout)?;
        state.slow_path.set_profile(profile);
        state.swapped(pages);
        Ok(())
    }

    /// Closes all ADIs: nothing accesses the client's memory afterwards.
    pub fn shut_down(&self) {
        let mut state = self.lock();
        (0..self.frames.adis).for_each(|vport| state.composition.close(vport));
        state.check_gone();
    }

    /// Leaves all ADIs open for a successor of this process, where there is a keeper, and closes them
    /// otherwise: nothing accesses the client's memory afterwards, or once the successor has begun anew.
    pub fn leave(&self) {
        let mut state = self.lock();
        state.composition.leave();
        state.check_gone();
    }

    /// Handles an event that an ADI has gone, which may be one that has been replaced.
    pub fn gone_event(&self, vport: u16) {
        let mut state = self.lock();
        // One that is handed over is looked at by the process that goes on.
        if !state.handed_over {
            state.gone_event(vport);
        }
    }

    /// Closes each ADI that reports that it is gone, whoever has the client.
    pub(crate) fn close_gone(&self) {
        let mut state = self.lock();
        (0..self.frames.adis).for_each(|vport| state.gone_event(vport));
    }

    /// Closes an ADI that has gone, or must be closed.
    pub fn adi_gone(&self, vport: u16) {
        self.lock().adi_gone(vport);
    }

    /// Records the fault of an ADI, if it has one that is not recorded.
    pub fn take_fault(&self, vport: u16) {
        let mut state = self.lock();
        // What this process takes from an ADI that is another one's, is lost with that process's trace.
        if !state.handed_over {
            state.composition.take_fault(vport);
        }
    }

    /// Reads the links again, and notifies the driver of changes.
    pub fn refresh_links(&self) {
        self.lock().refresh_links();
    }

    /// Continues requests that were delayed; returns whether some still are.
    pub fn continue_delayed(&self) -> bool {
        let mut state = self.lock();
        if state.composition.is_waiting() {
            state.serve();
        }
        state.composition.is_waiting()
    }

    /// The ADIs.
    #[must_use]
    pub fn adis(&self) -> Vec<AdiInfo> {
        self.lock().composition.adis()
    }

    /// The number of windows of the client's memory, and of bytes in them.
    #[must_use]
    pub fn windows(&self) -> (u32, u64) {
        self.lock().composition.windows()
    }

    /// The entries of the trace after the number `after`, at most `max`.
    #[must_use]
    pub fn trace(&self, after: u64, max: usize) -> Vec<TraceEntry> {
        self.lock().composition.trace.borrow().after(after, max)
    }

    /// Its counters, except those of the vfio-user server.
    #[must_use]
    pub fn stats(&self) -> VdevStats {
        let state = self.lock();
        let (control, mailbox) = (
            state.slow_path.control().counters(),
            state.slow_path.mailbox().counters(),
        );
        let mailbox_faults = [
            ("bad_opcode", mailbox.bad_opcode),
            ("too_long", mailbox.too_long),
            ("no_buffer", mailbox.no_buffer),
            ("request_dma", mailbox.request_dma_faults),
            ("buffer_too_small", mailbox.buffer_too_small),
            ("post_dma", mailbox.post_dma_faults),
            ("ring", mailbox.ring_faults),
        ];
        VdevStats {
            requests: mailbox.requests,
            requests_refused: by_name(control.refused().map(|(r, n)| (r.name(), n))),
            requests_delayed: state.composition.delayed(),
            mailbox_faults: by_name(mailbox_faults),
            events: control.events,
            resets: by_name(state.resets().iter().map(|(cause, &n)| (cause.name(), n))),
            interrupts: state.interrupts(),
            stray_accesses: state.stray_accesses(),
            dma: state.composition.dma_stats(),
            adis: state.composition.adi_stats(),
            ..VdevStats::default()
        }
    }
}

/// A map of the counters that are not 0.
pub(crate) fn by_name(
    counters: impl IntoIterator<Item = (&'static str, u64)>,
) -> BTreeMap<String, u64> {
    let counted = counters.into_iter().filter(|&(_, count)| count > 0);
    counted.map(|(name, n)| (name.to_owned(), n)).collect()
}

fn alike(name: &str, first: &Properties, adi: &dyn Adi) -> Result<(), ComposeError> {
    let own = adi.properties();
    if (own.pairs, own.vectors) == (first.pairs, first.vectors) {
        return Ok(());
    }
    Err(ComposeError::Unlike {
        adi: adi.name().to_owned(),
        pairs: own.pairs,
        vectors: own.vectors,
        first: name.to_owned(),
        first_pairs: first.pairs,
        first_vectors: first.vectors,
    })
}

/// The resources of a function out of these ADIs.
fn profile(adis: &[&Properties], frames: Frames, layout: Layout) -> Result<Profile, ProfileError> {
    let macs = adis.iter().map(|adi| adi.mac).collect();
    let mtu = adis.iter().map(|adi| adi.max_mtu).min().unwrap_or(0);
    Ok(Profile::new(macs, frames.rx_queues)?
        .with_layout(layout.registers(frames))?
        .narrowed(&Capabilities::OF_ADIS)
        .with_max_frame(mtu.saturating_add(FRAME_OVERHEAD)))
}

/// A serial number: the EUI-64 of a MAC address.
fn serial(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([a, b, c, 0xFF, 0xFE, d, e, f])
}
