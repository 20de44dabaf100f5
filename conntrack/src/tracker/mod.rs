// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tracker: finds a packet's connection, and keeps it up to date (`nf_conntrack_in`).

mod commit;
mod control;
mod create;
mod expected;
mod icmp_error;
mod known;
mod prepare;
mod shared;
mod spare;
#[cfg(test)]
mod tests;
mod tracked;

use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::bits::Status;
use crate::checksum;
use crate::entry::Connection;
use crate::events::{Changes, Event, Events};
use crate::expect::Expectations;
use crate::gre::GreKeys;
use crate::hash::Seed;
use crate::helper::Packet;
use crate::nat::{Exhausted, ReservedPorts, Sources};
use crate::packet::{Headers, Malformed};
use crate::proto::{self, icmp, icmpv6, Context, Invalid, Outcome};
use crate::settings::{PolicyId, Settings};
use crate::stats::{Refused, Stats};
use crate::table::{ConnectionRef, Keys, RemovalReason, Removed, Table};
use crate::time::Time;
use crate::tuple::{Direction, Family, Protocol, Tuple};
use crate::zone::Zone;

pub use commit::{Commit, CommitError};
pub use control::{
    Cursor, Filter, NewConnection, NewExpectation, NewProto, TcpFlags, TupleFilter, Update,
    UpdateError,
};
pub(crate) use create::Pending;
pub(crate) use icmp_error::quote_offset;
pub use known::Known;
use prepare::Wanted;
pub use prepare::{Prepared, BURST};
use shared::SharedSettings;
pub use tracked::Tracked;
use tracked::{nat_state, state_of, Marks};
pub(crate) use tracked::{Association, Reading, Rewrite};

/// The number of times that a packet may begin its connection anew: the second time, the first one
/// is not there.
const MAX_REPLACEMENTS: usize = 3;

/// The state of a packet's checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// Nothing: the tracker verifies them, if the settings demand it.
    #[default]
    Unknown,
    /// They are valid, or are still to be computed.
    Valid,
}

/// A packet to be tracked.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The bytes from the IP header on. What follows the datagram is ignored.
    pub packet: &'a [u8],
    /// The zone in which its connection is.
    pub zone: Zone,
    /// The state of its checksums.
    pub checksums: Checksums,
    /// The timeout policy of a connection that it creates.
    pub policy: PolicyId,
}

impl<'a> Input<'a> {
    /// The packet in zone 0, with unknown checksums and the default timeouts.
    pub fn new(packet: &'a [u8]) -> Self {
        Input {
            packet,
            zone: Zone::DEFAULT,
            checksums: Checksums::Unknown,
            policy: PolicyId::default(),
        }
    }
}

/// A connection tracker. All its functions may be called by several threads at a time.
pub struct Tracker {
    pub(crate) table: Table,
    settings: SharedSettings,
    pub(crate) stats: Stats,
    pub(crate) events: Events,
    pub(crate) expectations: Expectations,
    pub(crate) sources: Sources,
    pub(crate) gre_keys: GreKeys,
    pub(crate) reserved: ArcSwap<ReservedPorts>,
    pub(crate) exhausted: Exhausted,
    /// The key and the state of the generator that chooses ports.
    random: (Seed, AtomicU64),
}

impl Tracker {
    /// A tracker for `capacity` connections, at most 16,777,215. Allocates the memory of them all.
    pub fn new(capacity: usize, seed: Seed, settings: Settings) -> Self {
        Tracker {
            table: Table::new(capacity, seed),
            settings: SharedSettings::new(settings),
            stats: Stats::default(),
            events: Events::default(),
            expectations: Expectations::default(),
            sources: Sources::new(capacity, seed.derive(2)),
            gre_keys: GreKeys::default(),
            reserved: ArcSwap::default(),
            exhausted: Exhausted::default(),
            random: (seed.derive(1), AtomicU64::new(0)),
        }
    }

    /// A port that who does not have the seed cannot predict.
    pub(crate) fn random_port(&self) -> u16 {
        let (seed, count) = &self.random;
        seed.hash(&[count.fetch_add(1, Ordering::Relaxed)]) as u16
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        self.settings.get()
    }

    /// Replaces the settings. Timeouts apply from the next packet of a connection on.
    pub fn set_settings(&self, settings: Settings) {
        self.settings.set(settings);
    }

    /// Finds or creates the packet's connection and updates it. A connection that it creates is not
    /// in the table before [`Tracker::commit`].
    pub fn track(&self, input: &Input<'_>, now: Time) -> Tracked {
        self.track_prepared(input, &self.prepare_at_once(input), now)
    }

    /// As [`Tracker::track`], of a packet that was prepared with the same `input`.
    pub fn track_prepared(&self, input: &Input<'_>, prepared: &Prepared, now: Time) -> Tracked {
        let mut tracked = Tracked::without_connection();
        self.track_in_place(input, prepared, now, &mut tracked);
        tracked
    }

    /// As [`Tracker::track_prepared`]. The result is made in the place of `tracked`, which is
    /// [`Tracked::without_connection`]: copies of it would be much of a packet's time.
    pub fn track_in_place(
        &self,
        input: &Input<'_>,
        prepared: &Prepared,
        now: Time,
        tracked: &mut Tracked,
    ) {
        debug_assert!(tracked.is_unset());
        let result = self
            .settings
            .with(|settings| self.track_with(settings, input, prepared, now, tracked));
        if let Err(refused) = result {
            self.refuse(refused, tracked);
        }
    }

    #[cold]
    fn refuse(&self, refused: Refused, tracked: &mut Tracked) {
        self.stats.count_refused(refused);
        *tracked = Tracked::invalid(refused.reason());
    }

    /// Tracks a packet, of which `tracked` has no connection yet.
    fn track_with(
        &self,
        settings: &Settings,
        input: &Input<'_>,
        prepared: &Prepared,
        now: Time,
        tracked: &mut Tracked,
    ) -> Result<(), Refused> {
        let packet = input.packet;
        let headers = prepared.headers.as_ref().map_err(|&it| Invalid::from(it))?;
        if headers
            .fragment
            .is_some_and(|fragment| !fragment.is_whole())
        {
            return Err(Invalid::from(Malformed::Fragment).into());
        }
        if input.checksums == Checksums::Unknown {
            verify_checksums(settings, headers, packet).map_err(|reason| {
                if reason == Invalid::Checksum && is_icmp(headers) {
                    Refused::Icmp(reason)
                } else {
                    Refused::Packet(reason)
                }
            })?;
        }
        if is_icmp(headers) && self.track_related(headers, input, now, tracked)? {
            return Ok(());
        }
        let completed;
        let wanted = match &prepared.wanted {
            Some(wanted) => wanted,
            None => {
                completed = self.wanted_late(headers, input)?;
                &completed
            }
        };
        let found = prepared.located;
        let found = found.or_else(|| self.find_wanted(wanted, input.zone, now));
        let Some(known) = found else {
            return Ok(self.create(settings, input, headers, wanted, now, tracked)?);
        };
        if self.track_known(settings, input, headers, known, now, tracked)? {
            return Ok(());
        }
        Ok(self.track_anew(settings, input, headers, wanted, now, tracked)?)
    }

    /// Tracks an ICMP error, if the packet is one. Returns whether it is.
    #[inline(never)]
    fn track_related(
        &self,
        headers: &Headers,
        input: &Input<'_>,
        now: Time,
        tracked: &mut Tracked,
    ) -> Result<bool, Refused> {
        let related = self.track_icmp_error(headers, input, now);
        let related = related.map_err(Refused::Icmp)?;
        let is_related = related.is_some();
        *tracked = related.unwrap_or_else(Tracked::without_connection);
        Ok(is_related)
    }

    /// Tracks a packet whose connection was removed when it was about to be tracked, or by itself.
    #[cold]
    #[allow(clippy::too_many_arguments)] // As of `create`, which it calls.
    fn track_anew(
        &self,
        settings: &Settings,
        input: &Input<'_>,
        headers: &Headers,
        wanted: &Wanted,
        now: Time,
        tracked: &mut Tracked,
    ) -> Result<(), Invalid> {
        for _ in 1..MAX_REPLACEMENTS {
            let Some(known) = self.find_wanted(wanted, input.zone, now) else {
                return self.create(settings, input, headers, wanted, now, tracked);
            };
            if self.track_known(settings, input, headers, known, now, tracked)? {
                return Ok(());
            }
        }
        Err(Invalid::TcpState)
    }

    /// The key of a packet of which the preparation could not know it.
    #[cold]
    fn wanted_late(&self, headers: &Headers, input: &Input<'_>) -> Result<Wanted, Invalid> {
        let tuple = headers.tuple(input.packet).map_err(Invalid::from)?;
        let tuple = self.gre_keys.complete(tuple, input.zone.id());
        Ok(self.wanted(&tuple, input.zone))
    }

    /// Finds a tuple in the zone of either direction.
    pub(crate) fn find(
        &self,
        tuple: &Tuple,
        zone: Zone,
        now: Time,
    ) -> Option<(ConnectionRef, Direction)> {
        self.find_wanted(&self.wanted(tuple, zone), zone, now)
    }

    #[inline]
    fn find_wanted(
        &self,
        wanted: &Wanted,
        zone: Zone,
        now: Time,
    ) -> Option<(ConnectionRef, Direction)> {
        let Wanted {
            key,
            hash,
            candidate,
        } = wanted;
        let found = self.table.lookup_hashed(key, *hash, *candidate, now);
        found.or_else(|| {
            let [original, reply] = [Direction::Original, Direction::Reply].map(|d| zone.id_in(d));
            if original == reply {
                return None;
            }
            self.table.lookup(&Tuple::from_key(key).key(reply), now)
        })
    }

    /// Tracks a packet of a connection. Returns false if the connection has been removed, and the
    /// packet begins a new one.
    // In the place of its calls, as what it calls for each packet: arguments and results that pass
    // through memory were a tenth of a packet's instructions.
    #[inline(always)]
    fn track_known(
        &self,
        settings: &Settings,
        input: &Input<'_>,
        headers: &Headers,
        (connection, direction): (ConnectionRef, Direction),
        now: Time,
        tracked: &mut Tracked,
    ) -> Result<bool, Invalid> {
        let slot = self.table.slot(connection);
        let Some(mut data) = slot.lock(connection.generation) else {
            return Ok(false);
        };
        let status = slot.status();
        let policy = PolicyId(slot.policy.load(Ordering::Relaxed));
        let message = headers.message(input.packet);
        let context = Context {
            settings,
            timeouts: settings.policy(policy),
            now,
            direction,
            status,
            deadline: slot.deadline(),
            start: data.start,
            ack_offset: data
                .adjustments()
                .map_or(0, |adjustments| adjustments.ack_offset(direction, message)),
            icmp_type: slot.icmp_type_of_locked(&data),
            family: headers.family,
        };
        let outcome = proto::handle(&mut data.proto, &context, headers.protocol, message);
        let effects = match outcome {
            Outcome::Accept(effects) => effects,
            Outcome::Invalid(reason) => return Err(reason),
            Outcome::InvalidButShorten(reason, timeout) => {
                drop(data);
                self.table.set_deadline(connection, now + timeout, now);
                return Err(reason);
            }
            Outcome::Replace => {
                drop(data);
                self.remove(connection, RemovalReason::Packet, now);
                return Ok(false);
            }
        };
        let mut changes = Changes {
            proto: effects.state_changed,
            ..Changes::default()
        };
        if effects.refresh.is_some() || effects.kill {
            data.counters[direction as usize].count(headers.end);
        }
        if effects.assured {
            changes.assured = !slot.set_status(Status::ASSURED).contains(Status::ASSURED);
        }
        // A reset that removes the connection is no reply in its last event.
        let is_reply = direction == Direction::Reply && !effects.kill;
        if is_reply && !status.contains(Status::SEEN_REPLY) {
            changes.reply = !slot
                .set_status(Status::SEEN_REPLY)
                .contains(Status::SEEN_REPLY);
        }
        let mut reading = None;
        if data.extension.is_some() {
            let packet = Packet {
                connection,
                keys: &Keys(slot.keys_of_locked(&data)),
                direction,
                status,
                message,
                now,
            };
            reading = Some(self.read(&mut data, slot, packet));
        }
        let of_helper = reading.as_ref().and_then(|reading| reading.timeout);
        let refresh = of_helper.or(effects.refresh);
        let refresh = refresh.filter(|_| !status.contains(Status::FIXED_TIMEOUT));
        let must_move = refresh.is_some_and(|timeout| slot.postpone(now + timeout, now));
        if changes.any() && !effects.kill {
            self.events.send(
                |mask| mask.update,
                || {
                    let keys = Keys(slot.keys_of_locked(&data));
                    let connection = Connection::new(connection, &keys, slot, &data, now);
                    Event::Update(connection, changes)
                },
            );
        }
        // Most packets have none, and `tracked` has none yet.
        if let Some(rewrite) =
            Rewrite::of(|| slot.key_of_locked(&data, direction.opposite()), status)
        {
            tracked.rewrite = Some(rewrite);
        }
        tracked.marks = Marks {
            mark: slot.mark.load(Ordering::Relaxed),
            label: data.label,
        };
        drop(data);
        if let Some(mut reading) = reading {
            self.end_expected(&mut reading, input.zone, now);
            tracked.reading = reading.of_packet();
        }
        if effects.kill {
            self.remove(connection, RemovalReason::Packet, now);
        } else if must_move {
            self.table.rearm(connection);
        }
        tracked.state = state_of(status, direction);
        tracked.association = if effects.kill {
            Association::Ended(direction)
        } else {
            Association::Known(connection, direction)
        };
        Ok(true)
    }

    /// Removes a connection and reports it. Returns whether it was there.
    #[inline(never)]
    pub(crate) fn remove(
        &self,
        connection: ConnectionRef,
        reason: RemovalReason,
        now: Time,
    ) -> bool {
        let removed = self.table.remove(connection, reason);
        removed
            .map(|removed| self.report_removal(&removed, now))
            .is_some()
    }

    /// Counts and reports a removed connection.
    pub(crate) fn report_removal(&self, removed: &Removed, now: Time) {
        match removed.reason {
            RemovalReason::EarlyDrop => self.stats.early_drop.add(1),
            RemovalReason::Expired => self.stats.expired.add(1),
            RemovalReason::Packet | RemovalReason::Deleted | RemovalReason::Master => {}
        }
        self.remove_expectations(removed.id, &removed.data);
        self.end_siblings(removed, now);
        self.events.send(
            |mask| mask.destroy,
            || Event::Destroy(Connection::removed(removed, now)),
        );
    }
}

/// Verifies the IPv4 header's checksum, and the transport's if the settings demand it.
fn verify_checksums(settings: &Settings, headers: &Headers, packet: &[u8]) -> Result<(), Invalid> {
    if headers.family == Family::V4 {
        let length = usize::from(packet[0] & 0xf) * 4;
        if checksum::Sum::default().bytes(&packet[..length]).fold() != 0xffff {
            return Err(Malformed::HeaderChecksum.into());
        }
    }
    if !settings.checksum {
        return Ok(());
    }
    let message = headers.message(packet);
    if checksum::is_valid(
        headers.family,
        headers.addresses(packet),
        headers.protocol,
        message,
    ) {
        Ok(())
    } else {
        Err(Invalid::Checksum)
    }
}

/// Reports whether a packet has an ICMP message of its family.
fn is_icmp(headers: &Headers) -> bool {
    matches!(
        (headers.family, headers.protocol),
        (Family::V4, Protocol::ICMP) | (Family::V6, Protocol::ICMPV6)
    )
}

/// Reports whether a message is an ICMP error of its family.
fn is_icmp_error(headers: &Headers, kind: u8) -> bool {
    match (headers.family, headers.protocol) {
        (Family::V4, Protocol::ICMP) => icmp::is_error(kind),
        (Family::V6, Protocol::ICMPV6) => icmpv6::is_error(kind),
        _ => false,
    }
}
