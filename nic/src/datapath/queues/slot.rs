// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A slot for a queue: its configuration, and the queue while it is enabled.

use crate::dataplane::{QueueConfig, QueueError, QueueId};
use crate::ids::{VectorMapping, VportId};
use crate::pasid::Pasid;
use crate::queues::{BufferQueue, CompletionQueue, RxQueue, TxQueue};

/// The virtual port that owns a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::datapath) struct Owner {
    /// The virtual port.
    pub(in crate::datapath) vport: VportId,
    /// The PASID that DMA of the queue is translated with; `None` for the function's own.
    pub(in crate::datapath) pasid: Option<Pasid>,
}

/// A slot for a queue.
pub(super) struct Slot<Q> {
    config: Option<QueueConfig>,
    queue: Option<Q>,
    enabled: bool,
    pub(super) owner: Owner,
    /// The index of a TX queue among those of its virtual port.
    pub(super) number: u16,
    /// The interrupt of a TX or RX queue.
    pub(super) vector: Option<VectorMapping>,
}

impl<Q> Slot<Q> {
    pub(super) fn empty() -> Self {
        Self {
            config: None,
            queue: None,
            enabled: false,
            owner: Owner::default(),
            number: 0,
            vector: None,
        }
    }

    pub(super) fn many(count: u32) -> Vec<Self> {
        (0..count).map(|_| Self::empty()).collect()
    }

    /// Returns whether the queue is enabled, and no fault has stopped it.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The queue, also after a fault has stopped it.
    pub(super) fn queue(&self) -> Option<&Q> {
        self.queue.as_ref()
    }

    /// The queue, also after a fault has stopped it.
    pub(super) fn queue_mut(&mut self) -> Option<&mut Q> {
        self.queue.as_mut()
    }

    /// The queue, while it is enabled.
    pub(super) fn running(&self) -> Option<&Q> {
        self.queue.as_ref().filter(|_| self.enabled)
    }

    /// The queue, while it is enabled.
    pub(super) fn running_mut(&mut self) -> Option<&mut Q> {
        match self.enabled {
            true => self.queue.as_mut(),
            false => None,
        }
    }

    /// Sets the configuration of the queue.
    fn configure(
        &mut self,
        id: QueueId,
        owner: Owner,
        config: QueueConfig,
    ) -> Result<(), QueueError> {
        if self.enabled {
            return Err(QueueError::Enabled(id));
        }
        (self.config, self.owner) = (Some(config), owner);
        Ok(())
    }

    /// Stops the queue and discards its state.
    fn stop(&mut self) {
        self.enabled = false;
        self.queue = None;
    }

    /// Stops the queue and discards its configuration.
    pub(super) fn clear(&mut self) {
        self.stop();
        (self.config, self.vector) = (None, None);
    }
}

impl<Q: Build> Slot<Q> {
    /// Starts the queue at the beginning of its ring.
    fn start(&mut self, id: QueueId) -> Result<(), QueueError> {
        if self.enabled {
            return Ok(());
        }
        self.queue = self.config.and_then(Q::build);
        self.enabled = self.queue.is_some();
        self.enabled
            .then_some(())
            .ok_or(QueueError::NotConfigured(id))
    }
}

/// Sets the configuration of a queue of an array.
pub(super) fn configure<Q>(
    slots: &mut [Slot<Q>],
    id: QueueId,
    owner: Owner,
    config: QueueConfig,
) -> Result<(), QueueError> {
    let slot = slots.get_mut(id.index as usize);
    slot.ok_or(QueueError::NoSuchQueue(id))?
        .configure(id, owner, config)
}

/// Starts a queue of an array.
pub(super) fn start<Q: Build>(slots: &mut [Slot<Q>], id: QueueId) -> Result<(), QueueError> {
    let slot = slots.get_mut(id.index as usize);
    slot.ok_or(QueueError::NoSuchQueue(id))?.start(id)
}

/// Stops a queue of an array, and discards its state.
pub(super) fn stop<Q>(slots: &mut [Slot<Q>], index: u32) {
    if let Some(slot) = slots.get_mut(index as usize) {
        slot.stop();
    }
}

/// Stops a queue of an array, and discards its configuration.
pub(super) fn clear<Q>(slots: &mut [Slot<Q>], index: u32) {
    if let Some(slot) = slots.get_mut(index as usize) {
        slot.clear();
    }
}

/// Stops a queue of an array at its current position; returns its owner.
pub(super) fn suspend<Q>(slots: &mut [Slot<Q>], index: u32) -> Owner {
    let Some(slot) = slots.get_mut(index as usize) else {
        return Owner::default();
    };
    slot.enabled = false;
    slot.owner
}

/// Sets whether a queue of an array, which has been started, is stopped as by a fault.
pub(super) fn set_stopped<Q>(slots: &mut [Slot<Q>], index: u32, stopped: bool) {
    if let Some(slot) = slots.get_mut(index as usize) {
        slot.enabled = slot.queue.is_some() && !stopped;
    }
}

/// Adds empty slots up to a number.
pub(super) fn grow<Q>(slots: &mut Vec<Slot<Q>>, len: usize) {
    if slots.len() < len {
        slots.resize_with(len, Slot::empty);
    }
}

/// Borrows two running queues of one array.
pub(super) fn pair<Q>(
    slots: &mut [Slot<Q>],
    first: Option<u32>,
    second: Option<u32>,
) -> (Option<&mut Q>, Option<&mut Q>) {
    let (first, second) = (first.map(|i| i as usize), second.map(|i| i as usize));
    match (first, second) {
        (Some(a), Some(b)) if a < b && b < slots.len() => {
            let (low, high) = slots.split_at_mut(b);
            (low[a].running_mut(), high[0].running_mut())
        }
        (Some(a), Some(b)) if b < a && a < slots.len() => {
            let (low, high) = slots.split_at_mut(a);
            (high[0].running_mut(), low[b].running_mut())
        }
        (Some(a), _) => (slots.get_mut(a).and_then(Slot::running_mut), None),
        (None, Some(b)) => (None, slots.get_mut(b).and_then(Slot::running_mut)),
        (None, None) => (None, None),
    }
}

/// A queue that is built from its configuration.
pub(super) trait Build: Sized {
    /// Creates the queue at the beginning of its ring; `None` if the configuration is of another
    /// kind.
    fn build(config: QueueConfig) -> Option<Self>;
}

impl Build for Box<TxQueue> {
    fn build(config: QueueConfig) -> Option<Self> {
        match config {
            QueueConfig::Tx {
                ring,
                sched,
                completion_queue,
                relative_id,
            } => Some(Self::new(TxQueue::new(
                ring,
                sched,
                completion_queue,
                relative_id,
            ))),
            QueueConfig::SingleTx { ring } => Some(Self::new(TxQueue::new_single(ring))),
            _ => None,
        }
    }
}

impl Build for CompletionQueue {
    fn build(config: QueueConfig) -> Option<Self> {
        match config {
            QueueConfig::TxCompletion { ring, sched } => Some(Self::new(ring, sched)),
            _ => None,
        }
    }
}

impl Build for RxQueue {
    fn build(config: QueueConfig) -> Option<Self> {
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
                Some(Self::new(ring, pools, rsc, header_split, max_packet_len))
            }
            QueueConfig::SingleRx {
                ring,
                buffer_len,
                max_packet_len,
            } => Some(Self::new_single(ring, buffer_len, max_packet_len)),
            _ => None,
        }
    }
}

impl Build for Box<BufferQueue> {
    fn build(config: QueueConfig) -> Option<Self> {
        match config {
            QueueConfig::RxBuffer {
                ring,
                buffer_len,
                header_len,
            } => Some(Self::new(BufferQueue::new(ring, buffer_len, header_len))),
            _ => None,
        }
    }
}
