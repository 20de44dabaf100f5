// SPDX-License-Identifier: Apache-2.0 OR MIT
//! MSI-X vectors: causes are latched, throttled (ITR), and signalled once the driver has armed the
//! vector.
//!
//! The driver arms a vector by writing DYN_CTL with INTENA, without a trap, and may write the same
//! value again: the condition is not that the value changes but that INTENA is set. So the device
//! clears INTENA before it signals. A cause that occurs while a vector is not armed stays pending;
//! that includes vectors for which no eventfd is set (masked by the guest).

mod adi;
mod cause_ring;
mod report;

use std::sync::atomic::{fence, AtomicU32, Ordering};

use adit_uapi::regs::dyn_ctl::{self, DynCtl};
use adit_uapi::regs::pf;

use adit_vfio_user::EventFd;

use crate::doorbells::VectorRegisters;
use crate::ids::{VectorId, VectorMapping};
use crate::memory::GuestMemory;

pub use adi::{AdiVectors, VectorBlock, CAUSE_RINGS, SLEEP_AFTER_NS};
pub use cause_ring::{CauseRingConfig, CauseRingError, CauseRingState, MAX_CAUSE_RING_LEN};
pub use report::CauseCounters;

/// The unit of the ITR registers and of DYN_CTL's interval, in nanoseconds.
const ITR_UNIT_NS: u64 = 2_000;

#[derive(Default)]
struct Vector {
    trigger: Option<EventFd>,
    pending: bool,
    /// The shortest interval among the pending causes, in nanoseconds.
    interval_ns: u64,
    /// The time at which it was last signalled.
    fired_at: u64,
}

/// Counters of interrupts by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterruptCounters {
    /// Interrupts signalled to the client.
    pub signalled: u64,
    /// Interrupts that could not be written to the client's eventfd.
    pub lost: u64,
}

/// All vectors of the function.
pub struct Interrupts {
    vectors: Vec<Vector>,
    counters: InterruptCounters,
    /// Vectors of ADIs, whose numbers follow those of the function.
    pub adi: AdiVectors,
}

impl Interrupts {
    /// Creates `count` vectors without eventfds.
    #[must_use]
    pub fn new(count: u32) -> Self {
        let vectors = (0..count).map(|_| Vector::default()).collect();
        Self {
            vectors,
            counters: InterruptCounters::default(),
            adi: AdiVectors::default(),
        }
    }

    /// The number of the function's own vectors, which is the number of the first ADI's vector.
    #[must_use]
    pub fn own(&self) -> u32 {
        self.vectors.len() as u32
    }

    /// The number of vectors, those of ADIs included.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.own() + self.adi.count()
    }

    /// The counters of interrupts by outcome.
    #[must_use]
    pub fn counters(&self) -> InterruptCounters {
        self.counters
    }

    /// Sets or removes the eventfd that signals a vector; returns false if there is no such vector.
    pub fn set_trigger(&mut self, vector: VectorId, trigger: Option<EventFd>) -> bool {
        match self.vectors.get_mut(vector.index()) {
            Some(v) => {
                v.trigger = trigger;
                true
            }
            None => false,
        }
    }

    /// Removes all eventfds.
    pub fn clear_triggers(&mut self) {
        for v in &mut self.vectors {
            v.trigger = None;
        }
    }

    /// Discards all pending causes, for a reset; eventfds stay.
    pub fn reset(&mut self) {
        for v in &mut self.vectors {
            *v = Vector {
                trigger: v.trigger.take(),
                ..Vector::default()
            };
        }
        self.adi.reset();
    }

    /// The number of a vector among those of ADIs; `None` if it is one of the function.
    #[must_use]
    pub fn of_adis(&self, vector: VectorId) -> Option<u32> {
        vector.0.checked_sub(self.own())
    }

    /// Returns whether a cause of a vector is latched.
    #[must_use]
    pub fn is_pending(&self, vector: VectorId) -> bool {
        match self.of_adis(vector) {
            Some(number) => self.adi.is_pending(number),
            None => self.vectors.get(vector.index()).is_some_and(|v| v.pending),
        }
    }

    /// Sets whether a cause of a vector is latched, which is not throttled then.
    pub fn set_pending(&mut self, vector: VectorId, pending: bool) {
        if let Some(number) = self.of_adis(vector) {
            self.adi.set_pending(number, pending);
        } else if let Some(v) = self.vectors.get_mut(vector.index()) {
            (v.pending, v.interval_ns) = (pending, 0);
        }
    }

    /// Latches a cause.
    pub fn raise(&mut self, registers: &VectorRegisters, cause: VectorMapping) {
        let VectorMapping { vector, itr } = cause;
        if let Some(number) = self.of_adis(vector) {
            return self.adi.raise(number, itr);
        }
        let Some(v) = self.vectors.get_mut(vector.index()) else {
            return;
        };
        let interval_ns = interval_ns(registers.itr(vector.0, itr));
        v.interval_ns = if v.pending {
            v.interval_ns.min(interval_ns)
        } else {
            interval_ns
        };
        v.pending = true;
    }

    /// Reports the causes of ADIs, as [`sweep`](Self::sweep) does for the function's own. Must be
    /// called before it: cause rings signal vectors of the function.
    pub fn sweep_adis(
        &mut self,
        memory: &GuestMemory,
        registers: &VectorRegisters,
        now: u64,
    ) -> Option<u64> {
        let again = self.adi.sweep(memory, now);
        while let Some(vector) = self.adi.take_signal() {
            let itr = dyn_ctl::ITR_NONE;
            self.raise(registers, VectorMapping { vector, itr });
        }
        again
    }

    /// Signals the vectors that are pending, armed and not throttled. Returns the time of the next
    /// sweep that throttling requires, if any.
    pub fn sweep(&mut self, registers: &VectorRegisters, now: u64) -> Option<u64> {
        // Completions must be visible before DYN_CTL is read: a driver that arms the vector after
        // its last poll of the rings either sees them or is seen here as armed.
        fence(Ordering::SeqCst);
        let mut again: Option<u64> = None;
        for (index, v) in self.vectors.iter_mut().enumerate() {
            let index = index as u32;
            let Some(register) = registers.dyn_ctl(index) else {
                continue;
            };
            let seen = DynCtl(u32::from_le(register.load(Ordering::Acquire)));
            if !(v.pending || seen.swint_trig()) || !seen.intena() || seen.intena_msk() {
                continue;
            }
            let Some(trigger) = &v.trigger else { continue };
            let due = v.fired_at.saturating_add(v.interval_ns);
            if !seen.swint_trig() && v.fired_at != 0 && now < due {
                again = Some(again.map_or(due, |a| a.min(due)));
                continue;
            }
            let keep = !(dyn_ctl::INTENA_M | dyn_ctl::SWINT_TRIG_M | dyn_ctl::CLEARPBA_M);
            register.fetch_and(keep.to_le(), Ordering::AcqRel);
            v.pending = false;
            v.fired_at = now;
            match trigger.signal() {
                Ok(()) => self.counters.signalled += 1,
                Err(_) => self.counters.lost += 1,
            }
        }
        again
    }
}

/// The interval in a throttling register, in nanoseconds; 0 without one.
fn interval_ns(itr: Option<&AtomicU32>) -> u64 {
    let value = itr.map_or(0, |r| u32::from_le(r.load(Ordering::Relaxed)));
    u64::from(value & pf::GLINT_ITR_INTERVAL_M) * ITR_UNIT_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbells::Doorbells;
    use crate::layout::RegisterLayout;
    use rustix::event::{eventfd, EventfdFlags};
    use std::os::fd::OwnedFd;

    const VECTOR: VectorId = VectorId(1);

    struct Bench {
        doorbells: Doorbells,
        interrupts: Interrupts,
        event: OwnedFd,
    }

    fn trigger(event: &OwnedFd) -> EventFd {
        EventFd::from_client(event.try_clone().unwrap()).unwrap()
    }

    fn bench(layout: RegisterLayout) -> Bench {
        let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let mut interrupts = Interrupts::new(2);
        assert!(interrupts.set_trigger(VECTOR, Some(trigger(&event))));
        assert!(!interrupts.set_trigger(VectorId(2), None));
        Bench {
            doorbells: Doorbells::new(layout, 1, 1, 2).unwrap(),
            interrupts,
            event,
        }
    }

    impl Bench {
        fn arm(&self, bits: u32) {
            self.doorbells.vectors.store(1, dyn_ctl::INTENA_M | bits);
        }
        fn raise(&mut self, itr: u32) {
            let vector = VECTOR;
            let cause = VectorMapping { vector, itr };
            self.interrupts.raise(&self.doorbells.vectors, cause);
        }
        /// The interrupts signalled by a sweep at `now`, and the time of the next sweep.
        fn sweep(&mut self, now: u64) -> (u64, Option<u64>) {
            let again = self.interrupts.sweep(&self.doorbells.vectors, now);
            let mut count = [0; 8];
            let n = rustix::io::read(&self.event, &mut count).unwrap_or(0);
            (if n == 8 { u64::from_ne_bytes(count) } else { 0 }, again)
        }
    }

    #[test]
    fn a_cause_waits_for_the_vector_to_be_armed_and_takes_the_arming() {
        for layout in RegisterLayout::ALL {
            let mut b = bench(layout);
            b.raise(3);
            assert_eq!(b.sweep(1), (0, None));
            b.arm(0);
            assert_eq!(b.sweep(2), (1, None));
            assert_eq!(b.doorbells.vectors.load(1), 0);
            b.raise(3);
            assert_eq!(b.sweep(3), (0, None), "not armed again yet");
            b.arm(0);
            assert_eq!(b.sweep(4), (1, None), "armed with the same value as before");
            b.arm(0);
            assert_eq!(b.sweep(5), (0, None), "nothing happened");
        }
    }

    #[test]
    fn masked_arming_and_missing_eventfds_keep_the_cause() {
        for layout in RegisterLayout::ALL {
            let mut b = bench(layout);
            b.raise(3);
            b.arm(dyn_ctl::INTENA_MSK_M | dyn_ctl::WB_ON_ITR_M);
            assert_eq!(b.sweep(1).0, 0);
            b.arm(0);
            let trigger = trigger(&b.event);
            b.interrupts.set_trigger(VECTOR, None);
            assert_eq!(b.sweep(2).0, 0);
            b.interrupts.set_trigger(VECTOR, Some(trigger));
            assert_eq!(b.sweep(3).0, 1);
        }
    }

    #[test]
    fn a_software_interrupt_needs_no_cause() {
        for layout in RegisterLayout::ALL {
            let mut b = bench(layout);
            b.arm(dyn_ctl::SWINT_TRIG_M);
            assert_eq!(b.sweep(1).0, 1);
            assert_eq!(b.sweep(2).0, 0);
        }
    }

    #[test]
    fn throttling_spaces_interrupts_by_the_causes_interval() {
        for layout in RegisterLayout::ALL {
            let mut b = bench(layout);
            assert!(b.doorbells.write(u64::from(layout.itr(1, 0).unwrap()), 5));
            b.raise(0);
            b.arm(0);
            assert_eq!(b.sweep(1_000).0, 1, "the first one is not delayed");
            b.raise(0);
            b.arm(0);
            assert_eq!(b.sweep(2_000), (0, Some(11_000)));
            assert_eq!(b.sweep(11_000).0, 1);
        }
    }
}
