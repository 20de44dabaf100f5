// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets in bursts: what the lookups of all of them need is fetched from memory at the same time.

use super::{Input, Tracked, Tracker};
use crate::packet::{Headers, Malformed};
use crate::table::{Candidate, ConnectionRef};
use crate::time::Time;
use crate::tuple::{Direction, Key, Protocol, Tuple};
use crate::zone::Zone;

/// A number of packets of a burst with which most of the waiting for memory overlaps.
pub const BURST: usize = 32;

/// The number of packets of a burst that are prepared when the first of them is tracked. The slots of a
/// packet are fetched half way between: of all of a burst at once, a core would wait for.
const WINDOW: usize = 16;

/// A packet's headers, and the tuple that will be looked up for it.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    pub(super) headers: Result<Headers, Malformed>,
    /// Absent if the tuple depends on more than the packet, or there is none.
    pub(super) wanted: Option<Wanted>,
    /// The connection that [`Tracker::locate`] has found, and the packet's direction in it.
    pub(super) located: Option<(ConnectionRef, Direction)>,
}

/// The key that is looked up: that of a tuple in the original direction's zone, and its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) key: Key,
    pub(super) hash: u64,
    /// A place that may have the key.
    pub(super) candidate: Option<Candidate>,
}

impl Prepared {
    /// The packet's headers, if they can be read.
    pub fn headers(&self) -> Option<&Headers> {
        self.headers.as_ref().ok()
    }
}

impl Tracker {
    #[inline]
    pub(super) fn wanted(&self, tuple: &Tuple, zone: Zone) -> Wanted {
        let key = tuple.key(zone.id_in(Direction::Original));
        Wanted {
            hash: self.table.hash(&key),
            key,
            candidate: None,
        }
    }

    /// Prepares tracking a packet ([`Tracker::track_prepared`]): reads its headers, and prefetches the
    /// part of the index that its lookup needs. It depends on the packet only, not on what the tracker
    /// knows, so packets may be tracked between.
    #[inline]
    pub fn prepare(&self, input: &Input<'_>) -> Prepared {
        self.prepare_with(input, |hash| self.table.prefetch(hash))
    }

    /// Prepares a packet that is looked up at once: there is nothing to prefetch.
    #[inline]
    pub(super) fn prepare_at_once(&self, input: &Input<'_>) -> Prepared {
        self.prepare_with(input, |_| ())
    }

    #[inline(always)]
    fn prepare_with(&self, input: &Input<'_>, prefetch: impl FnOnce(u64)) -> Prepared {
        let headers = Headers::parse(input.packet);
        let wanted = match &headers {
            Ok(headers) => self.wanted_early(headers, input, prefetch),
            Err(_) => None,
        };
        // Made last: of one that is changed after it was made, its parts are copied byte by byte.
        Prepared {
            headers,
            wanted,
            located: None,
        }
    }

    /// The key of a packet, if it depends on nothing but the packet; `prefetch` is called with its hash.
    #[inline(always)]
    fn wanted_early(
        &self,
        headers: &Headers,
        input: &Input<'_>,
        prefetch: impl FnOnce(u64),
    ) -> Option<Wanted> {
        let is_whole = headers.fragment.is_none_or(|fragment| fragment.is_whole());
        // The tuple of GRE depends on the tunnels that are known by then.
        if !is_whole || headers.protocol == Protocol::GRE {
            return None;
        }
        let tuple = headers.tuple(input.packet).ok()?;
        let wanted = self.wanted(&tuple, input.zone);
        prefetch(wanted.hash);
        Some(wanted)
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
        if matches!(
            Protocol::of_key(&wanted.key),
            Protocol::ICMP | Protocol::ICMPV6
        ) {
            return None;
        }
        prepared.located = self.find_wanted(wanted, input.zone, now);
        prepared.located.map(|(connection, _)| connection)
    }

    /// Prefetches what the lookup of a packet needs beside the index, and keeps the place that the
    /// lookup begins with: to be called when the part of the index has arrived, which the preparation
    /// of some other packets takes.
    pub fn prefetch(&self, prepared: &mut Prepared) {
        if let Some(wanted) = &mut prepared.wanted {
            wanted.candidate = self.table.prefetch_slots(wanted.hash);
        }
    }

    /// Tracks packets as [`Tracker::track`] does, in their order, while the memory that those behind
    /// them need is fetched. `tracked` gets the number of each and its result before the next one is
    /// tracked, and may commit it.
    pub fn track_burst(
        &self,
        inputs: &[Input<'_>],
        now: Time,
        mut tracked: impl FnMut(usize, Tracked),
    ) {
        let mut window = [const { None::<Prepared> }; WINDOW];
        for number in 0..inputs.len() + WINDOW {
            if let (Some(prepared), Some(first)) =
                (&window[number % WINDOW], number.checked_sub(WINDOW))
            {
                let result = self.track_prepared(&inputs[first], prepared, now);
                tracked(first, result);
            }
            window[number % WINDOW] = inputs.get(number).map(|input| self.prepare(input));
            if let Some(prepared) = &mut window[(number + WINDOW / 2) % WINDOW] {
                self.prefetch(prepared);
            }
        }
    }
}
