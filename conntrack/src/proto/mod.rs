// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The protocols: what a packet means to its connection.

pub(crate) mod icmp;
pub(crate) mod icmpv6;
pub(crate) mod sctp;
pub(crate) mod tcp;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bits::Status;
use crate::settings::{Settings, Timeouts};
use crate::time::Time;
use crate::tuple::{Direction, Family, Protocol};

use sctp::Sctp;
use tcp::Tcp;

/// UDP connections with packets in both directions are streams after this time.
const UDP_STREAM_AFTER: Duration = Duration::from_secs(2);

/// The state of a connection's packets, for protocols that have a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ProtoState {
    #[default]
    None,
    Tcp(Tcp),
    Sctp(Sctp),
}

impl ProtoState {
    /// Reports whether an assured connection may make room for a new one, because it is being
    /// closed (`can_early_drop`).
    pub(crate) fn is_closing(&self) -> bool {
        match self {
            ProtoState::None => false,
            ProtoState::Tcp(tcp) => tcp.is_closing(),
            ProtoState::Sctp(sctp) => sctp.is_closing(),
        }
    }
}

/// The cause for which a packet has no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The IP packet has a defect.
    #[error(transparent)]
    Malformed(#[from] crate::packet::Malformed),
    /// A transport header or its options are truncated.
    #[error("transport header or length is truncated")]
    Truncated,
    /// A transport checksum is wrong.
    #[error("transport checksum is wrong")]
    Checksum,
    /// TCP flags that do not go together.
    #[error("TCP flags that do not go together")]
    TcpFlags,
    /// A segment that the connection's state does not permit.
    #[error("TCP segment that the connection's state does not permit")]
    TcpState,
    /// A segment in the middle of a connection, if such are not picked up.
    #[error("TCP segment of an unknown connection")]
    TcpPickup,
    /// A segment outside of the window.
    #[error("TCP segment outside of the window")]
    TcpWindow,
    /// A reset whose sequence number was acknowledged before.
    #[error("TCP reset with an old sequence number")]
    TcpReset,
    /// An ICMP type that is unknown or creates no connection.
    #[error("ICMP type that creates no connection")]
    IcmpType,
    /// An ICMP error that quotes no packet of a connection, or went to another address.
    #[error("ICMP error that is related to no connection")]
    IcmpUnrelated,
    /// An ICMPv6 redirect that no router of the link can have sent, or without a quote.
    #[error("ICMPv6 redirect from off-link, or without options")]
    IcmpRedirect,
    /// ICMPv6 messages of neighbour and listener discovery are not tracked.
    #[error("neighbour or listener discovery is not tracked")]
    Untracked,
    /// SCTP chunks that are not bundled so, or that create no association.
    #[error("SCTP chunks that do not go together or create no association")]
    SctpChunks,
    /// An SCTP verification tag that is not the association's.
    #[error("SCTP verification tag is not the association's")]
    SctpTag,
    /// An SCTP chunk that the association's state does not permit.
    #[error("SCTP chunk that the association's state does not permit")]
    SctpState,
}

/// The packet and its connection, as the protocols see them.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) now: Time,
    pub(crate) direction: Direction,
    /// The status before the packet.
    pub(crate) status: Status,
    /// The end of the timeout before the packet.
    pub(crate) deadline: Time,
    /// The time of the connection's first packet.
    pub(crate) start: Time,
    /// The amount that sequence adjustment adds to the data that a TCP segment acknowledges.
    pub(crate) ack_offset: i32,
    /// The type of the connection's first message, if it is one of ICMP.
    pub(crate) icmp_type: u8,
    pub(crate) family: Family,
}

/// The changes by an accepted packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// The new timeout. Packets that do not refresh it are not counted either.
    pub(crate) refresh: Option<Duration>,
    /// The connection is assured from now on.
    pub(crate) assured: bool,
    /// The protocol's state has changed.
    pub(crate) state_changed: bool,
    /// The connection ends.
    pub(crate) kill: bool,
}

/// The result of handling a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accept(Effects),
    Invalid(Invalid),
    /// As [`Outcome::Invalid`], but the timeout is reduced.
    InvalidButShorten(Invalid, Duration),
    /// The connection ends; the packet begins a new one.
    Replace,
}

fn refresh(timeout: Duration) -> Outcome {
    Outcome::Accept(Effects {
        refresh: Some(timeout),
        ..Effects::default()
    })
}

/// Handles a packet of a protocol that is here: the transport header and its payload. The checksum
/// has been verified.
#[inline(always)]
pub(crate) fn handle(
    state: &mut ProtoState,
    context: &Context<'_>,
    protocol: Protocol,
    message: &[u8],
) -> Outcome {
    match protocol {
        Protocol::TCP => handle_tcp(state, context, message),
        Protocol::UDP => handle_udp(context, message),
        Protocol::ICMP => {
            // The type is that of the connection's first packet, also in later packets.
            if context.family != Family::V4 || !icmp::creates(context.icmp_type) {
                return Outcome::Invalid(Invalid::IcmpType);
            }
            refresh(context.timeouts.icmp)
        }
        Protocol::ICMPV6 => {
            let is_new = !context.status.contains(Status::CONFIRMED);
            let permitted = !is_new || icmpv6::creates(context.icmp_type);
            if context.family != Family::V6 || !permitted {
                return Outcome::Invalid(Invalid::IcmpType);
            }
            refresh(context.timeouts.icmpv6)
        }
        Protocol::SCTP => sctp::handle(state, context, message),
        Protocol::GRE => handle_gre(context),
        _ => refresh(context.timeouts.generic),
    }
}

fn handle_tcp(state: &mut ProtoState, context: &Context<'_>, message: &[u8]) -> Outcome {
    let segment = match tcp::is_valid(message) {
        Ok(segment) => segment,
        Err(reason) => return Outcome::Invalid(reason),
    };
    if !context.status.contains(Status::CONFIRMED) {
        match tcp::new(&segment, context.settings.tcp_loose) {
            Ok(tcp) => *state = ProtoState::Tcp(tcp),
            Err(reason) => return Outcome::Invalid(reason),
        }
    }
    match state {
        ProtoState::Tcp(tcp) => tcp::handle(tcp, context, &segment),
        _ => Outcome::Invalid(Invalid::TcpState),
    }
}

/// `nf_conntrack_proto_udp.c`.
fn handle_udp(context: &Context<'_>, message: &[u8]) -> Outcome {
    let Some(&[_, _, _, _, high, low, _, _]) = message.get(..8) else {
        return Outcome::Invalid(Invalid::Truncated);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < 8 || length > message.len() {
        return Outcome::Invalid(Invalid::Truncated);
    }
    let timeouts = &context.timeouts.udp;
    if !context.status.contains(Status::SEEN_REPLY)
        || context.now <= context.start + UDP_STREAM_AFTER
    {
        return refresh(timeouts.unreplied);
    }
    let assured = !context.status.contains(Status::ASSURED);
    Outcome::Accept(Effects {
        refresh: Some(timeouts.replied),
        assured,
        ..Effects::default()
    })
}

/// `nf_conntrack_proto_gre.c`.
fn handle_gre(context: &Context<'_>) -> Outcome {
    let timeouts = &context.timeouts.gre;
    if !context.status.contains(Status::SEEN_REPLY) {
        return refresh(timeouts.unreplied);
    }
    let assured = !context.status.contains(Status::ASSURED);
    Outcome::Accept(Effects {
        refresh: Some(timeouts.replied),
        assured,
        ..Effects::default()
    })
}
