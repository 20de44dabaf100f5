// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connection tracking for programs (`Conntrack` in `adit.p4`): the tracker, and the packet that a
//! program tracks.

use std::sync::{Arc, OnceLock};

use adit_conntrack::packet::Headers;
use adit_conntrack::{
    Checksums, Commit, CommitError, ConnectionRef, CtState, Family, Input, PacketBuffer, PolicyId,
    Prepared, Protocol, Seed, Settings, Time, Tracked, Tracker, Translation, Zone,
};
use adit_p4_frontend::ir::{Constant, ExternInstance, Program};

use super::packet::Writer;
use super::packets::DropReason;
use super::unsupported::Unsupported;

/// Maximum number of connections of a tracker.
const MAX_CONNECTIONS: u128 = 16_777_215;
/// The seed of trackers that an engine creates: they are for tests and captures, which should have
/// the same results each time.
const SEED: [u8; 16] = *b"adit-p4 run, stf";
/// Maximum number of connections removed in one [`Connections::expire`].
const EXPIRED: usize = 1 << 16;

/// The tracker of a program's connections.
pub(super) struct Connections {
    /// The number of connections that the program needs; 0 if it tracks none.
    size: usize,
    tracker: OnceLock<Arc<Tracker>>,
    /// The tracker that the engine has created itself.
    own: OnceLock<Arc<Tracker>>,
}

/// Reasons why a program cannot use a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackerError {
    /// The table of connections is too small.
    #[error(
        "the program's `Conntrack` objects need {needed} connections, the table has {capacity}"
    )]
    TooSmall {
        /// The size of the program's objects together.
        needed: usize,
        /// The tracker's capacity.
        capacity: usize,
    },
    /// Another tracker was set, or one was created.
    #[error("the program already has another tracker of connections")]
    IsSet,
}

impl Connections {
    /// Determines the size that a program's objects have together.
    pub(super) fn new(program: &Program) -> Result<Connections, Unsupported> {
        let mut size = 0;
        for instance in program.externs.iter().filter(|e| e.kind == "Conntrack") {
            size += connections_of(instance)?;
            if size > MAX_CONNECTIONS {
                return Err(without(instance, size));
            }
        }
        Ok(Connections {
            size: size as usize,
            tracker: OnceLock::new(),
            own: OnceLock::new(),
        })
    }

    /// Sets the tracker.
    pub(super) fn set(&self, tracker: Arc<Tracker>) -> Result<(), TrackerError> {
        let (needed, capacity) = (self.size, tracker.capacity());
        if needed == 0 {
            return Ok(());
        }
        if needed > capacity {
            return Err(TrackerError::TooSmall { needed, capacity });
        }
        let set = self.tracker.get_or_init(|| tracker.clone());
        Arc::ptr_eq(set, &tracker)
            .then_some(())
            .ok_or(TrackerError::IsSet)
    }

    /// Returns whether the program tracks connections.
    pub(super) fn is_used(&self) -> bool {
        self.size > 0
    }

    /// The tracker, if it was set or created.
    pub(super) fn get(&self) -> Option<&Arc<Tracker>> {
        self.tracker.get()
    }

    /// The tracker; creates one if none was set and the program needs one.
    pub(super) fn get_or_create(&self) -> Option<Arc<Tracker>> {
        let create = || {
            let tracker = Tracker::new(self.size, Seed::new(SEED), Settings::default());
            let tracker = Arc::new(tracker);
            self.own.get_or_init(|| tracker).clone()
        };
        (self.size > 0).then(|| self.tracker.get_or_init(create).clone())
    }

    /// Removes connections whose timeout has passed, if the engine has created the tracker.
    pub(super) fn expire(&self, now_ns: u64) {
        if let Some(tracker) = self.own.get() {
            tracker.expire(Time::from_nanos(now_ns), EXPIRED);
        }
    }
}

/// The size of a `Conntrack` object.
fn connections_of(instance: &ExternInstance) -> Result<u128, Unsupported> {
    match instance.arguments.first() {
        Some(Constant::Int(size @ 1..=MAX_CONNECTIONS)) => Ok(*size),
        Some(Constant::Int(size)) => Err(without(instance, *size)),
        _ => Err(without(instance, 0)),
    }
}

fn without(instance: &ExternInstance, size: u128) -> Unsupported {
    let name = &instance.name;
    Unsupported {
        place: instance.place.clone(),
        what: format!(
            "`{name}` of {size} connections; 1 to {MAX_CONNECTIONS} are, of all together"
        ),
    }
}

/// A packet that is about to be tracked.
pub(super) struct PreparedPacket {
    prepared: Prepared,
    at: usize,
    zone: Zone,
    checksums: Checksums,
    is_prefetched: bool,
}

impl PreparedPacket {
    /// Prepares the packet whose IP header is at `at` in `data`.
    pub(super) fn new(
        tracker: &Tracker,
        data: &[u8],
        at: usize,
        zone: Zone,
        checksums: Checksums,
    ) -> PreparedPacket {
        PreparedPacket {
            prepared: tracker.prepare(&input(data, at, zone, checksums)),
            at,
            zone,
            checksums,
            is_prefetched: false,
        }
    }

    /// Prefetches its connection, if that has not been done.
    pub(super) fn prefetch(&mut self, tracker: &Tracker) {
        if !std::mem::replace(&mut self.is_prefetched, true) {
            tracker.prefetch(&mut self.prepared);
        }
    }

    /// Finds its connection ([`Tracker::locate`]).
    pub(super) fn locate(
        &mut self,
        tracker: &Tracker,
        data: &[u8],
        now: Time,
    ) -> Option<ConnectionRef> {
        let input = input(data, self.at, self.zone, self.checksums);
        tracker.locate(&input, &mut self.prepared, now)
    }

    /// Tracks it; the result is made in its place, since copies of it cost.
    pub(super) fn track<'a>(
        &self,
        tracker: &Tracker,
        data: &[u8],
        now: Time,
        tracked: &'a mut Option<TrackedPacket>,
    ) -> &'a TrackedPacket {
        let input = input(data, self.at, self.zone, self.checksums);
        let packet = tracked.insert(TrackedPacket {
            tracked: Tracked::without_connection(),
            kind: self.prepared.headers().map(Kind::of),
            at: self.at,
            zone: self.zone,
            checksums: self.checksums,
            is_refused: false,
        });
        tracker.track_in_place(&input, &self.prepared, now, &mut packet.tracked);
        packet
    }
}

/// A packet that the program has tracked in the current pass.
pub(super) struct TrackedPacket {
    tracked: Tracked,
    kind: Option<Kind>,
    /// The offset of the IP header in the packet's data.
    at: usize,
    zone: Zone,
    checksums: Checksums,
    /// Set if its connection could not be committed.
    is_refused: bool,
}

impl TrackedPacket {
    /// The packet as the tracker has classified it.
    pub(super) fn tracked(&self) -> &Tracked {
        &self.tracked
    }

    /// The zone that it was tracked in.
    pub(super) fn zone(&self) -> Zone {
        self.zone
    }

    /// The bytes from the IP header on.
    pub(super) fn packet<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(self.at..).unwrap_or_default()
    }

    /// Ends its connection, and tracks it again. An ICMP error about a connection is not a packet
    /// of it.
    pub(super) fn forget(&mut self, tracker: &Tracker, data: &[u8], now: Time) {
        if self.tracked.is_related_error() {
            return;
        }
        if let Some(connection) = self.tracked.connection() {
            tracker.end(connection, now);
            let input = input(data, self.at, self.zone, self.checksums);
            self.tracked = tracker.track(&input, now);
        }
    }

    /// Commits its connection.
    pub(super) fn commit(
        &mut self,
        tracker: &Tracker,
        data: &[u8],
        commit: &Commit,
        now: Time,
    ) -> Result<(), CommitError> {
        let input = input(data, self.at, self.zone, self.checksums);
        tracker.commit(&mut self.tracked, &input, commit, now)
    }

    /// Has the packet dropped at the end of the pass.
    pub(super) fn refuse(&mut self) {
        self.is_refused = true;
    }

    /// The headers of a packet that the program has made, if they are of the kinds of the one that was
    /// tracked.
    fn headers_of_same_kind(&self, made: &[u8]) -> Option<Headers> {
        let headers = Headers::parse(made).ok()?;
        (Some(Kind::of(&headers)) == self.kind).then_some(headers)
    }

    /// Translates the packet that a pass has made: what the deparser has written, and `data` from
    /// `taken` on. If it is translated, all of it is in `writer` then. Returns the number of bytes of
    /// `data` that `writer` replaces.
    pub(super) fn translate(
        &self,
        tracker: &Tracker,
        data: &[u8],
        taken: usize,
        writer: &mut Writer,
    ) -> Result<usize, DropReason> {
        if self.is_refused {
            return Err(DropReason::NotCommitted);
        }
        if self.tracked.must_drop() {
            return Err(DropReason::Helper);
        }
        let state = self.tracked.state();
        let is_translated = [CtState::SRC_NAT, CtState::DST_NAT].map(|bit| state.contains(bit));
        if is_translated == [false; 2] && self.tracked.translated().is_none() {
            return Ok(taken);
        }
        // The headers from the IP header on are the last ones that the deparser has written: others
        // may have been added or removed only in front of them.
        let end = writer.bytes().len() + self.at;
        writer.append(data.get(taken..).unwrap_or_default());
        let translation = end
            .checked_sub(taken)
            .zip(writer.aligned())
            .map(|(at, bytes)| {
                let headers = bytes.get(at..).and_then(|it| self.headers_of_same_kind(it));
                let Some(headers) = headers else {
                    return Translation::Drop;
                };
                let mut packet = IpPacket { at, bytes };
                tracker.translate_parsed(&self.tracked, &mut packet, Some(&headers))
            });
        let translation = translation.unwrap_or(Translation::Drop);
        match translation {
            Translation::Unchanged | Translation::Rewritten => Ok(data.len()),
            Translation::Drop => Err(DropReason::Untranslatable),
        }
    }
}

fn input(data: &[u8], at: usize, zone: Zone, checksums: Checksums) -> Input<'_> {
    Input {
        packet: data.get(at..).unwrap_or_default(),
        zone,
        checksums,
        policy: PolicyId::default(),
    }
}

/// The headers of a packet that has one, by their kinds and lengths.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    family: Family,
    protocol: Protocol,
    transport: usize,
}

impl Kind {
    fn of(headers: &Headers) -> Kind {
        Kind {
            family: headers.family,
            protocol: headers.protocol,
            transport: headers.transport,
        }
    }
}

/// A packet in a buffer, from its IP header on.
struct IpPacket<'a> {
    at: usize,
    bytes: &'a mut Vec<u8>,
}

impl PacketBuffer for IpPacket<'_> {
    fn octets(&mut self) -> &mut [u8] {
        &mut self.bytes[self.at..]
    }

    fn replace_end(&mut self, at: usize, end: &[u8]) -> bool {
        self.bytes.truncate(self.at + at);
        self.bytes.extend_from_slice(end);
        true
    }
}

#[cfg(test)]
mod tests;
