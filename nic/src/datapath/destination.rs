// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vocabulary of a frame's way: its source, its destination, its state, and the outcome.

use adit_pipeline::offload::{FrameMeta, OnWire};
use adit_pipeline::p4::{Receive, NO_QUEUE};
use adit_pipeline::parse::DstKind;

use crate::drops::DropReason;
use crate::ids::{P4Port, QueueIndex, VportId, WireIndex};

/// The place that a frame came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// A wire.
    Wire(WireIndex),
    /// The driver of a virtual port.
    Vport {
        /// The virtual port.
        vport: VportId,
        /// The wire that it uses.
        uplink: WireIndex,
        /// The index of the TX queue among those of the virtual port.
        queue: u16,
    },
    /// The control plane of the program.
    Cpu,
}

impl Source {
    /// The ingress port in the numbers of a P4 program.
    pub(super) fn port(self) -> P4Port {
        match self {
            Self::Wire(wire) => P4Port::of_wire(wire),
            Self::Vport { vport, .. } => P4Port::of_vport(vport),
            Self::Cpu => P4Port::CPU,
        }
    }

    /// The TX queue in the numbers of a P4 program.
    pub(super) fn queue(self) -> u16 {
        match self {
            Self::Vport { queue, .. } => queue,
            Self::Wire(_) | Self::Cpu => NO_QUEUE,
        }
    }

    /// The virtual port whose frame it is; for the control plane, the first one.
    pub(super) fn vport(self) -> VportId {
        match self {
            Self::Wire(wire) => wire.pf(),
            Self::Vport { vport, .. } => vport,
            Self::Cpu => VportId(0),
        }
    }

    /// The wire of that virtual port.
    pub(super) fn wire(self) -> WireIndex {
        match self {
            Self::Wire(wire) => wire,
            Self::Vport { uplink, .. } => uplink,
            Self::Cpu => WireIndex(0),
        }
    }
}

/// The program's metadata for the receiver of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steer {
    /// Queue, flow and hash.
    pub(super) receive: Receive,
    /// Set if it has selected the virtual port, whose filters are skipped then.
    pub(super) is_addressed: bool,
}

/// The destination of a frame. A stage only returns it; [`dispatch`](super::fabric::Fabric::dispatch)
/// takes the frame there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Destination {
    /// The destination that the switch selects by the frame's addresses.
    Switch(Steer),
    /// The RX queues of a virtual port.
    Vport(VportId, Steer),
    /// The RX queues of the sender itself.
    Loopback,
    /// The wire that the sender's virtual port uses, for which its queue may wait.
    Uplink,
    /// The wire, and all virtual ports on it but the sender.
    Flood(Steer),
    /// A wire that the program selects.
    Wire(WireIndex),
    /// The one that is kept with the trace of the packet ([`tracing`](super::tracing)).
    Traced {
        /// Set if the switch selects it.
        is_switched: bool,
    },
    /// The program again, after segmentation: a GSO frame to which it adds headers.
    Segment,
    /// None: it is consumed. Only copies of it are sent, or the control plane has it.
    Consumed,
    /// None: it is dropped.
    Dropped(DropReason),
}

impl Destination {
    /// Returns whether the switch selects it.
    pub(super) fn is_switched(&self) -> bool {
        matches!(self, Self::Switch(_) | Self::Traced { is_switched: true })
    }
}

/// The events that a frame may wait for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// None: a frame that cannot be sent or delivered is dropped.
    Never,
    /// Buffers of a virtual port, until a time.
    ForBuffers {
        /// The virtual port.
        vport: VportId,
        /// In nanoseconds.
        until: u64,
    },
    /// The uplink, as long as this TX queue may stall.
    ForUplink {
        /// The TX queue.
        queue: QueueIndex,
    },
}

/// The state of a frame on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transit {
    /// Its pending offloads.
    pub(super) meta: FrameMeta,
    /// The event that it may wait for.
    pub(super) wait: Wait,
    /// The number of frames that it represents: more than one if it was merged.
    pub(super) frames: u64,
    /// The number of its segments that have been delivered.
    pub(super) delivered: u64,
}

impl Transit {
    pub(super) fn new(frame: &[u8], meta: FrameMeta, wait: Wait) -> Self {
        Self {
            meta,
            wait,
            frames: meta.on_wire(frame.len()).frames,
            delivered: 0,
        }
    }

    /// The number of frames that have not been delivered.
    pub(super) fn undelivered(&self) -> u64 {
        self.frames - self.delivered
    }
}

/// The place where a frame has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// An RX queue of a virtual port.
    Queue(VportId, QueueIndex),
    /// A wire, which has accepted it.
    Wire(WireIndex),
    /// It was dropped, and counted.
    Lost(DropReason),
    /// Its segments or copies, or the control plane, have it.
    Nowhere,
}

/// The outcome of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It was passed on, or was dropped and counted at the place where it was dropped.
    Forwarded(Arrival),
    /// The same, and it is in the counters of its sender.
    Counted(Arrival),
    /// It waits: the caller keeps it and dispatches it to this destination again later.
    Waiting(Destination),
    /// It was dropped by a stage, which the caller counts.
    Dropped(DropReason),
}

/// The frame as its sender's counters count it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) kind: DstKind,
    pub(super) on_wire: OnWire,
}

impl Account {
    pub(super) fn new(frame: &[u8], meta: &FrameMeta) -> Self {
        let address = frame.first_chunk::<6>();
        Self {
            kind: address.map_or(DstKind::Unicast, DstKind::of),
            on_wire: meta.on_wire(frame.len()),
        }
    }
}
