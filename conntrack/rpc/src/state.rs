// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connections and expectations of a tracker as bytes, for the tracker of a successor of this
//! process, and the ports that are reserved in it.
//!
//! All of a connection goes to the successor: what a control plane sees, the adjustments of sequence
//! numbers, and its [`Internals`](adit_conntrack::Internals), so that no packet makes a difference. A successor
//! whose internals have other parts begins without them: TCP's windows are those of each direction's next
//! segment then, as after conntrackd. The numbers of connections and expectations are others afterwards.
//!
//! A state can be saved in two parts, as memory is when a virtual machine moves: [`precopy`] copies most
//! connections while packets pass, which takes as long as it takes; [`save`] then has what has changed since,
//! and nothing must change meanwhile. The successor has [`Restoring`] for both.

mod restore;
mod save;

use adit_conntrack::{CommitError, DamagedInternals, ExpectError};
use prost::Message;
use thiserror::Error;

use crate::{proto, Malformed};

pub use restore::{restore, NotUnderstood, Restored, Restoring};
pub use save::{precopy, save, Copied};

/// An entry of a state: in it they follow each other, each behind its length.
#[derive(Clone, PartialEq, Message)]
struct Saved {
    /// A connection.
    #[prost(message, optional, tag = "1")]
    connection: Option<proto::Connection>,
    /// `position`, `before` and `after` of both directions of a connection.
    #[prost(message, repeated, tag = "2")]
    adjustments: Vec<Adjustment>,
    /// Or an expectation.
    #[prost(message, optional, tag = "3")]
    expectation: Option<proto::Expectation>,
    /// Or the reserved ports.
    #[prost(message, optional, tag = "4")]
    reserved: Option<proto::ReservedPorts>,
    /// Or the head, which comes first. Older releases write none.
    #[prost(message, optional, tag = "5")]
    head: Option<Head>,
    /// `Internals::to_bytes` of a connection. Older releases write none.
    #[prost(bytes = "vec", tag = "6")]
    internals: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Adjustment {
    #[prost(uint32, tag = "1")]
    position: u32,
    #[prost(sint32, tag = "2")]
    before: i32,
    #[prost(sint32, tag = "3")]
    after: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Head {
    /// The time of the clock at which timeouts are those of the state.
    #[prost(uint64, tag = "1")]
    time_ns: u64,
    /// Set if connections have been copied before.
    #[prost(bool, tag = "2")]
    is_rest: bool,
    /// The numbers of those of them that have ended or changed since. The latter follow again.
    #[prost(uint64, repeated, tag = "3")]
    stale: Vec<u64>,
}

/// The reason that a state cannot be restored.
#[derive(Debug, Error)]
pub enum StateError {
    /// The bytes are not a state.
    #[error("entry {0} is not one of a state of connections: {1}")]
    Form(usize, prost::DecodeError),
    /// A value is impossible.
    #[error("entry {0}: {1}")]
    Value(usize, Malformed),
    /// The internals of a connection are damaged.
    #[error("entry {0}: {1}")]
    Internals(usize, DamagedInternals),
    /// A connection was not created.
    #[error("entry {0}: the connection is not created: {1}")]
    Connection(usize, CommitError),
    /// An expectation was not created.
    #[error("entry {0}: the expectation is not created: {1}")]
    Expectation(usize, ExpectError),
    /// The state is the second part of one whose first part is not there, or the first one again.
    #[error("the state has the changes since connections were copied, of which {0} are here")]
    Part(usize),
}

#[cfg(test)]
mod tests;
