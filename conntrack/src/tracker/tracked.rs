// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A tracked packet: its state and its connection.

use std::time::Duration;

use super::{spare, Pending};
use crate::bits::{CtState, Status};
use crate::entry::Label;
use crate::nat::{Adjustments, Manip};
use crate::proto::Invalid;
use crate::table::ConnectionRef;
use crate::tuple::{Direction, Key, Tuple};

/// A packet's connection.
pub(crate) enum Association {
    None,
    /// A connection of the table, and the packet's direction in it.
    Known(ConnectionRef, Direction),
    /// A connection to which the packet, an ICMP error, is related; the direction is the error's.
    Related(ConnectionRef, Direction),
    /// The packet has ended its connection, which is not in the table any more; the packet's
    /// direction. The packet is translated all the same.
    Ended(Direction),
    New(Box<Pending>),
}

/// The translation of a packet. It is the packet's own: another core may remove the connection
/// before the packet leaves.
#[derive(Clone, Copy)]
pub(crate) struct Rewrite {
    /// The key of the direction opposite to the packet's: the ends with which it leaves, exchanged.
    other: Key,
    pub(crate) status: Status,
}

impl Rewrite {
    /// The translation of a packet, if its connection has one; `other` is the connection's key in the
    /// direction opposite to the packet's.
    #[inline]
    pub(super) fn of(other: impl FnOnce() -> Key, status: Status) -> Option<Self> {
        status.intersects(Status::NAT).then(|| Rewrite {
            other: other(),
            status,
        })
    }

    /// The tuple of the direction opposite to the packet's.
    #[inline]
    pub(crate) fn other(&self) -> Tuple {
        Tuple::from_key(&self.other)
    }
}

/// The mark and label of a packet's connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Marks {
    pub(super) mark: u32,
    pub(super) label: Label,
}

/// A packet that has passed the tracker.
pub struct Tracked {
    pub(super) state: CtState,
    pub(super) invalid: Option<Invalid>,
    pub(crate) association: Association,
    pub(crate) rewrite: Option<Rewrite>,
    /// The changes of a helper to the packet; most packets have none.
    pub(crate) reading: Option<Box<Reading>>,
    pub(super) marks: Marks,
}

/// Most new connections that are not committed are those of packets that are dropped, of a flood perhaps:
/// they, too, take no memory from the allocator.
impl Drop for Tracked {
    #[inline]
    fn drop(&mut self) {
        if matches!(self.association, Association::New(_)) {
            self.end_pending();
        }
    }
}

/// The result of a helper for a packet, and of those before it.
#[derive(Default)]
pub(crate) struct Reading {
    /// The payload with which the packet is to leave, if it is another one.
    pub(crate) payload: Option<Box<[u8]>>,
    /// The destination port with which the packet is to leave, if it is another one.
    pub(crate) port: Option<u16>,
    /// The adjustments of the sequence numbers.
    pub(crate) adjustments: Option<Adjustments>,
    /// The timeout that the connection gets.
    pub(super) timeout: Option<Duration>,
    /// The tuples of expected connections that end.
    pub(super) ended: Vec<Tuple>,
    /// The packet is to be dropped.
    pub(super) must_drop: bool,
}

impl Reading {
    /// The part of it that stays with its packet, if any.
    pub(super) fn of_packet(self) -> Option<Box<Reading>> {
        let is_plain = self.payload.is_none() && self.port.is_none() && self.adjustments.is_none();
        (!is_plain || self.must_drop).then(|| Box::new(self))
    }
}

impl Tracked {
    pub(super) fn invalid(reason: Invalid) -> Self {
        let mut tracked = Tracked::without_connection();
        tracked.invalid = Some(reason);
        tracked
    }

    /// Keeps the memory of a connection that will not be inserted.
    #[inline(never)]
    fn end_pending(&mut self) {
        if let Association::New(pending) = self.take_association() {
            spare::keep(pending);
        }
    }

    /// The association, of which the packet has none then.
    pub(super) fn take_association(&mut self) -> Association {
        std::mem::replace(&mut self.association, Association::None)
    }

    /// Reports whether nothing has been set of [`Tracked::without_connection`].
    pub(super) fn is_unset(&self) -> bool {
        matches!(self.association, Association::None)
            && self.invalid.is_none()
            && self.rewrite.is_none()
            && self.reading.is_none()
    }

    /// A packet that has passed the tracker and has no connection.
    #[inline]
    pub fn without_connection() -> Self {
        Tracked {
            state: CtState::TRACKED | CtState::INVALID,
            invalid: None,
            association: Association::None,
            rewrite: None,
            reading: None,
            marks: Marks::default(),
        }
    }

    /// The packet's state.
    pub fn state(&self) -> CtState {
        self.state
    }

    /// The reason for which the packet has no connection.
    pub fn invalid_reason(&self) -> Option<Invalid> {
        self.invalid
    }

    /// Reports whether the packet is to be dropped for a helper: it has a part of an announcement,
    /// or one that cannot be followed. Its sender will repeat it.
    pub fn must_drop(&self) -> bool {
        self.reading
            .as_ref()
            .is_some_and(|reading| reading.must_drop)
    }

    /// The connection's mark (`ct_mark`), as it was when the packet was tracked or committed; 0
    /// without a connection.
    pub fn mark(&self) -> u32 {
        self.marks.mark
    }

    /// The connection's label (`ct_label`), as it was when the packet was tracked or committed;
    /// without bits if there is no connection.
    pub fn label(&self) -> Label {
        self.marks.label
    }

    /// The tuple with which the packet leaves, if it is translated. An ICMP error takes only the
    /// addresses of the ends that its state names ([`CtState::SRC_NAT`], [`CtState::DST_NAT`]).
    pub fn translated(&self) -> Option<Tuple> {
        self.rewrite.as_ref()?.other().invert()
    }

    /// The packet's connection in the table. A new connection is there once it is committed.
    pub fn connection(&self) -> Option<ConnectionRef> {
        match self.association {
            Association::Known(connection, _) | Association::Related(connection, _) => {
                Some(connection)
            }
            Association::None | Association::New(_) | Association::Ended(..) => None,
        }
    }

    /// Reports whether the packet is an ICMP error about its connection.
    pub fn is_related_error(&self) -> bool {
        matches!(self.association, Association::Related(..))
    }

    /// The packet's direction in its connection.
    pub fn direction(&self) -> Option<Direction> {
        match self.association {
            Association::Known(_, direction)
            | Association::Related(_, direction)
            | Association::Ended(direction) => Some(direction),
            Association::New(_) => Some(Direction::Original),
            Association::None => None,
        }
    }
}

/// The state of a packet of a connection with `status` before it (`ovs_ct_update_key` in
/// `net/openvswitch/conntrack.c`).
pub(super) fn state_of(status: Status, direction: Direction) -> CtState {
    let mut state = CtState::TRACKED;
    state |= match direction {
        Direction::Reply => CtState::REPLY | CtState::ESTABLISHED,
        Direction::Original if status.contains(Status::SEEN_REPLY) => CtState::ESTABLISHED,
        Direction::Original if status.contains(Status::EXPECTED) => CtState::RELATED,
        Direction::Original => CtState::NEW,
    };
    // Open vSwitch keeps it for as long as the connection is there, which may be longer than the one that expected it.
    if status.contains(Status::EXPECTED) {
        state |= CtState::RELATED;
    }
    state | nat_state(status, direction)
}

/// The translations of a packet in `direction` of a connection, as bits of its state
/// (`ovs_nat_update_key`): of a connection whose source is translated, replies have their
/// destination translated (`nf_ct_nat` in `nf_nat_ovs.c`).
pub(super) fn nat_state(status: Status, direction: Direction) -> CtState {
    let mut state = CtState::NONE;
    for (manip, bit) in [
        (Manip::Source, CtState::SRC_NAT),
        (Manip::Destination, CtState::DST_NAT),
    ] {
        if status.contains(manip.status(direction)) {
            state |= bit;
        }
    }
    state
}
