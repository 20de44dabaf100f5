// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control plane's interface to the data plane.

use std::sync::Arc;

use adit_function::vport::{FlowAction, FlowRuleError, VportConfig, RSS_KEY_LEN};
use adit_uapi::virtchnl2::FlowRule;

use super::Datapath;
use crate::dataplane::{
    AddressTaken, AdiConfig, DataPlane, FaultRecord, QueueConfig, QueueError, QueueId, QueueKind,
    QueuePosition, VportCounters,
};
use crate::forwarding::Forwarding;
use crate::ids::{VectorId, VectorMapping, VportId};
use crate::interrupts::CauseRingConfig;
use crate::memory::{GuestMemory, WriteLog};
use crate::pasid::root::Readiness;

impl DataPlane for Datapath {
    fn memory(&self) -> &GuestMemory {
        &self.queues().memory
    }

    fn queue_count(&self, kind: QueueKind) -> u32 {
        self.queues().count(kind)
    }

    fn configure(
        &mut self,
        vport: VportId,
        index: u32,
        config: QueueConfig,
    ) -> Result<(), QueueError> {
        let owner = self.fabric.host.owner(vport);
        self.queues_mut().configure(owner, index, config)
    }

    fn enable(&mut self, queue: QueueId) -> Result<(), QueueError> {
        let now = self.fabric.host.now;
        self.queues_mut().enable(queue, now)
    }

    fn disable(&mut self, queues: &[QueueId]) {
        self.fabric.host.disable(queues);
    }

    fn remove(&mut self, queue: QueueId) {
        self.queues_mut().remove(queue);
    }

    fn map_vector(&mut self, queue: QueueId, vector: Option<VectorMapping>) {
        self.queues_mut().map_vector(queue, vector);
    }

    fn vport(&self, vport: VportId) -> &VportConfig {
        &self.fabric.host.vports[vport].forwarding
    }

    fn create_vport(&mut self, vport: VportId, mac: [u8; 6], rx_queues: Vec<u32>) {
        *self.forwarding(vport) = Forwarding::new(mac, rx_queues);
    }

    fn destroy_vport(&mut self, vport: VportId) {
        *self.forwarding(vport) = Forwarding::default();
    }

    fn set_rx_queues(&mut self, vport: VportId, rx_queues: Vec<u32>) {
        self.forwarding(vport).set_rx_queues(rx_queues);
    }

    fn set_tx_queues(&mut self, _vport: VportId, tx_queues: &[u32]) {
        self.queues_mut().number_tx(tx_queues);
    }

    fn set_promiscuous(&mut self, vport: VportId, unicast: bool, multicast: bool) {
        self.forwarding(vport).set_promiscuous(unicast, multicast);
    }

    fn set_loopback(&mut self, vport: VportId, loopback: bool) {
        self.forwarding(vport).set_loopback(loopback);
    }

    fn set_rss_key(&mut self, vport: VportId, key: [u8; RSS_KEY_LEN]) {
        self.forwarding(vport).set_rss_key(key);
    }

    fn set_rss_lut(&mut self, vport: VportId, start: usize, entries: &[u16]) {
        self.forwarding(vport).set_rss_lut(start, entries);
    }

    fn set_rss_hash(&mut self, vport: VportId, groups: u64) {
        self.forwarding(vport).set_rss_hash(groups);
    }

    fn add_flow_rule(
        &mut self,
        vport: VportId,
        rule_id: u32,
        rule: &FlowRule,
        action: FlowAction,
    ) -> Result<(), FlowRuleError> {
        self.forwarding(vport).add_flow_rule(rule_id, rule, action)
    }

    fn remove_flow_rule(&mut self, vport: VportId, rule_id: u32) -> bool {
        self.forwarding(vport).remove_flow_rule(rule_id)
    }

    fn counters(&self, vport: VportId) -> VportCounters {
        let vport = self.fabric.host.vports.get(vport);
        vport.map_or_else(VportCounters::default, |v| v.counters)
    }

    fn link(&self, vport: VportId) -> (bool, u32) {
        let wire = self.fabric.host.uplink(vport);
        let link = self.fabric.wires.link(wire);
        (link.up, link.speed_mbps)
    }

    fn set_enabled(&mut self, vport: VportId, enabled: bool) {
        self.fabric.set_enabled(vport, enabled);
    }

    fn add_address(&mut self, vport: VportId, address: [u8; 6]) -> Result<bool, AddressTaken> {
        self.fabric.add_address(vport, address)
    }

    fn remove_address(&mut self, vport: VportId, address: [u8; 6]) {
        self.fabric.remove_address(vport, address);
    }

    fn find_tables(&mut self) -> Readiness {
        self.queues_mut().translator.find_tables()
    }

    fn has_tables(&self) -> bool {
        self.queues().translator.has_tables()
    }

    fn create_adi(&mut self, adi: &AdiConfig) -> Result<(), AddressTaken> {
        self.fabric.create_adi(adi)
    }

    fn destroy_adi(&mut self, vport: VportId) {
        self.discard_waiting_of(vport);
        self.fabric.destroy_adi(vport);
    }

    fn set_no_kick(&mut self, vport: VportId, no_kick: bool) {
        self.fabric.set_no_kick(vport, no_kick);
    }

    fn set_suspended(&mut self, vport: VportId, suspended: bool) {
        self.fabric.set_suspended(vport, suspended);
    }

    fn set_group(&mut self, leader: VportId, members: &[VportId]) {
        self.fabric.set_group(leader, members);
    }

    fn position(&self, queue: QueueId) -> Option<QueuePosition> {
        self.queues().position(queue)
    }

    fn set_position(&mut self, queue: QueueId, position: QueuePosition) {
        self.queues_mut().set_position(queue, position);
    }

    fn is_pending(&self, vector: VectorId) -> bool {
        self.queues().interrupts.is_pending(vector)
    }

    fn set_pending(&mut self, vector: VectorId, pending: bool) {
        self.queues_mut().interrupts.set_pending(vector, pending);
    }

    fn set_cause_ring(&mut self, ring: u16, config: Option<CauseRingConfig>) {
        self.queues_mut().interrupts.adi.set_ring(ring, config);
    }

    fn adi_faults(&mut self, vport: VportId, clear: bool) -> FaultRecord {
        self.fabric.adi_faults(vport, clear)
    }

    fn log_writes(&mut self, vport: VportId, log: Option<Arc<WriteLog>>) -> bool {
        self.fabric.log_writes(vport, log)
    }
}
