// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state that a connection's packets change, and its copy for control planes.

use std::time::Duration;

use crate::bits::Status;
use crate::helper::{Helper, HelperState};
use crate::nat::{Adjustments, SequenceAdjustment};
use crate::proto::sctp::SctpState;
use crate::proto::tcp::TcpState;
use crate::proto::ProtoState;
use crate::settings::PolicyId;
use crate::table::{ConnectionRef, Insertion, Keys, RemovalReason, Removed};
use crate::time::Time;
use crate::tuple::{Direction, Tuple};
use crate::zone::Zone;

/// Packets and bytes of one direction. Bytes count from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counters {
    pub(crate) fn count(&mut self, bytes: usize) {
        self.add(Counters {
            packets: 1,
            bytes: bytes as u64,
        });
    }

    /// Adds others. Counters begin anew behind the highest number, which a control plane may have set.
    pub(crate) fn add(&mut self, other: Counters) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// A connection's label: 128 bits (`ct_label`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Label([u64; 2]);

impl Label {
    /// The label with these bits.
    pub const fn new(bits: u128) -> Self {
        Label([bits as u64, (bits >> 64) as u64])
    }

    /// The bits.
    pub const fn bits(self) -> u128 {
        self.0[0] as u128 | (self.0[1] as u128) << 64
    }

    /// The label with the bits of `value` where `mask` has ones.
    pub const fn replace(self, value: u128, mask: u128) -> Self {
        Label::new(self.bits() & !mask | value & mask)
    }
}

impl std::fmt::Debug for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.bits())
    }
}

/// State that few connections have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extension {
    /// The connection that expected this one.
    pub(crate) master: Option<ConnectionRef>,
    /// The helper that reads the connection's packets.
    pub(crate) helper: Option<HelperState>,
    /// The adjustments of TCP sequence numbers.
    pub(crate) adjustments: Option<Adjustments>,
}

/// The part of a connection that is behind its slot's lock.
#[derive(Clone, Default)]
pub(crate) struct Data {
    pub(crate) label: Label,
    /// The time of the first packet.
    pub(crate) start: Time,
    pub(crate) counters: [Counters; 2],
    pub(crate) proto: ProtoState,
    pub(crate) extension: Option<Box<Extension>>,
}

impl Data {
    /// The connection that expected this one.
    pub(crate) fn master(&self) -> Option<ConnectionRef> {
        self.extension.as_ref()?.master
    }

    /// The adjustments of TCP sequence numbers.
    pub(crate) fn adjustments(&self) -> Option<&Adjustments> {
        self.extension.as_ref()?.adjustments.as_ref()
    }

    /// The helper that reads the connection's packets.
    pub(crate) fn helper(&self) -> Option<Helper> {
        Some(self.extension.as_ref()?.helper.as_ref()?.helper())
    }
}

/// The state of a connection's protocol, as ctnetlink shows it (`CTA_PROTOINFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtoInfo {
    /// The protocol has no state.
    None,
    /// TCP.
    Tcp {
        /// The state.
        state: TcpState,
        /// The shift counts of both peers' windows.
        scales: [u8; 2],
        /// The flags of both peers (`IP_CT_TCP_FLAG_*`).
        flags: [u8; 2],
    },
    /// SCTP.
    Sctp {
        /// The state.
        state: SctpState,
        /// The verification tags of both directions.
        tags: [u32; 2],
    },
}

impl From<&ProtoState> for ProtoInfo {
    fn from(state: &ProtoState) -> Self {
        match state {
            ProtoState::None => ProtoInfo::None,
            ProtoState::Tcp(tcp) => ProtoInfo::Tcp {
                state: tcp.state,
                scales: tcp.scales(),
                flags: tcp.peer_flags(),
            },
            ProtoState::Sctp(sctp) => ProtoInfo::Sctp {
                state: sctp.state,
                tags: sctp.tags(),
            },
        }
    }
}

/// A copy of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// The connection in the table.
    pub id: ConnectionRef,
    /// The tuple of the original direction.
    pub original: Tuple,
    /// The tuple of the reply direction: the inverse of the original one, but for translation.
    pub reply: Tuple,
    /// The zone.
    pub zone: Zone,
    /// The status.
    pub status: Status,
    /// The time until the timeout; zero if it has passed.
    pub timeout: Duration,
    /// The mark.
    pub mark: u32,
    /// The label.
    pub label: Label,
    /// The state of the protocol.
    pub proto: ProtoInfo,
    /// Packets and bytes of both directions.
    pub counters: [Counters; 2],
    /// The time of the first packet.
    pub start: Time,
    /// The time and cause of the removal.
    pub end: Option<(Time, RemovalReason)>,
    /// The timeout policy.
    pub policy: PolicyId,
    /// The connection that expected this one.
    pub master: Option<ConnectionRef>,
    /// The helper that reads the connection's packets.
    pub helper: Option<Helper>,
    /// The adjustments of TCP sequence numbers, the original direction's first.
    pub adjustments: Option<[SequenceAdjustment; 2]>,
}

impl Connection {
    /// The copy of a connection whose data is `data`.
    pub(crate) fn new(
        id: ConnectionRef,
        keys: &Keys,
        slot: &crate::table::Slot,
        data: &Data,
        now: Time,
    ) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        Connection {
            id,
            original: keys.tuple(Direction::Original),
            reply: keys.tuple(Direction::Reply),
            zone: keys.zone(),
            status: slot.status(),
            timeout: slot.deadline().since(now),
            mark: slot.mark.load(Relaxed),
            label: data.label,
            proto: ProtoInfo::from(&data.proto),
            counters: data.counters,
            start: data.start,
            end: None,
            policy: PolicyId(slot.policy.load(Relaxed)),
            master: data.master(),
            helper: data.helper(),
            adjustments: data.adjustments().map(Adjustments::both),
        }
    }

    /// The copy of a connection that enters the table.
    pub(crate) fn inserted(id: ConnectionRef, insertion: &Insertion, now: Time) -> Self {
        Connection {
            id,
            original: insertion.keys.tuple(Direction::Original),
            reply: insertion.keys.tuple(Direction::Reply),
            zone: insertion.keys.zone(),
            status: insertion.status,
            timeout: insertion.deadline.since(now),
            mark: insertion.mark,
            label: insertion.data.label,
            proto: ProtoInfo::from(&insertion.data.proto),
            counters: insertion.data.counters,
            start: insertion.data.start,
            end: None,
            policy: PolicyId(insertion.policy),
            master: insertion.data.master(),
            helper: insertion.data.helper(),
            adjustments: insertion.data.adjustments().map(Adjustments::both),
        }
    }

    /// The copy of a removed connection. One whose timeout had passed ended then.
    pub(crate) fn removed(removed: &Removed, now: Time) -> Self {
        Connection {
            id: removed.id,
            original: removed.keys.tuple(Direction::Original),
            reply: removed.keys.tuple(Direction::Reply),
            zone: removed.keys.zone(),
            status: removed.status,
            timeout: removed.deadline.since(now),
            mark: removed.mark,
            label: removed.data.label,
            proto: ProtoInfo::from(&removed.data.proto),
            counters: removed.data.counters,
            start: removed.data.start,
            end: Some((now.min(removed.deadline), removed.reason)),
            policy: PolicyId(removed.policy),
            master: removed.data.master(),
            helper: removed.data.helper(),
            adjustments: removed.data.adjustments().map(Adjustments::both),
        }
    }

    /// The tuple of a direction.
    pub fn tuple(&self, direction: Direction) -> &Tuple {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }
}
