// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The input and output of a worker.

use crate::fragment::{Division, Fragmentation, Fragmenter, Fragments};
use crate::offload::OnWire;

/// The first host port (`ADIT_FIRST_HOST_PORT` in adit.p4).
pub const FIRST_HOST_PORT: u32 = 0x1000;
/// v1model's port of packets that are dropped.
pub(super) const DROP_PORT: u64 = 511;
/// The queue of packets that no driver has sent (`ADIT_NO_QUEUE` in adit.p4).
pub const NO_QUEUE: u16 = u16::MAX;

/// The direction of a packet; v1model ignores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// A packet from a wire.
    #[default]
    NetToHost,
    /// A packet from a virtual port.
    HostToNet,
}

/// An input packet.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The ingress port.
    pub port: u32,
    /// The direction.
    pub direction: Direction,
    /// The transmit queue, an index among those of the ingress port; [`NO_QUEUE`] if it comes from
    /// none.
    pub queue: u16,
    /// The start of the packet: at least the part that the program's parser extracts, preferably
    /// all.
    pub data: &'a [u8],
    /// The packet's length, which may exceed that of `data`.
    pub length: usize,
    /// Its size on a link: counters and meters count it as that many packets if it is to be
    /// segmented, or was merged. The program processes it once.
    pub on_wire: OnWire,
    /// The length of the largest fragment that it came in, from its IP header on; 0 if it came whole.
    pub fragment_size: u16,
    /// Set if its checksums are valid, or still to be computed: a connection tracker does not verify
    /// them again.
    pub checksums_verified: bool,
    /// The offset of the transport header whose checksum is still to be computed, if that is known. It
    /// may be that of a packet inside of this one.
    pub pending_checksum: Option<u16>,
}

impl<'a> Input<'a> {
    /// A whole packet from a wire.
    pub fn new(port: u32, data: &'a [u8]) -> Input<'a> {
        Input {
            port,
            direction: Direction::NetToHost,
            queue: NO_QUEUE,
            data,
            length: data.len(),
            on_wire: OnWire::single(data.len()),
            fragment_size: 0,
            checksums_verified: false,
            pending_checksum: None,
        }
    }
}

/// The result for a packet: any number of [`Output::Sent`], or one [`Output::Dropped`].
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// The packet, or a copy of it, is sent.
    Sent(Sent<'a>),
    /// The packet is dropped. Copies of it may have been sent before.
    Dropped(DropReason),
}

/// Receive metadata that a program sets (`adit.p4`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receive {
    /// The virtual port's receive queue (`set_queue`).
    pub queue: Option<u16>,
    /// The flow's id (`set_flow_id`).
    pub flow_id: Option<u32>,
    /// The flow's hash (`set_hash`).
    pub hash: Option<u32>,
}

/// A packet to be sent: `headers`, then the input's bytes from `payload_offset` on; truncated to
/// `truncate`.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The egress port.
    pub port: u32,
    /// Its kind: the packet itself or a copy.
    pub kind: SentKind,
    /// The deparser's output.
    pub headers: &'a [u8],
    /// The offset in the input of the rest, which is not copied.
    pub payload_offset: usize,
    /// Maximum length in bytes.
    pub truncate: Option<usize>,
    /// Receive metadata set by the program.
    pub receive: Receive,
    /// Set if the payload has another length, since a connection's helper has rewritten it: the
    /// transport checksum is that of the new payload, even if it was still to be computed before.
    pub is_rewritten: bool,
    /// Set if it was inside of the input (`recirculate_inner` in `adit.p4`): the fragments that this came in
    /// are not its own.
    pub is_inner: bool,
    /// The fragments in which it leaves; `None` if it is not to be divided.
    pub fragments: Option<Fragmentation>,
}

impl Sent<'_> {
    /// Returns whether it leaves in the fragments that the input came in: an answer does not.
    pub fn is_as_came(&self) -> bool {
        self.kind != SentKind::Answer && !self.is_inner
    }

    /// Appends the whole packet to a buffer; `input` is the input packet's data.
    pub fn copy_to(&self, input: &[u8], to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(self.headers);
        to.extend_from_slice(input.get(self.payload_offset..).unwrap_or_default());
        if let Some(length) = self.truncate {
            to.truncate(start.saturating_add(length));
        }
    }

    /// The frames in which a packet leaves that came whole.
    pub fn frames(&self, input: &[u8]) -> Vec<Vec<u8>> {
        self.frames_of(input, None)
    }

    /// The frames in which a packet leaves that came in fragments, or whole.
    pub fn frames_of(&self, input: &[u8], came: Option<Fragments>) -> Vec<Vec<u8>> {
        let mut frame = Vec::new();
        self.copy_to(input, &mut frame);
        let came = came.filter(|_| self.is_as_came());
        let division = Division::new(self.fragments, came);
        match division.and_then(|division| Fragmenter::new(&frame, division)) {
            Some(mut fragmenter) => {
                let mut piece = vec![0; frame.len()];
                let next = || {
                    let length = fragmenter.next_into(&mut piece)?;
                    Some(piece[..length].to_vec())
                };
                std::iter::from_fn(next).collect()
            }
            None => vec![frame],
        }
    }
}

/// The kind of a packet sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentKind {
    /// The packet itself.
    Packet,
    /// A copy for a member of a multicast group.
    Multicast,
    /// A clone (v1model) or mirror (PNA).
    Clone,
    /// The answer to the packet, which is dropped (`reject` in `adit.p4`).
    Answer,
}

/// Reasons why a packet is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// A drop by the program.
    Program,
    /// A drop by the program that is answered (`reject`), if the rules for answers allow it.
    Rejected,
    /// No forwarding call by the program (PNA).
    NotForwarded,
    /// Too many passes through the pipeline.
    TooManyPasses,
    /// Too many steps of the program.
    TooLong,
    /// A copy for a session that does not exist: the packet itself proceeds.
    UnknownSession,
    /// A multicast group that does not exist.
    UnknownGroup,
    /// A failed `assert` or `assume`.
    Assertion,
    /// A full queue of packets for the control plane.
    ControlQueueFull,
    /// A connection that could not be committed (`Conntrack`).
    NotCommitted,
    /// A part of an announcement, which a connection's helper does not let pass (`Conntrack`).
    Helper,
    /// A packet of a translated connection that cannot be translated (`Conntrack`).
    Untranslatable,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [DropReason; 12] = [
        DropReason::Program,
        DropReason::Rejected,
        DropReason::NotForwarded,
        DropReason::TooManyPasses,
        DropReason::TooLong,
        DropReason::UnknownSession,
        DropReason::UnknownGroup,
        DropReason::Assertion,
        DropReason::ControlQueueFull,
        DropReason::NotCommitted,
        DropReason::Helper,
        DropReason::Untranslatable,
    ];

    /// Returns a name for counters.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Program => "program",
            DropReason::Rejected => "rejected",
            DropReason::NotForwarded => "not-forwarded",
            DropReason::TooManyPasses => "too-many-passes",
            DropReason::TooLong => "too-long",
            DropReason::UnknownSession => "unknown-session",
            DropReason::UnknownGroup => "unknown-group",
            DropReason::Assertion => "assertion",
            DropReason::ControlQueueFull => "control-queue-full",
            DropReason::NotCommitted => "not-committed",
            DropReason::Helper => "helper",
            DropReason::Untranslatable => "untranslatable",
        }
    }
}
