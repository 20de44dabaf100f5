// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What goes into a worker and what comes out of it.

use super::externs::Receive;
use crate::offload::OnWire;

/// The first port that is towards the host (`ADIT_FIRST_HOST_PORT` in adit.p4).
pub const FIRST_HOST_PORT: u32 = 0x1000;

/// Where a packet came from; v1model does not ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From a wire.
    #[default]
    NetToHost,
    /// From a virtual port.
    HostToNet,
}

/// A packet that goes in.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The port that it came by.
    pub port: u32,
    /// From which side.
    pub direction: Direction,
    /// Its beginning: at least what the program's parser extracts, best all of it.
    pub data: &'a [u8],
    /// How long it is, also if `data` is not all of it.
    pub length: usize,
    /// What it is on a link: counters and meters take it for so many packets if it is to be
    /// segmented, or was merged. The program sees it once.
    pub on_wire: OnWire,
}

impl<'a> Input<'a> {
    /// A whole packet from a wire.
    pub fn new(port: u32, data: &'a [u8]) -> Input<'a> {
        Input {
            port,
            direction: Direction::NetToHost,
            data,
            length: data.len(),
            on_wire: OnWire::single(data.len()),
        }
    }
}

/// What becomes of a packet: any number of [`Output::Sent`], or one [`Output::Dropped`].
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// It leaves, or a copy of it does.
    Sent(Sent<'a>),
    /// It does not leave. Copies of it may have left before.
    Dropped(DropReason),
}

/// A packet that leaves: `headers`, then the input's bytes from `payload_offset` on; then cut to
/// `truncate`.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The port that it leaves by.
    pub port: u32,
    /// Whether it is the packet or a copy.
    pub kind: SentKind,
    /// What the deparser made.
    pub headers: &'a [u8],
    /// Where in the input the rest begins, which is not copied.
    pub payload_offset: usize,
    /// How many bytes it has at most.
    pub truncate: Option<usize>,
    /// What the program says to who receives it.
    pub receive: Receive,
}

impl Sent<'_> {
    /// The whole packet, for those who want it in one piece: `input` is what went in.
    pub fn copy_to(&self, input: &[u8], to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(self.headers);
        to.extend_from_slice(input.get(self.payload_offset..).unwrap_or_default());
        if let Some(length) = self.truncate {
            to.truncate(start.saturating_add(length));
        }
    }
}

/// What leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentKind {
    /// The packet itself.
    Packet,
    /// A copy for a member of a multicast group.
    Multicast,
    /// A clone (v1model) or mirror (PNA).
    Clone,
}

/// Why a packet does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The program dropped it.
    Program,
    /// The program made no forwarding call (PNA).
    NotForwarded,
    /// It went through the pipeline too often.
    TooManyPasses,
    /// The program ran for too long.
    TooLong,
    /// A copy was for a session that does not exist: the packet itself goes on.
    UnknownSession,
    /// It was for a multicast group that does not exist.
    UnknownGroup,
    /// An `assert` or `assume` did not hold.
    Assertion,
    /// It was for the control plane, whose queue is full.
    ControlQueueFull,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [DropReason; 8] = [
        DropReason::Program,
        DropReason::NotForwarded,
        DropReason::TooManyPasses,
        DropReason::TooLong,
        DropReason::UnknownSession,
        DropReason::UnknownGroup,
        DropReason::Assertion,
        DropReason::ControlQueueFull,
    ];

    /// A name for lists of counters.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Program => "program",
            DropReason::NotForwarded => "not-forwarded",
            DropReason::TooManyPasses => "too-many-passes",
            DropReason::TooLong => "too-long",
            DropReason::UnknownSession => "unknown-session",
            DropReason::UnknownGroup => "unknown-group",
            DropReason::Assertion => "assertion",
            DropReason::ControlQueueFull => "control-queue-full",
        }
    }
}
