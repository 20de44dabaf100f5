// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connection tracker: packets and time in, verdicts and events out. No I/O, no clock.
//!
//! The semantics are those of Linux 7.2's nf_conntrack; where a function follows one of the kernel,
//! its documentation names the file or function.
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
#![forbid(unsafe_code)]

mod bits;
mod checksum;
mod entry;
mod events;
mod fragments;
mod hash;
mod nat;
pub mod packet;
mod proto;
mod settings;
mod stats;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod tracker;
mod tuple;
mod zone;

pub use bits::{CtState, Status};
pub use entry::{Connection, Counters, Label, ProtoInfo};
pub use events::{Changes, Event, EventMask, Listener};
pub use fragments::{Datagram, FragmentLimits, FragmentStatistics, Fragments, Reassembly};
pub use hash::Seed;
pub use nat::{Nat, NatRange, Translation};
pub use proto::sctp::SctpState;
pub use proto::tcp::TcpState;
pub use proto::Invalid;
pub use settings::{PolicyId, SctpTimeouts, Settings, StreamTimeouts, TcpTimeouts, Timeouts};
pub use stats::Statistics;
pub use table::{ConnectionRef, RemovalReason};
pub use time::Time;
pub use tracker::{Checksums, Commit, CommitError, Cursor, Input, Tracked, Tracker};
pub use tuple::{Direction, Endpoint, Family, Protocol, Tuple};
pub use zone::Zone;
