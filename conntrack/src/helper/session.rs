// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packet that a helper reads, and what the helper does with it.

use std::cell::Cell;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use super::Helper;
use crate::bits::{ExpectFlags, Status};
use crate::expect::{ExpectError, ExpectFunction, ExpectNat, Expectation, Limits, SourceMask};
use crate::table::{ConnectionRef, Keys};
use crate::time::Time;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Endpoint, Protocol, Tuple};

/// The most ports that are tried for an expectation (`nf_nat_exp_find_port`).
const MAX_PORTS: u16 = 128;
/// The most pairs of ports that are tried in order for a stream and its control, and as many are tried at
/// random. The lock of the announcing connection is held meanwhile.
const MAX_PAIRS: usize = 64;
/// The most ports and pairs of ports that are tried for all that a packet announces.
const MAX_TRIES: usize = 256;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;

/// The connection that a packet announces.
#[derive(Clone, Copy)]
pub(crate) struct Announced {
    protocol: Protocol,
    src: (Option<IpAddr>, Option<u16>),
    pub(crate) dst: Endpoint,
    pub(crate) class: u8,
    pub(crate) timeout: Option<Duration>,
    pub(crate) flags: ExpectFlags,
    pub(crate) assigned: Option<Helper>,
    pub(crate) nat: Option<ExpectNat>,
    /// An equal expectation of another connection is reported as such.
    pub(crate) finds_known: bool,
}

impl Announced {
    /// A connection from any port of `src`, or any host, to `dst`.
    pub(crate) fn new(protocol: Protocol, src: Option<IpAddr>, dst: Endpoint) -> Self {
        Announced {
            protocol,
            src: (src, None),
            dst,
            class: 0,
            timeout: None,
            flags: ExpectFlags::NONE,
            assigned: None,
            nat: None,
            finds_known: false,
        }
    }

    /// The announced connection, from this port or call id only.
    pub(crate) fn with_src_part(self, part: u16) -> Self {
        Announced {
            src: (self.src.0, Some(part)),
            ..self
        }
    }

    pub(crate) fn tuple(&self) -> Tuple {
        let to = Tuple::to(self.protocol, self.dst);
        let (address, part) = self.src;
        let unmasked = to.src();
        to.with_src(Endpoint {
            address: address.unwrap_or(unmasked.address),
            part: part.unwrap_or(0),
        })
    }
}

/// A packet and its connection.
#[derive(Clone, Copy)]
pub(crate) struct Packet<'a> {
    pub(crate) connection: ConnectionRef,
    pub(crate) keys: &'a Keys,
    pub(crate) direction: Direction,
    /// The connection's status before the packet.
    pub(crate) status: Status,
    /// The transport header and its payload.
    pub(crate) message: &'a [u8],
    pub(crate) now: Time,
}

impl Packet<'_> {
    pub(crate) fn protocol(&self) -> Protocol {
        self.keys.tuple(self.direction).protocol()
    }
}

/// A packet of a connection with a helper, and what the helper does with it.
pub(crate) struct Session<'a> {
    pub(crate) tracker: &'a Tracker,
    pub(crate) helper: Helper,
    pub(crate) packet: Packet<'a>,
    /// The payload with which the packet is to leave, if it is another one.
    pub(crate) payload: Option<Vec<u8>>,
    /// The number of parts that were replaced in it.
    pub(crate) replaced: usize,
    /// The destination port with which the packet is to leave, if it is another one.
    pub(crate) port: Option<u16>,
    /// The timeout that the connection gets.
    pub(crate) timeout: Option<Duration>,
    /// The tuples of expected connections that end.
    pub(crate) ended: Vec<Tuple>,
    /// The ports that may still be tried.
    tries: Cell<usize>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(tracker: &'a Tracker, helper: Helper, packet: Packet<'a>) -> Self {
        Session {
            tracker,
            helper,
            packet,
            payload: None,
            replaced: 0,
            port: None,
            timeout: None,
            ended: Vec::new(),
            tries: Cell::new(MAX_TRIES),
        }
    }

    /// The tuple of the packet's direction.
    pub(crate) fn this(&self) -> Tuple {
        self.packet.keys.tuple(self.packet.direction)
    }

    /// The tuple of the opposite direction.
    pub(crate) fn other(&self) -> Tuple {
        self.packet.keys.tuple(self.packet.direction.opposite())
    }

    /// Reports whether packets were seen in both directions.
    pub(crate) fn is_established(&self) -> bool {
        self.packet.direction == Direction::Reply || self.packet.status.contains(Status::SEEN_REPLY)
    }

    /// Reports whether the connection is translated.
    pub(crate) fn is_translated(&self) -> bool {
        self.packet.status.intersects(Status::NAT)
    }

    /// The payload as it was received. Absent if there is none, or the header is truncated.
    pub(crate) fn received(&self) -> Option<&'a [u8]> {
        let start = match self.this().protocol() {
            Protocol::TCP => usize::from(self.packet.message.get(..TCP_HEADER)?[12] >> 4) * 4,
            _ => UDP_HEADER,
        };
        self.packet
            .message
            .get(start..)
            .filter(|payload| !payload.is_empty())
    }

    /// The sequence number of a TCP segment.
    pub(crate) fn seq(&self) -> u32 {
        match self.packet.message.get(4..8) {
            Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
            _ => 0,
        }
    }

    /// The payload as it is to leave.
    pub(crate) fn text(&self) -> &[u8] {
        match &self.payload {
            Some(payload) => payload,
            None => self.received().unwrap_or_default(),
        }
    }

    /// Replaces a part of the payload.
    pub(crate) fn replace(&mut self, range: Range<usize>, new: &[u8]) {
        self.replaced += 1;
        let received = self.received().unwrap_or_default();
        let payload = self.payload.get_or_insert_with(|| received.to_vec());
        if range.start <= range.end && range.end <= payload.len() {
            payload.splice(range, new.iter().copied());
        }
    }

    /// The expectation of an announced connection, and the most of its class.
    fn expectation(&self, announced: &Announced) -> (Expectation, usize) {
        let class = self.helper.class(announced.class);
        let tuple = announced.tuple();
        let (address, part) = announced.src;
        let mask = SourceMask::new(tuple.family(), address.is_some(), part.is_some());
        let expectation = Expectation {
            id: 0,
            master: self.packet.connection,
            master_tuple: self.packet.keys.tuple(Direction::Original),
            zone: self.zone(),
            tuple,
            mask,
            deadline: self.packet.now + announced.timeout.unwrap_or(class.timeout),
            class: announced.class,
            flags: announced.flags,
            helper: Some(self.helper),
            assigned: announced.assigned,
            nat: announced.nat,
        };
        (expectation, class.max)
    }

    fn zone(&self) -> u16 {
        self.packet.keys.zone().id()
    }

    /// Counts a port that is tried. Returns whether it may be.
    fn may_try(&self) -> bool {
        let left = self.tries.get();
        self.tries.set(left.saturating_sub(1));
        left > 0
    }

    /// Expects a connection, and returns the expectation's number.
    pub(crate) fn expect(&self, announced: &Announced) -> Result<u64, ExpectError> {
        let [id] = self.expect_all([*announced])?;
        Ok(id)
    }

    /// Expects connections of one class, all of them or none, and returns the expectations' numbers.
    pub(crate) fn expect_all<const N: usize>(
        &self,
        announced: [Announced; N],
    ) -> Result<[u64; N], ExpectError> {
        let mut limits = Limits {
            of_class: 0,
            finds_known: announced.iter().any(|one| one.finds_known),
        };
        let expectations = announced.map(|one| {
            let (expectation, max) = self.expectation(&one);
            limits.of_class = max;
            expectation
        });
        self.tracker
            .add_expectations(expectations, &limits, self.packet.now)
    }

    /// A copy of the newest expectation that a packet of this tuple would fulfil, active or not.
    pub(crate) fn find_expected(&self, tuple: &Tuple) -> Option<Expectation> {
        let all = &self.tracker.expectations;
        all.peek(tuple, self.zone(), self.packet.now, |_| true)
    }

    /// Activates the newest expectation of the connection that `is_wanted`, for some time from now on.
    /// Returns whether there is one.
    pub(crate) fn activate(
        &self,
        timeout: Duration,
        is_wanted: impl Fn(&Expectation) -> bool,
    ) -> bool {
        let (master, deadline) = (self.packet.connection, self.packet.now + timeout);
        let all = &self.tracker.expectations;
        all.activate(master, deadline, is_wanted)
    }

    /// Removes expectations of the connection that `is_wanted`, the newest first, at most `limit`.
    pub(crate) fn forget(&self, limit: usize, is_wanted: impl Fn(&Expectation) -> bool) {
        let master = self.packet.connection;
        self.tracker.forget_some(master, limit, is_wanted);
    }

    /// Expects a connection to the announced port or, if that is taken, another one, and returns it
    /// (`nf_nat_exp_find_port`).
    pub(crate) fn expect_free_port(&self, announced: &mut Announced) -> Result<u16, ExpectError> {
        let first = announced.dst.part;
        let range = u16::MAX - first;
        let mut attempts = range.min(MAX_PORTS);
        while self.may_try() {
            match self.expect(announced) {
                Ok(_) if announced.dst.part != 0 => return Ok(announced.dst.part),
                Err(ExpectError::Busy) if attempts > 0 => attempts -= 1,
                Err(error) => return Err(error),
                // Port 0 cannot be announced.
                Ok(id) => {
                    self.tracker.remove_expectation(id);
                    return Err(ExpectError::Busy);
                }
            }
            announced.dst.part = first + self.tracker.random_port() % range;
        }
        Err(ExpectError::Busy)
    }

    /// Expects a stream and its control at the announced ports or, if they are taken, others, and returns
    /// the first one's and the numbers of the expectations.
    pub(crate) fn expect_free_pair(
        &self,
        streams: &mut [Announced; 2],
    ) -> Result<(u16, [u64; 2]), ExpectError> {
        for port in pairs(streams[0].dst.part, || self.tracker.random_port()) {
            streams[0].dst.part = port;
            streams[1].dst.part = port + 1;
            if !self.may_try() {
                break;
            }
            match self.expect_all(*streams) {
                Ok(ids) => return Ok((port, ids)),
                Err(ExpectError::Busy) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ExpectError::Busy)
    }

    /// The translation of an expected connection that comes from where this packet goes, to a port of
    /// its sender.
    pub(crate) fn follow_master(&self, port: u16) -> ExpectNat {
        let nowhere = Tuple::to(Protocol::TCP, self.this().dst()).src();
        ExpectNat {
            direction: self.packet.direction.opposite(),
            target: Endpoint {
                part: port,
                ..nowhere
            },
            function: ExpectFunction::FollowMaster,
        }
    }
}

/// The first ports of the pairs that are tried from an even port on: the next ones, then any.
fn pairs(first: u16, mut random: impl FnMut() -> u16) -> impl Iterator<Item = u16> {
    let first = first & !1;
    let count = (u16::MAX - first) / 2 + 1;
    let next = (first..u16::MAX).step_by(2).take(MAX_PAIRS);
    let any = std::iter::repeat_with(move || first + random() % count * 2);
    next.chain(any.take(MAX_PAIRS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The work for a stream is bounded however many pairs are in use, and every pair may be tried.
    #[test]
    fn pairs_of_ports_are_tried_in_order_then_at_random() {
        let mut seed = 0u16;
        let mut random = || {
            seed = seed.wrapping_mul(25_173).wrapping_add(13_849);
            seed
        };
        let tried: Vec<_> = pairs(5000, &mut random).collect();
        assert_eq!(tried.len(), 2 * MAX_PAIRS);
        let in_order: Vec<_> = (5000..).step_by(2).take(MAX_PAIRS).collect();
        assert_eq!(tried[..MAX_PAIRS], in_order);
        assert!(tried.iter().all(|port| *port >= 5000 && port % 2 == 0));
        assert!(tried[MAX_PAIRS..].iter().any(|port| *port > 20_000));
        let last: Vec<_> = pairs(u16::MAX, &mut random).collect();
        assert!(last.iter().all(|port| *port == u16::MAX - 1), "{last:?}");
        assert_eq!(last.len(), 1 + MAX_PAIRS);
        assert!(pairs(0, || u16::MAX).all(|port| port % 2 == 0));
    }
}
