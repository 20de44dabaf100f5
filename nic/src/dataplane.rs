// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the control plane asks of the data plane.
//!
//! The control plane checks messages and owns who has which queue; the data plane owns rings and
//! moves frames. The seam is this trait, so that either can be tested without the other.

use thiserror::Error;

use crate::forwarding::Forwarding;
use crate::interrupts::CauseRingConfig;
use crate::memory::GuestMemory;
use crate::pasid::root::Readiness;
use crate::pasid::Pasid;
use crate::queues::QueueFault;

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

impl QueueKind {
    /// All of them, in the order of their numbers in messages.
    pub const ALL: [Self; 4] = [Self::Tx, Self::Rx, Self::TxCompletion, Self::RxBuffer];
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
    /// A TX queue of the single model: descriptors are written back when they are done.
    SingleTx {
        /// Descriptors, 16 bytes each.
        ring: Ring,
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
    /// An RX queue of the single model: buffers are posted on it, and overwritten by what is
    /// said of the frames in them.
    SingleRx {
        /// Buffer descriptors, 32 bytes each.
        ring: Ring,
        /// Bytes of each packet buffer.
        buffer_len: u32,
        /// Longest frame in bytes, without FCS, that is delivered.
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

impl QueueConfig {
    /// The kind of the queue that is set up so.
    #[must_use]
    pub fn kind(&self) -> QueueKind {
        match self {
            Self::Tx { .. } | Self::SingleTx { .. } => QueueKind::Tx,
            Self::TxCompletion { .. } => QueueKind::TxCompletion,
            Self::Rx { .. } | Self::SingleRx { .. } => QueueKind::Rx,
            Self::RxBuffer { .. } => QueueKind::RxBuffer,
        }
    }
}

/// The buffer queue whose tail an RX queue of the single model uses. The standard has RX tails of
/// their own, but those lie where the Linux driver probes for registers of a VF, and cannot be
/// mapped into the guest. Buffer queues come in pairs, and such a vport has none.
#[must_use]
pub fn single_rx_tail(rx_queue: u32) -> u32 {
    2 * rx_queue
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

/// An ADI, as the data plane sees it: a virtual port without a wire of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdiConfig {
    /// Its virtual port.
    pub vport: u32,
    /// Its id.
    pub adi: u16,
    /// What its DMA is translated with.
    pub pasid: Pasid,
    /// The virtual port whose wire it is on.
    pub port: u32,
    /// The VLAN that it is on; 0 for none.
    pub vlan: u16,
    /// Its address.
    pub mac: [u8; 6],
    /// Its first queue pair, among those of all ADIs: from there on it has queues and vectors.
    pub first_pair: u32,
    /// How many queue pairs it has, and so how many pages.
    pub pairs: u16,
    /// RX queues, of those pairs.
    pub rx_queues: u16,
    /// The cause ring that it reports through.
    pub ring: u16,
}

/// An address that another virtual port has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("another virtual port has the address")]
pub struct AddressTaken;

/// The first fault of an ADI, and how many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRecord {
    /// How many.
    pub count: u64,
    /// The queue that was stopped, and why.
    pub first: Option<(QueueId, QueueFault)>,
}

/// Counters of one virtual port, as GET_STATS reports them (virtchnl2_vport_stats). Frames are
/// those of the link: one that is sent for segmentation, or delivered merged, counts as its
/// segments, each with all its headers. What is refused before it can be segmented counts as one.
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

impl VportCounters {
    /// Adds what others have counted.
    pub fn add(&mut self, other: &Self) {
        let Self {
            rx_bytes,
            rx_unicast,
            rx_multicast,
            rx_broadcast,
            rx_discards,
            rx_errors,
            rx_filtered,
            rx_no_buffer,
            tx_bytes,
            tx_unicast,
            tx_multicast,
            tx_broadcast,
            tx_discards,
            tx_errors,
        } = other;
        self.rx_bytes += rx_bytes;
        self.rx_unicast += rx_unicast;
        self.rx_multicast += rx_multicast;
        self.rx_broadcast += rx_broadcast;
        self.rx_discards += rx_discards;
        self.rx_errors += rx_errors;
        self.rx_filtered += rx_filtered;
        self.rx_no_buffer += rx_no_buffer;
        self.tx_bytes += tx_bytes;
        self.tx_unicast += tx_unicast;
        self.tx_multicast += tx_multicast;
        self.tx_broadcast += tx_broadcast;
        self.tx_discards += tx_discards;
        self.tx_errors += tx_errors;
    }
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

    /// Lets frames through to a virtual port, or not.
    fn set_enabled(&mut self, vport: u32, enabled: bool);

    /// Gives a virtual port an address; says whether it is new.
    ///
    /// # Errors
    /// When it is the address of another one that must not share it.
    fn add_address(&mut self, vport: u32, address: [u8; 6]) -> Result<bool, AddressTaken>;

    /// Takes an address from a virtual port.
    fn remove_address(&mut self, vport: u32, address: [u8; 6]);

    /// Whether ADIs can be made, asking for what is missing.
    fn find_tables(&mut self) -> Readiness;

    /// Whether ADIs can be made now.
    fn knows_tables(&self) -> bool;

    /// Makes the virtual port of an ADI. Its queues are then configured as those of any other.
    ///
    /// # Errors
    /// When its address is taken.
    fn create_adi(&mut self, adi: &AdiConfig) -> Result<(), AddressTaken>;

    /// Ends an ADI whose queues have been removed: nothing of it is left.
    fn destroy_adi(&mut self, vport: u32);

    /// Sets up a cause ring, or takes it away.
    fn set_cause_ring(&mut self, ring: u16, config: Option<CauseRingConfig>);

    /// What has gone wrong with an ADI; forgets the first fault if told to.
    fn adi_faults(&mut self, vport: u32, clear: bool) -> FaultRecord;
}
