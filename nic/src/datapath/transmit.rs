// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The frames that come from drivers: packets of TX queues.

use adit_pipeline::offload::FrameMeta;
use adit_pipeline::parse::DstKind;

use super::destination::{Account, Destination, Outcome, Source, Transit, Wait};
use super::fabric::Fabric;
use super::vlan;
use super::{Datapath, BURST, BURSTS_PER_TURN};
use crate::dataplane::{QueueId, QueueKind};
use crate::drops::DropReason;
use crate::egress::{self, EgressError};
use crate::frame::Frame;
use crate::ids::{P4Port, QueueIndex, VportId, WireIndex};
use crate::queues::{QueueFault, TxOffload, TxOutcome};

/// The number of frames handed to a wire after which its neighbours get their turn: one frame from
/// a driver may become thousands when it is segmented here.
const WIRE_BURST: u64 = 4 * BURST as u64;
/// The length of an Ethernet header in bytes.
pub(super) const HEADER: usize = 14;

/// A frame that its wire has not accepted yet. The program has processed it, so its descriptor is
/// done.
#[derive(Default)]
pub(super) struct Egress {
    frame: Frame,
    /// Set while the frame waits for the wire.
    waiting: Option<Waiting>,
}

impl Egress {
    /// The number of frames of a virtual port that wait for the wire.
    pub(super) fn waiting_frames(&self, vport: VportId) -> u64 {
        let waiting = self.waiting.as_ref();
        waiting
            .filter(|waiting| waiting.source.vport() == vport)
            .map_or(0, |waiting| {
                Account::new(&self.frame, &waiting.transit.meta)
                    .on_wire
                    .frames
            })
    }
}

/// The state of a frame that waits for its wire.
struct Waiting {
    source: Source,
    transit: Transit,
    to: Destination,
}

/// A TX queue during its burst.
#[derive(Clone, Copy)]
struct Sender {
    queue: QueueIndex,
    /// The index of the queue among those of the virtual port.
    number: u16,
    vport: VportId,
    uplink: WireIndex,
    /// The tail at the start of the burst.
    tail: u32,
}

impl Sender {
    fn source(&self) -> Source {
        Source::Vport {
            vport: self.vport,
            uplink: self.uplink,
            queue: self.number,
        }
    }
}

impl Datapath {
    /// Offers the frames that wait to their wires, and runs a burst of each queue that has work,
    /// within the limit of a turn.
    pub(super) fn transmit_turn(&mut self) -> bool {
        // No other packet may follow on that wire, which would push the frame out.
        let mut sent = false;
        for wire in self.fabric.wires.indexes() {
            sent |= self.is_waiting(wire) && self.send_waiting(wire);
        }
        let mut bursts = 0;
        for _ in 0..self.fabric.host.queues.polled() {
            let Some(queue) = self.fabric.host.queues.next_polled() else {
                break;
            };
            let tail = self.fabric.host.queues.doorbells.tx_tail.load(queue.0);
            let had_work = self.transmit_burst(queue);
            let (now, queues) = (self.fabric.host.now, &mut self.fabric.host.queues);
            queues.polled_one(queue, tail, had_work, now);
            // Translations for one queue must not be used for the next.
            queues.translator.flush();
            bursts += usize::from(had_work);
            if bursts == BURSTS_PER_TURN {
                break;
            }
        }
        sent || bursts > 0
    }

    /// Sends up to a burst of one queue's packets; returns true if any was moved.
    fn transmit_burst(&mut self, queue: QueueIndex) -> bool {
        let host = &self.fabric.host;
        let Some((vport, number)) = host.sender(queue) else {
            return false;
        };
        let sender = Sender {
            queue,
            number,
            vport,
            uplink: host.uplink(vport),
            tail: host.queues.doorbells.tx_tail.load(queue.0),
        };
        let wires = &self.fabric.wires;
        let (start, mut moved) = (wires.sent_calls(sender.uplink), 0);
        let mut reported = false;
        let mut fault = None;
        while moved < BURST && self.fabric.wires.sent_calls(sender.uplink) - start < WIRE_BURST {
            match self.transmit_one(sender, &mut reported) {
                Ok(true) => moved += 1,
                Ok(false) => break,
                Err(reason) => {
                    fault = Some(reason);
                    break;
                }
            }
        }
        // A driver that requests no completion has nothing to look at.
        if reported {
            self.fabric.host.queues.interrupt_tx(queue);
        }
        if let Some(fault) = fault {
            let (kind, index) = (QueueKind::Tx, queue.0);
            self.fabric.host.stop_faulty(QueueId { kind, index }, fault);
        }
        moved > 0
    }

    /// Sends one packet; returns false if there is none, or it has to wait. Sets `reported` if its
    /// completion was reported.
    fn transmit_one(&mut self, sender: Sender, reported: &mut bool) -> Result<bool, QueueFault> {
        let Sender {
            queue, vport, tail, ..
        } = sender;
        if !self.fabric.host.queues.has_packet(queue, tail)? {
            return Ok(false);
        }
        if !self.send_waiting(sender.uplink) {
            return Ok(false);
        }
        let host = &mut self.fabric.host;
        let gathered = host.queues.gather(queue, tail, &mut self.tx_frame);
        let port = &mut host.vports[vport];
        match gathered {
            Err(fault) => {
                port.count_malformed(DropReason::QueueFault);
                return Err(fault);
            }
            Ok(TxOutcome::Idle) => return Ok(false),
            Ok(TxOutcome::BadLength) => port.count_malformed(DropReason::BadLength),
            Ok(TxOutcome::Frame(offload)) => {
                match admit(&self.fabric, vport, &mut self.tx_frame, offload) {
                    Ok(meta) if !self.send(sender, meta) => return Ok(false),
                    Ok(_) => {}
                    Err(reason) => {
                        self.fabric.host.vports[vport].count_malformed(reason);
                        let source = sender.source();
                        self.fabric.trace_refused(source, &self.tx_frame, reason);
                    }
                }
            }
        }
        *reported |= self.fabric.host.queues.complete(queue)?;
        Ok(true)
    }

    /// Sends the packet that was gathered; returns false if it has to wait in its ring.
    fn send(&mut self, sender: Sender, meta: FrameMeta) -> bool {
        let Sender {
            queue,
            vport,
            uplink,
            ..
        } = sender;
        let (fabric, frame) = (&mut self.fabric, &mut self.tx_frame);
        let source = sender.source();
        let mut transit = Transit::new(frame, meta, Wait::ForUplink { queue });
        let mut account = Account::new(frame, &meta);
        let to = match fabric.host.vports[vport].forwarding.loopback {
            true => Destination::Loopback,
            false => self
                .program
                .run_with(fabric, source, frame, &mut transit.meta),
        };
        let outcome = match to {
            Destination::Segment => {
                let segment = &mut self.segment;
                self.program
                    .run_on_segments(fabric, source, frame, transit.meta, segment)
            }
            to => {
                if to.is_switched() && self.program.is_active() {
                    account = Account::new(frame, &transit.meta);
                }
                fabric.dispatch(source, frame, &mut transit, to)
            }
        };
        match outcome {
            Outcome::Waiting(to) if self.program.is_active() => {
                let egress = &mut self.egress[uplink.index()];
                std::mem::swap(&mut egress.frame, frame);
                egress.waiting = Some(Waiting {
                    source,
                    transit,
                    to,
                });
            }
            Outcome::Waiting(_) => return false,
            outcome => count_sent(fabric, vport, account, outcome),
        }
        true
    }

    /// Returns whether a frame waits for a wire.
    fn is_waiting(&self, wire: WireIndex) -> bool {
        let egress = self.egress.get(wire.index());
        egress.is_some_and(|egress| egress.waiting.is_some())
    }

    /// Sends the frame that waits for a wire; returns false if the wire still does not accept it.
    fn send_waiting(&mut self, wire: WireIndex) -> bool {
        let Some(Egress { frame, waiting }) = self.egress.get_mut(wire.index()) else {
            return true;
        };
        let Some(Waiting {
            source,
            transit,
            to,
        }) = waiting
        else {
            return true;
        };
        let account = Account::new(frame, &transit.meta);
        match self.fabric.dispatch(*source, frame, transit, *to) {
            Outcome::Waiting(next) => {
                *to = next;
                false
            }
            outcome => {
                count_sent(&mut self.fabric, source.vport(), account, outcome);
                *waiting = None;
                true
            }
        }
    }

    /// Discards the frame of a virtual port that waits for its wire, and counts it: the virtual port
    /// is about to end, and another one may have its id then.
    pub(super) fn discard_waiting_of(&mut self, vport: VportId) {
        self.program.held.discard(P4Port::of_vport(vport));
        for egress in &mut self.egress {
            let is_own = |waiting: &mut Waiting| waiting.source.vport() == vport;
            let Some(Waiting { transit, .. }) = egress.waiting.take_if(is_own) else {
                continue;
            };
            let account = Account::new(&egress.frame, &transit.meta);
            if let Some(port) = self.fabric.host.vports.get_mut(vport) {
                port.count_unsent(DropReason::PortDisabled, account.on_wire.frames);
            }
        }
    }

    /// Discards frames that wait for their wire, whose driver is gone.
    pub(super) fn discard_waiting(&mut self) {
        for egress in &mut self.egress {
            egress.waiting = None;
        }
    }
}

/// Counts a frame of a driver that does not wait.
fn count_sent(fabric: &mut Fabric, vport: VportId, account: Account, outcome: Outcome) {
    let vport = &mut fabric.host.vports[vport];
    match outcome {
        Outcome::Forwarded(_) => vport.count_sent(account),
        Outcome::Dropped(reason) => vport.count_unsent(reason, account.on_wire.frames),
        Outcome::Counted(_) | Outcome::Waiting(_) => {}
    }
}

/// Checks a frame from a driver and prepares it for the wire. One from an ADI must have a source
/// address of the ADI's own and no tag, and gets the tag of the ADI's VLAN.
fn admit(
    fabric: &Fabric,
    vport: VportId,
    frame: &mut Frame,
    offload: TxOffload,
) -> Result<FrameMeta, DropReason> {
    let vport = &fabric.host.vports[vport];
    let offload = match &vport.adi {
        None => offload,
        Some(adi) => {
            let header = frame.first_chunk::<HEADER>().ok_or(DropReason::Runt)?;
            let [.., high, low] = *header;
            let source: &[u8; 6] = header[6..].first_chunk().ok_or(DropReason::Runt)?;
            let is_own = vport.forwarding.addresses.contains(source);
            if DstKind::of(source) != DstKind::Unicast || !is_own {
                return Err(DropReason::Spoofed);
            }
            if offload.vlan_tci.is_some() || vlan::is_tag([high, low]) {
                return Err(DropReason::Tagged);
            }
            match adi.config.vlan {
                0 => offload,
                vlan => vlan::tagged(offload, vlan),
            }
        }
    };
    egress::prepare(frame, &offload).map_err(|error| match error {
        EgressError::Runt => DropReason::Runt,
        EgressError::TooLong | EgressError::NoChecksum | EgressError::Segmentation => {
            DropReason::BadOffload
        }
    })
}
