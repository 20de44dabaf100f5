// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The values of a command line as messages of the service.

use std::net::IpAddr;

use adit_conntrack::{Endpoint, Protocol, Status, Tuple};
use adit_conntrack_rpc::proto::{
    self, connection::State, update_connection_request::State as NewState,
};

use super::error::{operation, Result, INVALID};
use super::flow::{Entry, Flow, Part};
use super::parse::{NatValue, Request};
use super::protocol::{self, Field};

/// The text for a label that connections do not have.
const OUT_OF_RANGE: &str = "Numerical result out of range";

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn endpoint(end: Endpoint) -> proto::Endpoint {
    proto::Endpoint {
        address: octets(end.address),
        part: end.part.into(),
    }
}

fn tuple_message(tuple: &Tuple) -> proto::Tuple {
    proto::Tuple {
        src: Some(endpoint(tuple.src())),
        dst: Some(endpoint(tuple.dst())),
        protocol: tuple.protocol().0.into(),
    }
}

impl Request {
    /// A part of a tuple. A protocol without ports has none of those that were given to one named before.
    fn part(&self, field: Field) -> Option<u16> {
        let has_parts = self.protocol.and_then(protocol::by_number).is_some();
        let part = self.fields.get(&field).filter(|_| has_parts);
        part.map(|value| *value as u16)
    }

    fn is_icmp(&self) -> bool {
        matches!(self.protocol, Some(ICMP | ICMPV6))
    }

    /// The parts of the original tuple; those of ICMP are made out of type, code and identifier.
    fn original_parts(&self) -> [Option<u16>; 2] {
        if self.is_icmp() {
            let (kind, code) = (self.part(Field::IcmpType), self.part(Field::IcmpCode));
            let kind_and_code = match (kind, code) {
                (Some(kind), Some(code)) => Some(kind << 8 | code & 0xFF),
                _ => None,
            };
            return [self.part(Field::IcmpId), kind_and_code];
        }
        [self.part(Field::OrigSrc), self.part(Field::OrigDst)]
    }

    fn reply_parts(&self) -> [Option<u16>; 2] {
        [self.part(Field::ReplySrc), self.part(Field::ReplyDst)]
    }

    /// A tuple of the request's protocol.
    fn tuple(&self, ends: [Option<IpAddr>; 2], parts: [Option<u16>; 2]) -> Result<Option<Tuple>> {
        let [Some(src), Some(dst)] = ends else {
            return Ok(None);
        };
        let [src, dst] = [(src, parts[0]), (dst, parts[1])].map(|(address, part)| Endpoint {
            address,
            part: part.unwrap_or(0),
        });
        let protocol = Protocol(self.protocol.unwrap_or(0));
        match Tuple::new(protocol, src, dst) {
            Ok(tuple) => Ok(Some(tuple)),
            Err(_) => operation(INVALID),
        }
    }

    /// The tuple of the original direction.
    fn original(&self) -> Result<Option<Tuple>> {
        self.tuple([self.src, self.dst], self.original_parts())
    }

    /// Reports whether the ports of the reply are given without an address of it, of which no request can be made.
    pub(super) fn has_reply_without_address(&self) -> bool {
        let has_part = self.reply_parts().iter().any(Option::is_some);
        has_part && self.reply_src.is_none() && self.reply_dst.is_none()
    }

    /// Reports whether the reply of a connection has the ends that are given.
    pub(super) fn has_reply(&self, reply: &Flow) -> bool {
        let [src, dst] = self.reply_parts();
        let has_parts = match reply.part {
            Part::Ports(of_src, of_dst) => {
                let is =
                    |part: Option<u16>, other| part.is_none_or(|part| u32::from(part) == other);
                is(src, of_src) && is(dst, of_dst)
            }
            Part::None | Part::Keys(..) | Part::Icmp { .. } => true,
        };
        let is = |address: Option<IpAddr>, other| address.is_none_or(|address| address == other);
        is(self.reply_src, reply.src) && is(self.reply_dst, reply.dst) && has_parts
    }

    /// The original tuple of the connection to be found.
    pub(super) fn wanted(&self) -> Result<proto::Tuple> {
        match self.original()? {
            Some(tuple) => Ok(tuple_message(&tuple)),
            None => operation(INVALID),
        }
    }

    /// Both tuples of a connection to be created: what is not given of one follows from the other.
    fn tuples(&self) -> Result<(Tuple, Tuple)> {
        let original = self.original()?;
        let reply = match (self.reply_src, self.reply_dst) {
            (None, None) => None,
            _ => self.given_reply(original.as_ref())?,
        };
        match (original, reply) {
            (Some(original), Some(reply)) => Ok((original, reply)),
            (Some(original), None) => Ok((original, self.translated(&original)?)),
            (None, Some(reply)) if self.src.is_none() && self.dst.is_none() => {
                let Some(original) = reply.invert() else {
                    return operation(INVALID);
                };
                Ok((original, self.translated(&original)?))
            }
            (None, _) => operation(INVALID),
        }
    }

    /// The reply tuple whose addresses are given. A translation's replaces one of them.
    fn given_reply(&self, original: Option<&Tuple>) -> Result<Option<Tuple>> {
        let address = |nat: Option<NatValue>| nat.flatten().map(|(address, _)| address);
        let ends = [
            self.reply_src.or(address(self.dst_nat)),
            self.reply_dst.or(address(self.src_nat)),
        ];
        let has_parts = |parts: [Option<u16>; 2]| parts.iter().all(Option::is_some);
        let mut parts = self.reply_parts();
        if let (true, Some(inverse)) = (self.is_icmp(), original.and_then(Tuple::invert)) {
            parts = [Some(inverse.src().part), Some(inverse.dst().part)];
        }
        let lacks_parts = has_parts(self.original_parts()) && !has_parts(parts);
        match self.tuple(ends, parts)? {
            Some(reply) if !lacks_parts => Ok(Some(reply)),
            _ => operation(INVALID),
        }
    }

    /// The reply tuple that follows from the original one and the translation.
    fn translated(&self, original: &Tuple) -> Result<Tuple> {
        let Some(plain) = original.invert() else {
            return operation(INVALID);
        };
        let end = |end: Endpoint, nat: Option<NatValue>| match nat.flatten() {
            Some((address, port)) => Endpoint {
                address,
                part: port.unwrap_or(end.part),
            },
            None => end,
        };
        let src = end(plain.src(), self.dst_nat);
        let dst = end(plain.dst(), self.src_nat);
        match Tuple::new(plain.protocol(), src, dst) {
            Ok(tuple) => Ok(tuple),
            Err(_) => operation(INVALID),
        }
    }

    /// The zones of both directions, of the original's, and of the reply's, as they are given.
    fn zones(&self) -> [(Option<u16>, proto::Direction); 3] {
        [
            (self.zone, proto::Direction::Unspecified),
            (self.orig_zone, proto::Direction::Original),
            (self.reply_zone, proto::Direction::Reply),
        ]
    }

    /// The zone of a connection to be created, which is one: Linux takes the next one only if it is 0.
    pub(super) fn zone_message(&self) -> Result<Option<proto::Zone>> {
        let mut zone = proto::Zone::default();
        for (id, direction) in self.zones() {
            let Some(id) = id else { continue };
            if zone.id != 0 {
                return operation(INVALID);
            }
            zone.id = id.into();
            zone.set_direction(direction);
        }
        Ok((zone.id != 0).then_some(zone))
    }

    /// The zone that selects connections, if it says all that is given: there is one, and it is not 0.
    fn zone_filter(&self) -> Option<proto::Zone> {
        let zones = self.zones();
        let mut given = zones.iter().filter(|(id, _)| id.is_some());
        let (Some((id, direction)), None) = (given.next(), given.next()) else {
            return None;
        };
        let id = id.filter(|id| *id != 0)?;
        let direction = i32::from(*direction);
        Some(proto::Zone {
            id: id.into(),
            direction,
        })
    }

    /// Reports whether zones are given that [`filter`](Self::filter) has not, or that it also finds in one direction.
    pub(super) fn has_more_zones(&self) -> bool {
        let filter = self.zone_filter();
        let is_exact = filter.is_some_and(|zone| zone.direction() != proto::Direction::Unspecified);
        self.zones().iter().any(|(id, _)| id.is_some()) && !is_exact
    }

    /// Reports whether a connection has the zones that are given. One that it has not is 0.
    pub(super) fn has_zones(&self, entry: &Entry<'_>) -> bool {
        let mut zones = self.zones().into_iter().zip(entry.zones());
        zones.all(|((id, _), of_entry)| id.is_none_or(|id| u32::from(id) == of_entry.unwrap_or(0)))
    }

    fn tags(&self) -> Vec<u32> {
        let tags = [Field::OrigTag, Field::ReplyTag].map(|field| self.fields.get(&field).copied());
        match tags {
            [None, None] => Vec::new(),
            tags => tags.map(|tag| tag.unwrap_or(0)).to_vec(),
        }
    }

    fn tcp(&self, state: u32) -> proto::Tcp {
        proto::Tcp {
            state,
            scales: Vec::new(),
            flags: Vec::new(),
        }
    }

    fn sctp(&self, state: u32) -> proto::Sctp {
        proto::Sctp {
            state,
            tags: self.tags(),
        }
    }

    /// The connection to be created.
    pub(super) fn new_connection(&self) -> Result<proto::Connection> {
        let (original, reply) = self.tuples()?;
        let status = self.status.unwrap_or_default().0;
        if status.contains(Status::EXPECTED) {
            return operation("Device or resource busy");
        }
        let label = self.label_add.unwrap_or_default();
        if label.has_others {
            return operation(OUT_OF_RANGE);
        }
        let state = self.fields.get(&Field::State).copied();
        let state = match (self.protocol.map(Protocol), state) {
            (Some(Protocol::TCP), Some(state)) => Some(State::Tcp(self.tcp(state))),
            (Some(Protocol::SCTP), Some(state)) => Some(State::Sctp(self.sctp(state))),
            _ => None,
        };
        Ok(proto::Connection {
            original: Some(tuple_message(&original)),
            reply: Some(tuple_message(&reply)),
            zone: self.zone_message()?,
            status: status.bits(),
            timeout_ns: Some(u64::from(self.timeout.unwrap_or(0)) * 1_000_000_000),
            mark: self.mark.map_or(0, |(value, _)| value),
            label: label.bits.to_le_bytes().to_vec(),
            state,
            start_ns: super::flow::now_ns(),
            ..Default::default()
        })
    }

    /// The bits of a connection's label that are set, and those that change, if the label is to be sent.
    fn label_change(&self, label: u128) -> Result<Option<(u128, u128)>> {
        match (self.label_add, self.label_del) {
            (Some(add), _) if label == 0 && add.has_others => operation(OUT_OF_RANGE),
            (Some(add), _) => Ok(Some((add.bits, add.bits))),
            (_, Some(_)) if label == 0 => Ok(None),
            (_, Some(Some(delete))) => Ok(Some((0, delete.bits))),
            (_, Some(None)) => Ok(Some((0, u128::MAX))),
            (None, None) => Ok(None),
        }
    }

    /// The changes of a connection, if it has not all of the values already. A label, a timeout and a
    /// state are always sent.
    pub(super) fn update(
        &self,
        connection: &proto::Connection,
    ) -> Result<Option<proto::UpdateConnectionRequest>> {
        let state = self.fields.get(&Field::State).copied();
        let state = match (self.protocol.map(Protocol), state) {
            (Some(Protocol::TCP), Some(state)) => Some(NewState::Tcp(self.tcp(state))),
            (Some(Protocol::SCTP), Some(state)) => Some(NewState::Sctp(self.sctp(state))),
            _ => None,
        };
        let status = self.status.map(|(set, _)| connection.status | set.bits());
        let mark = self.mark.map(|(value, mask)| {
            // The mask's bits are cleared before the value's are inverted.
            let kept = connection.mark & !mask.unwrap_or(u32::MAX);
            kept ^ value
        });
        let label = self.label_change(Entry::new(connection).label())?;
        let changes_status = status.is_some_and(|status| status != connection.status);
        let changes_mark = mark.is_some_and(|mark| mark != connection.mark);
        let is_sent = self.timeout.is_some() || state.is_some() || label.is_some();
        if !changes_status && !changes_mark && !is_sent {
            return Ok(None);
        }
        let (label, label_mask) = match label {
            None => (Vec::new(), Vec::new()),
            Some((bits, mask)) => (bits.to_le_bytes().to_vec(), mask.to_le_bytes().to_vec()),
        };
        Ok(Some(proto::UpdateConnectionRequest {
            id: connection.id,
            status,
            timeout_ns: self
                .timeout
                .map(|seconds| u64::from(seconds) * 1_000_000_000),
            mark: mark.map(|value| proto::Mark { value, mask: None }),
            label,
            label_mask,
            state,
            helper: None,
        }))
    }

    /// The filter of connections. The new values of an update are not part of it.
    pub(super) fn filter(&self, is_update: bool) -> Result<proto::Filter> {
        let address = |address: Option<IpAddr>, mask: Option<IpAddr>| {
            address.map(|address| proto::AddressFilter {
                address: octets(address),
                mask: mask.map(octets).unwrap_or_default(),
            })
        };
        let part = |part: Option<u16>| part.map(u32::from);
        let (mut set, clear) = match is_update {
            true => Default::default(),
            false => self.status.unwrap_or_default(),
        };
        if self.src_nat.is_some() {
            set |= Status::SRC_NAT;
        }
        if self.dst_nat.is_some() {
            set |= Status::DST_NAT;
        }
        let [src_part, dst_part] = self.original_parts();
        let [reply_src_part, reply_dst_part] = self.reply_parts();
        let (src_nat, dst_nat) = (self.src_nat.flatten(), self.dst_nat.flatten());
        let family = match self.is_v6 {
            None => proto::Family::Unspecified,
            Some(false) => proto::Family::Ipv4,
            Some(true) => proto::Family::Ipv6,
        };
        let state = self.fields.get(&Field::State).copied();
        let tcp_state = state.filter(|_| self.protocol == Some(Protocol::TCP.0) && !is_update);
        let mark = self.mark.filter(|_| !is_update);
        let label = self.label.unwrap_or_default().bits;
        Ok(proto::Filter {
            id: self.id,
            family: family.into(),
            protocol: self.protocol.map(u32::from),
            zone: self.zone_filter(),
            mark: mark.map(|(value, mask)| proto::Mark { value, mask }),
            status_set: set.bits(),
            status_clear: clear.bits(),
            label: label.to_le_bytes().to_vec(),
            tcp_state,
            original: Some(proto::TupleFilter {
                src: address(self.src, self.mask_src),
                dst: address(self.dst, self.mask_dst),
                src_part: part(src_part),
                dst_part: part(dst_part),
            }),
            reply: Some(proto::TupleFilter {
                src: address(dst_nat.map(|(address, _)| address).or(self.reply_src), None),
                dst: address(src_nat.map(|(address, _)| address).or(self.reply_dst), None),
                src_part: part(dst_nat.and_then(|(_, port)| port).or(reply_src_part)),
                dst_part: part(src_nat.and_then(|(_, port)| port).or(reply_dst_part)),
            }),
        })
    }

    /// The expectation to be created.
    pub(super) fn new_expectation(&self) -> Result<proto::Expectation> {
        let part = |field| self.part(field);
        let tuple = self.tuple(
            [self.tuple_src, self.tuple_dst],
            [part(Field::TupleSrc), part(Field::TupleDst)],
        )?;
        let (Some(tuple), Some(mask)) = (tuple, self.mask_src) else {
            return operation(INVALID);
        };
        Ok(proto::Expectation {
            master_tuple: Some(self.wanted()?),
            tuple: Some(tuple_message(&tuple)),
            mask: Some(endpoint(Endpoint {
                address: mask,
                part: part(Field::MaskSrc).unwrap_or(0),
            })),
            timeout_ns: u64::from(self.timeout.unwrap_or(0)) * 1_000_000_000,
            ..Default::default()
        })
    }
}
