// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control plane's interface to the data plane.

use adit_function::vport::{FlowAction, FlowRuleError, VportConfig, RSS_KEY_LEN};
use adit_uapi::desc::tx_compl::comp_type;
use adit_uapi::virtchnl2::FlowRule;

use super::adi::space;
use super::{Datapath, Slot};
use crate::dataplane::{
    single_rx_tail, AddressTaken, AdiConfig, DataPlane, FaultRecord, QueueConfig, QueueError,
    QueueId, QueueKind, VportCounters,
};
use crate::forwarding::Forwarding;
use crate::interrupts::CauseRingConfig;
use crate::memory::GuestMemory;
use crate::pasid::root::Readiness;
use crate::queues::{BufferQueue, CompletionQueue, RxQueue, TxQueue};

fn place<Q>(
    slots: &mut [Slot<Q>],
    id: QueueId,
    vport: u32,
    config: QueueConfig,
) -> Result<(), QueueError> {
    let slot = slots
        .get_mut(id.index as usize)
        .ok_or(QueueError::NoSuchQueue(id))?;
    if slot.enabled {
        return Err(QueueError::Enabled(id));
    }
    (slot.config, slot.vport) = (Some(config), vport);
    Ok(())
}

/// Starts a queue at the beginning of its ring, whatever it did before.
fn start<Q>(
    slots: &mut [Slot<Q>],
    id: QueueId,
    make: impl FnOnce(QueueConfig) -> Option<Q>,
) -> Result<(), QueueError> {
    let slot = slots
        .get_mut(id.index as usize)
        .ok_or(QueueError::NoSuchQueue(id))?;
    if slot.enabled {
        return Ok(());
    }
    slot.queue = slot.config.and_then(make);
    slot.enabled = slot.queue.is_some();
    slot.enabled
        .then_some(())
        .ok_or(QueueError::NotConfigured(id))
}

fn stop<Q>(slots: &mut [Slot<Q>], index: u32) {
    if let Some(slot) = slots.get_mut(index as usize) {
        slot.enabled = false;
        slot.queue = None;
    }
}

fn forget<Q>(slots: &mut [Slot<Q>], index: u32) {
    stop(slots, index);
    if let Some(slot) = slots.get_mut(index as usize) {
        (slot.config, slot.vector) = (None, None);
    }
}

fn tx_queue(config: QueueConfig) -> Option<Box<TxQueue>> {
    match config {
        QueueConfig::Tx {
            ring,
            sched,
            completion_queue,
            relative_id,
        } => Some(Box::new(TxQueue::new(
            ring,
            sched,
            completion_queue,
            relative_id,
        ))),
        QueueConfig::SingleTx { ring } => Some(Box::new(TxQueue::new_single(ring))),
        _ => None,
    }
}

fn completion_queue(config: QueueConfig) -> Option<CompletionQueue> {
    match config {
        QueueConfig::TxCompletion { ring, sched } => Some(CompletionQueue::new(ring, sched)),
        _ => None,
    }
}

fn rx_queue(config: QueueConfig) -> Option<RxQueue> {
    match config {
        QueueConfig::Rx {
            ring,
            buffer_queue,
            buffer_queue_2,
            rsc,
            header_split,
            max_packet_len,
        } => {
            let pools = [Some(buffer_queue), buffer_queue_2];
            Some(RxQueue::new(ring, pools, rsc, header_split, max_packet_len))
        }
        QueueConfig::SingleRx {
            ring,
            buffer_len,
            max_packet_len,
        } => Some(RxQueue::new_single(ring, buffer_len, max_packet_len)),
        _ => None,
    }
}

fn buffer_queue(config: QueueConfig) -> Option<Box<BufferQueue>> {
    match config {
        QueueConfig::RxBuffer {
            ring,
            buffer_len,
            header_len,
        } => Some(Box::new(BufferQueue::new(ring, buffer_len, header_len))),
        _ => None,
    }
}

impl Datapath {
    /// Stops a queue immediately, and clears its doorbell.
    fn halt(&mut self, queue: QueueId) {
        let index = queue.index;
        match queue.kind {
            QueueKind::Tx => {
                stop(&mut self.tx, index);
                self.active_tx.remove(index);
                // It may be enabled again with the same configuration, without `configure`.
                self.doorbells.tx_tail.store(index, 0);
                if let Some(word) = self.doorbells.tx_tail.asleep(index) {
                    word.set(false);
                }
                if let Some(stalled) = self.stalled_since.get_mut(index as usize) {
                    *stalled = None;
                }
            }
            QueueKind::Rx => {
                let queue = self.rx.get(index as usize).and_then(|s| s.queue.as_ref());
                if queue.is_some_and(|queue| queue.single.is_some()) {
                    self.doorbells.bufq_tail.store(single_rx_tail(index), 0);
                }
                stop(&mut self.rx, index);
            }
            QueueKind::TxCompletion => stop(&mut self.completion, index),
            QueueKind::RxBuffer => {
                stop(&mut self.buffer, index);
                self.doorbells.bufq_tail.store(index, 0);
            }
        }
    }

    /// Notifies the driver that a TX queue is idle, without an interrupt: Linux polls for the
    /// marker itself, and its interrupt handler would consume it first.
    fn mark(&mut self, index: u32) {
        let Some(slot) = self.tx.get(index as usize) else {
            return;
        };
        let (Some(queue), vport) = (slot.queue.as_ref(), slot.vport) else {
            return;
        };
        // The single queue model has no completion queue for a marker.
        let (Some(target), id) = (queue.completion_queue, queue.relative_id) else {
            return;
        };
        let completion = self
            .completion
            .get_mut(target as usize)
            .and_then(Slot::running);
        let Some(completion) = completion else { return };
        let memory = space(&self.memory, &self.translator, &self.vports, vport);
        if let Err(fault) = completion.push(&memory, id, comp_type::SW_MARKER, 0) {
            self.fault(QueueKind::TxCompletion, target, fault.into());
        }
    }

    /// The forwarding state of a virtual port.
    pub(crate) fn forwarding(&mut self, vport: u32) -> &mut Forwarding {
        &mut self.vports[vport as usize].forwarding
    }

    /// Stops everything and discards its configuration; counters are kept.
    pub fn reset(&mut self) {
        for index in 0..self.tx.len() as u32 {
            forget(&mut self.tx, index);
            forget(&mut self.completion, index);
        }
        for index in 0..self.rx.len() as u32 {
            forget(&mut self.rx, index);
        }
        for index in 0..self.buffer.len() as u32 {
            forget(&mut self.buffer, index);
        }
        self.stalled_since.fill(None);
        self.flush_held();
        self.forget_kept();
        self.active_tx.clear();
        self.clear_adis();
        for vport in &mut self.vports {
            vport.forwarding = Forwarding::default();
        }
        self.interrupts.reset();
        self.doorbells.clear();
    }
}

impl DataPlane for Datapath {
    fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    fn queue_count(&self, kind: QueueKind) -> u32 {
        let count = match kind {
            QueueKind::Tx => self.tx.len(),
            QueueKind::Rx => self.rx.len(),
            QueueKind::TxCompletion => self.completion.len(),
            QueueKind::RxBuffer => self.buffer.len(),
        };
        count as u32
    }

    fn configure(&mut self, vport: u32, index: u32, config: QueueConfig) -> Result<(), QueueError> {
        let id = QueueId {
            kind: config.kind(),
            index,
        };
        match id.kind {
            QueueKind::Tx => {
                place(&mut self.tx, id, vport, config)?;
                // A driver that does not know of a reset keeps ringing. Buffer queues differ:
                // drivers fill them, and ring, before they configure them.
                self.doorbells.tx_tail.store(index, 0);
                Ok(())
            }
            QueueKind::TxCompletion => place(&mut self.completion, id, vport, config),
            QueueKind::Rx => place(&mut self.rx, id, vport, config),
            QueueKind::RxBuffer => place(&mut self.buffer, id, vport, config),
        }
    }

    fn enable(&mut self, queue: QueueId) -> Result<(), QueueError> {
        match queue.kind {
            QueueKind::Tx => {
                start(&mut self.tx, queue, tx_queue)?;
                self.wake_tx(queue.index);
            }
            QueueKind::Rx => start(&mut self.rx, queue, rx_queue)?,
            QueueKind::TxCompletion => start(&mut self.completion, queue, completion_queue)?,
            QueueKind::RxBuffer => start(&mut self.buffer, queue, buffer_queue)?,
        }
        Ok(())
    }

    fn disable(&mut self, queues: &[QueueId]) {
        // Markers come first: the same message may stop the queue that they are written to.
        for queue in queues.iter().filter(|q| q.kind == QueueKind::Tx) {
            self.mark(queue.index);
        }
        for &queue in queues {
            self.halt(queue);
        }
        // Markers were written outside of a burst.
        self.translator.flush();
    }

    fn remove(&mut self, queue: QueueId) {
        self.halt(queue);
        match queue.kind {
            QueueKind::Tx => forget(&mut self.tx, queue.index),
            QueueKind::Rx => forget(&mut self.rx, queue.index),
            QueueKind::TxCompletion => forget(&mut self.completion, queue.index),
            QueueKind::RxBuffer => forget(&mut self.buffer, queue.index),
        }
    }

    fn map_vector(&mut self, queue: QueueId, vector: Option<(u32, u32)>) {
        let own = self.interrupts.own();
        if let Some(adis) = vector.and_then(|(vector, _)| vector.checked_sub(own)) {
            self.interrupts.adi.wake(adis);
        }
        let index = queue.index as usize;
        match queue.kind {
            QueueKind::Tx => {
                if let Some(slot) = self.tx.get_mut(index) {
                    slot.vector = vector;
                }
            }
            QueueKind::Rx => {
                if let Some(slot) = self.rx.get_mut(index) {
                    slot.vector = vector;
                }
            }
            // The standard maps only queues that carry packets.
            QueueKind::TxCompletion | QueueKind::RxBuffer => {}
        }
    }

    fn vport(&self, vport: u32) -> &VportConfig {
        &self.vports[vport as usize].forwarding
    }

    fn create_vport(&mut self, vport: u32, mac: [u8; 6], rx_queues: Vec<u32>) {
        *self.forwarding(vport) = Forwarding::new(mac, rx_queues);
    }

    fn destroy_vport(&mut self, vport: u32) {
        *self.forwarding(vport) = Forwarding::default();
    }

    fn set_rx_queues(&mut self, vport: u32, rx_queues: Vec<u32>) {
        self.forwarding(vport).rx_queues = rx_queues;
    }

    fn set_promiscuous(&mut self, vport: u32, unicast: bool, multicast: bool) {
        let config = self.forwarding(vport);
        (config.unicast_promiscuous, config.multicast_promiscuous) = (unicast, multicast);
    }

    fn set_loopback(&mut self, vport: u32, loopback: bool) {
        self.forwarding(vport).loopback = loopback;
    }

    fn set_rss_key(&mut self, vport: u32, key: [u8; RSS_KEY_LEN]) {
        self.forwarding(vport).set_rss_key(key);
    }

    fn set_rss_lut(&mut self, vport: u32, start: usize, entries: &[u16]) {
        self.forwarding(vport).set_rss_lut(start, entries);
    }

    fn set_rss_hash(&mut self, vport: u32, groups: u64) {
        self.forwarding(vport).set_rss_hash(groups);
    }

    fn add_flow_rule(
        &mut self,
        vport: u32,
        rule_id: u32,
        rule: &FlowRule,
        action: FlowAction,
    ) -> Result<(), FlowRuleError> {
        self.forwarding(vport).add_flow_rule(rule_id, rule, action)
    }

    fn remove_flow_rule(&mut self, vport: u32, rule_id: u32) -> bool {
        self.forwarding(vport).remove_flow_rule(rule_id)
    }

    fn counters(&self, vport: u32) -> VportCounters {
        self.vports
            .get(vport as usize)
            .map_or_else(VportCounters::default, |v| v.counters)
    }

    fn link(&self, vport: u32) -> (bool, u32) {
        let port = self.vports.get(vport as usize).map(|v| match &v.adi {
            Some(adi) => adi.config.port,
            None => vport,
        });
        port.and_then(|port| self.vports.get(port as usize))
            .map_or((false, 0), |v| (v.link.up, v.link.speed_mbps))
    }

    fn set_enabled(&mut self, vport: u32, enabled: bool) {
        self.let_through(vport, enabled);
    }

    fn add_address(&mut self, vport: u32, address: [u8; 6]) -> Result<bool, AddressTaken> {
        self.claim(vport, address)
    }

    fn remove_address(&mut self, vport: u32, address: [u8; 6]) {
        self.release(vport, address);
    }

    fn find_tables(&mut self) -> Readiness {
        self.translator.tables().find()
    }

    fn knows_tables(&self) -> bool {
        self.translator.root().is_some()
    }

    fn create_adi(&mut self, adi: &AdiConfig) -> Result<(), AddressTaken> {
        self.make_adi(adi)
    }

    fn destroy_adi(&mut self, vport: u32) {
        self.end_adi(vport);
    }

    fn set_cause_ring(&mut self, ring: u16, config: Option<CauseRingConfig>) {
        self.interrupts.adi.set_ring(ring, config);
    }

    fn adi_faults(&mut self, vport: u32, clear: bool) -> FaultRecord {
        self.read_faults(vport, clear)
    }
}
