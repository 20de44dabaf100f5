// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A virtual port: its filters and its counters.

use adit_pipeline::offload::OnWire;
use adit_pipeline::parse::DstKind;

use super::adi::Adi;
use super::destination::Account;
use crate::dataplane::VportCounters;
use crate::drops::{DropReason, Drops};
use crate::forwarding::Forwarding;
use crate::pasid::Pasid;

/// A virtual port: one with a wire, one that belongs to an ADI, or an unused one.
#[derive(Default)]
pub(super) struct Vport {
    pub(super) forwarding: Forwarding,
    pub(super) counters: VportCounters,
    pub(super) drops: Drops,
    pub(super) adi: Option<Box<Adi>>,
}

impl Vport {
    /// The PASID that its DMA is translated with.
    pub(super) fn pasid(&self) -> Option<Pasid> {
        self.adi.as_ref().map(|adi| adi.config.pasid)
    }

    /// Counts a frame from the driver as sent, or its segments if it is a GSO frame.
    pub(super) fn count_sent(&mut self, sent: Account) {
        let (counters, frames) = (&mut self.counters, sent.on_wire.frames);
        counters.tx_bytes += sent.on_wire.bytes;
        match sent.kind {
            DstKind::Unicast => counters.tx_unicast += frames,
            DstKind::Multicast => counters.tx_multicast += frames,
            DstKind::Broadcast => counters.tx_broadcast += frames,
        }
    }

    /// Counts a frame from the driver that is malformed.
    pub(super) fn count_malformed(&mut self, reason: DropReason) {
        self.drops.tx.count(reason);
        self.counters.tx_errors += 1;
    }

    /// Counts frames from the driver that were not sent.
    pub(super) fn count_unsent(&mut self, reason: DropReason, frames: u64) {
        self.drops.tx.count_many(reason, frames);
        self.counters.tx_discards += frames;
    }

    /// Counts a frame as delivered, or its segments if it is delivered merged.
    pub(super) fn count_delivered(&mut self, kind: DstKind, on_wire: OnWire) {
        let counters = &mut self.counters;
        counters.rx_bytes += on_wire.bytes;
        match kind {
            DstKind::Unicast => counters.rx_unicast += on_wire.frames,
            DstKind::Multicast => counters.rx_multicast += on_wire.frames,
            DstKind::Broadcast => counters.rx_broadcast += on_wire.frames,
        }
    }

    /// Counts frames for the driver that were not delivered.
    pub(super) fn count_undelivered(&mut self, reason: DropReason, frames: u64) {
        self.drops.rx.count_many(reason, frames);
        let counters = &mut self.counters;
        match reason {
            DropReason::PortDisabled => {}
            DropReason::Filtered => counters.rx_filtered += frames,
            DropReason::TooLong
            | DropReason::Runt
            | DropReason::Unsegmentable
            | DropReason::QueueFault => {
                counters.rx_errors += frames;
                counters.rx_discards += frames;
            }
            DropReason::NoBuffer => {
                counters.rx_no_buffer += frames;
                counters.rx_discards += frames;
            }
            _ => counters.rx_discards += frames,
        }
    }
}
