// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The reports of ADIs: entries of cause rings, or signals of eventfds.

use std::collections::BTreeMap;
use std::sync::Arc;

use adit_uapi::virtchnl2::adi::cause_reason;
use adit_vfio_user::EventFd;

use super::cause_ring::{CauseRing, CauseRingConfig, CauseRingState};
use crate::ids::{AdiId, VectorId};
use crate::logging::warn_throttled;
use crate::memory::{DmaFault, GuestMemory};

/// Counters of the causes of ADIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CauseCounters {
    /// Interrupts of vectors that were reported.
    pub interrupts: u64,
    /// Faults that were reported.
    pub faults: u64,
    /// Rings removed because their memory could not be accessed.
    pub ring_faults: u64,
    /// Signals that could not be written to their eventfd.
    pub lost: u64,
    /// Times that a vector or queue went to sleep.
    pub slept: u64,
}

/// The cause rings, and the faults that must be reported.
#[derive(Default)]
pub(super) struct Reports {
    rings: BTreeMap<u16, CauseRing>,
    /// The eventfds for faults of ADIs that have one.
    fault_events: BTreeMap<AdiId, Arc<EventFd>>,
    /// ADIs with a fault that must be reported, and their rings.
    faulted: BTreeMap<AdiId, u16>,
    /// MSI-X vectors to be signalled for entries that were written.
    signals: Vec<VectorId>,
    pub(super) counters: CauseCounters,
}

impl Reports {
    /// Configures a cause ring, or removes it.
    pub(super) fn set_ring(&mut self, ring: u16, config: Option<CauseRingConfig>) {
        match config {
            Some(config) => self.rings.insert(ring, CauseRing::new(config)),
            None => self.rings.remove(&ring),
        };
    }

    /// The rings, by number.
    pub(super) fn rings(&self) -> impl Iterator<Item = (u16, CauseRingState)> + '_ {
        self.rings.iter().map(|(&ring, state)| (ring, state.save()))
    }

    /// Continues a ring.
    pub(super) fn restore_ring(&mut self, ring: u16, state: CauseRingState) {
        self.rings.insert(ring, CauseRing::restored(state));
    }

    /// The ADIs with a fault that must be reported in a ring.
    pub(super) fn faulted(&self) -> impl Iterator<Item = AdiId> + '_ {
        self.faulted.keys().copied()
    }

    /// Returns whether a ring signals a vector of the function.
    pub(super) fn uses(&self, vector: VectorId) -> bool {
        self.rings.values().any(|r| r.config.vector == vector)
    }

    /// Sets the eventfd that the faults of an ADI signal.
    pub(super) fn set_fault_event(&mut self, adi: AdiId, event: Option<Arc<EventFd>>) {
        match event {
            Some(event) => self.fault_events.insert(adi, event),
            None => self.fault_events.remove(&adi),
        };
    }

    /// Forgets an ADI.
    pub(super) fn forget(&mut self, adi: AdiId) {
        self.faulted.remove(&adi);
        self.fault_events.remove(&adi);
    }

    /// Removes everything but the counters.
    pub(super) fn reset(&mut self) {
        *self = Self {
            counters: self.counters,
            ..Self::default()
        };
    }

    /// The next vector of the function to be signalled, for entries that were written.
    pub(super) fn take_signal(&mut self) -> Option<VectorId> {
        self.signals.pop()
    }

    /// Latches a fault that stopped a queue of an ADI; one with an eventfd is signalled.
    pub(super) fn fault(&mut self, adi: AdiId, ring: u16) {
        match self.fault_events.get(&adi) {
            Some(event) => match event.signal() {
                Ok(()) => self.counters.faults += 1,
                Err(_) => self.counters.lost += 1,
            },
            None => {
                self.faulted.insert(adi, ring);
            }
        }
    }

    /// Reports the faults whose rings have space.
    pub(super) fn report_faults(&mut self, memory: &GuestMemory) {
        while let Some((adi, ring)) = self.next_fault(memory) {
            if self.post(memory, ring, adi, 0, cause_reason::FAULT) {
                self.counters.faults += 1;
                self.faulted.remove(&adi);
            }
        }
    }

    fn next_fault(&mut self, memory: &GuestMemory) -> Option<(AdiId, u16)> {
        let Self {
            faulted,
            rings,
            counters,
            ..
        } = self;
        let mut faulted = faulted.iter().map(|(&adi, &ring)| (adi, ring));
        faulted.find(|&(_, ring)| has_space(rings, memory, ring, counters))
    }

    /// Signals an eventfd for a vector.
    pub(super) fn signal(&mut self, event: &EventFd) {
        match event.signal() {
            Ok(()) => self.counters.interrupts += 1,
            Err(_) => self.counters.lost += 1,
        }
    }

    /// Returns whether an entry can be written to a ring.
    pub(super) fn has_space(&mut self, memory: &GuestMemory, ring: u16) -> bool {
        has_space(&mut self.rings, memory, ring, &mut self.counters)
    }

    /// Writes an entry for a vector to a ring that has space.
    pub(super) fn interrupt(&mut self, memory: &GuestMemory, ring: u16, adi: AdiId, number: u16) {
        if self.post(memory, ring, adi, number, cause_reason::INTERRUPT) {
            self.counters.interrupts += 1;
        }
    }

    /// Writes an entry to a ring that has space; removes a ring that cannot be written.
    fn post(
        &mut self,
        memory: &GuestMemory,
        ring: u16,
        adi: AdiId,
        number: u16,
        reason: u8,
    ) -> bool {
        let Some(target) = self.rings.get_mut(&ring) else {
            return false;
        };
        let vector = target.config.vector;
        match target.post(memory, adi, number, reason) {
            Ok(()) => {
                if self.signals.last() != Some(&vector) {
                    self.signals.push(vector);
                }
                true
            }
            Err(fault) => {
                remove_faulty(&mut self.rings, ring, &fault, &mut self.counters);
                false
            }
        }
    }
}

fn has_space(
    rings: &mut BTreeMap<u16, CauseRing>,
    memory: &GuestMemory,
    ring: u16,
    counters: &mut CauseCounters,
) -> bool {
    let Some(target) = rings.get_mut(&ring) else {
        return false;
    };
    target.has_space(memory).unwrap_or_else(|fault| {
        remove_faulty(rings, ring, &fault, counters);
        false
    })
}

fn remove_faulty(
    rings: &mut BTreeMap<u16, CauseRing>,
    ring: u16,
    fault: &DmaFault,
    counters: &mut CauseCounters,
) {
    warn_throttled!(ring, %fault, "a cause ring is removed: its memory cannot be accessed");
    counters.ring_faults += 1;
    rings.remove(&ring);
}
