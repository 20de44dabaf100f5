// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Multicast and broadcast frames that are being copied to ADIs, a bounded number of copies per
//! turn.

use std::collections::VecDeque;

use adit_pipeline::offload::FrameMeta;

use super::destination::{Steer, Transit, Wait};
use super::host::Host;
use super::switch::{Domain, Switch};
use super::vlan;
use crate::ids::{VportId, WireIndex};

/// The maximum number of copies of one frame per turn.
const FLOOD_BURST: usize = 256;
/// The maximum number of frames that wait to be copied.
const MAX_FLOODS: usize = 64;

/// Counters of multicast and broadcast frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodCounters {
    /// Frames copied to all ADIs of a VLAN.
    pub copied: u64,
    /// Frames not copied to all, because too many others waited, or the process of the device was replaced.
    pub dropped: u64,
}

/// A frame that is being copied.
struct Flood {
    domain: Domain,
    /// The sender's virtual port; `None` for a frame from the wire.
    sender: Option<VportId>,
    /// The first virtual port that has not received it.
    next: VportId,
    frame: Vec<u8>,
    meta: FrameMeta,
}

/// The frames that are being copied.
#[derive(Default)]
pub(super) struct Floods {
    waiting: VecDeque<Flood>,
    /// Buffers for reuse.
    spare: Vec<Vec<u8>>,
    pub(super) counters: FloodCounters,
}

impl Floods {
    /// Queues a frame for copies to all ADIs of its VLAN but the sender. Its checksums have been
    /// completed, unless it is to be segmented.
    pub(super) fn push(
        &mut self,
        switch: &Switch,
        wire: WireIndex,
        sender: Option<VportId>,
        frame: &[u8],
        meta: FrameMeta,
    ) {
        let vlan = vlan::id_of(frame);
        let domain = (wire, vlan);
        if !switch.has_members(domain) {
            return;
        }
        if self.waiting.len() >= MAX_FLOODS {
            self.counters.dropped += 1;
            return;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        let mut meta = meta;
        if vlan != 0 {
            vlan::untag(&mut copy, &mut meta);
            copy.drain(..vlan::TAG);
        }
        self.waiting.push_back(Flood {
            domain,
            sender,
            next: VportId(0),
            frame: copy,
            meta,
        });
    }

    /// Makes some of the pending copies; returns true if there were any.
    pub(super) fn turn(&mut self, switch: &Switch, host: &mut Host) -> bool {
        let Some(flood) = self.waiting.front_mut() else {
            return false;
        };
        for _ in 0..FLOOD_BURST {
            let Some(member) = switch.next_member(flood.domain, flood.next) else {
                self.counters.copied += 1;
                let done = self.waiting.pop_front();
                self.spare.extend(done.map(|flood| flood.frame));
                return true;
            };
            flood.next = VportId(member.0 + 1);
            if flood.sender != Some(member) {
                let mut transit = Transit::new(&flood.frame, flood.meta, Wait::Never);
                let steer = Steer::default();
                host.deliver(member, &mut flood.frame, &mut transit, steer);
            }
        }
        true
    }

    /// The number of frames that are being copied.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Discards everything but the counters.
    pub(super) fn clear(&mut self) {
        *self = Self {
            counters: self.counters,
            ..Self::default()
        };
    }
}
