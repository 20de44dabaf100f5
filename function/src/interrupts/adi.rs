// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Vectors of ADIs: like the function's own, but reported through cause rings.
//!
//! A vector is awake while it has activity and for [`SLEEP_AFTER_NS`] longer. Only awake vectors
//! are polled; the asleep word of a page is set while the page is not polled.

use std::collections::BTreeMap;
use std::sync::atomic::{fence, AtomicU32, Ordering};
use std::sync::Arc;

use adit_uapi::regs::dyn_ctl::{self, DynCtl};
use adit_uapi::regs::pf;
use adit_uapi::virtchnl2::adi::cause_reason;

use super::cause_ring::{CauseRing, CauseRingConfig};
use crate::awake::Awake;
use crate::doorbells::{Asleep, Window};
use crate::ids::{AdiId, VectorId};
use crate::logging::warn_throttled;
use crate::memory::{DmaFault, GuestMemory};

/// The number of cause rings of a function.
pub const CAUSE_RINGS: u16 = 64;
/// The idle time after which a page is no longer polled, in nanoseconds.
pub const SLEEP_AFTER_NS: u64 = 100_000_000;

/// Counters of the causes of ADIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CauseCounters {
    /// Entries written that report an interrupt of a vector.
    pub interrupts: u64,
    /// Entries written that report a fault.
    pub faults: u64,
    /// Rings removed because their memory could not be accessed.
    pub ring_faults: u64,
    /// Times that a vector or queue went to sleep.
    pub slept: u64,
}

/// A vector of an ADI.
struct AdiVector {
    /// Its page among the frames.
    page: u32,
    adi: AdiId,
    /// Its number in the ADI.
    number: u16,
    ring: u16,
    pending: bool,
    interval_ns: u64,
    fired_at: u64,
    /// The time of its last activity.
    active_at: u64,
}

/// The vectors of one ADI.
#[derive(Clone, Copy, Debug)]
pub struct VectorBlock {
    /// The first one, among those of all ADIs.
    pub first: u32,
    /// The number of vectors.
    pub count: u16,
    /// The page of the first one, among the frames.
    pub page: u32,
    /// The ADI that owns them.
    pub adi: AdiId,
    /// The cause ring that they report through.
    pub ring: u16,
}

/// The vectors of all ADIs, by queue pair.
#[derive(Default)]
pub struct AdiVectors {
    frames: Option<Arc<Window>>,
    vectors: Vec<Option<AdiVector>>,
    awake: Awake,
    rings: BTreeMap<u16, CauseRing>,
    /// ADIs with a fault that must be reported, and their rings.
    faulted: BTreeMap<AdiId, u16>,
    /// MSI-X vectors to be signalled for entries that were written.
    signals: Vec<VectorId>,
    now: u64,
    counters: CauseCounters,
}

impl AdiVectors {
    /// Vectors with their pages among `frames`.
    #[must_use]
    pub fn new(frames: Arc<Window>) -> Self {
        Self {
            frames: Some(frames),
            ..Self::default()
        }
    }

    /// The counters of causes so far.
    #[must_use]
    pub fn counters(&self) -> CauseCounters {
        self.counters
    }

    /// Counts a queue that is no longer polled.
    pub fn count_sleep(&mut self) {
        self.counters.slept += 1;
    }

    /// The number of vectors that are polled.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.awake.len()
    }

    /// Creates the vectors of an ADI.
    pub fn create(&mut self, block: VectorBlock) {
        let end = block.first as usize + usize::from(block.count);
        if self.vectors.len() < end {
            self.vectors.resize_with(end, || None);
        }
        for number in 0..block.count {
            self.vectors[block.first as usize + usize::from(number)] = Some(AdiVector {
                page: block.page + u32::from(number),
                adi: block.adi,
                number,
                ring: block.ring,
                pending: false,
                interval_ns: 0,
                fired_at: 0,
                active_at: 0,
            });
        }
    }

    /// Removes an ADI's vectors, with their latched causes.
    pub fn destroy(&mut self, block: VectorBlock) {
        for vector in block.first..block.first + u32::from(block.count) {
            self.awake.remove(vector);
            if let Some(place) = self.vectors.get_mut(vector as usize) {
                *place = None;
            }
        }
        self.faulted.remove(&block.adi);
    }

    /// Handles a reset: removes all vectors and rings.
    pub fn reset(&mut self) {
        self.vectors.clear();
        self.awake.clear();
        self.rings.clear();
        self.faulted.clear();
        self.signals.clear();
    }

    /// Configures a cause ring, or removes it.
    pub fn set_ring(&mut self, ring: u16, config: Option<CauseRingConfig>) {
        match config {
            Some(config) => self.rings.insert(ring, CauseRing::new(config)),
            None => self.rings.remove(&ring),
        };
        // Causes that waited for the ring may be reported now.
        for vector in 0..self.vectors.len() as u32 {
            let slot = self.vectors[vector as usize].as_ref();
            if slot.is_some_and(|v| v.pending && v.ring == ring) {
                self.wake(vector);
            }
        }
    }

    /// Returns whether a ring signals a vector of the function.
    #[must_use]
    pub fn uses(&self, vector: VectorId) -> bool {
        self.rings.values().any(|r| r.config.vector == vector)
    }

    /// Starts to poll a vector.
    pub fn wake(&mut self, vector: u32) {
        let Some(Some(v)) = self.vectors.get_mut(vector as usize) else {
            return;
        };
        v.active_at = self.now;
        if self.awake.insert(vector) {
            let word = self.frames.as_deref().and_then(|f| Asleep::at(f, v.page));
            if let Some(word) = word {
                word.set(false);
            }
        }
    }

    /// Latches a cause, with throttling index `itr` (3 for none).
    pub(super) fn raise(&mut self, vector: u32, itr: u32) {
        let (Some(Some(v)), Some(frames)) = (self.vectors.get_mut(vector as usize), &self.frames)
        else {
            return;
        };
        let interval_ns = super::interval_ns(itr_register(frames, v.page, itr));
        v.interval_ns = if v.pending {
            v.interval_ns.min(interval_ns)
        } else {
            interval_ns
        };
        v.pending = true;
        self.wake(vector);
    }

    /// Latches a fault that stopped a queue of an ADI.
    pub fn fault(&mut self, adi: AdiId, ring: u16) {
        self.faulted.insert(adi, ring);
    }

    /// Reports the vectors that are latched, armed and not throttled. Returns the time of the next
    /// sweep that throttling requires, if any.
    pub(super) fn sweep(&mut self, memory: &GuestMemory, now: u64) -> Option<u64> {
        self.now = now;
        self.report_faults(memory);
        if self.awake.is_empty() {
            return None;
        }
        // As for the function's own vectors: completions before DYN_CTL.
        fence(Ordering::SeqCst);
        let (mut again, mut place): (Option<u64>, _) = (None, 0);
        while let Some(vector) = self.awake.get(place) {
            match self.look(memory, vector) {
                Look::Stay(due) => {
                    again = due.map_or(again, |due| Some(again.map_or(due, |a| a.min(due))));
                    place += 1;
                }
                // The last element has taken its position.
                Look::Sleep => self.awake.remove(vector),
            }
        }
        again
    }

    /// The next vector of the function to be signalled, for entries that were written.
    pub(super) fn take_signal(&mut self) -> Option<VectorId> {
        self.signals.pop()
    }

    fn look(&mut self, memory: &GuestMemory, vector: u32) -> Look {
        let Some(Some(v)) = self.vectors.get_mut(vector as usize) else {
            return Look::Sleep;
        };
        let Some(frames) = self.frames.as_deref() else {
            return Look::Sleep;
        };
        let (Some(register), Some(word)) = (frames.register(v.page, 0), Asleep::at(frames, v.page))
        else {
            return Look::Sleep;
        };
        let seen = || DynCtl(u32::from_le(register.load(Ordering::Acquire)));
        let dyn_ctl = seen();
        if !fires(v, dyn_ctl) {
            if self.now.saturating_sub(v.active_at) < SLEEP_AFTER_NS {
                return Look::Stay(None);
            }
            word.set(true);
            // A driver that armed it before it read the word has not been seen yet.
            if !fires(v, seen()) {
                self.counters.slept += 1;
                return Look::Sleep;
            }
            word.set(false);
            v.active_at = self.now;
            return Look::Stay(None);
        }
        let due = v.fired_at.saturating_add(v.interval_ns);
        if !dyn_ctl.swint_trig() && v.fired_at != 0 && self.now < due {
            return Look::Stay(Some(due));
        }
        let (number, adi, ring) = (v.number, v.adi, v.ring);
        v.active_at = self.now;
        // INTENA is cleared only once the cause can certainly be reported.
        if !has_space(&mut self.rings, memory, ring, &mut self.counters) {
            return Look::Stay(None);
        }
        let keep = !(dyn_ctl::INTENA_M | dyn_ctl::SWINT_TRIG_M | dyn_ctl::CLEARPBA_M);
        register.fetch_and(keep.to_le(), Ordering::AcqRel);
        (v.pending, v.fired_at) = (false, self.now);
        if self.post(memory, ring, adi, number, cause_reason::INTERRUPT) {
            self.counters.interrupts += 1;
        }
        Look::Stay(None)
    }

    fn report_faults(&mut self, memory: &GuestMemory) {
        while let Some((&adi, &ring)) = self.faulted.iter().find(|(_, ring)| {
            let ring = **ring;
            has_space(&mut self.rings, memory, ring, &mut self.counters)
        }) {
            if self.post(memory, ring, adi, 0, cause_reason::FAULT) {
                self.counters.faults += 1;
                self.faulted.remove(&adi);
            }
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

/// Throttling register `itr` of the vector on a page; `None` for index 3, which is no interval.
fn itr_register(frames: &Window, page: u32, itr: u32) -> Option<&AtomicU32> {
    let offset = (itr + 1) * pf::GLINT_ITR_INDEX_SPACING;
    (itr <= pf::GLINT_ITR_MAX_INDEX)
        .then(|| frames.register(page, offset))
        .flatten()
}

/// Returns whether a vector signals once it is not throttled.
fn fires(v: &AdiVector, seen: DynCtl) -> bool {
    (v.pending || seen.swint_trig()) && seen.intena() && !seen.intena_msk()
}

/// The result of polling a vector.
enum Look {
    /// It stays polled; if there is a time, it is not due before that.
    Stay(Option<u64>),
    /// It is no longer polled.
    Sleep,
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
