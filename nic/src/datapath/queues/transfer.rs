// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frames in and out of the queues.

use super::{slot, Queues};
use crate::dataplane::single_rx_tail;
use crate::frame::Frame;
use crate::ids::{QueueIndex, VportId};
use crate::logging::Throttle;
use crate::pasid::AddressSpace;
use crate::queues::{QueueFault, RxInfo, RxQueue, RxRefusal, TxOutcome};

/// The reason why a queue does not accept a frame.
pub(in crate::datapath) enum QueueRefusal {
    /// Too few buffers are posted.
    NoBuffer {
        /// Set if the last frame found buffers.
        first: bool,
    },
    /// It is not running.
    Disabled,
    /// A ring or buffer could not be used: the queue must be stopped.
    Fault(QueueFault),
}

impl Queues {
    /// The virtual port of a TX queue that is running, and the queue's index among the port's.
    pub(in crate::datapath) fn sender(&self, queue: QueueIndex) -> Option<(VportId, u16)> {
        let slot = self.tx.get(queue.index())?;
        slot.running().map(|_| (slot.owner.vport, slot.number))
    }

    /// The virtual port that has configured a TX queue.
    pub(in crate::datapath) fn configured_by(&self, queue: QueueIndex) -> Option<VportId> {
        let slot = self.tx.get(queue.index())?;
        slot.queue().map(|_| slot.owner.vport)
    }

    /// Returns whether a TX queue has descriptors to process.
    ///
    /// # Errors
    /// When the tail is beyond the ring, or the completion queue is not running: a frame whose
    /// completion could not be reported must not be sent.
    pub(in crate::datapath) fn has_packet(
        &self,
        queue: QueueIndex,
        tail: u32,
    ) -> Result<bool, QueueFault> {
        let Some(tx) = self.tx.get(queue.index()).and_then(|s| s.running()) else {
            return Ok(false);
        };
        if !tx.has_work(tail)? {
            return Ok(false);
        }
        let is_running = |id: u32| {
            let completion = self.completion.get(id as usize);
            completion.and_then(|s| s.running()).is_some()
        };
        match tx.completion_queue {
            Some(id) if !is_running(id) => Err(QueueFault::NoCompletionQueue),
            _ => Ok(true),
        }
    }

    /// Copies the next packet of a TX queue to `frame`. It stays in the ring until
    /// [`complete`](Self::complete).
    ///
    /// # Errors
    /// When the ring is malformed or memory is not accessible: the queue must be stopped.
    pub(in crate::datapath) fn gather(
        &mut self,
        queue: QueueIndex,
        tail: u32,
        frame: &mut Frame,
    ) -> Result<TxOutcome, QueueFault> {
        let Some(slot) = self.tx.get_mut(queue.index()) else {
            return Ok(TxOutcome::Idle);
        };
        let pasid = slot.owner.pasid;
        let Some(tx) = slot.running_mut() else {
            return Ok(TxOutcome::Idle);
        };
        let space = AddressSpace::new(&self.memory, &self.translator, pasid);
        tx.peek(&space, tail, frame)
    }

    /// Consumes the packet of a TX queue that was gathered, and reports its completion if the driver has
    /// requested that. Returns whether something was reported.
    ///
    /// # Errors
    /// When the completion cannot be reported: the queue must be stopped.
    pub(in crate::datapath) fn complete(&mut self, queue: QueueIndex) -> Result<bool, QueueFault> {
        let Some(slot) = self.tx.get_mut(queue.index()) else {
            return Ok(false);
        };
        let pasid = slot.owner.pasid;
        let Some(tx) = slot.running_mut() else {
            return Ok(false);
        };
        let completions = tx.consume();
        let space = AddressSpace::new(&self.memory, &self.translator, pasid);
        let Some(reports_to) = tx.completion_queue else {
            return tx.write_back(&space);
        };
        let completion = self.completion.get_mut(reports_to as usize);
        let completion = completion
            .and_then(|s| s.running_mut())
            .ok_or(QueueFault::NoCompletionQueue)?;
        let mut reported = false;
        for c in completions.into_iter().flatten() {
            completion.push(&space, tx.relative_id, c.comp_type, c.value)?;
            reported = true;
        }
        Ok(reported)
    }

    /// Raises the interrupt of a TX queue.
    pub(in crate::datapath) fn interrupt_tx(&mut self, queue: QueueIndex) {
        let slot = self.tx.get(queue.index());
        if let Some(mapping) = slot.and_then(|s| s.vector) {
            self.raise(mapping);
        }
    }

    /// An RX queue that is running.
    pub(in crate::datapath) fn rx(&self, queue: QueueIndex) -> Option<&RxQueue> {
        self.rx.get(queue.index())?.running()
    }

    /// Writes a frame to the buffers of an RX queue, reports it and raises the queue's interrupt.
    ///
    /// # Errors
    /// When the frame is not delivered; after a fault the queue must be stopped.
    pub(in crate::datapath) fn deliver(
        &mut self,
        queue: QueueIndex,
        frame: &[u8],
        info: &RxInfo,
    ) -> Result<(), QueueRefusal> {
        let slot = self.rx.get_mut(queue.index());
        let slot = slot.ok_or(QueueRefusal::Disabled)?;
        let (vector, pasid) = (slot.vector, slot.owner.pasid);
        let target = slot.running_mut().ok_or(QueueRefusal::Disabled)?;
        let space = AddressSpace::new(&self.memory, &self.translator, pasid);
        let delivered = match &mut target.single {
            Some(ring) => {
                let tail = self.doorbells.bufq_tail.load(single_rx_tail(queue.0));
                ring.deliver(&space, tail, frame, info)
            }
            None => {
                let [first, second] = target.buffer_queues;
                let tail = |id: Option<u32>| id.map_or(0, |id| self.doorbells.bufq_tail.load(id));
                let tails = [tail(first), tail(second)];
                let pools = slot::pair(&mut self.buffer, first, second);
                let pools = [
                    pools.0.map(|q| (&mut **q, tails[0])),
                    pools.1.map(|q| (&mut **q, tails[1])),
                ];
                target.deliver(&space, pools, frame, info)
            }
        };
        match delivered {
            Ok(()) => target.starved = false,
            Err(RxRefusal::NoBuffer) => {
                let first = !target.starved;
                return Err(QueueRefusal::NoBuffer { first });
            }
            Err(RxRefusal::Fault(fault)) => return Err(QueueRefusal::Fault(fault)),
        }
        if let Some(mapping) = vector {
            self.raise(mapping);
        }
        Ok(())
    }

    /// Marks an RX queue for which a frame has waited too long: subsequent frames do not wait for
    /// it, until one finds buffers again.
    pub(in crate::datapath) fn mark_starved(&mut self, queue: QueueIndex) {
        let slot = self.rx.get_mut(queue.index());
        let Some(running) = slot.and_then(|s| s.running_mut()) else {
            return;
        };
        running.starved = true;
        static LIMIT: Throttle = Throttle::new();
        if tracing::enabled!(tracing::Level::DEBUG) && LIMIT.admit().is_some() {
            let pools = running.buffer_queues.map(|id| {
                let pool = self.buffer.get(id? as usize)?.queue()?;
                Some((pool.head(), self.doorbells.bufq_tail.load(id?)))
            });
            tracing::debug!(queue = queue.0, head_tail = ?pools, "an RX queue is out of buffers");
        }
    }
}
