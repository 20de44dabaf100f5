// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connection tracker: packets and time in, verdicts and events out. No I/O, no clock.
//!
//! The semantics are those of Linux 7.2's nf_conntrack; where a function follows one of the kernel,
//! its documentation names the file or function.
//!
//! A packet takes these steps: [`Fragments::insert`] if it may be a fragment, [`Tracker::track`],
//! [`Tracker::commit`] if its connection is to be kept, and [`Tracker::translate`]. Beside the packets,
//! [`Tracker::expire`] is called several times a second.
//!
//! # Differences from Linux
//!
//! - A connection takes no slot of the table before it is committed: Linux counts it from its first
//!   packet on. So the table's limit and early drop apply at the commit.
//!   An expectation is found by a connection's first packet, and taken at the commit.
//! - The index has two buckets of 16 slots for a tuple instead of chains, of which Linux bounds the
//!   length at random. `chaintoolong` counts connections for which both were full after early drop.
//! - If nothing near a new connection's tuple is unassured, early drop removes a connection that is being
//!   closed. Linux leaves these to its garbage collection.
//! - A translated tuple that another core takes first is chosen again; Linux drops the packet. So is a
//!   packet of which no translated tuple was free, here as well.
//! - A source is translated as another connection of the same source is (`find_appropriate_src`), if that
//!   is one of the latest four of the sources that share a slot; Linux remembers all.
//! - UDP packets of two new connections with one original, but different reply tuples are not both kept
//!   (`IPS_NAT_CLASH`): the second is dropped.
//! - No source is translated to a reserved port ([`Tracker::set_reserved_ports`]); Linux knows none.
//! - Helpers of SIP and H.323 try at most 64 pairs of ports from the announced one on, 64 at random, and
//!   256 ports for a packet; Linux tries all.
//! - H.323: a call that is forwarded is expected also if both parties are behind one gateway, so that it does
//!   not come by (`callforward_filter`): routes are those of whoever calls the tracker, and in a NIC tables of a
//!   program. Such an expectation has the caller's address and the announced one, and ends after 4 minutes.
//!   Of a Progress with tokens or security modes, the fast start is not followed; a registration keeps its
//!   connection for at most 5 days.
//! - Counters and the time of the first packet are always kept (`nf_conntrack_acct`,
//!   `nf_conntrack_timestamp`).
//! - Fragments leave with their own headers and sizes, so the bits of ECN are not combined, and a
//!   datagram has at most [`FragmentLimits::fragments`] of them.
//!
//! ```
//! use adit_conntrack::{Commit, CtState, Input, Seed, Settings, Time, Tracker};
//!
//! let tracker = Tracker::new(1024, Seed::new([7; 16]), Settings::default());
//! // An echo request from 10.0.0.1 to 10.0.0.2.
//! let packet = [
//!     0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0x66, 0xdf, 10, 0, 0, 1, 10, 0, 0, 2, //
//!     8, 0, 0xf7, 0xfe, 0, 1, 0, 0,
//! ];
//! let (input, now) = (Input::new(&packet), Time::from_secs(1));
//! let mut tracked = tracker.track(&input, now);
//! assert_eq!(tracked.state(), CtState::TRACKED | CtState::NEW);
//! tracker.commit(&mut tracked, &input, &Commit::default(), now)?;
//! let connection = tracker.get(tracked.connection().unwrap(), now).unwrap();
//! assert_eq!(connection.timeout.as_secs(), 30);
//! # Ok::<(), adit_conntrack::CommitError>(())
//! ```
#![deny(unsafe_code)]

mod bits;
mod checksum;
mod entry;
mod events;
mod expect;
mod fragments;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gre;
mod hash;
mod helper;
mod internals;
#[allow(
    unsafe_code,
    reason = "hints to the system and the processor, and nothing else"
)]
pub mod memory;
mod nat;
pub mod packet;
mod proto;
mod settings;
mod stats;
mod sync;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod tracker;
mod tuple;
mod zone;

pub use bits::{CtState, ExpectFlags, Status};
pub use entry::{Connection, Counters, Label, ProtoInfo};
pub use events::{Changes, Event, EventMask, Listener, TooManyListeners};
pub use expect::{ExpectError, ExpectFunction, ExpectNat, Expectation, SourceMask};
pub use fragments::{
    Datagram, FragmentLimits, FragmentStatistics, Fragments, Origin, Reassembly, Share,
};
pub use hash::Seed;
pub use helper::Helper;
pub use internals::{DamagedInternals, Internals};
pub use nat::{
    InvalidRange, InvalidReservation, Nat, NatRange, PacketBuffer, ReservedPorts, ReservedRange,
    SequenceAdjustment, Translation, MAX_RESERVED,
};
pub use proto::sctp::SctpState;
pub use proto::tcp::TcpState;
pub use proto::Invalid;
pub use settings::{PolicyId, SctpTimeouts, Settings, StreamTimeouts, TcpTimeouts, Timeouts};
pub use stats::Statistics;
pub use table::{ConnectionRef, RemovalReason};
pub use time::Time;
pub use tracker::{
    Checksums, Commit, CommitError, Cursor, Filter, Input, Known, NewConnection, NewExpectation,
    NewProto, Prepared, TcpFlags, Tracked, Tracker, TupleFilter, Update, UpdateError, BURST,
};
pub use tuple::{Direction, Endpoint, Family, MixedFamilies, Protocol, Tuple};
pub use zone::Zone;
