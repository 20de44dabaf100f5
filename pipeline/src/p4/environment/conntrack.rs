// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of calls of `Conntrack`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_conntrack::{
    Commit, CommitError, CtState, Endpoint, Helper, Nat, NatRange, Time, Tracked, Tuple, Zone,
};

use super::Environment;
use crate::p4::connections::PreparedPacket;
use crate::p4::externs::{CommitCall, ConntrackCall, Masked, PacketOperands, RangeOperands};

/// The members of `ConntrackStatus_t`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Committed = 0,
    NotTracked = 1,
    Invalid = 2,
    TableFull = 3,
    ZoneFull = 4,
    NatExhausted = 5,
    BadRange = 6,
    Refused = 7,
}

impl From<CommitError> for Status {
    fn from(error: CommitError) -> Status {
        match error {
            CommitError::TableFull | CommitError::ChainTooLong => Status::TableFull,
            CommitError::ZoneLimit => Status::ZoneFull,
            CommitError::NatExhausted => Status::NatExhausted,
            CommitError::Family => Status::BadRange,
            // Clashes, and what the tracker may refuse for in the future.
            _ => Status::Refused,
        }
    }
}

/// An invalid range of addresses or ports.
struct BadRange;

/// The members of `ConntrackHelper_t`; others are no helper.
fn helper(number: u64) -> Option<Helper> {
    match number {
        1 => Some(Helper::Ftp),
        2 => Some(Helper::Tftp),
        3 => Some(Helper::Irc),
        4 => Some(Helper::Sip),
        5 => Some(Helper::Pptp),
        6 => Some(Helper::Ras),
        7 => Some(Helper::Q931),
        _ => None,
    }
}

impl Environment<'_> {
    /// Executes a call of the connection tracker.
    pub(super) fn conntrack(&mut self, call: &ConntrackCall, frame: &mut [u64]) {
        match call {
            ConntrackCall::Track {
                offset,
                zone,
                packet,
            } => {
                let zone = Zone::new(zone.get(frame) as u16);
                let at = offset.get(frame) as usize;
                let local = &mut *self.local;
                if let Some(tracker) = &local.tracker {
                    let now = Time::from_nanos(local.now_ns);
                    let prepared = local.prepared.get_or_insert_with(|| {
                        PreparedPacket::new(tracker, self.data, at, zone, local.packet_checksums)
                    });
                    let tracked = prepared.track(tracker, self.data, now, &mut local.tracked);
                    packet.set(tracked.tracked(), frame);
                    local.prepared = None;
                }
            }
            ConntrackCall::Forget(packet) => {
                let local = &mut *self.local;
                if let (Some(tracker), Some(tracked)) = (&local.tracker, &mut local.tracked) {
                    tracked.forget(tracker, self.data, Time::from_nanos(local.now_ns));
                    packet.set(tracked.tracked(), frame);
                }
            }
            ConntrackCall::Commit(call) => {
                let status = self.commit(call, frame);
                call.result.set(frame, status as u64);
            }
        }
    }

    /// Prepares the packet for the tracker. Returns whether there is anything to prepare.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn prepare_track(&mut self, call: &ConntrackCall, frame: &[u64]) -> bool {
        let local = &mut *self.local;
        let (ConntrackCall::Track { offset, zone, .. }, Some(tracker), None) =
            (call, &local.tracker, &local.prepared)
        else {
            return false;
        };
        let zone = Zone::new(zone.get(frame) as u16);
        let (at, checksums) = (offset.get(frame) as usize, local.packet_checksums);
        local.prepared = Some(PreparedPacket::new(tracker, self.data, at, zone, checksums));
        true
    }

    fn commit(&mut self, call: &CommitCall, frame: &mut [u64]) -> Status {
        let local = &mut *self.local;
        let (Some(tracker), Some(tracked)) = (&local.tracker, &mut local.tracked) else {
            return Status::NotTracked;
        };
        if tracked.tracked().state().contains(CtState::INVALID) {
            return Status::Invalid;
        }
        let is_v6 = tracked
            .packet(self.data)
            .first()
            .is_some_and(|b| b >> 4 == 6);
        let status = match call.values(is_v6, frame) {
            Ok(values) => {
                let now = Time::from_nanos(local.now_ns);
                let committed = tracked.commit(tracker, self.data, &values, now);
                committed.map_or_else(Status::from, |()| Status::Committed)
            }
            Err(BadRange) => Status::BadRange,
        };
        if status != Status::Committed {
            tracked.refuse();
        }
        call.packet.set(tracked.tracked(), frame);
        status
    }
}

impl CommitCall {
    /// The values that the tracker takes.
    fn values(&self, is_v6: bool, frame: &[u64]) -> Result<Commit, BadRange> {
        let get = |masked: &Option<Masked>| masked.as_ref().map(|m| m.get(frame));
        let range = |range: &Option<RangeOperands>| {
            let range = range.as_ref();
            let range = range.map(|range| range.get(is_v6, frame)).transpose();
            range.map(|range| range.flatten())
        };
        let nat = Nat {
            source: range(&self.source)?,
            destination: range(&self.destination)?,
        };
        Ok(Commit {
            mark: get(&self.mark).map(|(value, mask)| (value as u32, mask as u32)),
            label: get(&self.label),
            force: self.force.as_ref().is_some_and(|f| f.get(frame) != 0),
            nat: (nat != Nat::default()).then_some(nat),
            helper: self.helper.as_ref().and_then(|h| helper(h.get(frame))),
        })
    }
}

impl PacketOperands {
    /// Sets all fields.
    fn set(&self, tracked: &Tracked, frame: &mut [u64]) {
        let state = tracked.state();
        self.state.set(frame, state.bits().into());
        self.mark.set(frame, tracked.mark().into());
        self.label.set_wide(frame, tracked.label().bits());
        let is_translated = state.intersects(CtState::SRC_NAT | CtState::DST_NAT);
        let translated = is_translated.then(|| tracked.translated()).flatten();
        let end = |bit, end: fn(&Tuple) -> Endpoint| {
            let translated = translated.as_ref().filter(|_| state.contains(bit));
            translated.map_or((0, 0), |tuple| {
                let Endpoint { address, part } = end(tuple);
                (bits(address), u64::from(part))
            })
        };
        let (src, src_port) = end(CtState::SRC_NAT, Tuple::src);
        let (dst, dst_port) = end(CtState::DST_NAT, Tuple::dst);
        self.src.set_wide(frame, src);
        self.dst.set_wide(frame, dst);
        self.src_port.set(frame, src_port);
        self.dst_port.set(frame, dst_port);
    }
}

impl RangeOperands {
    /// The range, for packets of one family; `None` if nothing is to be translated.
    fn get(&self, is_v6: bool, frame: &[u64]) -> Result<Option<NatRange>, BadRange> {
        let mut range = match self.addresses.each_ref().map(|a| a.wide(frame)) {
            [0, 0] => NatRange::default(),
            [0, _] => return Err(BadRange),
            [first, last] => {
                let last = if last == 0 { first } else { last };
                let (first, last) = (address(first, is_v6)?, address(last, is_v6)?);
                NatRange::to_addresses(first, last).map_err(|_| BadRange)?
            }
        };
        match self.ports.each_ref().map(|p| p.get(frame) as u16) {
            [0, 0] => {}
            [0, _] => return Err(BadRange),
            [first, 0] => range = range.with_ports(first, first),
            [first, last] if first <= last => range = range.with_ports(first, last),
            _ => return Err(BadRange),
        }
        if self.random_port.get(frame) != 0 {
            range = range.with_random_ports();
        }
        if range != NatRange::default() && self.persistent.get(frame) != 0 {
            range = range.with_persistent_address();
        }
        Ok((range != NatRange::default()).then_some(range))
    }
}

/// The bits of an address; those of an IPv4 address are the lowest 32.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(bits: u128, is_v6: bool) -> Result<IpAddr, BadRange> {
    match (is_v6, u32::try_from(bits)) {
        (true, _) => Ok(Ipv6Addr::from(bits).into()),
        (false, Ok(bits)) => Ok(Ipv4Addr::from(bits).into()),
        (false, Err(_)) => Err(BadRange),
    }
}
