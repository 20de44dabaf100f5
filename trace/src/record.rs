// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A packet that was traced, in the data path's terms.

use std::sync::Arc;

use adit_pipeline::p4::trace::Event;
use adit_pipeline::p4::{self, Engine, Receive, SentKind};

/// The maximum number of a packet's bytes that are kept.
pub const SNAP: usize = 256;

/// A packet that was traced.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The engine of the program, whose events these are.
    pub engine: Option<Arc<Engine>>,
    /// The time on the data path's clock, in nanoseconds.
    pub time_ns: u64,
    /// The port at which it has entered.
    pub port: u32,
    /// The transmit queue that it was sent from, by its index among the port's.
    pub queue: Option<u16>,
    /// Its length in bytes.
    pub length: usize,
    /// Its first bytes, at most [`SNAP`].
    pub data: Vec<u8>,
    /// The engine's events.
    pub events: Vec<Event>,
    /// The packets that have left the program. Of a datagram that leaves in fragments, each is whole, and its fate is
    /// that of its first fragment.
    pub outputs: Vec<Sent>,
    /// The reason why the packet was dropped.
    pub dropped: Option<Dropped>,
}

/// A packet that has left the program.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The port that the program has selected.
    pub port: u32,
    /// Its kind: the packet itself, a copy, or the answer to it.
    pub kind: SentKind,
    /// Its length in bytes.
    pub length: usize,
    /// Its first bytes, at most [`SNAP`].
    pub data: Vec<u8>,
    /// Receive metadata that the program has set.
    pub receive: Receive,
    /// Its fate; `None` without a NIC.
    pub fate: Option<Fate>,
    /// Set if it was also copied to others.
    pub is_flooded: bool,
}

impl Sent {
    /// The packet that a program makes of `input`.
    #[must_use]
    pub fn new(sent: &p4::Sent<'_>, input: &[u8]) -> Sent {
        let rest = input.get(sent.payload_offset..).unwrap_or_default();
        let most = sent.truncate.unwrap_or(usize::MAX);
        let mut data = Vec::with_capacity(SNAP);
        let bytes = sent.headers.iter().chain(rest);
        data.extend(bytes.take(most.min(SNAP)));
        Sent {
            port: sent.port,
            kind: sent.kind,
            length: (sent.headers.len() + rest.len()).min(most),
            data,
            receive: sent.receive,
            fate: None,
            is_flooded: false,
        }
    }
}

/// The fate of a packet behind the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was delivered to a receive queue.
    Delivered {
        /// The virtual port, as a port.
        port: u32,
        /// The queue, by its index among the port's.
        queue: u32,
    },
    /// A wire has accepted it.
    Sent(u32),
    /// It was dropped; the reason as metrics name it.
    Dropped(&'static str),
    /// It still waits for buffers or for its wire.
    Waits,
}

/// The reason why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// By the engine.
    Engine(p4::DropReason),
    /// By the NIC: the reason as metrics name it, and an explanation.
    Nic(&'static str, &'static str),
}
