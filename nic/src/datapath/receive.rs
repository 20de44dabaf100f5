// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The receive path: from wires to RX queues.

use adit_pipeline::checksum::fill::complete_partial;
use adit_pipeline::checksum::verify::{verify, Check, Verdict};
use adit_pipeline::offload::{Checksum, FrameMeta, Gso, GsoKind};
use adit_pipeline::parse::{DstKind, Parsed, L3, L4};
use adit_pipeline::segment::Segmenter;

use super::adi::space;
use super::program::{Fate, Steer};
use super::ptype::ptype_of;
use super::switch::{finish, WIRE};
use super::{Datapath, Slot, BURST};
use crate::dataplane::{single_rx_tail, QueueKind};
use crate::drops::Drop;
use crate::forwarding::Steering;
use crate::frame::Frame;
use crate::logging::{warn_throttled, Throttle};
use crate::queues::{RxInfo, RxRefusal};
use crate::wire::{Received, RecvError};

/// The length of an IPv4 header without options, the only one that the driver expects in a merged
/// frame, in bytes.
const PLAIN_IPV4: usize = 20;
/// The length of an IPv6 header without extensions, in bytes.
const PLAIN_IPV6: usize = 40;

/// The time that a frame waits for buffers before it is dropped, in nanoseconds. A NIC has memory
/// for such moments; a driver that is out of buffers for longer will not post any soon, and frames
/// for its neighbours wait behind this one.
const MAX_HOLD_NS: u64 = 20_000_000;

/// The receive state of one wire.
#[derive(Default)]
pub(super) struct Ingress {
    frame: Frame,
    held: Option<Held>,
}

impl Ingress {
    /// Returns whether a frame waits for buffers.
    pub(super) fn holding(&self) -> bool {
        self.held.is_some()
    }

    /// The number of frames that wait for buffers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held_frames(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.frames - held.done)
    }
}

/// A frame that is being delivered to a queue.
struct Held {
    meta: FrameMeta,
    /// The program's verdict, once there is one.
    fate: Option<Fate>,
    /// The receiver's metadata that comes with it.
    steer: Steer,
    /// The time since which it has been waiting.
    since: u64,
    /// The number of its segments that have been delivered.
    done: u64,
    /// The number of frames that it represents: more than one if it was merged.
    frames: u64,
    /// Set once it has been copied to ADIs.
    copied: bool,
}

impl Held {
    fn new(frame: &[u8], meta: FrameMeta, since: u64) -> Self {
        Self {
            meta,
            fate: None,
            steer: Steer::default(),
            since,
            done: 0,
            frames: meta.on_wire(frame.len()).frames,
            copied: false,
        }
    }
}

impl Datapath {
    /// Receives up to a burst of frames from one port's wire; returns true if any was moved.
    pub(super) fn receive_burst(&mut self, vport: usize) -> bool {
        let mut any = false;
        let mut ingress = std::mem::take(&mut self.vports[vport].ingress);
        let Some(state) = ingress.as_mut() else {
            return false;
        };
        for _ in 0..BURST {
            let mut held = match state.held.take() {
                Some(held) => held,
                None => match self.receive_one(vport, &mut state.frame) {
                    Ok(Some(meta)) => Held::new(&state.frame, meta, self.now),
                    Err(RecvError::Dropped(_)) => {
                        any = true;
                        continue;
                    }
                    Ok(None) | Err(RecvError::Down) => break,
                    Err(RecvError::Io(error)) => {
                        self.note_failure(vport, &error);
                        break;
                    }
                },
            };
            match self.forward_in(vport, &mut state.frame, &mut held) {
                Ok(()) => any = true,
                Err(Refused::NoBuffer { patient, .. }) if patient && self.may_wait(&held) => {
                    state.held = Some(held);
                    break;
                }
                Err(refused) => {
                    if let Refused::NoBuffer { queue, .. } = refused {
                        self.starve(queue);
                    }
                    self.drop_received(vport, &refused, &held);
                    any = true;
                }
            }
        }
        self.vports[vport].ingress = ingress;
        any
    }

    fn receive_one(
        &mut self,
        vport: usize,
        frame: &mut Frame,
    ) -> Result<Option<FrameMeta>, RecvError> {
        let Some(wire) = self.vports[vport].wire.as_mut() else {
            return Ok(None);
        };
        let received = wire.recv(frame.space())?;
        Ok(received.map(|Received { len, meta }| {
            frame.set_len(len);
            meta
        }))
    }

    /// Counts and logs a receive error of the host.
    fn note_failure(&mut self, vport: usize, error: &std::io::Error) {
        if let Some(wire) = self.vports[vport].wire.as_mut() {
            wire.counters_mut().rx_failures += 1;
            warn_throttled!(wire = wire.name(), %error, "nothing is received from a wire");
        }
    }

    /// Marks a queue so that subsequent frames do not wait for it.
    fn starve(&mut self, queue: u32) {
        let Some(running) = self.rx.get_mut(queue as usize).and_then(Slot::running) else {
            return;
        };
        running.starved = true;
        static LIMIT: Throttle = Throttle::new();
        if tracing::enabled!(tracing::Level::DEBUG) && LIMIT.admit().is_some() {
            let pools = running.buffer_queues.map(|id| {
                let pool = self.buffer.get(id? as usize)?.queue.as_ref()?;
                Some((pool.head(), self.doorbells.bufq_tail.load(id?)))
            });
            tracing::debug!(queue, head_tail = ?pools, "an RX queue is out of buffers");
        }
    }

    /// Drops frames that wait for a driver that is gone.
    pub(super) fn flush_held(&mut self) {
        for index in 0..self.ports {
            let ingress = self.vports[index].ingress.as_mut();
            if let Some(held) = ingress.and_then(|i| i.held.take()) {
                self.drop_received(index, &Refused::Drop(Drop::PortDisabled), &held);
            }
        }
    }

    fn may_wait(&self, held: &Held) -> bool {
        self.now.saturating_sub(held.since) < MAX_HOLD_NS
    }

    /// Delivers a frame that cannot wait to a virtual port, or counts the reason for not doing so.
    pub(super) fn deliver(
        &mut self,
        index: usize,
        frame: &mut [u8],
        meta: FrameMeta,
        steer: Steer,
    ) {
        let mut held = Held {
            steer,
            ..Held::new(frame, meta, self.now)
        };
        if let Err(refused) = self.offer(index, frame, &mut held) {
            self.drop_received(index, &refused, &held);
        }
    }

    /// Counts a frame, or its undelivered rest, as dropped.
    fn drop_received(&mut self, index: usize, refused: &Refused, held: &Held) {
        let vport = &mut self.vports[index];
        let reason = match refused {
            Refused::NoBuffer { .. } => Drop::NoBuffer,
            Refused::Drop(reason) => *reason,
        };
        let lost = held.frames - held.done;
        vport.drops.rx.count_many(reason, lost);
        match reason {
            Drop::PortDisabled => {}
            Drop::Filtered => vport.counters.rx_filtered += lost,
            Drop::TooLong | Drop::Runt | Drop::Unsegmentable | Drop::QueueFault => {
                vport.counters.rx_errors += lost;
                vport.counters.rx_discards += lost;
            }
            Drop::NoBuffer => {
                vport.counters.rx_no_buffer += lost;
                vport.counters.rx_discards += lost;
            }
            _ => vport.counters.rx_discards += lost,
        }
    }

    /// Delivers a frame to its receiver on a wire, or drops it.
    pub(super) fn switch_now(
        &mut self,
        port: usize,
        frame: &mut [u8],
        meta: FrameMeta,
        steer: Steer,
    ) {
        let mut held = Held {
            steer,
            ..Held::new(frame, meta, self.now)
        };
        if let Err(refused) = self.switch_in(port, frame, &mut held) {
            self.drop_received(port, &refused, &held);
        }
    }

    /// Forwards a frame from the wire to the destination that the program selects.
    fn forward_in(
        &mut self,
        port: usize,
        frame: &mut Frame,
        held: &mut Held,
    ) -> Result<(), Refused> {
        let fate = match held.fate {
            Some(fate) => fate,
            None => {
                let fate = self.decide(port as u32, frame, &mut held.meta);
                held.fate = Some(fate);
                fate
            }
        };
        match fate {
            Fate::Switch(steer) => {
                held.steer = steer;
                self.switch_in(port, frame, held)
            }
            Fate::Vport(target, steer) if target as usize == port => {
                held.steer = steer;
                self.offer(port, frame, held)
            }
            Fate::Vport(target, steer) => {
                self.hand_over(target, frame, held.meta, steer);
                Ok(())
            }
            Fate::Wire(to) => {
                self.pass_on(to, frame, held.meta);
                Ok(())
            }
            Fate::Cut => match self.cut(port as u32, frame, held.meta) {
                Some(reason) => Err(Refused::Drop(reason)),
                None => Ok(()),
            },
            Fate::Done => Ok(()),
            Fate::Dropped(reason) => Err(Refused::Drop(reason)),
        }
    }

    /// Offers a frame from the wire to its receiver: an ADI, for which it never waits, or the port.
    fn switch_in(&mut self, port: usize, frame: &mut [u8], held: &mut Held) -> Result<(), Refused> {
        if self.switch.any(port) && !held.copied {
            let kind = frame.first_chunk().map(DstKind::of);
            if kind == Some(DstKind::Unicast) {
                if let Some(target) = self.switch.station(port, frame) {
                    self.hand_over(target, frame, held.meta, held.steer);
                    return Ok(());
                }
            } else if finish(frame, &mut held.meta, Checksum::Valid) {
                self.switch.flood(port, WIRE, frame, held.meta);
            }
            held.copied = true;
        }
        self.offer(port, frame, held)
    }

    fn offer(&mut self, index: usize, frame: &mut [u8], held: &mut Held) -> Result<(), Refused> {
        let forwarding = &self.vports[index].forwarding;
        if !forwarding.enabled {
            return Err(Refused::Drop(Drop::PortDisabled));
        }
        let parsed = Parsed::new(frame, frame.len()).map_err(|_| Refused::Drop(Drop::Runt))?;
        if !held.steer.is_addressed && !forwarding.wants(parsed.dst, frame) {
            return Err(Refused::Drop(Drop::Filtered));
        }
        let told = &held.steer.receive;
        let target = match forwarding.steer(&parsed, frame, told) {
            Steering::Queue { queue, hash } => Target {
                queue,
                hash,
                flow_id: told.flow_id,
            },
            Steering::Drop => return Err(Refused::Drop(Drop::Rule)),
            Steering::NoQueue => return Err(Refused::Drop(Drop::QueueDisabled)),
        };
        let slot = self.rx.get(target.queue as usize).filter(|s| s.enabled);
        let queue = slot
            .and_then(|s| s.queue.as_ref())
            .ok_or(Refused::Drop(Drop::QueueDisabled))?;
        let (rsc, max_len) = (queue.rsc, queue.max_packet_len as usize);
        if let Some(gso) = held.meta.gso {
            // A frame that was partly delivered in segments is continued in segments.
            if held.done > 0 || !(rsc && mergeable(&parsed, gso)) {
                return self.offer_segments(index, target, frame, held);
            }
            return self.push(index, target, frame, &parsed, VALID, Some(gso));
        }
        if frame.len() > max_len {
            return Err(Refused::Drop(Drop::TooLong));
        }
        let verdict = match held.meta.checksum {
            Checksum::Unknown => verify(&parsed, &[frame]),
            Checksum::Valid => VALID,
            // A checksum that the host left partial is completed here, so that the guest sees the
            // frame as from any wire; it is valid because the host vouches for it.
            Checksum::Partial { start, offset } => {
                complete_partial(frame, start, offset)
                    .map_err(|_| Refused::Drop(Drop::Unsegmentable))?;
                held.meta.checksum = Checksum::Valid;
                VALID
            }
        };
        self.push(index, target, frame, &parsed, verdict, None)
    }

    /// Segments a merged frame for a driver that does not accept merged ones.
    fn offer_segments(
        &mut self,
        index: usize,
        target: Target,
        frame: &[u8],
        held: &mut Held,
    ) -> Result<(), Refused> {
        let mut segments =
            Segmenter::new(frame, &held.meta).map_err(|_| Refused::Drop(Drop::Unsegmentable))?;
        held.frames = segments.count() as u64;
        segments.skip(held.done as usize); // of at most MAX_SEGMENTS
        let mut segment = std::mem::take(&mut self.segment);
        let mut result = Ok(());
        while let Some(n) = segments.next_into(&mut segment) {
            let bytes = &segment[..n];
            result = Parsed::new(bytes, n)
                .map_err(|_| Refused::Drop(Drop::Runt))
                .and_then(|parsed| self.push(index, target, bytes, &parsed, VALID, None));
            if result.is_err() {
                break;
            }
            held.done += 1;
        }
        self.segment = segment;
        result
    }

    fn push(
        &mut self,
        index: usize,
        to: Target,
        frame: &[u8],
        parsed: &Parsed,
        verdict: Verdict,
        merged: Option<Gso>,
    ) -> Result<(), Refused> {
        const DISABLED: Refused = Refused::Drop(Drop::QueueDisabled);
        let queue = to.queue;
        let slot = self.rx.get_mut(queue as usize).ok_or(DISABLED)?;
        let vector = slot.vector;
        let target = slot.running().ok_or(DISABLED)?;
        let info = RxInfo {
            ptype: ptype_of(parsed),
            hash: to.hash,
            flow_id: to.flow_id,
            verdict,
            // Without a transport header there is no split point: small frames go as a whole to the
            // header buffer, others as a whole to packet buffers.
            header_len: match parsed.l4 {
                L4::None => frame.len(),
                _ => usize::from(parsed.payload_offset),
            },
            rsc_segment_len: merged.map(|gso| gso.segment_size),
            cast: parsed.dst as u8,
        };
        let memory = space(&self.memory, &self.translator, &self.vports, index as u32);
        let [first, second] = target.buffer_queues;
        let tails = |id: Option<u32>| id.map_or(0, |id| self.doorbells.bufq_tail.load(id));
        let tails = (tails(first), tails(second));
        let pools = pair(&mut self.buffer, first, second);
        let pools = [
            pools.0.map(|q| (&mut **q, tails.0)),
            pools.1.map(|q| (&mut **q, tails.1)),
        ];
        let delivered = match &mut target.single {
            Some(ring) => {
                let tail = self.doorbells.bufq_tail.load(single_rx_tail(queue));
                ring.deliver(&memory, tail, frame, &info)
            }
            None => target.deliver(&memory, pools, frame, &info),
        };
        match delivered {
            Ok(()) => target.starved = false,
            Err(RxRefusal::NoBuffer) => {
                // The first frame that finds no buffers may wait; after it has waited in vain, the
                // next ones must not.
                let patient = !target.starved;
                return Err(Refused::NoBuffer { queue, patient });
            }
            Err(RxRefusal::Fault(fault)) => {
                self.fault(QueueKind::Rx, queue, fault);
                return Err(Refused::Drop(Drop::QueueFault));
            }
        }
        if let Some((vector, itr)) = vector {
            self.interrupts.raise(&self.doorbells.vectors, vector, itr);
        }
        let meta = FrameMeta {
            checksum: Checksum::Valid,
            gso: merged,
        };
        let on_wire = meta.on_wire(frame.len());
        let counters = &mut self.vports[index].counters;
        counters.rx_bytes += on_wire.bytes;
        match parsed.dst {
            DstKind::Unicast => counters.rx_unicast += on_wire.frames,
            DstKind::Multicast => counters.rx_multicast += on_wire.frames,
            DstKind::Broadcast => counters.rx_broadcast += on_wire.frames,
        }
        Ok(())
    }
}

/// The queue that a frame is delivered to, and further fields of its descriptor.
#[derive(Clone, Copy)]
struct Target {
    queue: u32,
    hash: Option<u32>,
    flow_id: Option<u32>,
}

/// The reason why a frame is not delivered.
enum Refused {
    /// No buffers are posted; the frame may wait for some if `patient` is set.
    NoBuffer { queue: u32, patient: bool },
    /// It can never be delivered.
    Drop(Drop),
}

/// The verdict for checksums that a trusted party has validated.
const VALID: Verdict = Verdict {
    ip: Check::Ok,
    l4: Check::Ok,
};

/// Returns whether the driver accepts this frame merged: TCP directly after a plain IP header.
fn mergeable(parsed: &Parsed, gso: Gso) -> bool {
    let header = usize::from(parsed.l4_offset) - usize::from(parsed.l2_len);
    let plain = match parsed.l3 {
        L3::Ipv4 => header == PLAIN_IPV4,
        L3::Ipv6 => header == PLAIN_IPV6,
        _ => false,
    };
    let whole = parsed.vlan_tags().is_empty() && !parsed.is_fragment();
    plain && whole && parsed.l4 == L4::Tcp && !matches!(gso.kind, GsoKind::Udp)
}

/// Borrows two running queues of one array.
fn pair<Q>(
    slots: &mut [Slot<Q>],
    first: Option<u32>,
    second: Option<u32>,
) -> (Option<&mut Q>, Option<&mut Q>) {
    let (first, second) = (first.map(|i| i as usize), second.map(|i| i as usize));
    match (first, second) {
        (Some(a), Some(b)) if a < b && b < slots.len() => {
            let (low, high) = slots.split_at_mut(b);
            (low[a].running(), high[0].running())
        }
        (Some(a), Some(b)) if b < a && a < slots.len() => {
            let (low, high) = slots.split_at_mut(a);
            (high[0].running(), low[b].running())
        }
        (Some(a), _) => (slots.get_mut(a).and_then(Slot::running), None),
        (None, Some(b)) => (None, slots.get_mut(b).and_then(Slot::running)),
        (None, None) => (None, None),
    }
}
