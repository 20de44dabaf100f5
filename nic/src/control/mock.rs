// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A data plane that moves nothing and remembers what it was told.

use std::collections::BTreeMap;

use crate::dataplane::{DataPlane, QueueConfig, QueueError, QueueId, QueueKind, VportCounters};
use crate::forwarding::Forwarding;
use crate::memory::GuestMemory;

use super::Profile;

/// A queue that was set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MockQueue {
    /// Whose.
    pub vport: u32,
    /// How.
    pub config: QueueConfig,
    /// Whether it runs.
    pub enabled: bool,
}

/// A data plane that moves nothing. Breaking the contract of [`DataPlane`] is a panic.
pub struct MockDataPlane {
    /// The memory that the function may reach.
    pub memory: GuestMemory,
    /// Queues that are set up.
    pub queues: BTreeMap<QueueId, MockQueue>,
    /// Vector and ITR index of queues that have one.
    pub vectors: BTreeMap<QueueId, (u32, u32)>,
    /// TX queues that have put a SW_MARKER on their completion queue.
    pub markers: Vec<u32>,
    /// State of the links: up, and speed.
    pub links: Vec<(bool, u32)>,
    /// What GET_STATS is told.
    pub counters: VportCounters,
    forwarding: Vec<Forwarding>,
    counts: [u32; 4],
}

impl MockDataPlane {
    /// A data plane as large as the profile says, with all links up.
    #[must_use]
    pub fn new(profile: &Profile, memory: GuestMemory) -> Self {
        let vports = usize::from(profile.vports());
        let kinds = super::queue_set::KINDS;
        Self {
            memory,
            queues: BTreeMap::new(),
            vectors: BTreeMap::new(),
            markers: Vec::new(),
            links: vec![(true, 10_000); vports],
            counters: VportCounters::default(),
            forwarding: vec![Forwarding::default(); vports],
            counts: kinds.map(|kind| u32::from(profile.total_queues(kind))),
        }
    }

    /// Everything but the links and the memory is as at the beginning.
    pub fn reset(&mut self) {
        self.queues.clear();
        self.vectors.clear();
        self.markers.clear();
        self.forwarding.fill(Forwarding::default());
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

    fn configure(&mut self, vport: u32, index: u32, config: QueueConfig) -> Result<(), QueueError> {
        let kind = match config {
            QueueConfig::Tx { .. } => QueueKind::Tx,
            QueueConfig::TxCompletion { .. } => QueueKind::TxCompletion,
            QueueConfig::Rx { .. } => QueueKind::Rx,
            QueueConfig::RxBuffer { .. } => QueueKind::RxBuffer,
        };
        let queue = QueueId { kind, index };
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
        let known = self
            .queues
            .get_mut(&queue)
            .ok_or(QueueError::NotConfigured(queue))?;
        known.enabled = true;
        Ok(())
    }

    fn disable(&mut self, queues: &[QueueId]) {
        for queue in queues {
            let known = self.queues.get_mut(queue).expect("a queue that was set up");
            assert!(known.enabled, "{queue:?} is stopped twice");
            known.enabled = false;
            if queue.kind == QueueKind::Tx {
                self.markers.push(queue.index);
            }
        }
    }

    fn remove(&mut self, queue: QueueId) {
        self.queues.remove(&queue);
    }

    fn map_vector(&mut self, queue: QueueId, vector: Option<(u32, u32)>) {
        self.check(queue).expect("a queue that exists");
        match vector {
            Some(vector) => self.vectors.insert(queue, vector),
            None => self.vectors.remove(&queue),
        };
    }

    fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    fn forwarding(&mut self, vport: u32) -> &mut Forwarding {
        &mut self.forwarding[vport as usize]
    }

    fn counters(&self, _vport: u32) -> VportCounters {
        self.counters
    }

    fn link(&self, vport: u32) -> (bool, u32) {
        self.links[vport as usize]
    }
}
