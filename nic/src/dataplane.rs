// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the control plane asks of the data plane.
//!
//! The control plane checks messages and owns who has which queue; the data plane owns rings and
//! moves frames. The seam is this trait, so that either can be tested without the other.

use thiserror::Error;

use crate::forwarding::Forwarding;
use crate::memory::GuestMemory;

/// The four kinds of data queues; each has ids of its own, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueueKind {
    /// TX descriptors (VIRTCHNL2_QUEUE_TYPE_TX).
    Tx,
    /// RX completions (VIRTCHNL2_QUEUE_TYPE_RX).
    Rx,
    /// TX completions (VIRTCHNL2_QUEUE_TYPE_TX_COMPLETION).
    TxCompletion,
    /// RX buffers (VIRTCHNL2_QUEUE_TYPE_RX_BUFFER).
    RxBuffer,
}

/// One queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId {
    /// Its kind.
    pub kind: QueueKind,
    /// Its number among those of its kind, device-wide.
    pub index: u32,
}

/// A ring in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// IOVA of the first entry.
    pub base: u64,
    /// Entries.
    pub len: u16,
}

/// How a TX queue and its completion queue are scheduled (VIRTCHNL2_TXQ_SCHED_MODE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedMode {
    /// Completions of 4 bytes that carry the ring's head.
    Queue,
    /// Completions of 8 bytes that carry the packet's tag.
    Flow,
}

/// How a queue is set up, as the driver's CONFIG_TX_QUEUES and CONFIG_RX_QUEUES say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueConfig {
    /// A TX queue.
    Tx {
        /// Descriptors, 16 bytes each.
        ring: Ring,
        /// Flow or queue scheduling.
        sched: SchedMode,
        /// The completion queue it reports to.
        completion_queue: u32,
        /// What completions name it by: its place among the queues of its completion queue.
        relative_id: u16,
    },
    /// A TX completion queue.
    TxCompletion {
        /// Completions, 4 or 8 bytes each.
        ring: Ring,
        /// Flow or queue scheduling.
        sched: SchedMode,
    },
    /// An RX queue of the split model.
    Rx {
        /// Completions, 32 bytes each.
        ring: Ring,
        /// Its first buffer queue.
        buffer_queue: u32,
        /// Its second one.
        buffer_queue_2: Option<u32>,
        /// Whether TCP segments may be delivered merged (RSC).
        rsc: bool,
        /// Whether headers go to buffers of their own.
        header_split: bool,
        /// Longest frame in bytes, without FCS, that is delivered unmerged.
        max_packet_len: u32,
    },
    /// An RX buffer queue.
    RxBuffer {
        /// Buffer descriptors, 32 bytes each.
        ring: Ring,
        /// Bytes of each packet buffer.
        buffer_len: u32,
        /// Bytes of each header buffer; 0 for none.
        header_len: u16,
    },
}

/// Why the data plane refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueueError {
    /// No such queue.
    #[error("{0:?} does not exist")]
    NoSuchQueue(QueueId),
    /// It has not been configured.
    #[error("{0:?} is enabled before it is configured")]
    NotConfigured(QueueId),
    /// It is running and cannot be changed.
    #[error("{0:?} is changed while it is enabled")]
    Enabled(QueueId),
}

/// Counters of one virtual port, as GET_STATS reports them (virtchnl2_vport_stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VportCounters {
    /// Bytes delivered to the driver.
    pub rx_bytes: u64,
    /// Unicast frames delivered.
    pub rx_unicast: u64,
    /// Multicast frames delivered.
    pub rx_multicast: u64,
    /// Broadcast frames delivered.
    pub rx_broadcast: u64,
    /// Frames for the port that were not delivered, for whatever reason.
    pub rx_discards: u64,
    /// Frames not delivered because they were malformed or too long.
    pub rx_errors: u64,
    /// Frames that no filter of the port wanted (not counted as discards).
    pub rx_filtered: u64,
    /// Frames not delivered because no buffer was posted (also in `rx_discards`).
    pub rx_no_buffer: u64,
    /// Bytes sent by the driver.
    pub tx_bytes: u64,
    /// Unicast frames sent.
    pub tx_unicast: u64,
    /// Multicast frames sent.
    pub tx_multicast: u64,
    /// Broadcast frames sent.
    pub tx_broadcast: u64,
    /// Frames from the driver that the wire did not take.
    pub tx_discards: u64,
    /// Frames from the driver that were malformed.
    pub tx_errors: u64,
}

/// The data plane, as the control plane sees it.
pub trait DataPlane {
    /// How many queues of a kind exist.
    fn queue_count(&self, kind: QueueKind) -> u32;

    /// Sets up a queue that is not enabled. Its doorbell is left alone: buffers may have been
    /// posted already.
    ///
    /// # Errors
    /// When the queue does not exist or is enabled.
    fn configure(&mut self, vport: u32, index: u32, config: QueueConfig) -> Result<(), QueueError>;

    /// Starts a configured queue; starting twice is fine.
    ///
    /// # Errors
    /// When it does not exist or is not configured.
    fn enable(&mut self, queue: QueueId) -> Result<(), QueueError>;

    /// Stops queues, all of one message: no DMA of theirs happens after this returns, their
    /// doorbells are zero, and each TX queue among them has put a SW_MARKER on its completion
    /// queue.
    fn disable(&mut self, queues: &[QueueId]);

    /// Stops a queue and forgets how it was set up.
    fn remove(&mut self, queue: QueueId);

    /// Says which vector (device-wide) and ITR index a TX or RX queue interrupts; `None` for none.
    fn map_vector(&mut self, queue: QueueId, vector: Option<(u32, u32)>);

    /// The memory that the function may reach.
    fn memory(&self) -> &GuestMemory;

    /// What is forwarded to a virtual port, to be changed in place.
    fn forwarding(&mut self, vport: u32) -> &mut Forwarding;

    /// Counters of a virtual port.
    fn counters(&self, vport: u32) -> VportCounters;

    /// Link of a virtual port: up, and speed in Mbit/s.
    fn link(&self, vport: u32) -> (bool, u32);
}
