// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets in bursts: what the lookups of all of them need is fetched from memory at the same time.

use super::{Input, Tracked, Tracker};
use crate::packet::{Headers, Malformed};
use crate::table::ConnectionRef;
use crate::time::Time;
use crate::tuple::{Direction, Protocol, Tuple};
use crate::zone::Zone;

/// The number of packets of a burst whose lookups overlap.
pub const BURST: usize = 32;

/// A packet's headers, and the tuple that will be looked up for it.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    pub(super) headers: Result<Headers, Malformed>,
    /// Absent if the tuple depends on more than the packet, or there is none.
    pub(super) wanted: Option<Wanted>,
    /// The connection that [`Tracker::locate`] has found, and the packet's direction in it.
    pub(super) located: Option<(ConnectionRef, Direction)>,
}

/// A tuple that is looked up, and the hash of its key in the original direction's zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) tuple: Tuple,
    pub(super) hash: u64,
}

impl Prepared {
    /// The packet's headers, if they can be read.
    pub fn headers(&self) -> Option<&Headers> {
        self.headers.as_ref().ok()
    }
}

impl Tracker {
    pub(super) fn wanted(&self, tuple: Tuple, zone: Zone) -> Wanted {
        let hash = self.table.hash(&tuple.key(zone.id_in(Direction::Original)));
        Wanted { tuple, hash }
    }

    /// Prepares tracking a packet ([`Tracker::track_prepared`]): reads its headers, and prefetches the
    /// part of the index that its lookup needs. It depends on the packet only, not on what the tracker
    /// knows, so packets may be tracked between.
    pub fn prepare(&self, input: &Input<'_>) -> Prepared {
        let headers = Headers::parse(input.packet);
        let wanted = headers.ok().and_then(|headers| {
            let is_whole = headers.fragment.is_none_or(|fragment| fragment.is_whole());
            // The tuple of GRE depends on the tunnels that are known by then.
            if !is_whole || headers.protocol == Protocol::GRE {
                return None;
            }
            let tuple = headers.tuple(input.packet).ok()?;
            let wanted = self.wanted(tuple, input.zone);
            self.table.prefetch(wanted.hash);
            Some(wanted)
        });
        Prepared {
            headers,
            wanted,
            located: None,
        }
    }

    /// Finds the connection that has the packet, to be called right before the packet is tracked:
    /// [`Tracker::track_prepared`] does not search again then. Absent if it has none, or which one it
    /// has depends on more than its own tuple, as an ICMP error's does.
    pub fn locate(
        &self,
        input: &Input<'_>,
        prepared: &mut Prepared,
        now: Time,
    ) -> Option<ConnectionRef> {
        let wanted = prepared.wanted.as_ref()?;
        if matches!(wanted.tuple.protocol(), Protocol::ICMP | Protocol::ICMPV6) {
            return None;
        }
        prepared.located = self.find_wanted(wanted, input.zone, now);
        prepared.located.map(|(connection, _)| connection)
    }

    /// Prefetches what the lookup of a packet needs beside the index: to be called when the part of
    /// the index has arrived, which the preparation of some other packets takes.
    pub fn prefetch(&self, prepared: &Prepared) {
        if let Some(wanted) = &prepared.wanted {
            self.table.prefetch_slots(wanted.hash);
        }
    }

    /// Tracks packets as [`Tracker::track`] does, in their order, while the memory that they need is
    /// fetched for up to [`BURST`] of them at a time. `tracked` gets the number of each and its result
    /// before the next one is tracked, and may commit it.
    pub fn track_burst(
        &self,
        inputs: &[Input<'_>],
        now: Time,
        mut tracked: impl FnMut(usize, Tracked),
    ) {
        for (burst, inputs) in inputs.chunks(BURST).enumerate() {
            let mut prepared = [const { None }; BURST];
            for (prepared, input) in prepared.iter_mut().zip(inputs) {
                *prepared = Some(self.prepare(input));
            }
            for prepared in prepared.iter().flatten() {
                self.prefetch(prepared);
            }
            for (at, (prepared, input)) in prepared.iter().flatten().zip(inputs).enumerate() {
                let result = self.track_prepared(input, prepared, now);
                tracked(burst * BURST + at, result);
            }
        }
    }
}
