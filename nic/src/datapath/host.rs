// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host side: virtual ports and their queues.

use super::adi::AdiTotals;
use super::destination::Source;
use super::queues::{Owner, Queues};
use super::vport::{Vport, Vports};
use super::Limits;
use crate::dataplane::{QueueId, QueueKind};
use crate::doorbells::Doorbells;
use crate::drops::DropReason;
use crate::ids::{QueueIndex, VportId, WireIndex};
use crate::logging::warn_throttled;
use crate::queues::QueueFault;
use crate::wire::MAX_FRAME_LEN;
use adit_uapi::virtchnl2::adi::fault_reason;

/// Virtual ports and their queues.
pub(super) struct Host {
    /// The time of the current turn, in nanoseconds on the caller's clock.
    pub(super) now: u64,
    pub(super) vports: Vports,
    pub(super) queues: Queues,
    /// A segment of a frame that a driver does not accept merged.
    pub(super) segment: Box<[u8]>,
    /// The totals of ADIs that were destroyed, and of events that are not kept per ADI.
    pub(super) totals: AdiTotals,
    /// Queues of the function itself that a fault has stopped, and the last fault.
    pub(super) faults: (u64, Option<QueueFault>),
}

impl Host {
    /// Creates a virtual port for each of `wires` wires, and the function's own queues.
    pub(super) fn new(limits: Limits, doorbells: Doorbells, wires: usize) -> Self {
        Self {
            now: 0,
            vports: Vports::new(wires),
            queues: Queues::new(limits, doorbells),
            segment: vec![0; MAX_FRAME_LEN].into(),
            totals: AdiTotals::default(),
            faults: (0, None),
        }
    }

    /// The wire that a virtual port uses.
    pub(super) fn uplink(&self, vport: VportId) -> WireIndex {
        match self.vports.get(vport).map(|v| &v.adi) {
            Some(Some(adi)) => WireIndex::of_pf(adi.config.port),
            _ => WireIndex::of_pf(vport),
        }
    }

    /// The virtual port that sends from a TX queue which is running, and the queue's index among the
    /// port's: for a member of a group that of its leader. `None` while that is suspended.
    pub(super) fn sender(&self, queue: QueueIndex) -> Option<(VportId, u16)> {
        let (vport, number) = self.queues.sender(queue)?;
        let adi = self.vports.get(vport).and_then(|v| v.adi.as_ref());
        match adi.and_then(|adi| adi.leader) {
            None => Some((vport, number)),
            Some(leader) => {
                let port = self.vports.get(leader)?;
                (!port.is_suspended()).then_some((leader, number))
            }
        }
    }

    /// The owner of the queues of a virtual port.
    pub(super) fn owner(&self, vport: VportId) -> Owner {
        Owner {
            vport,
            pasid: self.vports.get(vport).and_then(|v| v.pasid()),
        }
    }

    /// Counts frames that the program drops, for their source.
    pub(super) fn count_dropped(&mut self, source: Source, reason: DropReason, frames: u64) {
        if let Some(vport) = self.vports.get_mut(source.vport()) {
            match source {
                Source::Wire(_) => vport.drops.rx.count_many(reason, frames),
                Source::Vport { .. } | Source::Cpu => vport.drops.tx.count_many(reason, frames),
            }
        }
    }

    /// Stops a queue until it is disabled, or the function is reset.
    pub(super) fn stop_faulty(&mut self, queue: QueueId, fault: QueueFault) {
        let Owner { vport, .. } = self.queues.suspend(queue);
        let QueueId { kind, index } = queue;
        if self.record_fault(queue, vport, fault) {
            // The ADI's owner is notified. An ADI must not be able to fill the device's log.
            tracing::debug!(vport = vport.0, ?kind, index, %fault, "queue of an ADI stopped");
            return;
        }
        self.faults = (self.faults.0 + 1, Some(fault));
        warn_throttled!(?kind, index, %fault, "queue stopped");
    }

    /// Records a fault that stopped a queue of an ADI; returns false if no ADI owns it.
    fn record_fault(&mut self, queue: QueueId, vport: VportId, fault: QueueFault) -> bool {
        let vport = self.vports.get_mut(vport);
        let Some(adi) = vport.and_then(|v| v.adi.as_mut()) else {
            return false;
        };
        adi.faults.count = adi.faults.count.saturating_add(1);
        adi.faults.first.get_or_insert((queue, fault));
        let (id, ring) = (adi.config.adi, adi.config.ring);
        self.queues.interrupts.adi.fault(id, ring);
        let reason = fault.reason().min(fault_reason::NO_COMPLETION_QUEUE);
        self.totals.faults[reason as usize] += 1;
        true
    }

    /// Stops queues, after a marker for each TX queue among them that is not one of a suspended ADI.
    pub(super) fn disable(&mut self, queues: &[QueueId]) {
        // Markers come first: the same message may stop the queue that they are written to.
        for queue in queues.iter().filter(|q| q.kind == QueueKind::Tx) {
            let owner = self.queues.configured_by(QueueIndex(queue.index));
            let owner = owner.and_then(|vport| self.vports.get(vport));
            if owner.is_some_and(Vport::is_suspended) {
                continue;
            }
            if let Err((completion, fault)) = self.queues.mark(QueueIndex(queue.index)) {
                self.stop_faulty(completion, fault);
            }
        }
        for &queue in queues {
            self.queues.stop(queue);
        }
        // Markers were written outside of a burst.
        self.queues.translator.flush();
    }
}
