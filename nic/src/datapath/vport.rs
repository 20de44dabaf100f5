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

/// A virtual port: one with a wire, or one that belongs to an ADI.
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

    /// Returns whether it belongs to a suspended ADI.
    pub(super) fn is_suspended(&self) -> bool {
        self.adi.as_ref().is_some_and(|adi| adi.suspended)
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
    /// By id. `None` for an ADI that was destroyed, whose id is not used again soon.
    list: Vec<Option<Box<Vport>>>,
    /// The number of those with a wire.
    own: usize,
}

impl Vports {
    /// Creates the virtual ports with a wire.
    pub(super) fn new(own: usize) -> Self {
        Self {
            list: (0..own).map(|_| Some(Box::default())).collect(),
            own,
        }
    }

    /// A virtual port, if it exists.
    pub(super) fn get(&self, vport: VportId) -> Option<&Vport> {
        self.list.get(vport.index())?.as_deref()
    }

    /// A virtual port, if it exists.
    pub(super) fn get_mut(&mut self, vport: VportId) -> Option<&mut Vport> {
        self.list.get_mut(vport.index())?.as_deref_mut()
    }

    /// Returns whether a virtual port has a wire or belongs to an ADI.
    pub(super) fn exists(&self, vport: VportId) -> bool {
        self.get(vport).is_some()
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
        if self.list.len() <= id.index() {
            self.list.resize_with(id.index() + 1, || None);
        }
        self.list[id.index()] = Some(Box::new(vport));
    }

    /// Takes the virtual port of an ADI out, which does not exist then.
    pub(super) fn remove(&mut self, id: VportId) -> Option<Box<Vport>> {
        if id.index() < self.own {
            return None;
        }
        self.list.get_mut(id.index())?.take()
    }

    /// Removes the virtual ports of ADIs.
    pub(super) fn truncate(&mut self) {
        self.list.truncate(self.own);
    }

    /// All virtual ports, with their ids.
    pub(super) fn with_ids(&self) -> impl Iterator<Item = (VportId, &Vport)> {
        let vports = (0..).map(VportId).zip(&self.list);
        vports.filter_map(|(id, vport)| Some((id, vport.as_deref()?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Vport> {
        self.list.iter().flatten().map(|v| &**v)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Vport> {
        self.list.iter_mut().flatten().map(|v| &mut **v)
    }
}

impl Index<VportId> for Vports {
    type Output = Vport;

    fn index(&self, vport: VportId) -> &Vport {
        self.get(vport).expect("a virtual port that exists")
    }
}

impl IndexMut<VportId> for Vports {
    fn index_mut(&mut self, vport: VportId) -> &mut Vport {
        self.get_mut(vport).expect("a virtual port that exists")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_port_that_is_removed_leaves_only_its_place() {
        let mut vports = Vports::new(1);
        vports.set(VportId(3), Vport::default());
        assert!(vports.exists(VportId(3)) && !vports.exists(VportId(2)));
        assert_eq!(vports.iter().count(), 2);
        assert!(vports.remove(VportId(3)).is_some());
        assert!(vports.remove(VportId(3)).is_none());
        assert!(vports.remove(VportId(0)).is_none(), "it has a wire");
        assert_eq!(vports.iter().count(), 1);
        vports.truncate();
        assert!(vports.get(VportId(3)).is_none() && vports.exists(VportId(0)));
    }
}
