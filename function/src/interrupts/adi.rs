// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Vectors of ADIs: like the function's own, but reported through cause rings, or to an eventfd.
//!
//! A vector is awake while it has activity and for [`SLEEP_AFTER_NS`] longer. Only awake vectors
//! are polled; the asleep word of a page is set while the page is not polled. A vector without kicks
//! is drowsy instead of asleep: it is looked at about once a millisecond.

use std::sync::atomic::{fence, AtomicU32, Ordering};
use std::sync::Arc;

use adit_uapi::regs::dyn_ctl::{self, DynCtl};
use adit_uapi::regs::pf;
use adit_vfio_user::EventFd;

use super::cause_ring::{CauseRingConfig, CauseRingState};
use super::report::{CauseCounters, Reports};
use crate::awake::{Awake, Drowsy};
use crate::doorbells::{Asleep, Window};
use crate::ids::{AdiId, VectorId};
use crate::memory::GuestMemory;

/// The number of cause rings of a function.
pub const CAUSE_RINGS: u16 = 64;
/// The idle time after which a page is no longer polled, in nanoseconds.
pub const SLEEP_AFTER_NS: u64 = 100_000_000;

/// A vector of an ADI.
struct AdiVector {
    /// Its page among the frames.
    page: u32,
    adi: AdiId,
    /// Its number in the ADI.
    number: u16,
    ring: u16,
    /// Signalled instead of an entry in the ring.
    trigger: Option<Arc<EventFd>>,
    /// Set if its driver does not kick.
    no_kick: bool,
    /// Set while the ADI is suspended: it is not polled.
    suspended: bool,
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
    /// Idle vectors without kicks.
    drowsy: Drowsy,
    reports: Reports,
    now: u64,
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
        self.reports.counters
    }

    /// Counts a queue that is no longer polled.
    pub fn count_sleep(&mut self) {
        self.reports.counters.slept += 1;
    }

    /// The number of vectors that are polled.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.awake.len()
    }

    /// The number of the vectors of all ADIs, and of those in between.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.vectors.len() as u32
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
                trigger: None,
                no_kick: false,
                suspended: false,
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
            self.drowsy.remove(vector);
            if let Some(place) = self.vectors.get_mut(vector as usize) {
                *place = None;
            }
        }
        self.reports.forget(block.adi);
    }

    /// Handles a reset: removes all vectors and rings.
    pub fn reset(&mut self) {
        self.vectors.clear();
        self.awake.clear();
        self.drowsy.clear();
        self.reports.reset();
    }

    /// Configures a cause ring, or removes it.
    pub fn set_ring(&mut self, ring: u16, config: Option<CauseRingConfig>) {
        self.reports.set_ring(ring, config);
        // Causes that waited for the ring may be reported now.
        for vector in 0..self.vectors.len() as u32 {
            let slot = self.vectors[vector as usize].as_ref();
            if slot.is_some_and(|v| v.pending && v.ring == ring) {
                self.wake(vector);
            }
        }
    }

    /// The cause rings that are configured, by number.
    pub fn rings(&self) -> impl Iterator<Item = (u16, CauseRingState)> + '_ {
        self.reports.rings()
    }

    /// Continues a cause ring of a predecessor of this process, whose position is within the ring.
    pub fn restore_ring(&mut self, ring: u16, state: CauseRingState) {
        self.reports.restore_ring(ring, state);
    }

    /// The ADIs with a fault that has not been reported yet.
    pub fn faulted(&self) -> impl Iterator<Item = AdiId> + '_ {
        self.reports.faulted()
    }

    /// Polls all vectors, except those of suspended ADIs, and tells their drivers so: the pages are those
    /// of a predecessor of this process, which may have polled none.
    pub fn wake_all(&mut self) {
        for vector in 0..self.vectors.len() as u32 {
            self.awake.remove(vector);
            self.wake(vector);
        }
    }

    /// Returns whether a ring signals a vector of the function.
    #[must_use]
    pub fn uses(&self, vector: VectorId) -> bool {
        self.reports.uses(vector)
    }

    /// Sets the eventfd that a vector signals instead of an entry in its ring; returns false if
    /// there is no such vector. A cause that is pending is reported in the new way.
    pub fn set_trigger(&mut self, vector: u32, trigger: Option<Arc<EventFd>>) -> bool {
        let Some(Some(v)) = self.vectors.get_mut(vector as usize) else {
            return false;
        };
        v.trigger = trigger;
        if v.pending {
            self.wake(vector);
        }
        true
    }

    /// Sets the eventfd that faults of an ADI signal instead of an entry in its ring.
    pub fn set_fault_trigger(&mut self, adi: AdiId, trigger: Option<Arc<EventFd>>) {
        self.reports.set_fault_event(adi, trigger);
    }

    /// Sets whether a vector is polled without kicks. One that is no longer polled is woken: it
    /// goes back to sleep in the way that applies now.
    pub fn set_no_kick(&mut self, vector: u32, no_kick: bool) {
        let Some(Some(v)) = self.vectors.get_mut(vector as usize) else {
            return;
        };
        v.no_kick = no_kick;
        let word = (self.frames.as_deref()).and_then(|f| Asleep::at(f, v.page));
        if self.drowsy.remove(vector) || word.is_some_and(Asleep::get) {
            self.wake(vector);
        }
    }

    /// Suspends a vector, or resumes it: it does not signal meanwhile, and keeps its cause.
    pub fn set_suspended(&mut self, vector: u32, suspended: bool) {
        let Some(Some(v)) = self.vectors.get_mut(vector as usize) else {
            return;
        };
        v.suspended = suspended;
        match suspended {
            true => {
                self.awake.remove(vector);
                self.drowsy.remove(vector);
            }
            false => self.wake(vector),
        }
    }

    /// Returns whether a vector has a cause latched.
    #[must_use]
    pub fn is_pending(&self, vector: u32) -> bool {
        matches!(self.vectors.get(vector as usize), Some(Some(v)) if v.pending)
    }

    /// Sets whether a vector has a cause latched, without throttling.
    pub fn set_pending(&mut self, vector: u32, pending: bool) {
        if let Some(Some(v)) = self.vectors.get_mut(vector as usize) {
            (v.pending, v.interval_ns) = (pending, 0);
            self.wake(vector);
        }
    }

    /// Starts to poll a vector, unless it is suspended.
    pub fn wake(&mut self, vector: u32) {
        let Some(Some(v)) = self.vectors.get_mut(vector as usize) else {
            return;
        };
        if v.suspended {
            return;
        }
        v.active_at = self.now;
        if self.awake.insert(vector) {
            self.drowsy.remove(vector);
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
        self.reports.fault(adi, ring);
    }

    /// Reports the vectors that are latched, armed and not throttled. Returns the time of the next
    /// sweep that throttling requires, if any.
    pub(super) fn sweep(&mut self, memory: &GuestMemory, now: u64) -> Option<u64> {
        self.now = now;
        self.reports.report_faults(memory);
        self.look_at_drowsy();
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
                Look::Drowse => {
                    self.awake.remove(vector);
                    self.drowsy.insert(vector);
                }
            }
        }
        again
    }

    /// The next vector of the function to be signalled, for entries that were written.
    pub(super) fn take_signal(&mut self) -> Option<VectorId> {
        self.reports.take_signal()
    }

    /// Wakes the idle vectors without kicks that have been armed, or triggered by software.
    fn look_at_drowsy(&mut self) {
        for _ in 0..self.drowsy.round(self.now) {
            let Some(vector) = self.drowsy.next_of_round() else {
                break;
            };
            let Some(Some(v)) = self.vectors.get(vector as usize) else {
                continue;
            };
            let frames = self.frames.as_deref();
            let register = frames.and_then(|f| f.register(v.page, 0));
            if register.is_some_and(|r| fires(v, seen(r))) {
                self.wake(vector);
            }
        }
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
        let dyn_ctl = seen(register);
        if !fires(v, dyn_ctl) {
            if self.now.saturating_sub(v.active_at) < SLEEP_AFTER_NS {
                return Look::Stay(None);
            }
            if v.no_kick {
                return Look::Drowse;
            }
            word.set(true);
            // A driver that armed it before it read the word has not been seen yet.
            if !fires(v, seen(register)) {
                self.reports.counters.slept += 1;
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
        if v.trigger.is_none() && !self.reports.has_space(memory, ring) {
            return Look::Stay(None);
        }
        let keep = !(dyn_ctl::INTENA_M | dyn_ctl::SWINT_TRIG_M | dyn_ctl::CLEARPBA_M);
        register.fetch_and(keep.to_le(), Ordering::AcqRel);
        (v.pending, v.fired_at) = (false, self.now);
        match &v.trigger {
            Some(event) => self.reports.signal(event),
            None => self.reports.interrupt(memory, ring, adi, number),
        }
        Look::Stay(None)
    }
}

/// Throttling register `itr` of the vector on a page; `None` for index 3, which is no interval.
fn itr_register(frames: &Window, page: u32, itr: u32) -> Option<&AtomicU32> {
    let offset = (itr + 1) * pf::GLINT_ITR_INDEX_SPACING;
    (itr <= pf::GLINT_ITR_MAX_INDEX)
        .then(|| frames.register(page, offset))
        .flatten()
}

/// Reads DYN_CTL.
fn seen(register: &AtomicU32) -> DynCtl {
    DynCtl(u32::from_le(register.load(Ordering::Acquire)))
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
    /// It is looked at about once a millisecond.
    Drowse,
}
