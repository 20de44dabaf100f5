// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface that the data plane offers to the control plane.
//!
//! The control plane validates messages and owns the assignment of queues; the data plane owns
//! rings and moves frames. They are separated by this trait, so that either can be tested without
//! the other.

mod fault;
mod position;

use std::sync::Arc;

use adit_uapi::virtchnl2::FlowRule;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::control::Refusal;
use crate::ids::{AdiId, VectorId, VectorMapping, VportId};
use crate::interrupts::CauseRingConfig;
use crate::memory::{GuestMemory, WriteLog};
use crate::pasid::{Pasid, Readiness};
use crate::vport::{FlowAction, FlowRuleError, VportConfig, RSS_KEY_LEN};

pub use fault::QueueFault;
pub use position::{check_positions, PositionError, QueuePosition, QueueState};

/// The four kinds of data queues; each has ids of its own, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueId {
    /// Its kind.
    pub kind: QueueKind,
    /// Its number among those of its kind, device-wide.
    pub index: u32,
}

/// A ring in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// IOVA of the first entry.
    pub base: u64,
    /// The number of entries.
    pub len: u16,
}

/// The scheduling mode of a TX queue and its completion queue (VIRTCHNL2_TXQ_SCHED_MODE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedMode {
    /// Completions of 4 bytes that carry the ring's head.
    Queue,
    /// Completions of 8 bytes that carry the packet's tag.
    Flow,
}

/// The configuration of a queue, from the driver's CONFIG_TX_QUEUES and CONFIG_RX_QUEUES.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum QueueConfig {
    /// A TX queue.
    Tx {
        /// Descriptors, 16 bytes each.
        ring: Ring,
        /// Flow or queue scheduling.
        sched: SchedMode,
        /// The completion queue it reports to.
        completion_queue: u32,
        /// Its index among the queues of its completion queue, which completions carry.
        relative_id: u16,
    },
    /// A TX queue of the single queue model: descriptors are written back on completion.
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
    /// An RX queue of the split queue model.
    Rx {
        /// Completions, 32 bytes each.
        ring: Ring,
        /// Its first buffer queue.
        buffer_queue: u32,
        /// Its second buffer queue.
        buffer_queue_2: Option<u32>,
        /// Set if TCP segments may be delivered merged (RSC).
        rsc: bool,
        /// Set if headers go to buffers of their own.
        header_split: bool,
        /// The length of the longest frame that is delivered unmerged, in bytes without FCS.
        max_packet_len: u32,
    },
    /// An RX queue of the single queue model: buffers are posted on it, and their descriptors are
    /// overwritten by the write-back for the frames in them.
    SingleRx {
        /// Buffer descriptors, 32 bytes each.
        ring: Ring,
        /// The size of each packet buffer in bytes.
        buffer_len: u32,
        /// The length of the longest frame that is delivered, in bytes without FCS.
        max_packet_len: u32,
    },
    /// An RX buffer queue.
    RxBuffer {
        /// Buffer descriptors, 32 bytes each.
        ring: Ring,
        /// The size of each packet buffer in bytes.
        buffer_len: u32,
        /// The size of each header buffer in bytes; 0 for none.
        header_len: u16,
    },
}

impl QueueConfig {
    /// The kind of queue that this configures.
    #[must_use]
    pub fn kind(&self) -> QueueKind {
        match self {
            Self::Tx { .. } | Self::SingleTx { .. } => QueueKind::Tx,
            Self::TxCompletion { .. } => QueueKind::TxCompletion,
            Self::Rx { .. } | Self::SingleRx { .. } => QueueKind::Rx,
            Self::RxBuffer { .. } => QueueKind::RxBuffer,
        }
    }

    /// Its ring.
    #[must_use]
    pub const fn ring(&self) -> Ring {
        match *self {
            Self::Tx { ring, .. }
            | Self::SingleTx { ring }
            | Self::TxCompletion { ring, .. }
            | Self::Rx { ring, .. }
            | Self::SingleRx { ring, .. }
            | Self::RxBuffer { ring, .. } => ring,
        }
    }

    /// Returns whether it is of the single queue model.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        matches!(self, Self::SingleTx { .. } | Self::SingleRx { .. })
    }
}

/// The buffer queue whose tail register an RX queue of the single queue model uses. The standard
/// has separate RX tails, but they are where the Linux driver probes for registers of a VF, and
/// cannot be mapped into the guest. Buffer queues come in pairs, and such a vport has none.
#[must_use]
pub fn single_rx_tail(rx_queue: u32) -> u32 {
    2 * rx_queue
}

/// An error returned by the data plane.
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

/// The data plane's view of an ADI: a virtual port without a wire of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdiConfig {
    /// Its virtual port.
    pub vport: VportId,
    /// Its id.
    pub adi: AdiId,
    /// The PASID that its DMA is translated with.
    pub pasid: Pasid,
    /// The virtual port whose wire it shares.
    pub port: VportId,
    /// Its VLAN; 0 for none.
    pub vlan: u16,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its first queue pair, among those of all ADIs. Its queues and vectors start there.
    pub first_pair: u32,
    /// The number of its queue pairs, and so of its pages.
    pub pairs: u16,
    /// The number of its RX queues, out of those pairs.
    pub rx_queues: u16,
    /// The cause ring that it reports through.
    pub ring: u16,
}

/// The error for an address that belongs to another virtual port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("another virtual port has the address")]
pub struct AddressTaken;

/// The first fault of an ADI, and the number of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRecord {
    /// The number of faults.
    pub count: u64,
    /// The queue that was stopped, and its fault.
    pub first: Option<(QueueId, QueueFault)>,
}

/// Counters of one virtual port, as GET_STATS reports them (virtchnl2_vport_stats). They count
/// frames on the link: a frame sent with a segmentation offload, or delivered merged, counts as its
/// segments, each with all its headers. One refused before it can be segmented counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VportCounters {
    /// Bytes delivered to the driver.
    pub rx_bytes: u64,
    /// Unicast frames delivered.
    pub rx_unicast: u64,
    /// Multicast frames delivered.
    pub rx_multicast: u64,
    /// Broadcast frames delivered.
    pub rx_broadcast: u64,
    /// Frames for the port that were not delivered, for any reason.
    pub rx_discards: u64,
    /// Frames not delivered because they were malformed or too long.
    pub rx_errors: u64,
    /// Frames that matched no filter of the port (not counted as discards).
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
    /// Frames from the driver that the wire did not accept.
    pub tx_discards: u64,
    /// Frames from the driver that were malformed.
    pub tx_errors: u64,
}

impl VportCounters {
    /// Adds another set of counters.
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

/// The data plane as seen by the control plane.
pub trait DataPlane {
    /// The number of queues of a kind.
    fn queue_count(&self, kind: QueueKind) -> u32;

    /// Configures a queue that is not enabled. Its doorbell is left unchanged: buffers may have
    /// been posted already.
    ///
    /// # Errors
    /// When the queue does not exist or is enabled.
    fn configure(
        &mut self,
        vport: VportId,
        index: u32,
        config: QueueConfig,
    ) -> Result<(), QueueError>;

    /// Starts a configured queue; a queue that is already running is not an error.
    ///
    /// # Errors
    /// When it does not exist or is not configured.
    fn enable(&mut self, queue: QueueId) -> Result<(), QueueError>;

    /// Stops the queues of one message: they do no DMA after this returns, their doorbells are
    /// zero, and each TX queue among them has written a SW_MARKER to its completion queue, unless it
    /// is one of a suspended ADI.
    fn disable(&mut self, queues: &[QueueId]);

    /// Stops a queue and discards its configuration.
    fn remove(&mut self, queue: QueueId);

    /// Sets the vector that a TX or RX queue interrupts; `None` for none.
    fn map_vector(&mut self, queue: QueueId, vector: Option<VectorMapping>);

    /// The memory that the function may access.
    fn memory(&self) -> &GuestMemory;

    /// The configuration of a virtual port: its default before it is created.
    fn vport(&self, vport: VportId) -> &VportConfig;

    /// Creates a virtual port that accepts frames for `mac`, spread over `rx_queues`.
    fn create_vport(&mut self, vport: VportId, mac: [u8; 6], rx_queues: Vec<u32>);

    /// Destroys a virtual port whose queues have been removed.
    fn destroy_vport(&mut self, vport: VportId);

    /// Sets the RX queues of a virtual port.
    fn set_rx_queues(&mut self, vport: VportId, rx_queues: Vec<u32>);

    /// Sets the TX queues of a virtual port, in their order: a program sees a queue as an index into
    /// them. A data plane without a program has no use for that.
    fn set_tx_queues(&mut self, _vport: VportId, _tx_queues: &[u32]) {}

    /// Sets the promiscuous modes of a virtual port.
    fn set_promiscuous(&mut self, vport: VportId, unicast: bool, multicast: bool);

    /// Sets whether frames sent by a virtual port are looped back.
    fn set_loopback(&mut self, vport: VportId, loopback: bool);

    /// Sets the RSS key of a virtual port.
    fn set_rss_key(&mut self, vport: VportId, key: [u8; RSS_KEY_LEN]);

    /// Sets entries of the RSS look-up table of a virtual port, from `start` on.
    fn set_rss_lut(&mut self, vport: VportId, start: usize, entries: &[u16]);

    /// Sets the types of packets that are hashed (`virtchnl2::rss::ptype_group`).
    fn set_rss_hash(&mut self, vport: VportId, groups: u64);

    /// Adds a flow rule with the driver's id `rule_id`.
    ///
    /// # Errors
    /// When it cannot be matched, exists already, or there is no space for it.
    fn add_flow_rule(
        &mut self,
        vport: VportId,
        rule_id: u32,
        rule: &FlowRule,
        action: FlowAction,
    ) -> Result<(), FlowRuleError>;

    /// Removes a flow rule; returns false if there is none with that id.
    fn remove_flow_rule(&mut self, vport: VportId, rule_id: u32) -> bool;

    /// Counters of a virtual port.
    fn counters(&self, vport: VportId) -> VportCounters;

    /// The link of a virtual port: whether it is up, and its speed in Mbit/s.
    fn link(&self, vport: VportId) -> (bool, u32);

    /// Enables or disables traffic of a virtual port.
    fn set_enabled(&mut self, vport: VportId, enabled: bool);

    /// Adds an address to a virtual port; returns whether it is new.
    ///
    /// # Errors
    /// When it belongs to another virtual port that must not share it.
    fn add_address(&mut self, vport: VportId, address: [u8; 6]) -> Result<bool, AddressTaken>;

    /// Removes an address from a virtual port.
    fn remove_address(&mut self, vport: VportId, address: [u8; 6]);

    /// Returns the availability of the IOMMU's tables, which ADIs need; starts a lookup if their
    /// location is unknown.
    fn find_tables(&mut self) -> Readiness;

    /// Returns whether the location of the IOMMU's tables is known.
    fn has_tables(&self) -> bool;

    /// Creates the virtual port of an ADI. Its queues are then configured like those of any other.
    ///
    /// # Errors
    /// When its address is in use.
    fn create_adi(&mut self, adi: &AdiConfig) -> Result<(), AddressTaken>;

    /// Destroys an ADI whose queues have been removed, with all its state.
    fn destroy_adi(&mut self, vport: VportId);

    /// Sets whether an ADI is polled without kicks: its idle doorbell pages about once a
    /// millisecond then. A new ADI is not.
    fn set_no_kick(&mut self, vport: VportId, no_kick: bool);

    /// Suspends or resumes an ADI. While it is suspended, its queues access no memory, its vectors
    /// do not signal, and its pages are not polled. A new ADI is not suspended.
    fn set_suspended(&mut self, vport: VportId, suspended: bool);

    /// Makes the queues of ADIs those of the virtual port of another ADI, their leader, after its own;
    /// replaces its group. None of the ADIs belongs to another group.
    fn set_group(&mut self, leader: VportId, members: &[VportId]);

    /// The position of a queue of a suspended ADI; `None` unless the queue is enabled.
    fn position(&self, queue: QueueId) -> Option<QueuePosition>;

    /// Sets the position of a queue of a suspended ADI, which is enabled and has a ring of that
    /// length.
    fn set_position(&mut self, queue: QueueId, position: QueuePosition);

    /// Returns whether a vector of a suspended ADI has a cause latched.
    fn is_pending(&self, vector: VectorId) -> bool;

    /// Sets whether a vector of a suspended ADI has a cause latched.
    fn set_pending(&mut self, vector: VectorId, pending: bool);

    /// Configures a cause ring, or removes it.
    fn set_cause_ring(&mut self, ring: u16, config: Option<CauseRingConfig>);

    /// The faults of an ADI; discards the first fault if `clear` is set.
    fn adi_faults(&mut self, vport: VportId, clear: bool) -> FaultRecord;

    /// Marks what the queues of an ADI write from now on in a log; `None` ends that. Returns false if
    /// the data plane does not know what is written. A new ADI has no log.
    fn log_writes(&mut self, _vport: VportId, _log: Option<Arc<WriteLog>>) -> bool {
        false
    }

    /// Takes the reason why a call since the last time was not applied, of calls that do not return
    /// an error. The request that made it is refused for that. A data plane in the same process has
    /// none; one of ADIs can lose them.
    fn take_refusal(&mut self) -> Option<Refusal> {
        None
    }

    /// Returns whether the next request may be handled now; it is asked again for one that waits.
    fn admits(&mut self) -> bool {
        true
    }

    /// Notes that a request with `len` bytes of payload was answered with a status.
    fn answered(&mut self, _v_opcode: u32, _len: usize, _status: u32) {}
}
