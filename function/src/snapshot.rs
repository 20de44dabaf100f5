// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The saved state of a function's slow path, as it is written to a file or moved to another
//! process.
//!
//! A snapshot has what the driver can observe or depends on: configuration space, the MSI-X table,
//! the mailbox with messages that wait, and what the control plane has assigned and configured. It
//! has no counters of the process and nothing of the data plane's own: the positions of queues are
//! the data plane's to save. Numbers are those that the driver knows.
//!
//! A snapshot is untrusted: it may come from a client. [`SlowPath::restore`] checks every value
//! against the function's profile before anything changes; the types here only name the values.
//!
//! [`SlowPath::restore`]: crate::slow_path::SlowPath::restore

use std::collections::BTreeMap;
use std::fmt;

use hex::{FromHex, FromHexError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::control::Refusal;
use crate::dataplane::{QueueConfig, QueueKind};
use crate::vport::RSS_KEY_LEN;

/// The version of [`Snapshot`]. It changes when an older reader would misunderstand a newer one.
pub const VERSION: u32 = 1;

/// Bytes as a string of hexadecimal digits, in the order of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hex<T>(pub T);

impl<T: AsRef<[u8]>> Serialize for Hex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex::serialize(&self.0, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Hex<T>
where
    T: FromHex<Error = FromHexError>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::deserialize(deserializer).map(Self)
    }
}

/// The state of a function's slow path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// [`VERSION`].
    pub version: u32,
    /// The resources that the driver has been told of.
    pub profile: ProfileSnapshot,
    /// Configuration space, from offset 0 on.
    pub config: Hex<Vec<u8>>,
    /// The parts of the BAR of the MSI-X table that are not zero, in ascending order.
    pub msix: Vec<Part>,
    /// The mailbox.
    pub mailbox: MailboxSnapshot,
    /// The control plane.
    pub control: ControlSnapshot,
}

/// A part of a memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its offset in bytes.
    pub at: u32,
    /// Its content.
    pub bytes: Hex<Vec<u8>>,
}

/// The resources of a function, as its driver knows them. A function can take over the state of
/// another one that has the same ports, queues and vectors, and does not offer more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileSnapshot {
    /// The name of the register layout.
    pub layout: String,
    /// The addresses of the virtual ports.
    pub macs: Vec<Hex<[u8; 6]>>,
    /// The maximum number of TX queues of a virtual port, and of their completion queues.
    pub tx_queues: u16,
    /// The maximum number of RX queues of a virtual port; there are twice as many buffer queues.
    pub rx_queues: u16,
    /// The number of vectors, with the mailbox's.
    pub vectors: u16,
    /// The longest frame in bytes, with FCS.
    pub max_frame: u16,
    /// The capabilities: the fields `csum_caps`, `seg_caps`, `hsplit_caps`, `rsc_caps`, `rss_caps`
    /// and `other_caps` of GET_CAPS.
    pub capabilities: [u64; 6],
}

/// The state of the mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailboxSnapshot {
    /// The ring of messages to the device.
    pub atq: RingSnapshot,
    /// The ring of messages to the driver.
    pub arq: RingSnapshot,
    /// Messages to the driver that wait for a buffer, the oldest first.
    pub backlog: Vec<MessageSnapshot>,
    /// A request that was taken and is not answered yet.
    pub waiting: Option<RequestSnapshot>,
}

/// The registers of a ring of the mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingSnapshot {
    /// The base address.
    pub base: u64,
    /// The length register, with the state bits.
    pub len: u32,
    /// The head.
    pub head: u32,
    /// The tail.
    pub tail: u32,
}

/// A message to the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageSnapshot {
    /// The virtchnl2 opcode.
    pub opcode: u32,
    /// The status (virtchnl2).
    pub status: u32,
    /// The driver's cookie.
    pub cookie: u16,
    /// The payload.
    pub payload: Hex<Vec<u8>>,
}

/// A request of the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestSnapshot {
    /// The virtchnl2 opcode.
    pub opcode: u32,
    /// The driver's cookie.
    pub cookie: u16,
    /// The payload, or the reason why it could not be read.
    pub content: RequestContent,
}

/// The payload of a request, or the reason why it could not be read, which decides about its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestContent {
    /// The payload.
    Payload(Hex<Vec<u8>>),
    /// The descriptor has this opcode.
    Opcode(u16),
    /// The message has this length, which is too long.
    TooLong(u16),
    /// The message has this length, and no buffer.
    NoBuffer(u16),
    /// The buffer of this length could not be read.
    Buffer {
        /// Its address.
        iova: u64,
        /// Its length in bytes.
        len: u16,
    },
}

/// The state of the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSnapshot {
    /// The vectors that are allocated to the driver, in ascending order, without the mailbox's (0).
    pub vectors: Vec<u16>,
    /// The virtual ports that exist, in ascending order of their ids.
    pub vports: Vec<VportSnapshot>,
    /// The ADIs. Absent if none has existed and no cause ring is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adis: Option<Box<AdisSnapshot>>,
}

/// The state of the ADIs of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdisSnapshot {
    /// The id at which the search for a free one begins: those below it were used before.
    pub next: u32,
    /// The vectors that cause rings signal, by the number of the ring.
    pub rings: BTreeMap<u16, u16>,
    /// The ADIs that exist, in ascending order of their ids.
    pub list: Vec<AdiSnapshot>,
}

/// The state of an ADI. It has as many queue pairs as are necessary for its queues and vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdiSnapshot {
    /// Its id.
    pub id: u16,
    /// The PASID that its DMA is translated with.
    pub pasid: u32,
    /// The virtual port whose wire it shares.
    pub port: u16,
    /// Its VLAN; 0 for none.
    pub vlan: u16,
    /// The address that it was created with.
    pub mac: Hex<[u8; 6]>,
    /// Its first queue pair, among those of all ADIs.
    pub first_pair: u32,
    /// The number of its vectors.
    pub vectors: u16,
    /// The cause ring that it reports through.
    pub ring: u16,
    /// Set from SUSPEND_ADI to RESUME_ADI.
    pub suspended: bool,
    /// The members of its group, if it is a leader.
    pub members: Vec<u16>,
    /// Its virtual port, with all its queues; their vectors are numbered within the ADI.
    pub vport: VportSnapshot,
}

/// The state of a virtual port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VportSnapshot {
    /// Its id.
    pub id: u32,
    /// Set from ENABLE_VPORT to DISABLE_VPORT.
    pub enabled: bool,
    /// Set if the driver must be notified of the link.
    pub link_event: bool,
    /// Set if its TX queues use the single queue model.
    pub single_tx: bool,
    /// Set if its RX queues use the single queue model.
    pub single_rx: bool,
    /// Its queues, by kind and index.
    pub queues: Vec<QueueSnapshot>,
    /// The addresses of frames that it accepts, in ascending order.
    pub addresses: Vec<Hex<[u8; 6]>>,
    /// Set if it accepts unicast frames for any address.
    pub unicast_promiscuous: bool,
    /// Set if it accepts multicast frames for any address.
    pub multicast_promiscuous: bool,
    /// Set if its frames are looped back.
    pub loopback: bool,
    /// The key of the RSS hash.
    pub rss_key: Hex<[u8; RSS_KEY_LEN]>,
    /// The look-up table: indexes of RX queues. Absent for an ADI whose table is as after its creation,
    /// all of its RX queues in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rss_lut: Vec<u16>,
    /// The types of packets that are hashed.
    pub rss_hash: u64,
    /// The flow rules, in ascending order of their ids. Absent without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<FlowRuleSnapshot>,
}

/// A flow rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowRuleSnapshot {
    /// The driver's id.
    pub id: u32,
    /// The rule as the driver has sent it (`virtchnl2_flow_rule`).
    pub rule: Hex<Vec<u8>>,
}

/// A queue that is allocated to a virtual port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSnapshot {
    /// Its kind.
    pub kind: QueueKind,
    /// Its number among those of its kind.
    pub index: u32,
    /// Its interrupt, if it has one.
    pub vector: Option<InterruptSnapshot>,
    /// Its configuration, if it has one. Queues in it have the driver's numbers, too.
    pub config: Option<QueueConfig>,
    /// Set while it is enabled, even if a fault has stopped it.
    pub enabled: bool,
}

/// The interrupt of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterruptSnapshot {
    /// The vector.
    pub vector: u16,
    /// The index of the throttling interval.
    pub itr: u32,
}

/// The reason why a state cannot be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SaveError {
    /// The function is held in reset.
    #[error("the function is held in reset")]
    InReset,
}

/// The reason why a state cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// It has another version.
    #[error("the state of the function has version {0}: this release reads {VERSION}")]
    Version(u32),
    /// It is the state of another function.
    #[error("{what}: the state is of a function with {saved}, this one has {own}")]
    Profile {
        /// The resource that differs.
        what: &'static str,
        /// That of the state.
        saved: String,
        /// That of the function.
        own: String,
    },
    /// A value is impossible.
    #[error("{at}: {problem}")]
    Invalid {
        /// The path of the value in the state.
        at: String,
        /// The value, and what would be possible.
        problem: String,
    },
    /// The data plane did not do what the state requires.
    #[error("{what}: {refusal}")]
    DataPlane {
        /// The attempted operation.
        what: String,
        /// The reason.
        refusal: Refusal,
    },
}

impl RestoreError {
    /// A value that is impossible.
    pub(crate) fn invalid(at: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::Invalid {
            at: at.to_string(),
            problem: problem.to_string(),
        }
    }
}
