// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From wires to RX queues.

use adit_pipeline::checksum::fill::complete_partial;
use adit_pipeline::checksum::verify::{verify, Check, Verdict};
use adit_pipeline::offload::{Checksum, FrameMeta, Gso, GsoKind};
use adit_pipeline::parse::{DstKind, Parsed, L3, L4};
use adit_pipeline::segment::Segmenter;

use super::{Datapath, Slot, BURST};
use crate::control::ptype::ptype_of;
use crate::dataplane::QueueKind;
use crate::drops::Drop;
use crate::forwarding::Steering;
use crate::queues::{RxInfo, RxRefusal};
use crate::wire::RecvError;

/// Bytes of an IPv4 header without options, all that the driver looks for in a merged frame.
const PLAIN_IPV4: usize = 20;
/// Bytes of an IPv6 header without extensions.
const PLAIN_IPV6: usize = 40;

impl Datapath {
    /// Takes up to a burst of frames off one port's wire; true when there was any.
    pub(super) fn receive_burst(&mut self, vport: usize) -> bool {
        let mut any = false;
        let mut frame = std::mem::take(&mut self.rx_frame);
        for _ in 0..BURST {
            let Some(wire) = self.vports[vport].wire.as_mut() else {
                break;
            };
            match wire.recv(&mut frame) {
                Ok(Some(received)) => {
                    any = true;
                    self.deliver(vport, &mut frame[..received.len], received.meta);
                }
                Err(RecvError::Dropped(_)) => any = true,
                Ok(None) | Err(RecvError::Down | RecvError::Io(_)) => break,
            }
        }
        self.rx_frame = frame;
        any
    }

    /// Delivers a frame to a virtual port, or counts why not.
    pub(super) fn deliver(&mut self, index: usize, frame: &mut [u8], meta: FrameMeta) {
        if let Err(reason) = self.try_deliver(index, frame, meta) {
            let vport = &mut self.vports[index];
            vport.drops.rx.count(reason);
            match reason {
                Drop::PortDisabled => {}
                Drop::Filtered => vport.counters.rx_filtered += 1,
                Drop::TooLong | Drop::Runt | Drop::Unsegmentable | Drop::QueueFault => {
                    vport.counters.rx_errors += 1;
                    vport.counters.rx_discards += 1;
                }
                Drop::NoBuffer => {
                    vport.counters.rx_no_buffer += 1;
                    vport.counters.rx_discards += 1;
                }
                _ => vport.counters.rx_discards += 1,
            }
        }
    }

    fn try_deliver(&mut self, index: usize, frame: &mut [u8], meta: FrameMeta) -> Result<(), Drop> {
        let forwarding = &self.vports[index].forwarding;
        if !forwarding.enabled {
            return Err(Drop::PortDisabled);
        }
        let parsed = Parsed::new(frame, frame.len()).map_err(|_| Drop::Runt)?;
        if !forwarding.wants(parsed.dst, frame) {
            return Err(Drop::Filtered);
        }
        let (queue, hash) = match forwarding.steer(&parsed, frame) {
            Steering::Queue { queue, hash } => (queue, hash),
            Steering::Drop => return Err(Drop::Rule),
        };
        let slot = self.rx.get(queue as usize).filter(|s| s.enabled);
        let target = slot
            .and_then(|s| s.queue.as_ref())
            .ok_or(Drop::QueueDisabled)?;
        let (rsc, max_len) = (target.rsc, target.max_packet_len as usize);
        if let Some(gso) = meta.gso {
            if !(rsc && mergeable(&parsed, gso)) {
                return self.deliver_segments(index, queue, hash, frame, &meta);
            }
            return self.push(
                index,
                queue,
                hash,
                frame,
                &parsed,
                VALID,
                Some(gso.segment_size),
            );
        }
        if frame.len() > max_len {
            return Err(Drop::TooLong);
        }
        let verdict = match meta.checksum {
            Checksum::Unknown => verify(&parsed, &[frame]),
            Checksum::Valid => VALID,
            // What the host did not finish is finished here, so that the guest sees a frame as
            // from any wire; it is right because the host vouches for it.
            Checksum::Partial { start, offset } => {
                complete_partial(frame, start, offset).map_err(|_| Drop::Unsegmentable)?;
                VALID
            }
        };
        self.push(index, queue, hash, frame, &parsed, verdict, None)
    }

    /// Cuts a merged frame for a driver that does not take such.
    fn deliver_segments(
        &mut self,
        index: usize,
        queue: u32,
        hash: Option<u32>,
        frame: &[u8],
        meta: &FrameMeta,
    ) -> Result<(), Drop> {
        let mut segments = Segmenter::new(frame, meta).map_err(|_| Drop::Unsegmentable)?;
        let mut segment = std::mem::take(&mut self.segment);
        let mut result = Ok(());
        while let Some(n) = segments.next_into(&mut segment) {
            let bytes = &segment[..n];
            result = Parsed::new(bytes, n)
                .map_err(|_| Drop::Runt)
                .and_then(|parsed| self.push(index, queue, hash, bytes, &parsed, VALID, None));
            if result.is_err() {
                break;
            }
        }
        self.segment = segment;
        result
    }

    #[allow(clippy::too_many_arguments)]
    fn push(
        &mut self,
        index: usize,
        queue: u32,
        hash: Option<u32>,
        frame: &[u8],
        parsed: &Parsed,
        verdict: Verdict,
        rsc_segment_len: Option<u16>,
    ) -> Result<(), Drop> {
        let slot = self.rx.get_mut(queue as usize).ok_or(Drop::QueueDisabled)?;
        let vector = slot.vector;
        let target = slot.running().ok_or(Drop::QueueDisabled)?;
        let info = RxInfo {
            ptype: ptype_of(parsed),
            hash,
            verdict,
            // Without a transport header there is nowhere to cut: small frames go whole into
            // the header buffer, others whole into packet buffers.
            header_len: match parsed.l4 {
                L4::None => frame.len(),
                _ => usize::from(parsed.payload_offset),
            },
            rsc_segment_len,
            cast: parsed.dst as u8,
        };
        let [first, second] = target.buffer_queues;
        let tails = |id: Option<u32>| id.map_or(0, |id| self.doorbells.bufq_tail.load(id));
        let tails = (tails(first), tails(second));
        let pools = pair(&mut self.buffer, first, second);
        let pools = [pools.0.map(|q| (q, tails.0)), pools.1.map(|q| (q, tails.1))];
        match target.deliver(&self.memory, pools, frame, &info) {
            Ok(()) => {}
            Err(RxRefusal::NoBuffer) => return Err(Drop::NoBuffer),
            Err(RxRefusal::Fault(fault)) => {
                self.fault(QueueKind::Rx, queue, fault);
                return Err(Drop::QueueFault);
            }
        }
        if let Some((vector, itr)) = vector {
            self.interrupts.raise(&self.doorbells.vectors, vector, itr);
        }
        let counters = &mut self.vports[index].counters;
        counters.rx_bytes += frame.len() as u64;
        match parsed.dst {
            DstKind::Unicast => counters.rx_unicast += 1,
            DstKind::Multicast => counters.rx_multicast += 1,
            DstKind::Broadcast => counters.rx_broadcast += 1,
        }
        Ok(())
    }
}

/// Checksums that somebody we trust has found right.
const VALID: Verdict = Verdict {
    ip: Check::Ok,
    l4: Check::Ok,
};

/// Whether the driver can take this frame merged: TCP right behind a plain IP header.
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

/// Two running queues out of one array.
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
