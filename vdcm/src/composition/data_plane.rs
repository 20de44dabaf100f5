// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The calls of the control plane.

use std::collections::BTreeMap;
use std::time::Instant;

use adit_function::control::Refusal;
use adit_function::dataplane::{
    AddressTaken, AdiConfig, DataPlane, FaultRecord, QueueConfig, QueueError, QueueId, QueueKind,
    QueuePosition, VportCounters,
};
use adit_function::ids::{VectorId, VectorMapping, VportId};
use adit_function::interrupts::CauseRingConfig;
use adit_function::memory::GuestMemory;
use adit_function::pasid::Readiness;
use adit_function::vport::{FlowAction, FlowRuleError, VportConfig, RSS_KEY_LEN};
use adit_uapi::virtchnl2::FlowRule;

use super::Composition;
use crate::protocol::TraceEvent;
use crate::trace::opcode_name;

impl Composition {
    /// The queues of a configuration, numbered within the ADI.
    fn own_config(&self, config: QueueConfig) -> QueueConfig {
        let own = |kind, index: u32| index % self.queues_per_port(kind).max(1);
        match config {
            QueueConfig::Tx {
                ring,
                sched,
                completion_queue,
                relative_id,
            } => QueueConfig::Tx {
                ring,
                sched,
                completion_queue: own(QueueKind::TxCompletion, completion_queue),
                relative_id,
            },
            QueueConfig::Rx {
                ring,
                buffer_queue,
                buffer_queue_2,
                rsc,
                header_split,
                max_packet_len,
            } => QueueConfig::Rx {
                ring,
                buffer_queue: own(QueueKind::RxBuffer, buffer_queue),
                buffer_queue_2: buffer_queue_2.map(|queue| own(QueueKind::RxBuffer, queue)),
                rsc,
                header_split,
                max_packet_len,
            },
            other @ (QueueConfig::SingleTx { .. }
            | QueueConfig::TxCompletion { .. }
            | QueueConfig::SingleRx { .. }
            | QueueConfig::RxBuffer { .. }) => other,
        }
    }

    /// Stops queues of one ADI. One that does not is closed.
    fn stop(&mut self, vport: VportId, queues: &[QueueId]) {
        let Some(port) = self.port(vport) else { return };
        let message = port.encoder.disable(queues);
        let stopped = self.send(vport, &message);
        let port = &mut self.ports[vport.index()];
        queues.iter().for_each(|queue| {
            port.running.remove(queue);
        });
        if !stopped {
            port.close();
        }
    }

    fn set_address(&mut self, vport: VportId, address: [u8; 6], add: bool) -> bool {
        let Some(port) = self.port(vport) else {
            return false;
        };
        let own = port.properties.mac == address;
        self.send(vport, &port.encoder.address(address, own, add))
    }
}

impl DataPlane for Composition {
    fn queue_count(&self, kind: QueueKind) -> u32 {
        u32::from(self.frames.adis) * self.queues_per_port(kind)
    }

    fn configure(
        &mut self,
        _vport: VportId,
        index: u32,
        config: QueueConfig,
    ) -> Result<(), QueueError> {
        let kind = config.kind();
        let queue = QueueId { kind, index };
        let (vport, own) = self.place(queue).ok_or(QueueError::NoSuchQueue(queue))?;
        let port = &self.ports[vport.index()];
        if port.running.contains(&own) {
            return Err(QueueError::Enabled(queue));
        }
        let config = self.own_config(config);
        let message = port.encoder.configure(own.index, &config);
        let message = message.ok_or(QueueError::NoSuchQueue(queue))?;
        match self.send(vport, &message) {
            true => Ok(()),
            false => Err(QueueError::NoSuchQueue(queue)),
        }
    }

    fn enable(&mut self, queue: QueueId) -> Result<(), QueueError> {
        let (vport, own) = self.place(queue).ok_or(QueueError::NoSuchQueue(queue))?;
        let port = &self.ports[vport.index()];
        if port.running.contains(&own) {
            return Ok(());
        }
        if !self.send(vport, &port.encoder.enable(own)) {
            return Err(QueueError::NoSuchQueue(queue));
        }
        self.ports[vport.index()].running.insert(own);
        Ok(())
    }

    fn disable(&mut self, queues: &[QueueId]) {
        let mut by_port: BTreeMap<VportId, Vec<QueueId>> = BTreeMap::new();
        for (vport, own) in queues.iter().filter_map(|&queue| self.place(queue)) {
            by_port.entry(vport).or_default().push(own);
        }
        for (vport, queues) in by_port {
            self.stop(vport, &queues);
        }
    }

    fn remove(&mut self, queue: QueueId) {
        if let Some((vport, own)) = self.place(queue) {
            if self.ports[vport.index()].running.contains(&own) {
                self.stop(vport, &[own]);
            }
        }
    }

    /// Maps a queue to a vector of its ADI. The one of polled queues is no vector of an ADI's: such
    /// a queue is unmapped.
    fn map_vector(&mut self, queue: QueueId, vector: Option<VectorMapping>) {
        let Some((vport, own)) = self.place(queue) else {
            return;
        };
        let target = vector.and_then(|mapping| {
            let (adi, own) = self.frames.vector(mapping.vector.0)?;
            Some((adi, own, mapping.itr))
        });
        let port = &self.ports[vport.index()];
        if let Some((adi, ..)) = target.filter(|&(adi, ..)| u32::from(adi) != vport.0) {
            tracing::debug!(?queue, adi, "a queue is mapped to a vector of another ADI");
            return self.refuse(Refusal::NotYours);
        }
        let previous = port.vectors.get(&own).copied();
        let done = match (target, previous) {
            (Some((_, vector, itr)), _) => {
                self.send(vport, &port.encoder.map_vector(own, vector, itr, true))
            }
            (None, Some(previous)) => {
                self.send(vport, &port.encoder.map_vector(own, previous, 0, false))
            }
            (None, None) => return,
        };
        if done {
            let vectors = &mut self.ports[vport.index()].vectors;
            match target {
                Some((_, vector, _)) => vectors.insert(own, vector),
                None => vectors.remove(&own),
            };
        }
    }

    fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    fn vport(&self, vport: VportId) -> &VportConfig {
        self.port(vport).map_or(&self.none, |port| &port.config)
    }

    fn create_vport(&mut self, vport: VportId, mac: [u8; 6], rx_queues: Vec<u32>) {
        if let Some(port) = self.ports.get_mut(vport.index()) {
            port.config = VportConfig::new(mac, rx_queues);
            self.send_rss_lut(vport);
        }
    }

    /// Resets the ADI, so that the next driver finds none of this one's addresses, key and table.
    fn destroy_vport(&mut self, vport: VportId) {
        if let Some(port) = self.ports.get_mut(vport.index()) {
            port.reset();
            if port.is_gone() {
                self.refuse(Refusal::DataPlane);
            }
        }
    }

    fn set_rx_queues(&mut self, vport: VportId, rx_queues: Vec<u32>) {
        if let Some(port) = self.ports.get_mut(vport.index()) {
            port.config.rx_queues = rx_queues;
            self.send_rss_lut(vport);
        }
    }

    /// Does nothing: the capability is not offered.
    fn set_promiscuous(&mut self, _vport: VportId, _unicast: bool, _multicast: bool) {
        self.refuse(Refusal::NotOffered);
    }

    /// Does nothing: the capability is not offered.
    fn set_loopback(&mut self, _vport: VportId, _loopback: bool) {
        self.refuse(Refusal::NotOffered);
    }

    fn set_rss_key(&mut self, vport: VportId, key: [u8; RSS_KEY_LEN]) {
        if let Some(port) = self.ports.get_mut(vport.index()) {
            port.config.set_rss_key(key);
            let message = port.encoder.rss_key(&key);
            self.send(vport, &message);
        }
    }

    fn set_rss_lut(&mut self, vport: VportId, start: usize, entries: &[u16]) {
        if let Some(port) = self.ports.get_mut(vport.index()) {
            port.config.set_rss_lut(start, entries);
            self.send_rss_lut(vport);
        }
    }

    fn set_rss_hash(&mut self, vport: VportId, groups: u64) {
        if let Some(port) = self.ports.get_mut(vport.index()) {
            port.config.set_rss_hash(groups);
            let message = port.encoder.rss_hash(groups);
            self.send(vport, &message);
        }
    }

    /// Adds none: the capability is not offered.
    fn add_flow_rule(
        &mut self,
        _vport: VportId,
        _rule_id: u32,
        _rule: &FlowRule,
        _action: FlowAction,
    ) -> Result<(), FlowRuleError> {
        Err(FlowRuleError::NoSpace)
    }

    fn remove_flow_rule(&mut self, _vport: VportId, _rule_id: u32) -> bool {
        false
    }

    fn counters(&self, vport: VportId) -> VportCounters {
        let read = self.read_counters(vport.0);
        if read.is_none() {
            self.refuse(Refusal::DataPlane);
        }
        read.unwrap_or_default()
    }

    fn link(&self, vport: VportId) -> (bool, u32) {
        let link = self.port(vport).map(|port| port.link).unwrap_or_default();
        self.record(TraceEvent::Notified {
            vport: vport.0,
            link_up: link.up,
        });
        (link.up, link.speed_mbps)
    }

    fn set_enabled(&mut self, vport: VportId, enabled: bool) {
        if let Some(port) = self.ports.get_mut(vport.index()) {
            port.config.enabled = enabled;
            let message = port.encoder.enable_vport(enabled);
            self.send(vport, &message);
        }
    }

    /// Adds a multicast address, up to the limit, or the ADI's own. Any other is another owner's.
    fn add_address(&mut self, vport: VportId, address: [u8; 6]) -> Result<bool, AddressTaken> {
        let port = self.port(vport).ok_or(AddressTaken)?;
        let own = port.properties.mac == address;
        let multicast = |address: &[u8; 6]| address[0] & 1 != 0;
        if !own && !multicast(&address) {
            self.refuse(Refusal::NotYours);
            return Err(AddressTaken);
        }
        let addresses = &port.config.addresses;
        if addresses.contains(&address) {
            return Ok(false);
        }
        let count = addresses
            .iter()
            .filter(|address| multicast(address))
            .count();
        if !own && count >= usize::from(self.limits.multicast_addresses) {
            self.refuse(Refusal::NoRoom);
            return Err(AddressTaken);
        }
        if !self.set_address(vport, address, true) {
            return Err(AddressTaken);
        }
        Ok(self.ports[vport.index()].config.addresses.insert(address))
    }

    fn remove_address(&mut self, vport: VportId, address: [u8; 6]) {
        if let Some(port) = self.ports.get_mut(vport.index()) {
            if port.config.addresses.remove(&address) {
                self.set_address(vport, address, false);
            }
        }
    }

    /// Failed: a composed device has no ADIs to give away.
    fn find_tables(&mut self) -> Readiness {
        Readiness::Failed
    }

    fn has_tables(&self) -> bool {
        false
    }

    /// Creates none: the profile of a composed device has no ADIs.
    fn create_adi(&mut self, _adi: &AdiConfig) -> Result<(), AddressTaken> {
        self.refuse(Refusal::NotOffered);
        Err(AddressTaken)
    }

    fn destroy_adi(&mut self, _vport: VportId) {
        self.refuse(Refusal::NotOffered);
    }

    fn set_no_kick(&mut self, _vport: VportId, _no_kick: bool) {
        self.refuse(Refusal::NotOffered);
    }

    fn set_suspended(&mut self, _vport: VportId, _suspended: bool) {
        self.refuse(Refusal::NotOffered);
    }

    fn set_group(&mut self, _leader: VportId, _members: &[VportId]) {
        self.refuse(Refusal::NotOffered);
    }

    /// None: the profile of a composed device has no ADIs.
    fn position(&self, _queue: QueueId) -> Option<QueuePosition> {
        None
    }

    fn set_position(&mut self, _queue: QueueId, _position: QueuePosition) {
        self.refuse(Refusal::NotOffered);
    }

    fn is_pending(&self, _vector: VectorId) -> bool {
        false
    }

    fn set_pending(&mut self, _vector: VectorId, _pending: bool) {
        self.refuse(Refusal::NotOffered);
    }

    fn set_cause_ring(&mut self, _ring: u16, config: Option<CauseRingConfig>) {
        // They are removed when a vector is freed, which has none.
        if config.is_some() {
            self.refuse(Refusal::NotOffered);
        }
    }

    fn adi_faults(&mut self, _vport: VportId, _clear: bool) -> FaultRecord {
        FaultRecord::default()
    }

    fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    fn admits(&mut self) -> bool {
        self.limiter.admit(Instant::now())
    }

    fn answered(&mut self, v_opcode: u32, len: usize, status: u32) {
        self.record(TraceEvent::Request {
            opcode: v_opcode,
            name: opcode_name(v_opcode).to_owned(),
            len: len as u32,
            status,
        });
    }
}
