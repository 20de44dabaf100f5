// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The embedded switch: selects the destination of a frame by its addresses.
//!
//! Each wire has the PF's virtual port and any number of ADIs. A unicast frame goes to the one that
//! has its address, found by a look-up, or else to the wire (to the PF, if it came from there).
//! Multicast and broadcast frames go to all but their sender.

use std::collections::{BTreeSet, HashMap};

use adit_pipeline::parse::DstKind;

use super::destination::{Destination, Steer};
use super::vlan;
use crate::dataplane::AddressTaken;
use crate::forwarding::Forwarding;
use crate::ids::{VportId, WireIndex};

/// A VLAN (0: none) of a wire.
pub(super) type Domain = (WireIndex, u16);
/// An address on a VLAN (0: none) of a wire.
pub(super) type Station = (WireIndex, u16, [u8; 6]);

/// The stations and ADIs of each wire.
#[derive(Default)]
pub(super) struct Switch {
    stations: HashMap<Station, VportId>,
    /// Enabled ADIs, by wire and VLAN.
    members: HashMap<Domain, BTreeSet<VportId>>,
    /// The number of ADIs on each wire.
    population: Vec<u32>,
}

impl Switch {
    /// The destination of a frame from a wire.
    pub(super) fn forward_from_wire(
        &self,
        wire: WireIndex,
        frame: &[u8],
        steer: Steer,
    ) -> Destination {
        if self.has_adis(wire) {
            match frame.first_chunk().map(DstKind::of) {
                Some(DstKind::Unicast) => {
                    if let Some(adi) = self.station(wire, frame) {
                        return Destination::Vport(adi, steer);
                    }
                }
                _ => return Destination::Flood(steer),
            }
        }
        Destination::Vport(wire.pf(), steer)
    }

    /// The destination of a frame from a virtual port that uses a wire, where `pf` are the filters
    /// of the PF's virtual port on that wire.
    pub(super) fn forward_from_vport(
        &self,
        sender: VportId,
        wire: WireIndex,
        pf: &Forwarding,
        frame: &[u8],
        steer: Steer,
    ) -> Destination {
        if !self.has_adis(wire) {
            return Destination::Uplink;
        }
        let Some(address) = frame.first_chunk::<6>() else {
            return Destination::Uplink;
        };
        if DstKind::of(address) != DstKind::Unicast {
            return Destination::Flood(steer);
        }
        let from_adi = sender != wire.pf();
        let to_pf = from_adi && pf.addresses.contains(address);
        let station = self.station(wire, frame).filter(|&to| to != sender);
        match station.or(to_pf.then_some(wire.pf())) {
            Some(receiver) => Destination::Vport(receiver, steer),
            // The PF receives a copy.
            None if from_adi && pf.unicast_promiscuous => Destination::Flood(steer),
            None => Destination::Uplink,
        }
    }

    /// The ADI that has the frame's destination address.
    fn station(&self, wire: WireIndex, frame: &[u8]) -> Option<VportId> {
        let address = *frame.first_chunk()?;
        let key = (wire, vlan::id_of(frame), address);
        self.stations.get(&key).copied()
    }

    /// Returns whether a wire has any ADI.
    fn has_adis(&self, wire: WireIndex) -> bool {
        self.population.get(wire.index()).is_some_and(|&n| n != 0)
    }

    /// Adds an ADI to a wire.
    pub(super) fn join(&mut self, wire: WireIndex) {
        let wire = wire.index();
        if self.population.len() <= wire {
            self.population.resize(wire + 1, 0);
        }
        self.population[wire] += 1;
    }

    /// Removes an ADI from a wire.
    pub(super) fn leave(&mut self, wire: WireIndex) {
        if let Some(n) = self.population.get_mut(wire.index()) {
            *n = n.saturating_sub(1);
        }
    }

    /// Assigns an address to a virtual port; group addresses have no owner.
    ///
    /// # Errors
    /// When another virtual port has it.
    pub(super) fn claim(&mut self, station: Station, vport: VportId) -> Result<(), AddressTaken> {
        if DstKind::of(&station.2) != DstKind::Unicast {
            return Ok(());
        }
        match *self.stations.entry(station).or_insert(vport) == vport {
            true => Ok(()),
            false => Err(AddressTaken),
        }
    }

    /// Removes an address from a virtual port.
    pub(super) fn release(&mut self, station: Station, vport: VportId) {
        if self.stations.get(&station) == Some(&vport) {
            self.stations.remove(&station);
        }
    }

    /// Adds an ADI to the receivers of a VLAN's multicast and broadcast frames, or removes it.
    pub(super) fn set_member(&mut self, domain: Domain, vport: VportId, member: bool) {
        if member {
            self.members.entry(domain).or_default().insert(vport);
        } else if let Some(members) = self.members.get_mut(&domain) {
            members.remove(&vport);
            if members.is_empty() {
                self.members.remove(&domain);
            }
        }
    }

    /// Returns whether a VLAN has any member.
    pub(super) fn has_members(&self, domain: Domain) -> bool {
        self.members.contains_key(&domain)
    }

    /// The first member of a VLAN from `next` on.
    pub(super) fn next_member(&self, domain: Domain, next: VportId) -> Option<VportId> {
        self.members.get(&domain)?.range(next..).next().copied()
    }
}
