// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The delivery of a frame to a virtual port: filters, selection of the queue, checksum verdict,
//! and segmentation for a driver that does not accept merged frames.

use adit_pipeline::checksum::fill::complete_partial;
use adit_pipeline::checksum::verify::{verify, Check, Verdict};
use adit_pipeline::offload::{Checksum, FrameMeta, Gso, GsoKind};
use adit_pipeline::parse::{Parsed, L3, L4};
use adit_pipeline::segment::Segmenter;

use super::destination::{Arrival, Destination, Outcome, Steer, Transit, Wait};
use super::host::Host;
use super::ptype::ptype_of;
use super::queues::{QueueRefusal, Queues};
use super::vlan;
use super::vport::Vport;
use crate::dataplane::{QueueId, QueueKind};
use crate::drops::DropReason;
use crate::forwarding::Steering;
use crate::ids::{QueueIndex, VportId};
use crate::queues::RxInfo;

/// The length of an IPv4 header without options, the only one that the driver expects in a merged
/// frame, in bytes.
const PLAIN_IPV4: usize = 20;
/// The length of an IPv6 header without extensions, in bytes.
const PLAIN_IPV6: usize = 40;

/// The verdict for checksums that a trusted party has validated.
const VALID: Verdict = Verdict {
    ip: Check::Ok,
    l4: Check::Ok,
};

/// The queue that a frame is delivered to, and further fields of its descriptor.
#[derive(Clone, Copy)]
struct Target {
    queue: QueueIndex,
    hash: Option<u32>,
    flow_id: Option<u32>,
}

/// The reason why a frame is not delivered.
enum Undelivered {
    /// It can never be delivered.
    Dropped(DropReason),
    /// The queue does not accept it.
    Refused(QueueIndex, QueueRefusal),
}

impl From<DropReason> for Undelivered {
    fn from(reason: DropReason) -> Self {
        Self::Dropped(reason)
    }
}

impl Host {
    /// Delivers a frame to a virtual port; an ADI on a VLAN receives it without its tag.
    pub(super) fn deliver_untagged(
        &mut self,
        vport: VportId,
        frame: &mut [u8],
        transit: &mut Transit,
        steer: Steer,
    ) -> Outcome {
        let adi = self.vports[vport].adi.as_ref();
        let is_tagged = adi.is_some_and(|adi| adi.config.vlan != 0);
        // A program may send it frames that are not of its VLAN, or have no tag.
        let frame = match is_tagged && vlan::id_of(frame) != 0 {
            true => vlan::untag(frame, &mut transit.meta),
            false => frame,
        };
        self.deliver(vport, frame, transit, steer)
    }

    /// Delivers a frame to a virtual port, or counts the reason for not doing so. It waits for
    /// buffers if it may.
    pub(super) fn deliver(
        &mut self,
        vport: VportId,
        frame: &mut [u8],
        transit: &mut Transit,
        steer: Steer,
    ) -> Outcome {
        let reason = match self.offer(vport, frame, transit, steer) {
            Ok(queue) => return Outcome::Forwarded(Arrival::Queue(vport, queue)),
            Err(Undelivered::Dropped(reason)) => reason,
            Err(Undelivered::Refused(queue, QueueRefusal::NoBuffer { first })) => {
                match transit.wait {
                    // The first frame that finds no buffers may wait; if it waits too long,
                    // the next ones must not.
                    Wait::ForBuffers { vport: v, until } if v == vport => {
                        if first && self.now < until {
                            return Outcome::Waiting(Destination::Vport(vport, steer));
                        }
                        self.queues.mark_starved(queue);
                    }
                    _ => {}
                }
                DropReason::NoBuffer
            }
            Err(Undelivered::Refused(_, QueueRefusal::Disabled)) => DropReason::QueueDisabled,
            Err(Undelivered::Refused(QueueIndex(index), QueueRefusal::Fault(fault))) => {
                let kind = QueueKind::Rx;
                self.stop_faulty(QueueId { kind, index }, fault);
                DropReason::QueueFault
            }
        };
        self.vports[vport].count_undelivered(reason, transit.undelivered());
        Outcome::Forwarded(Arrival::Lost(reason))
    }

    fn offer(
        &mut self,
        vport: VportId,
        frame: &mut [u8],
        transit: &mut Transit,
        steer: Steer,
    ) -> Result<QueueIndex, Undelivered> {
        let vport = &mut self.vports[vport];
        let forwarding = &vport.forwarding;
        if !forwarding.enabled {
            return Err(DropReason::PortDisabled.into());
        }
        if vport.is_suspended() {
            return Err(DropReason::Suspended.into());
        }
        let parsed = Parsed::new(frame, frame.len()).map_err(|_| DropReason::Runt)?;
        if !steer.is_addressed && !forwarding.wants(parsed.dst, frame) {
            return Err(DropReason::Filtered.into());
        }
        let target = match forwarding.steer(&parsed, frame, &steer.receive) {
            Steering::Queue { queue, hash } => Target {
                queue: QueueIndex(queue),
                hash,
                flow_id: steer.receive.flow_id,
            },
            Steering::Drop => return Err(DropReason::Rule.into()),
            Steering::NoQueue => return Err(DropReason::QueueDisabled.into()),
        };
        let queue = self.queues.rx(target.queue);
        let queue = queue.ok_or(DropReason::QueueDisabled)?;
        let (rsc, max_len) = (queue.rsc, queue.max_packet_len as usize);
        let mut rx = Receiver {
            vport,
            queues: &mut self.queues,
            target,
        };
        if let Some(gso) = transit.meta.gso {
            // A frame that was partly delivered in segments is continued in segments.
            if transit.delivered > 0 || !(rsc && is_mergeable(&parsed, gso)) {
                rx.push_segments(frame, transit, &mut self.segment)?;
            } else {
                rx.push(frame, &parsed, VALID, Some(gso))?;
            }
            return Ok(target.queue);
        }
        if frame.len() > max_len {
            return Err(DropReason::TooLong.into());
        }
        let verdict = match transit.meta.checksum {
            Checksum::Unknown => verify(&parsed, &[frame]),
            Checksum::Valid => VALID,
            // A checksum that the host left partial is completed here, so that the guest sees the
            // frame as from any wire; it is valid because the host vouches for it.
            Checksum::Partial { start, offset } => {
                complete_partial(frame, start, offset).map_err(|_| DropReason::Unsegmentable)?;
                transit.meta.checksum = Checksum::Valid;
                VALID
            }
        };
        rx.push(frame, &parsed, verdict, None)?;
        Ok(target.queue)
    }
}

/// The receiver of a frame: a queue of a virtual port.
struct Receiver<'a> {
    vport: &'a mut Vport,
    queues: &'a mut Queues,
    target: Target,
}

impl Receiver<'_> {
    /// Segments a merged frame for a driver that does not accept merged ones.
    fn push_segments(
        &mut self,
        frame: &[u8],
        transit: &mut Transit,
        segment: &mut [u8],
    ) -> Result<(), Undelivered> {
        let mut segments =
            Segmenter::new(frame, &transit.meta).map_err(|_| DropReason::Unsegmentable)?;
        transit.frames = segments.count() as u64;
        segments.skip(transit.delivered as usize); // of at most MAX_SEGMENTS
        while let Some(n) = segments.next_into(segment) {
            let bytes = &segment[..n];
            let parsed = Parsed::new(bytes, n).map_err(|_| DropReason::Runt)?;
            self.push(bytes, &parsed, VALID, None)?;
            transit.delivered += 1;
        }
        Ok(())
    }

    fn push(
        &mut self,
        frame: &[u8],
        parsed: &Parsed,
        verdict: Verdict,
        merged: Option<Gso>,
    ) -> Result<(), Undelivered> {
        let Target {
            queue,
            hash,
            flow_id,
        } = self.target;
        let info = RxInfo {
            ptype: ptype_of(parsed),
            hash,
            flow_id,
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
        let delivered = self.queues.deliver(queue, frame, &info);
        delivered.map_err(|refusal| Undelivered::Refused(queue, refusal))?;
        let meta = FrameMeta {
            checksum: Checksum::Valid,
            gso: merged,
        };
        let on_wire = meta.on_wire(frame.len());
        self.vport.count_delivered(parsed.dst, on_wire);
        Ok(())
    }
}

/// Returns whether the driver accepts this frame merged: TCP directly after a plain IP header.
fn is_mergeable(parsed: &Parsed, gso: Gso) -> bool {
    let header = usize::from(parsed.l4_offset) - usize::from(parsed.l2_len);
    let plain = match parsed.l3 {
        L3::Ipv4 => header == PLAIN_IPV4,
        L3::Ipv6 => header == PLAIN_IPV6,
        _ => false,
    };
    let whole = parsed.vlan_tags().is_empty() && !parsed.is_fragment();
    plain && whole && parsed.l4 == L4::Tcp && !matches!(gso.kind, GsoKind::Udp)
}
