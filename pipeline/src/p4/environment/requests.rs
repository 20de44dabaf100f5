// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The requests of a program for its packet.

use crate::fragment::Fragmentation;
use crate::p4::packets::Receive;

/// The destination set by a PNA program: the last call wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::p4) enum Forward {
    /// No destination was set.
    #[default]
    Nowhere,
    Drop,
    Reject,
    /// With the reason and the source of `Local::rejection`.
    RejectWith,
    /// The same of what is behind so many bytes of the packet, by an answer that goes through the program.
    RejectBehind(u16),
    Port(u64),
    Group(u64),
    Again,
    /// The same with what was inside of the packet.
    AgainInner,
}

/// A request of a PNA program beside the destination. Few packets have any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::p4) enum Extra {
    /// A mirror: one for each slot.
    Mirror { slot: u64, session: u64 },
    /// Fragments in which the packet leaves: at most one.
    Fragments(Fragmentation),
}

/// Requests of the program, processed at the end of ingress or egress.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::p4) struct Requests {
    /// Session, and the list of fields to preserve.
    pub(in crate::p4) clone_ingress: Option<(u64, Option<u32>)>,
    pub(in crate::p4) clone_egress: Option<(u64, Option<u32>)>,
    pub(in crate::p4) resubmit: Option<u32>,
    pub(in crate::p4) recirculate: Option<u32>,
    pub(in crate::p4) truncate: Option<u64>,
    /// Set if `mark_to_drop()` was called without the metadata to mark.
    pub(in crate::p4) drop: bool,
    pub(in crate::p4) forward: Forward,
    /// Receive metadata set by a PNA program.
    pub(in crate::p4) receive: Receive,
    /// Set if the payload has another length after translation.
    pub(in crate::p4) is_rewritten: bool,
}
