// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The place where frames are taken to their destinations: the switch, with the host side and the
//! wire side next to it.

use adit_pipeline::checksum::fill::complete_partial;
use adit_pipeline::offload::{Checksum, FrameMeta};
use adit_pipeline::parse::DstKind;

use super::destination::{Account, Arrival, Destination, Outcome, Source, Steer, Transit, Wait};
use super::flood::Floods;
use super::host::Host;
use super::switch::Switch;
use super::tracing::Tracing;
use super::wires::{NotSent, Wires};
use crate::drops::DropReason;
use crate::ids::WireIndex;

/// The host side, the wire side and the switch between them.
pub(super) struct Fabric {
    pub(super) host: Host,
    pub(super) wires: Wires,
    pub(super) switch: Switch,
    pub(super) floods: Floods,
    pub(super) tracing: Tracing,
}

impl Fabric {
    /// Takes a frame to its destination. It waits only for what `transit.wait` allows.
    pub(super) fn dispatch(
        &mut self,
        source: Source,
        frame: &mut [u8],
        transit: &mut Transit,
        to: Destination,
    ) -> Outcome {
        let to = match to {
            Destination::Switch(steer) => self.switch(source, frame, steer),
            to => to,
        };
        match to {
            Destination::Vport(vport, steer) => match self.host.vports.exists(vport) {
                true => self.host.deliver_untagged(vport, frame, transit, steer),
                false => Outcome::Dropped(DropReason::NoSuchPort),
            },
            Destination::Loopback => {
                let steer = Steer::default();
                self.host.deliver(source.vport(), frame, transit, steer)
            }
            Destination::Uplink => self.send_uplink(source, frame, transit),
            Destination::Flood(steer) => self.flood(source, frame, transit, steer),
            Destination::Wire(wire) if wire.index() < self.wires.len() => {
                Outcome::Forwarded(self.send_or_drop(wire, frame, transit.meta))
            }
            Destination::Wire(_) => Outcome::Dropped(DropReason::NoSuchPort),
            Destination::Consumed => Outcome::Forwarded(Arrival::Nowhere),
            Destination::Traced { .. } => self.dispatch_traced(source, frame, transit),
            // A frame is segmented before it comes here, and its segments are not.
            Destination::Segment | Destination::Switch(_) => {
                Outcome::Dropped(DropReason::BadOffload)
            }
            Destination::Dropped(reason) => Outcome::Dropped(reason),
        }
    }

    /// Takes a frame that never waits to its destination, and counts it for its source if a stage
    /// drops it.
    pub(super) fn dispatch_now(
        &mut self,
        source: Source,
        frame: &mut [u8],
        meta: FrameMeta,
        to: Destination,
    ) {
        let mut transit = Transit::new(frame, meta, Wait::Never);
        let frames = transit.frames;
        if let Outcome::Dropped(reason) = self.dispatch(source, frame, &mut transit, to) {
            self.host.count_dropped(source, reason, frames);
        }
    }

    /// Selects the destination of a frame by its addresses.
    pub(super) fn switch(&self, source: Source, frame: &[u8], steer: Steer) -> Destination {
        match source {
            Source::Wire(wire) => self.switch.forward_from_wire(wire, frame, steer),
            Source::Vport { .. } | Source::Cpu => {
                let (vport, wire) = (source.vport(), source.wire());
                let pf = &self.host.vports[wire.pf()].forwarding;
                self.switch
                    .forward_from_vport(vport, wire, pf, frame, steer)
            }
        }
    }

    /// Sends a frame on the wire of its virtual port.
    fn send_uplink(&mut self, source: Source, frame: &mut [u8], transit: &Transit) -> Outcome {
        let wire = source.wire();
        let Wait::ForUplink { queue } = transit.wait else {
            return Outcome::Forwarded(self.send_or_drop(wire, frame, transit.meta));
        };
        let whole = Account::new(frame, &transit.meta);
        let Host {
            vports,
            queues,
            now,
            ..
        } = &mut self.host;
        let vport = &mut vports[source.vport()];
        let sent = match self.wires.send(wire, frame, transit.meta) {
            Ok(sent) => sent,
            Err(NotSent::NoPort) => {
                vport.count_unsent(DropReason::NoWire, whole.on_wire.frames);
                return Outcome::Counted(Arrival::Lost(DropReason::NoWire));
            }
            Err(NotSent::BadOffload) => {
                vport.count_malformed(DropReason::BadOffload);
                return Outcome::Counted(Arrival::Lost(DropReason::BadOffload));
            }
        };
        if sent.may_wait() && queues.may_stall(queue, *now) {
            return Outcome::Waiting(Destination::Uplink);
        }
        queues.end_stall(queue);
        if sent.part.frames > 0 {
            let on_wire = sent.part;
            vport.count_sent(Account { on_wire, ..whole });
        }
        let lost = self.wires.account(wire, &sent, whole.on_wire);
        if lost > 0 {
            vport.count_unsent(DropReason::Wire, lost);
        }
        Outcome::Counted(arrival(wire, lost))
    }

    /// Sends a frame on a wire, or drops it; the wire's virtual port counts it then.
    fn send_or_drop(&mut self, wire: WireIndex, frame: &mut [u8], meta: FrameMeta) -> Arrival {
        let whole = meta.on_wire(frame.len());
        let Some(vport) = self.host.vports.get_mut(wire.pf()) else {
            return Arrival::Lost(DropReason::NoWire);
        };
        let drops = &mut vport.drops.tx;
        match self.wires.send(wire, frame, meta) {
            Ok(sent) => {
                let lost = self.wires.account(wire, &sent, whole);
                drops.count_many(DropReason::Wire, lost);
                arrival(wire, lost)
            }
            Err(NotSent::NoPort) => {
                drops.count_many(DropReason::NoWire, whole.frames);
                Arrival::Lost(DropReason::NoWire)
            }
            Err(NotSent::BadOffload) => {
                drops.count(DropReason::BadOffload);
                Arrival::Lost(DropReason::BadOffload)
            }
        }
    }

    /// Sends a frame to its wire and to the virtual ports on it, except to its source.
    fn flood(
        &mut self,
        source: Source,
        frame: &mut [u8],
        transit: &mut Transit,
        steer: Steer,
    ) -> Outcome {
        if let Source::Wire(wire) = source {
            if complete_checksum(frame, &mut transit.meta, Checksum::Valid) {
                self.floods
                    .push(&self.switch, wire, None, frame, transit.meta);
            }
            return self.host.deliver(wire.pf(), frame, transit, steer);
        }
        let (sender, wire) = (source.vport(), source.wire());
        if !complete_checksum(frame, &mut transit.meta, Checksum::Unknown) {
            let reason = DropReason::BadOffload;
            if let Wait::ForUplink { .. } = transit.wait {
                self.host.vports[sender].count_malformed(reason);
                return Outcome::Counted(Arrival::Lost(reason));
            }
            return Outcome::Dropped(reason);
        }
        let has_port = self.wires.port(wire).is_some();
        let sent = match has_port || matches!(transit.wait, Wait::Never) {
            true => self.send_uplink(source, frame, transit),
            // There are only copies.
            false => Outcome::Forwarded(Arrival::Nowhere),
        };
        if let Outcome::Waiting(_) = sent {
            return Outcome::Waiting(Destination::Flood(steer));
        }
        let Some(kind) = frame.first_chunk().map(DstKind::of) else {
            return sent;
        };
        if kind != DstKind::Unicast {
            self.floods
                .push(&self.switch, wire, Some(sender), frame, transit.meta);
        }
        let pf = &self.host.vports[wire.pf()].forwarding;
        if sender != wire.pf() && pf.enabled && pf.wants(kind, frame) {
            self.host.deliver(wire.pf(), frame, transit, steer);
        }
        sent
    }
}

/// The end of a frame that was offered to a wire, of which `lost` segments were lost.
fn arrival(wire: WireIndex, lost: u64) -> Arrival {
    match lost {
        0 => Arrival::Wire(wire),
        _ => Arrival::Lost(DropReason::Wire),
    }
}

/// Completes the checksum of a frame before it is copied or divided; returns false if it cannot be.
pub(super) fn complete_checksum(frame: &mut [u8], meta: &mut FrameMeta, then: Checksum) -> bool {
    match meta.checksum {
        Checksum::Partial { start, offset } if meta.gso.is_none() => {
            meta.checksum = then;
            complete_partial(frame, start, offset).is_ok()
        }
        _ => true,
    }
}
