// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A data plane that moves no frames and records the calls that it receives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dataplane::{
    AddressTaken, AdiConfig, DataPlane, FaultRecord, QueueConfig, QueueError, QueueId, QueueKind,
    QueuePosition, VportCounters,
};
use crate::ids::{VectorId, VectorMapping, VportId};
use crate::interrupts::CauseRingConfig;
use crate::memory::{GuestMemory, WriteLog};
use crate::pasid::Readiness;
use crate::vport::{FlowAction, FlowRuleError, VportConfig, MAX_FLOWS, RSS_KEY_LEN};

use adit_uapi::virtchnl2::FlowRule;

use super::Profile;

/// A configured queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MockQueue {
    /// The vport that owns it.
    pub vport: VportId,
    /// Its configuration.
    pub config: QueueConfig,
    /// `true` while it is enabled.
    pub enabled: bool,
}

/// A data plane that moves no frames. Breaking the contract of [`DataPlane`] is a panic.
pub struct MockDataPlane {
    /// The memory that the function may access.
    pub memory: GuestMemory,
    /// Queues that are configured.
    pub queues: BTreeMap<QueueId, MockQueue>,
    /// The interrupts of queues that have one.
    pub vectors: BTreeMap<QueueId, VectorMapping>,
    /// The TX queues of each vport, in their order.
    pub tx_queues: BTreeMap<VportId, Vec<u32>>,
    /// TX queues that have written a SW_MARKER to their completion queue.
    pub markers: Vec<u32>,
    /// State of the links: up, and speed.
    pub links: Vec<(bool, u32)>,
    /// The counters that GET_STATS reports.
    pub counters: VportCounters,
    /// ADIs, by vport.
    pub adis: BTreeMap<VportId, AdiConfig>,
    /// The vports of ADIs that are polled without kicks.
    pub no_kick: BTreeSet<VportId>,
    /// The vports of ADIs that are suspended.
    pub suspended: BTreeSet<VportId>,
    /// The logs of what ADIs write, by vport.
    pub logs: BTreeMap<VportId, Arc<WriteLog>>,
    /// The positions that were set in queues.
    pub positions: BTreeMap<QueueId, QueuePosition>,
    /// Vectors of ADIs that have a cause latched.
    pub pending: BTreeSet<VectorId>,
    /// Cause rings that are configured.
    pub rings: BTreeMap<u16, CauseRingConfig>,
    /// The availability of the IOMMU's tables.
    pub tables: Readiness,
    /// The faults reported for any ADI.
    pub faults: FaultRecord,
    /// The members of groups, by their leaders.
    pub groups: BTreeMap<VportId, Vec<VportId>>,
    vports: Vec<VportConfig>,
    counts: [u32; 4],
    pairs: u32,
}

impl MockDataPlane {
    /// Creates a data plane with the resources of the profile, and with all links up.
    #[must_use]
    pub fn new(profile: &Profile, memory: GuestMemory) -> Self {
        let vports = usize::from(profile.vports());
        let kinds = super::queue_set::KINDS;
        Self {
            memory,
            queues: BTreeMap::new(),
            vectors: BTreeMap::new(),
            tx_queues: BTreeMap::new(),
            markers: Vec::new(),
            links: vec![(true, 10_000); vports],
            counters: VportCounters::default(),
            adis: BTreeMap::new(),
            no_kick: BTreeSet::new(),
            suspended: BTreeSet::new(),
            logs: BTreeMap::new(),
            positions: BTreeMap::new(),
            pending: BTreeSet::new(),
            rings: BTreeMap::new(),
            tables: Readiness::Ready,
            pairs: profile.adi_pairs(),
            faults: FaultRecord::default(),
            groups: BTreeMap::new(),
            vports: vec![VportConfig::default(); vports],
            counts: kinds.map(|kind| {
                let each = if kind == QueueKind::RxBuffer { 2 } else { 1 };
                u32::from(profile.total_queues(kind)) + each * profile.adi_pairs()
            }),
        }
    }

    /// Restores the initial state of everything but the links and the memory.
    pub fn reset(&mut self) {
        self.queues.clear();
        self.vectors.clear();
        self.tx_queues.clear();
        self.markers.clear();
        self.adis.clear();
        self.no_kick.clear();
        self.suspended.clear();
        self.groups.clear();
        self.logs.clear();
        self.positions.clear();
        self.pending.clear();
        self.rings.clear();
        self.vports.fill(VportConfig::default());
    }

    /// The RX queues of an ADI.
    fn rx_queues(&self, adi: &AdiConfig) -> std::ops::Range<u32> {
        let first = self.counts[QueueKind::Rx as usize] - self.pairs + adi.first_pair;
        first..first + u32::from(adi.rx_queues)
    }

    fn check(&self, queue: QueueId) -> Result<(), QueueError> {
        match queue.index < self.queue_count(queue.kind) {
            true => Ok(()),
            false => Err(QueueError::NoSuchQueue(queue)),
        }
    }
}

impl DataPlane for MockDataPlane {
    fn queue_count(&self, kind: QueueKind) -> u32 {
        self.counts[kind as usize]
    }

    fn configure(
        &mut self,
        vport: VportId,
        index: u32,
        config: QueueConfig,
    ) -> Result<(), QueueError> {
        let queue = QueueId {
            kind: config.kind(),
            index,
        };
        self.check(queue)?;
        if self.queues.get(&queue).is_some_and(|q| q.enabled) {
            return Err(QueueError::Enabled(queue));
        }
        self.queues.insert(
            queue,
            MockQueue {
                vport,
                config,
                enabled: false,
            },
        );
        Ok(())
    }

    fn enable(&mut self, queue: QueueId) -> Result<(), QueueError> {
        self.check(queue)?;
        let queue = self
            .queues
            .get_mut(&queue)
            .ok_or(QueueError::NotConfigured(queue))?;
        queue.enabled = true;
        Ok(())
    }

    fn disable(&mut self, queues: &[QueueId]) {
        for queue in queues {
            let running = self.queues.get_mut(queue).expect("a queue that was set up");
            assert!(running.enabled, "{queue:?} is stopped twice");
            running.enabled = false;
            self.positions.remove(queue);
            if queue.kind == QueueKind::Tx && !self.suspended.contains(&running.vport) {
                self.markers.push(queue.index);
            }
        }
    }

    fn remove(&mut self, queue: QueueId) {
        self.queues.remove(&queue);
        self.positions.remove(&queue);
    }

    fn map_vector(&mut self, queue: QueueId, vector: Option<VectorMapping>) {
        self.check(queue).expect("a queue that exists");
        match vector {
            Some(mapping) => self.vectors.insert(queue, mapping),
            None => self.vectors.remove(&queue),
        };
    }

    fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    fn vport(&self, vport: VportId) -> &VportConfig {
        &self.vports[vport.index()]
    }

    fn create_vport(&mut self, vport: VportId, mac: [u8; 6], rx_queues: Vec<u32>) {
        self.vports[vport.index()] = VportConfig::new(mac, rx_queues);
    }

    fn destroy_vport(&mut self, vport: VportId) {
        self.vports[vport.index()] = VportConfig::default();
    }

    fn set_rx_queues(&mut self, vport: VportId, rx_queues: Vec<u32>) {
        self.vports[vport.index()].rx_queues = rx_queues;
    }

    fn set_tx_queues(&mut self, vport: VportId, tx_queues: &[u32]) {
        self.tx_queues.insert(vport, tx_queues.to_vec());
    }

    fn set_promiscuous(&mut self, vport: VportId, unicast: bool, multicast: bool) {
        let config = &mut self.vports[vport.index()];
        (config.unicast_promiscuous, config.multicast_promiscuous) = (unicast, multicast);
    }

    fn set_loopback(&mut self, vport: VportId, loopback: bool) {
        self.vports[vport.index()].loopback = loopback;
    }

    fn set_rss_key(&mut self, vport: VportId, key: [u8; RSS_KEY_LEN]) {
        self.vports[vport.index()].set_rss_key(key);
    }

    fn set_rss_lut(&mut self, vport: VportId, start: usize, entries: &[u16]) {
        self.vports[vport.index()].set_rss_lut(start, entries);
    }

    fn set_rss_hash(&mut self, vport: VportId, groups: u64) {
        self.vports[vport.index()].set_rss_hash(groups);
    }

    /// Adds a rule without a check of its headers: no frame is matched.
    fn add_flow_rule(
        &mut self,
        vport: VportId,
        rule_id: u32,
        rule: &FlowRule,
        _action: FlowAction,
    ) -> Result<(), FlowRuleError> {
        let rules = &mut self.vports[vport.index()].rules;
        if rules.contains_key(&rule_id) {
            return Err(FlowRuleError::Exists);
        }
        if rules.len() >= MAX_FLOWS {
            return Err(FlowRuleError::NoSpace);
        }
        rules.insert(rule_id, *rule);
        Ok(())
    }

    fn remove_flow_rule(&mut self, vport: VportId, rule_id: u32) -> bool {
        self.vports[vport.index()].rules.remove(&rule_id).is_some()
    }

    fn counters(&self, _vport: VportId) -> VportCounters {
        self.counters
    }

    fn link(&self, vport: VportId) -> (bool, u32) {
        self.links[vport.index()]
    }

    fn set_enabled(&mut self, vport: VportId, enabled: bool) {
        self.vports[vport.index()].enabled = enabled;
    }

    fn add_address(&mut self, vport: VportId, address: [u8; 6]) -> Result<bool, AddressTaken> {
        let taken = self.adis.keys().any(|&other| {
            other != vport && self.vports[other.index()].addresses.contains(&address)
        });
        if taken && address[0] & 1 == 0 {
            return Err(AddressTaken);
        }
        Ok(self.vports[vport.index()].addresses.insert(address))
    }

    fn remove_address(&mut self, vport: VportId, address: [u8; 6]) {
        self.vports[vport.index()].addresses.remove(&address);
    }

    fn find_tables(&mut self) -> Readiness {
        self.tables
    }

    fn has_tables(&self) -> bool {
        self.tables == Readiness::Ready
    }

    fn create_adi(&mut self, adi: &AdiConfig) -> Result<(), AddressTaken> {
        let at = adi.vport.index();
        if self.vports.len() <= at {
            self.vports.resize(at + 1, VportConfig::default());
        }
        self.add_address(adi.vport, adi.mac)?;
        self.vports[at] = VportConfig::new(adi.mac, self.rx_queues(adi).collect());
        let replaced = self.adis.insert(adi.vport, adi.clone());
        assert!(replaced.is_none(), "{adi:?} is created twice");
        Ok(())
    }

    fn destroy_adi(&mut self, vport: VportId) {
        assert!(self.adis.remove(&vport).is_some(), "an ADI that is");
        assert!(self.queues.values().all(|q| q.vport != vport));
        self.no_kick.remove(&vport);
        self.suspended.remove(&vport);
        self.logs.remove(&vport);
        self.vports[vport.index()] = VportConfig::default();
    }

    fn set_no_kick(&mut self, vport: VportId, no_kick: bool) {
        assert!(self.adis.contains_key(&vport), "an ADI that is");
        match no_kick {
            true => self.no_kick.insert(vport),
            false => self.no_kick.remove(&vport),
        };
    }

    fn set_suspended(&mut self, vport: VportId, suspended: bool) {
        assert!(self.adis.contains_key(&vport), "an ADI that is");
        match suspended {
            true => assert!(self.suspended.insert(vport), "suspended twice"),
            false => assert!(self.suspended.remove(&vport), "resumed twice"),
        }
    }

    fn set_group(&mut self, leader: VportId, members: &[VportId]) {
        let adis: Vec<_> = [&[leader], members].concat();
        let adis: Vec<_> = adis.iter().map(|vport| &self.adis[vport]).collect();
        let queues = adis.iter().flat_map(|adi| self.rx_queues(adi)).collect();
        self.vports[leader.index()].rx_queues = queues;
        self.groups.insert(leader, members.to_vec());
    }

    fn position(&self, queue: QueueId) -> Option<QueuePosition> {
        let state = self.queues.get(&queue).filter(|state| state.enabled)?;
        assert!(self.suspended.contains(&state.vport), "a suspended ADI");
        let start = QueuePosition {
            next: 0,
            generation: matches!(queue.kind, QueueKind::Rx | QueueKind::TxCompletion),
            stopped: false,
        };
        Some(self.positions.get(&queue).copied().unwrap_or(start))
    }

    fn set_position(&mut self, queue: QueueId, position: QueuePosition) {
        let state = &self.queues[&queue];
        assert!(self.suspended.contains(&state.vport), "a suspended ADI");
        assert!(state.enabled && position.next < state.config.ring().len);
        self.positions.insert(queue, position);
    }

    fn is_pending(&self, vector: VectorId) -> bool {
        self.pending.contains(&vector)
    }

    fn set_pending(&mut self, vector: VectorId, pending: bool) {
        match pending {
            true => self.pending.insert(vector),
            false => self.pending.remove(&vector),
        };
    }

    fn set_cause_ring(&mut self, ring: u16, config: Option<CauseRingConfig>) {
        match config {
            Some(config) => self.rings.insert(ring, config),
            None => self.rings.remove(&ring),
        };
    }

    fn adi_faults(&mut self, vport: VportId, clear: bool) -> FaultRecord {
        assert!(self.adis.contains_key(&vport), "an ADI that is");
        let record = self.faults;
        if clear {
            self.faults.first = None;
        }
        record
    }

    fn log_writes(&mut self, vport: VportId, log: Option<Arc<WriteLog>>) -> bool {
        assert!(self.adis.contains_key(&vport), "an ADI that is");
        let had = match log {
            Some(log) => self.logs.insert(vport, log),
            None => self.logs.remove(&vport),
        };
        drop(had);
        true
    }
}
