// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expected connections, and the packets that announce them.

use std::sync::atomic::Ordering;

use super::commit::Inserted;
use super::{CommitError, Pending, Reading, Tracker};
use crate::bits::{ExpectFlags, Status};
use crate::entry::{Data, Extension};
use crate::events::Event;
use crate::expect::{Change, ExpectError, ExpectFunction, ExpectNat, Expectation, Limits};
use crate::helper::{Helper, HelperState, Packet, Session, SIGNALLING};
use crate::nat::{Nat, NatRange};
use crate::packet::Headers;
use crate::table::{ConnectionRef, Keys, RemovalReason, Removed, Slot};
use crate::time::Time;
use crate::tuple::{Direction, Endpoint, Protocol, Tuple};
use crate::zone::Zone;

impl Pending {
    fn extension(&mut self) -> &mut Extension {
        self.data.extension.get_or_insert_with(Box::default)
    }

    /// Assigns a helper, if it is one for the connection's protocol.
    pub(super) fn assign(&mut self, helper: impl Into<HelperState>) {
        let state = helper.into();
        let (protocol, family) = (self.original.protocol(), self.original.family());
        if state.helper().applies_to(protocol, family) {
            self.extension().helper = Some(state);
            self.status |= Status::HELPER;
        }
    }
}

impl Tracker {
    /// Makes a new connection an expected one, if it is (`init_conntrack`). The expectation stays until
    /// the connection is committed: the packet may be dropped before.
    pub(super) fn apply_expectation(&self, pending: &mut Pending, now: Time) {
        let zone = pending.zone.id();
        let Some(expectation) = self.expectations.find(&pending.original, zone, now) else {
            return;
        };
        let master = expectation.master;
        let Some(keys) = self.table.keys(master) else {
            return;
        };
        pending.status |= Status::EXPECTED;
        // As in Open vSwitch, the label is the master's, too (`ovs_ct_init_labels`).
        let slot = self.table.slot(master);
        pending.mark = slot.mark.load(Ordering::Relaxed);
        if let Some(data) = slot.lock(master.generation) {
            pending.data.label = data.label;
        }
        pending.extension().master = Some(master);
        if let Some(helper) = expectation.assigned {
            // A control plane may have assigned one that does not read such connections; with one
            // that does, the connection has the status HELPER (`nf_ct_helper_ext_add`).
            pending.assign(helper);
        }
        if let Some(nat) = expectation.nat {
            let pair = self.pair_of_stream(&expectation, &pending.original, now);
            let mut nat = expected_nat(&nat, &keys, &pending.original);
            nat.source = pair.map_or(nat.source, |dst| {
                Some(NatRange::to_address(dst.address).with_ports(dst.part, dst.part))
            });
            pending.is_exhausted = self.set_up_nat(pending, &nat, now).is_err();
        }
    }

    /// The address to which the source of an expected stream is translated, because its master expects
    /// streams to that source as well: the sender announced it (`nf_nat_sip_expected`).
    fn pair_of_stream(
        &self,
        expectation: &Expectation,
        original: &Tuple,
        now: Time,
    ) -> Option<Endpoint> {
        let function = expectation.nat?.function;
        if function != ExpectFunction::Sip || expectation.class == SIGNALLING {
            return None;
        }
        let pair = self
            .expectations
            .newest_of(expectation.master, now, |other| {
                let is_target = other.nat.is_some_and(|nat| nat.target == original.src());
                let is_same_protocol = other.tuple.protocol() == original.protocol();
                other.id != expectation.id && is_target && is_same_protocol
            });
        pair.map(|pair| pair.tuple.dst())
    }

    /// Inserts a connection, and takes its expectation if it is an expected one. If another packet has
    /// taken it, the connection clashes with that packet's.
    pub(super) fn insert_expected(
        &self,
        pending: &mut Pending,
        now: Time,
    ) -> Result<Inserted, CommitError> {
        let Some(master) = pending.data.master() else {
            return self.insert(pending, now);
        };
        let (original, zone) = (pending.original, pending.zone);
        let Some(taken) = self.expectations.take(&original, zone.id(), master, now) else {
            // A packet of the same connection may have taken it, on another core.
            return match self.find(&original, zone, now) {
                Some(_) => self.insert(pending, now),
                None => Err(CommitError::Clash),
            };
        };
        let result = self.insert(pending, now);
        if result.is_ok() {
            self.stats.expect_new.add(1);
            // A tunnel is there: its other direction is not expected any more. As in Linux
            // (`pptp_nat_expected`), it is if the server of a translated client was first.
            let is_from_server = taken
                .nat
                .is_some_and(|nat| nat.direction == Direction::Reply);
            if taken.helper == Some(Helper::Pptp) && !is_from_server {
                self.forget_some(master, 1, |one| one.id != taken.id);
            }
        }
        // If the insertion failed, the sender may try again. If there is another expectation meanwhile,
        // that one holds.
        let stays = taken.flags.contains(ExpectFlags::PERMANENT)
            || result.is_err() && self.expectations.put_back(&taken, now);
        if !stays {
            self.report_expectation(Change::Removed, &taken);
        }
        result
    }

    /// Lets the helper of a connection that was just inserted read its first packet.
    pub(super) fn read_first(
        &self,
        connection: ConnectionRef,
        packet: &[u8],
        now: Time,
    ) -> Reading {
        let slot = self.table.slot(connection);
        let Some(mut data) = slot.lock(connection.generation) else {
            return Reading::default();
        };
        if data.extension.is_none() {
            return Reading::default();
        }
        let keys = self.table.keys(connection);
        let (Some(keys), Ok(headers)) = (keys, Headers::parse(packet)) else {
            return Reading::default();
        };
        let packet = Packet {
            connection,
            keys: &keys,
            direction: Direction::Original,
            status: slot.status(),
            message: headers.message(packet),
            now,
        };
        let mut reading = self.read(&mut data, slot, packet);
        if let Some(timeout) = reading.timeout.take() {
            // No timeout of a first packet is longer than a helper's.
            slot.set_deadline(now + timeout);
        }
        reading
    }

    /// Lets a connection's helper, if it has one, read a packet.
    #[inline(never)]
    pub(super) fn read(&self, data: &mut Data, slot: &Slot, packet: Packet<'_>) -> Reading {
        let Some(extension) = &mut data.extension else {
            return Reading::default();
        };
        let mut reading = Reading::default();
        if let Some(state) = &mut extension.helper {
            let mut session = Session::new(self, state.helper(), packet);
            let read = state.read(&mut session);
            reading.timeout = session.timeout;
            if let Err(reason) = read {
                self.stats.count_drop(reason);
                reading.must_drop = true;
                return reading;
            }
            let former = session.received().map_or(0, <[u8]>::len);
            let seq = session.seq();
            reading.ended = session.ended;
            reading.port = session.port;
            reading.payload = session.payload.map(Vec::into_boxed_slice);
            let length = reading.payload.as_ref().map_or(former, |new| new.len());
            if length != former && packet.protocol() == Protocol::TCP {
                slot.set_status(Status::SEQ_ADJUST);
                let adjustments = extension.adjustments.get_or_insert_default();
                let longer = length as i32 - former as i32;
                adjustments.add(packet.direction, seq, longer);
            }
        }
        reading.adjustments = extension.adjustments;
        reading
    }

    /// Removes the expected connections, or the expectations, that a packet's helper has ended.
    pub(super) fn end_expected(&self, reading: &mut Reading, zone: Zone, now: Time) {
        for tuple in std::mem::take(&mut reading.ended) {
            self.end_one(&tuple, zone, RemovalReason::Packet, now);
        }
    }

    /// As [`Tracker::end_expected`], of a connection that was removed.
    pub(super) fn end_siblings(&self, removed: &Removed, now: Time) {
        let extension = removed.data.extension.as_ref();
        let helper = extension.and_then(|extension| extension.helper.as_ref());
        if let Some(tuples) = helper.and_then(|helper| helper.siblings(&removed.keys)) {
            self.gre_keys.remove(removed.id);
            for tuple in &tuples {
                self.end_one(tuple, removed.keys.zone(), RemovalReason::Master, now);
            }
        }
    }

    /// Removes the connection with a tuple or, if there is none, the expectation.
    fn end_one(&self, tuple: &Tuple, zone: Zone, reason: RemovalReason, now: Time) {
        if let Some((connection, _)) = self.find(tuple, zone, now) {
            self.remove(connection, reason, now);
        } else if let Some(one) = self.expectations.peek(tuple, zone.id(), now, |_| true) {
            self.remove_expectation(one.id);
        }
    }

    /// Adds expectations of one master and class, all of them or none, and returns their numbers.
    pub(crate) fn add_expectations<const N: usize>(
        &self,
        new: [Expectation; N],
        limits: &Limits,
        now: Time,
    ) -> Result<[u64; N], ExpectError> {
        let report = |change, one: &Expectation| self.report_expectation(change, one);
        let ids = self.expectations.add(new, limits, now, &report)?;
        self.stats.expect_create.add(N as u64);
        Ok(ids)
    }

    /// Removes an expectation. Returns whether it was there.
    pub(crate) fn remove_expectation(&self, id: u64) -> bool {
        let report = |change, one: &Expectation| self.report_expectation(change, one);
        self.expectations.remove(id, &report).is_some()
    }

    /// Removes the expectations of a connection that has ended.
    pub(super) fn remove_expectations(&self, master: ConnectionRef, data: &Data) {
        // One without a helper has those of a control plane at most.
        if data.helper().is_some() || !self.expectations.is_empty() {
            self.forget_expectations(master);
        }
    }

    /// Removes the expectations of a connection.
    pub(super) fn forget_expectations(&self, master: ConnectionRef) {
        self.forget_some(master, usize::MAX, |_| true);
    }

    /// Removes expectations of a connection that `is_wanted`, the newest first, at most `limit`.
    pub(crate) fn forget_some(
        &self,
        master: ConnectionRef,
        limit: usize,
        is_wanted: impl Fn(&Expectation) -> bool,
    ) {
        let report = |change, one: &Expectation| self.report_expectation(change, one);
        self.expectations
            .remove_of_master(master, limit, is_wanted, &report);
    }

    /// Removes at most `limit` expectations whose time has passed.
    pub(super) fn expire_expectations(&self, now: Time, limit: usize) {
        let report = |change, one: &Expectation| self.report_expectation(change, one);
        self.expectations.expire(now, limit, &report);
    }

    /// Counts and reports a change of the expectations.
    pub(crate) fn report_expectation(&self, change: Change, expectation: &Expectation) {
        match change {
            Change::Added => self.events.send(
                |mask| mask.expect_new,
                || Event::ExpectNew(expectation.clone()),
            ),
            Change::Removed => {
                self.stats.expect_delete.add(1);
                self.events.send(
                    |mask| mask.expect_destroy,
                    || Event::ExpectDestroy(expectation.clone()),
                );
            }
        }
    }
}

/// The translation of an expected connection, whose master has `keys`.
fn expected_nat(nat: &ExpectNat, keys: &Keys, original: &Tuple) -> Nat {
    let this = keys.tuple(nat.direction);
    let other = keys.tuple(nat.direction.opposite());
    let port = nat.target.part;
    let to = |address| NatRange::to_address(address);
    match nat.function {
        ExpectFunction::FollowMaster | ExpectFunction::Q931 => Nat {
            source: Some(to(other.dst().address)),
            destination: Some(to(other.src().address).with_ports(port, port)),
        },
        ExpectFunction::Sip => Nat {
            source: (original.src().address == this.src().address).then(|| to(other.dst().address)),
            destination: Some(to(nat.target.address).with_ports(port, port)),
        },
        ExpectFunction::CallForwarding => {
            // The source of the opposite direction's tuple.
            let source = match nat.direction {
                Direction::Original => original.dst(),
                Direction::Reply => original.src(),
            };
            Nat {
                source: Some(to(source.address)),
                destination: Some(to(nat.target.address).with_ports(port, port)),
            }
        }
        ExpectFunction::Pptp => {
            let (mut source, mut destination) = (to(other.dst().address), to(other.src().address));
            match nat.direction {
                Direction::Original => source = source.with_ports(port, port),
                Direction::Reply => destination = destination.with_ports(port, port),
            }
            Nat {
                source: Some(source),
                destination: Some(destination),
            }
        }
    }
}
