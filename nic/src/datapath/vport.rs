// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A virtual port: its filters and its counters.

use std::ops::{Index, IndexMut};

use adit_pipeline::offload::OnWire;
use adit_pipeline::parse::DstKind;

use super::adi::Adi;
use super::destination::Account;
use crate::dataplane::VportCounters;
use crate::drops::{DropReason, Drops};
use crate::forwarding::Forwarding;
use crate::ids::{AdiId, VportId};
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

/// All virtual ports: those with a wire, in the order of the wires, and those of ADIs.
pub(super) struct Vports {
    #[expect(
        clippy::vec_box,
        reason = "thousands of large ones, which are not to move"
    )]
    list: Vec<Box<Vport>>,
    /// The number of those with a wire.
    own: usize,
}

impl Vports {
    /// Creates the virtual ports with a wire.
    pub(super) fn new(own: usize) -> Self {
        Self {
            list: (0..own).map(|_| Box::default()).collect(),
            own,
        }
    }

    /// A virtual port, used or not.
    pub(super) fn get(&self, vport: VportId) -> Option<&Vport> {
        self.list.get(vport.index()).map(|v| &**v)
    }

    /// A virtual port, used or not.
    pub(super) fn get_mut(&mut self, vport: VportId) -> Option<&mut Vport> {
        self.list.get_mut(vport.index()).map(|v| &mut **v)
    }

    /// Returns whether a virtual port has a wire or belongs to an ADI.
    pub(super) fn exists(&self, vport: VportId) -> bool {
        let is_adi = |v: &Vport| v.adi.is_some();
        vport.index() < self.own || self.get(vport).is_some_and(is_adi)
    }

    /// The virtual port of an ADI.
    pub(super) fn of_adi(&self, adi: AdiId) -> VportId {
        VportId((self.own as u32).saturating_add(adi.0.into()))
    }

    /// The ids of the virtual ports after those with a wire.
    pub(super) fn after_own(&self) -> impl Iterator<Item = VportId> {
        (self.own as u32..self.list.len() as u32).map(VportId)
    }

    /// Sets a virtual port.
    pub(super) fn set(&mut self, id: VportId, vport: Vport) {
        while self.list.len() <= id.index() {
            self.list.push(Box::default());
        }
        self[id] = vport;
    }

    /// Removes the virtual ports of ADIs.
    pub(super) fn truncate(&mut self) {
        self.list.truncate(self.own);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Vport> {
        self.list.iter().map(|v| &**v)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Vport> {
        self.list.iter_mut().map(|v| &mut **v)
    }
}

impl Index<VportId> for Vports {
    type Output = Vport;

    fn index(&self, vport: VportId) -> &Vport {
        &self.list[vport.index()]
    }
}

impl IndexMut<VportId> for Vports {
    fn index_mut(&mut self, vport: VportId) -> &mut Vport {
        &mut self.list[vport.index()]
    }
}
