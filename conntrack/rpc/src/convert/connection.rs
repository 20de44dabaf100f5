// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections.

use std::time::Duration;

use adit_conntrack::{
    Connection, ConnectionRef, Counters, Family, Helper, Label, NewConnection, NewProto, PolicyId,
    ProtoInfo, Protocol, RemovalReason, SctpState, Status, TcpFlags, Time, Update,
};

use super::filter::{mark, tcp_state};
use super::tuple::{tuple, tuple_message, zone, zone_message};
use super::{label, narrow, pair, required, Malformed, Result};
use crate::proto::{self, connection::State, update_connection_request::State as NewState};

/// The date of a time, in nanoseconds since 1970.
fn date(time: Time, start_date: Duration) -> u64 {
    let date = start_date + Duration::from_nanos(time.as_nanos());
    u64::try_from(date.as_nanos()).unwrap_or(u64::MAX)
}

/// The whole nanoseconds of a duration; 584 years at most.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The message of a connection, given the date at time zero.
pub(crate) fn connection_message(
    connection: &Connection,
    start_date: Duration,
) -> proto::Connection {
    let state = match connection.proto {
        ProtoInfo::Tcp {
            state,
            scales,
            flags,
        } => Some(State::Tcp(proto::Tcp {
            state: state as u32,
            scales: scales.map(u32::from).to_vec(),
            flags: flags.map(u32::from).to_vec(),
        })),
        ProtoInfo::Sctp { state, tags } => Some(State::Sctp(proto::Sctp {
            state: state as u32,
            tags: tags.to_vec(),
        })),
        // Including protocols whose state this version of the service does not carry.
        _ => None,
    };
    let counters = connection.counters.map(|one| proto::Counters {
        packets: one.packets,
        bytes: one.bytes,
    });
    let removal = match connection.end {
        None => proto::RemovalReason::Unspecified,
        Some((_, reason)) => removal(reason),
    };
    proto::Connection {
        id: connection.id.to_bits(),
        original: Some(tuple_message(&connection.original)),
        reply: Some(tuple_message(&connection.reply)),
        zone: Some(zone_message(connection.zone)),
        status: connection.status.bits(),
        timeout_ns: Some(nanoseconds(connection.timeout)),
        mark: connection.mark,
        label: connection.label.bits().to_le_bytes().to_vec(),
        state,
        counters: counters.to_vec(),
        start_ns: date(connection.start, start_date),
        stop_ns: connection.end.map_or(0, |(end, _)| date(end, start_date)),
        removal: removal.into(),
        master: connection.master.map_or(0, ConnectionRef::to_bits),
        helper: helper_name(connection.helper),
        policy: connection.policy.0.into(),
    }
}

fn removal(reason: RemovalReason) -> proto::RemovalReason {
    match reason {
        RemovalReason::Expired => proto::RemovalReason::Expired,
        RemovalReason::EarlyDrop => proto::RemovalReason::EarlyDrop,
        RemovalReason::Packet => proto::RemovalReason::Packet,
        RemovalReason::Deleted => proto::RemovalReason::Deleted,
        RemovalReason::Master => proto::RemovalReason::Master,
        _ => proto::RemovalReason::Unspecified,
    }
}

pub(super) fn helper_name(helper: Option<Helper>) -> String {
    helper.map(Helper::name).unwrap_or_default().to_owned()
}

/// The helper with a name; none if it is empty.
pub(super) fn helper(field: &'static str, name: &str) -> Result<Option<Helper>> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = Helper::from_name(name).ok_or_else(|| {
        let known = Helper::ALL.map(Helper::name).join(", ");
        Malformed::new(field, format!("no helper {name:?}: there are {known}"))
    })?;
    Ok(Some(found))
}

fn tcp(message: &proto::Tcp) -> Result<NewProto> {
    let narrow_pair = |field, values: &[u32]| -> Result<Option<[u8; 2]>> {
        let Some([one, other]) = pair(field, values)? else {
            return Ok(None);
        };
        Ok(Some([narrow(field, one)?, narrow(field, other)?]))
    };
    let flags = narrow_pair("tcp.flags", &message.flags)?;
    Ok(NewProto::Tcp {
        state: Some(tcp_state(message.state)?),
        scales: narrow_pair("tcp.scales", &message.scales)?,
        flags: flags.map_or_else(Default::default, |both| {
            both.map(|bits| TcpFlags {
                bits,
                mask: u8::MAX,
            })
        }),
    })
}

fn sctp(message: &proto::Sctp) -> Result<NewProto> {
    let number = message.state;
    let state = SctpState::ALL
        .into_iter()
        .find(|&state| state as u32 == number);
    let state = state.ok_or_else(|| {
        let problem = format!("{number} is no state of SCTP: 0 (NONE) to 8 (HEARTBEAT_SENT)");
        Malformed::new("sctp.state", problem)
    })?;
    Ok(NewProto::Sctp {
        state,
        tags: pair("sctp.tags", &message.tags)?.unwrap_or_default(),
    })
}

/// The number of a connection.
pub(super) fn reference(field: &'static str, id: u64) -> Result<ConnectionRef> {
    ConnectionRef::from_bits(id)
        .ok_or_else(|| Malformed::new(field, format!("{id} is no connection's number")))
}

/// The connection that a message describes.
pub(crate) fn new_connection(
    message: Option<&proto::Connection>,
    start_date: Duration,
) -> Result<NewConnection> {
    let message = required("connection", message)?;
    let original = tuple("connection.original", message.original.as_ref())?;
    let reply = tuple("connection.reply", message.reply.as_ref())?;
    let is_mixed = match original.protocol() {
        Protocol::ICMP => original.family() == Family::V6,
        Protocol::ICMPV6 => original.family() == Family::V4,
        _ => false,
    };
    if is_mixed {
        let problem = "ICMP is for IPv4, ICMPv6 for IPv6";
        return Err(Malformed::new("connection.original", problem));
    }
    let timeout = required("connection.timeout_ns", message.timeout_ns)?;
    let timeout = Duration::from_nanos(timeout);
    let counters = pair("connection.counters", &message.counters)?;
    let start = Duration::from_nanos(message.start_ns).checked_sub(start_date);
    Ok(NewConnection {
        zone: zone(message.zone.as_ref())?,
        status: Status::from_bits(message.status),
        mark: message.mark,
        label: Label::new(label("connection.label", &message.label)?),
        proto: match &message.state {
            None => NewProto::None,
            Some(State::Tcp(message)) => tcp(message)?,
            Some(State::Sctp(message)) => sctp(message)?,
        },
        policy: PolicyId(narrow("connection.policy", message.policy)?),
        master: match message.master {
            0 => None,
            id => Some(reference("connection.master", id)?),
        },
        helper: helper("connection.helper", &message.helper)?,
        counters: counters.map_or_else(Default::default, |both| {
            both.map(|one| Counters {
                packets: one.packets,
                bytes: one.bytes,
            })
        }),
        // Before this tracker's time began, its first packet cannot be dated.
        start: start.map(|start| Time::from_nanos(nanoseconds(start))),
        ..NewConnection::new(original, reply, timeout)
    })
}

/// The connection and its changes that a message describes.
pub(crate) fn update(message: &proto::UpdateConnectionRequest) -> Result<(ConnectionRef, Update)> {
    let mask = label("label_mask", &message.label_mask)?;
    let bits = label("label", &message.label)?;
    let helper = message.helper.as_deref();
    let update = Update {
        status: message.status.map(Status::from_bits),
        timeout: message.timeout_ns.map(Duration::from_nanos),
        mark: message.mark.as_ref().map(mark),
        label: (mask != 0).then_some((bits, mask)),
        proto: match &message.state {
            None => NewProto::None,
            Some(NewState::Tcp(message)) => tcp(message)?,
            Some(NewState::Sctp(message)) => sctp(message)?,
        },
        helper: helper
            .map(|name| self::helper("helper", name))
            .transpose()?,
    };
    Ok((reference("id", message.id)?, update))
}
