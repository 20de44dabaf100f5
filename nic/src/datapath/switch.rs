// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The embedded switch: selects the virtual port of a wire that a frame is delivered to.
//!
//! Each wire has the PF's virtual port and any number of ADIs. A unicast frame goes to the one that
//! has its address, found by a look-up, or else to the wire (to the PF, if it came from there).
//! Multicast and broadcast frames go to all but their sender; copies for ADIs are made a bounded
//! number at a time ([`Floods`]).
//!
//! The PF's port carries VLAN tags, as the wire does. An ADI is on one VLAN, or on none, and never
//! sees tags: its frames are tagged before they come here, and untagged when they are delivered.

use std::collections::{BTreeSet, HashMap, VecDeque};

use adit_pipeline::checksum::fill::complete_partial;
use adit_pipeline::offload::{Checksum, FrameMeta};
use adit_pipeline::parse::DstKind;

use super::program::Steer;
use super::Datapath;
use crate::dataplane::AddressTaken;
use crate::drops::Drop;
use crate::queues::TxOffload;

/// The maximum number of copies of one frame per turn.
const FLOOD_BURST: usize = 256;
/// The maximum number of frames that wait to be copied.
const MAX_FLOODS: usize = 64;
/// The length of the Ethernet addresses, which a VLAN tag follows, in bytes.
const ADDRESSES: usize = 12;
/// The length of an Ethernet header in bytes.
const HEADER: usize = 14;
/// The length of a VLAN tag in bytes.
const TAG: usize = 4;
const TPID_8021Q: [u8; 2] = [0x81, 0x00];
const TPID_8021AD: [u8; 2] = [0x88, 0xA8];
/// The mask of the VLAN id in a tag.
const VID: u16 = 0xFFF;
/// The sender of frames from the wire.
pub(super) const WIRE: u32 = u32::MAX;

/// An address on a VLAN (0: none) of a wire.
type Station = (u32, u16, [u8; 6]);

/// Multicast and broadcast frames that are being copied to ADIs.
#[derive(Default)]
struct Floods {
    waiting: VecDeque<Flood>,
    /// Buffers for reuse.
    spare: Vec<Vec<u8>>,
}

struct Flood {
    domain: (u32, u16),
    sender: u32,
    /// The first virtual port that has not received it.
    next: u32,
    frame: Vec<u8>,
    meta: FrameMeta,
}

/// Counters of multicast and broadcast frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodCounters {
    /// Frames copied to all ADIs of a VLAN.
    pub copied: u64,
    /// Frames not copied, because too many others waited.
    pub dropped: u64,
}

/// The stations and ADIs of each wire.
#[derive(Default)]
pub(super) struct Switch {
    stations: HashMap<Station, u32>,
    /// Enabled ADIs, by wire and VLAN.
    members: HashMap<(u32, u16), BTreeSet<u32>>,
    /// The number of ADIs on each wire.
    population: Vec<u32>,
    floods: Floods,
    pub(super) counters: FloodCounters,
}

impl Switch {
    /// Returns whether a wire has any ADI.
    pub(super) fn any(&self, port: usize) -> bool {
        self.population.get(port).is_some_and(|&n| n != 0)
    }

    pub(super) fn join(&mut self, port: u32) {
        let port = port as usize;
        if self.population.len() <= port {
            self.population.resize(port + 1, 0);
        }
        self.population[port] += 1;
    }

    pub(super) fn leave(&mut self, port: u32) {
        if let Some(n) = self.population.get_mut(port as usize) {
            *n = n.saturating_sub(1);
        }
    }

    /// Assigns an address to a virtual port; group addresses have no owner.
    pub(super) fn claim(&mut self, station: Station, vport: u32) -> Result<(), AddressTaken> {
        if DstKind::of(&station.2) != DstKind::Unicast {
            return Ok(());
        }
        match *self.stations.entry(station).or_insert(vport) == vport {
            true => Ok(()),
            false => Err(AddressTaken),
        }
    }

    pub(super) fn release(&mut self, station: Station, vport: u32) {
        if self.stations.get(&station) == Some(&vport) {
            self.stations.remove(&station);
        }
    }

    pub(super) fn set_member(&mut self, domain: (u32, u16), vport: u32, member: bool) {
        if member {
            self.members.entry(domain).or_default().insert(vport);
        } else if let Some(members) = self.members.get_mut(&domain) {
            members.remove(&vport);
            if members.is_empty() {
                self.members.remove(&domain);
            }
        }
    }

    /// Clears everything but the counters.
    pub(super) fn clear(&mut self) {
        *self = Self {
            counters: self.counters,
            ..Self::default()
        };
    }

    /// The ADI that has the frame's destination address.
    pub(super) fn station(&self, port: usize, frame: &[u8]) -> Option<u32> {
        let address = *frame.first_chunk()?;
        let key = (port as u32, vlan_of(frame), address);
        self.stations.get(&key).copied()
    }

    /// Queues a frame for copies to all ADIs of its VLAN but the sender. Its checksums have been
    /// completed, unless it is to be segmented.
    pub(super) fn flood(&mut self, port: usize, sender: u32, frame: &[u8], meta: FrameMeta) {
        let vlan = vlan_of(frame);
        let domain = (port as u32, vlan);
        if !self.members.contains_key(&domain) {
            return;
        }
        if self.floods.waiting.len() >= MAX_FLOODS {
            self.counters.dropped += 1;
            return;
        }
        let mut copy = self.floods.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        let mut meta = meta;
        if vlan != 0 {
            untag(&mut copy, &mut meta);
            copy.drain(..TAG);
        }
        self.floods.waiting.push_back(Flood {
            domain,
            sender,
            next: 0,
            frame: copy,
            meta,
        });
    }

    fn next_member(&self, flood: &Flood) -> Option<u32> {
        let members = self.members.get(&flood.domain)?;
        members.range(flood.next..).next().copied()
    }
}

/// The VLAN id of a frame's outer tag; 0 without one.
fn vlan_of(frame: &[u8]) -> u16 {
    match frame.get(ADDRESSES..ADDRESSES + TAG) {
        Some(&[a, b, high, low]) if [a, b] == TPID_8021Q => u16::from_be_bytes([high, low]) & VID,
        _ => 0,
    }
}

/// Removes the outer tag from a frame, and returns the frame without its first, now unused bytes.
fn untag<'a>(frame: &'a mut [u8], meta: &mut FrameMeta) -> &'a mut [u8] {
    frame.copy_within(..ADDRESSES, TAG);
    if let Checksum::Partial { start, .. } = &mut meta.checksum {
        *start = start.saturating_sub(TAG as u16);
    }
    if let Some(gso) = &mut meta.gso {
        gso.header_len = gso.header_len.saturating_sub(TAG as u16);
    }
    &mut frame[TAG..]
}

/// Completes the checksum of a frame before it is copied; returns false if it cannot be.
pub(super) fn finish(frame: &mut [u8], meta: &mut FrameMeta, then: Checksum) -> bool {
    match meta.checksum {
        Checksum::Partial { start, offset } if meta.gso.is_none() => {
            meta.checksum = then;
            complete_partial(frame, start, offset).is_ok()
        }
        _ => true,
    }
}

/// The destination of a frame from a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The wire.
    Wire,
    /// The wire, and copies to other ports.
    Copies,
    /// None: it has been delivered.
    Local,
    /// None: it is dropped, for a reason.
    Refused(Drop),
}

impl Datapath {
    /// Checks a frame from an ADI, and adapts its offloads: it must have a source address of the
    /// ADI's own and no tag, and gets the tag of the ADI's VLAN.
    pub(super) fn admit(
        &self,
        vport: u32,
        frame: &[u8],
        offload: TxOffload,
    ) -> Result<TxOffload, Drop> {
        let sender = &self.vports[vport as usize];
        let Some(adi) = &sender.adi else {
            return Ok(offload);
        };
        let header = frame.first_chunk::<HEADER>().ok_or(Drop::Runt)?;
        let (source, kind) = (&header[6..ADDRESSES], [header[12], header[13]]);
        let source: &[u8; 6] = source.try_into().map_err(|_| Drop::Runt)?;
        if DstKind::of(source) != DstKind::Unicast || !sender.forwarding.addresses.contains(source)
        {
            return Err(Drop::Spoofed);
        }
        if offload.vlan_tci.is_some() || matches!(kind, TPID_8021Q | TPID_8021AD) {
            return Err(Drop::Tagged);
        }
        Ok(match adi.config.vlan {
            0 => offload,
            vlan => tagged(offload, vlan),
        })
    }

    /// Looks up the receiver of a frame on the sender's own wire; delivers the frame if it goes
    /// nowhere else.
    pub(super) fn route(
        &mut self,
        sender: u32,
        port: usize,
        frame: &mut [u8],
        meta: &mut FrameMeta,
        steer: Steer,
    ) -> Route {
        if !self.switch.any(port) {
            return Route::Wire;
        }
        let Some(address) = frame.first_chunk::<6>().copied() else {
            return Route::Wire;
        };
        let from_adi = sender as usize != port;
        if DstKind::of(&address) == DstKind::Unicast {
            let own = &self.vports[port].forwarding;
            let pf = from_adi && own.addresses.contains(&address);
            let promiscuous = from_adi && own.unicast_promiscuous;
            let station = self.switch.station(port, frame).filter(|&to| to != sender);
            match station.or(pf.then_some(port as u32)) {
                Some(target) => {
                    self.hand_over(target, frame, *meta, steer);
                    return Route::Local;
                }
                None if !promiscuous => return Route::Wire,
                None => {}
            }
        }
        match finish(frame, meta, Checksum::Unknown) {
            true => Route::Copies,
            false => Route::Refused(Drop::BadOffload),
        }
    }

    /// Copies a frame that was sent on the wire to its other receivers.
    pub(super) fn copy(
        &mut self,
        sender: u32,
        port: usize,
        frame: &mut [u8],
        meta: FrameMeta,
        steer: Steer,
    ) {
        let Some(kind) = frame.first_chunk().map(DstKind::of) else {
            return;
        };
        if kind != DstKind::Unicast {
            self.switch.flood(port, sender, frame, meta);
        }
        let own = &self.vports[port].forwarding;
        if sender as usize != port && own.enabled && own.wants(kind, frame) {
            self.deliver(port, frame, meta, steer);
        }
    }

    /// Delivers a frame from the switch to a virtual port; an ADI gets it without its tag.
    pub(super) fn hand_over(
        &mut self,
        target: u32,
        frame: &mut [u8],
        meta: FrameMeta,
        steer: Steer,
    ) {
        let target = target as usize;
        let mut meta = meta;
        let tagged = self.vports[target]
            .adi
            .as_ref()
            .is_some_and(|adi| adi.config.vlan != 0);
        // A program may send it frames that are not of its VLAN, or have no tag.
        let frame = if tagged && vlan_of(frame) != 0 {
            untag(frame, &mut meta)
        } else {
            frame
        };
        self.deliver(target, frame, meta, steer);
    }

    /// Makes some of the pending copies; returns true if there were any.
    pub(super) fn flood_turn(&mut self) -> bool {
        let Some(mut flood) = self.switch.floods.waiting.pop_front() else {
            return false;
        };
        for _ in 0..FLOOD_BURST {
            let Some(member) = self.switch.next_member(&flood) else {
                self.switch.counters.copied += 1;
                self.switch.floods.spare.push(flood.frame);
                return true;
            };
            flood.next = member + 1;
            if member != flood.sender {
                let steer = Steer::default();
                self.deliver(member as usize, &mut flood.frame, flood.meta, steer);
            }
        }
        self.switch.floods.waiting.push_front(flood);
        true
    }
}

/// The request with a VLAN tag to be inserted before all other headers.
fn tagged(offload: TxOffload, vlan: u16) -> TxOffload {
    let mut offload = offload;
    offload.vlan_tci = Some(vlan);
    if let Some(segmentation) = &mut offload.segmentation {
        segmentation.header_len = segmentation.header_len.saturating_add(TAG as u8);
    }
    offload
}
