// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections that a control plane creates.

use std::time::Duration;

use crate::bits::Status;
use crate::entry::{Counters, Data, Extension, Label};
use crate::events::Changes;
use crate::helper::Helper;
use crate::internals::Internals;
use crate::nat::SequenceAdjustment;
use crate::proto::sctp::{Sctp, SctpState};
use crate::proto::tcp::{Tcp, TcpState};
use crate::proto::ProtoState;
use crate::settings::PolicyId;
use crate::table::{ConnectionRef, Keys};
use crate::time::Time;
use crate::tracker::{CommitError, Pending, Tracker};
use crate::tuple::{Protocol, Tuple};
use crate::zone::Zone;

/// A connection that a control plane creates (`ctnetlink_create_conntrack`): a new one, or the copy of
/// another tracker's, of which all that [`Connection`](crate::Connection) shows is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConnection {
    /// The tuple of the original direction.
    pub original: Tuple,
    /// The tuple of the reply direction. What is not the inverse of the original one is translated.
    pub reply: Tuple,
    /// The zone.
    pub zone: Zone,
    /// Bits of the status; those in [`Status::UNCHANGEABLE`] are ignored.
    pub status: Status,
    /// The time until the timeout.
    pub timeout: Duration,
    /// The mark.
    pub mark: u32,
    /// The label.
    pub label: Label,
    /// The state of the protocol.
    pub proto: NewProto,
    /// The timeout policy.
    pub policy: PolicyId,
    /// The connection that expected this one, if it is there.
    pub master: Option<ConnectionRef>,
    /// Reports whether this is the copy of an expected connection: it is one also when the connection that expected
    /// it has ended ([`Status::EXPECTED`], of which a control plane has no say).
    pub was_expected: bool,
    /// The helper, if it is one for the connection's protocol and address family.
    pub helper: Option<Helper>,
    /// Packets and bytes of both directions.
    pub counters: [Counters; 2],
    /// The time of the first packet. Absent: now.
    pub start: Option<Time>,
    /// The adjustments of TCP sequence numbers of both directions.
    pub adjustments: Option<[SequenceAdjustment; 2]>,
    /// The rest of the state of the connection that this is the copy of: it goes before `proto`, and a
    /// helper goes on with it.
    pub internals: Option<Internals>,
}

impl NewConnection {
    /// A connection without anything but its tuples, in zone 0.
    pub fn new(original: Tuple, reply: Tuple, timeout: Duration) -> Self {
        NewConnection {
            original,
            reply,
            zone: Zone::DEFAULT,
            status: Status::NONE,
            timeout,
            mark: 0,
            label: Label::default(),
            proto: NewProto::None,
            policy: PolicyId::default(),
            master: None,
            was_expected: false,
            helper: None,
            counters: Default::default(),
            start: None,
            adjustments: None,
            internals: None,
        }
    }
}

/// The flags of a TCP peer (`IP_CT_TCP_FLAG_*`): the bits, and a mask of those that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags {
    /// The bits.
    pub bits: u8,
    /// The bits that are set or cleared.
    pub mask: u8,
}

/// The state of a protocol that a control plane sets (`CTA_PROTOINFO`). Of another protocol than the
/// connection's it is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewProto {
    /// Nothing.
    #[default]
    None,
    /// TCP. A window that is not known is taken from the next segment of each direction; with the flag
    /// `BE_LIBERAL` (8) it is not checked.
    Tcp {
        /// The state.
        state: Option<TcpState>,
        /// The shift counts of both peers' windows, if both have the flag `WINDOW_SCALE` (1) then.
        scales: Option<[u8; 2]>,
        /// The flags of both peers.
        flags: [TcpFlags; 2],
    },
    /// SCTP.
    Sctp {
        /// The state.
        state: SctpState,
        /// The verification tags of both directions.
        tags: [u32; 2],
    },
}

impl NewProto {
    /// Sets what this says of a protocol's state. Returns whether it is that protocol's.
    pub(super) fn apply(&self, proto: &mut ProtoState) -> bool {
        match (self, proto) {
            (NewProto::None, _) => true,
            (
                &NewProto::Tcp {
                    state,
                    scales,
                    flags,
                },
                ProtoState::Tcp(tcp),
            ) => {
                let flags = flags.map(|peer| (peer.bits, peer.mask));
                tcp.restore(state, scales, flags);
                true
            }
            (&NewProto::Sctp { state, tags }, ProtoState::Sctp(sctp)) => {
                sctp.restore(state, tags);
                true
            }
            (NewProto::Tcp { .. } | NewProto::Sctp { .. }, _) => false,
        }
    }
}

impl Tracker {
    /// Creates a connection.
    ///
    /// # Errors
    ///
    /// A [`CommitError`]; [`CommitError::Clash`] if a connection with one of the tuples is there.
    pub fn create_connection(
        &self,
        new: &NewConnection,
        now: Time,
    ) -> Result<ConnectionRef, CommitError> {
        let kind = |tuple: &Tuple| (tuple.protocol(), tuple.family());
        if kind(&new.original) != kind(&new.reply) {
            return Err(CommitError::Tuples);
        }
        let mut proto = match new.original.protocol() {
            Protocol::TCP => ProtoState::Tcp(Tcp::default()),
            Protocol::SCTP => ProtoState::Sctp(Sctp::default()),
            _ => ProtoState::None,
        };
        let internals = new.internals.as_ref();
        if !internals.is_some_and(|internals| internals.apply(&mut proto)) {
            new.proto.apply(&mut proto);
        }
        let keys = Keys::new(&new.original, &new.reply, new.zone);
        let mut pending = Pending {
            original: new.original,
            keys,
            zone: new.zone,
            status: new.status.without(Status::UNCHANGEABLE) | translation(new),
            policy: new.policy,
            mark: new.mark,
            timeout: new.timeout,
            data: Data {
                start: new.start.unwrap_or(now),
                label: new.label,
                proto,
                counters: new.counters,
                ..Data::default()
            },
            is_exhausted: false,
            hashes: self.table.hashes(&keys),
        };
        if new.master.is_some() || new.adjustments.is_some() {
            pending.data.extension = Some(Box::new(Extension {
                master: new.master,
                adjustments: new.adjustments.map(Into::into),
                ..Extension::default()
            }));
        }
        if new.master.is_some() || new.was_expected {
            pending.status |= Status::EXPECTED;
        }
        if new.adjustments.is_some() {
            pending.status |= Status::SEQ_ADJUST;
        }
        if let Some(helper) = new.helper {
            let known = internals.and_then(|internals| internals.of_helper(helper));
            pending.assign(known.unwrap_or_else(|| helper.into()));
        }
        let created = self.insert_new(&mut pending, keys, Some(Changes::ALL), now)?;
        if let Some(tunnel) = internals.and_then(Internals::tunnel) {
            self.gre_keys.restore(created, new.zone.id(), tunnel);
        }
        Ok(created)
    }
}

/// The bits of translation that follow from the tuples.
fn translation(new: &NewConnection) -> Status {
    let mut status = Status::NONE;
    let Some(plain) = new.original.invert() else {
        return status;
    };
    // The reply goes to another address than the request's source, or comes from another one than its
    // destination.
    if plain.dst() != new.reply.dst() {
        status |= Status::SRC_NAT | Status::SRC_NAT_DONE;
    }
    if plain.src() != new.reply.src() {
        status |= Status::DST_NAT | Status::DST_NAT_DONE;
    }
    status
}
