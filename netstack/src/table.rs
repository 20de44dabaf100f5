// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connections of a stack: places, the way to them by addresses and ports, and limits.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use crate::connection::{Connection, Phase};
use crate::counters::Counters;
use crate::tuple::Tuple;
use crate::Limits;

/// The connections. A place is an index of `places`; memory for one is allocated when it is used first.
pub(crate) struct Table<S> {
    pub(crate) places: Vec<Connection<S>>,
    free: Vec<u32>,
    by_tuple: HashMap<Tuple, u32>,
    by_client: HashMap<IpAddr, u32>,
    /// Connections in their handshake and in TIME-WAIT, oldest first, with the use of their place:
    /// stale entries are skipped.
    half_open: VecDeque<(u32, u32)>,
    half_open_count: usize,
    time_wait: VecDeque<(u32, u32)>,
    limits: Limits,
}

impl<S> Table<S> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            by_tuple: HashMap::with_capacity(limits.connections),
            by_client: HashMap::new(),
            half_open: VecDeque::new(),
            half_open_count: 0,
            time_wait: VecDeque::new(),
            limits,
        }
    }

    pub(crate) fn find(&self, tuple: &Tuple) -> Option<u32> {
        self.by_tuple.get(tuple).copied()
    }

    pub(crate) fn get(&mut self, index: u32) -> &mut Connection<S> {
        &mut self.places[index as usize]
    }

    /// Returns the number of connections, in all phases.
    pub(crate) fn len(&self) -> usize {
        self.by_tuple.len()
    }

    /// Returns all connections.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> + use<'_, S> {
        self.by_tuple.values().copied()
    }

    /// Returns the connections in their handshake.
    fn half_open(&self) -> impl Iterator<Item = u32> + use<'_, S> {
        let live = self.half_open.iter().filter(|(index, use_count)| {
            let place = &self.places[*index as usize];
            place.use_count == *use_count && place.phase == Phase::Handshake
        });
        live.map(|(index, _)| *index)
    }

    /// Lists the connections whose SYN is not answered yet, which wait for the MAC address of a neighbour.
    pub(crate) fn list_silent(&mut self, listed: &mut Vec<u32>) {
        for (index, use_count) in &self.half_open {
            let place = &mut self.places[*index as usize];
            let waits = place.silent && place.phase == Phase::Handshake;
            if waits && place.use_count == *use_count && !place.listed {
                place.listed = true;
                listed.push(*index);
            }
        }
    }

    /// Takes a place for a SYN; refusals are counted.
    pub(crate) fn open(&mut self, tuple: Tuple, now: Instant, counters: &Counters) -> Option<u32> {
        let client = self.by_client.get(&tuple.remote.0).copied().unwrap_or(0);
        if self.limits.per_client != 0 && client as usize >= self.limits.per_client {
            counters.refused_client_limit.add(1);
            return None;
        }
        if self.half_open_count >= self.limits.half_open {
            self.drop_half_open(counters);
        }
        let is_full = self.len() >= self.limits.connections;
        if is_full && !self.drop_time_wait(counters) && !self.drop_half_open(counters) {
            counters.refused_limit.add(1);
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.places.len()).ok()?;
                self.places.push(Connection::new(&self.limits, tuple));
                index
            }
        };
        let place = &mut self.places[index as usize];
        if !place.listen(tuple, now + self.limits.handshake) {
            place.phase = Phase::Free;
            self.free.push(index);
            return None;
        }
        let use_count = place.use_count;
        self.by_tuple.insert(tuple, index);
        *self.by_client.entry(tuple.remote.0).or_insert(0) += 1;
        self.half_open_count += 1;
        self.half_open.push_back((index, use_count));
        trim(
            &mut self.half_open,
            &self.places,
            Phase::Handshake,
            &self.limits,
        );
        Some(index)
    }

    /// Moves a connection to another phase.
    pub(crate) fn set_phase(&mut self, index: u32, phase: Phase) {
        let place = &mut self.places[index as usize];
        if place.phase == Phase::Handshake && phase != Phase::Handshake {
            self.half_open_count -= 1;
        }
        place.phase = phase;
        if phase == Phase::TimeWait {
            self.time_wait.push_back((index, place.use_count));
            trim(&mut self.time_wait, &self.places, phase, &self.limits);
        }
    }

    /// Frees a place, and returns its session.
    pub(crate) fn close(&mut self, index: u32) -> Option<S> {
        if self.places[index as usize].phase == Phase::Free {
            return None;
        }
        self.set_phase(index, Phase::Free);
        let place = &mut self.places[index as usize];
        place.deadline = None;
        let tuple = place.tuple;
        let session = place.session.take();
        self.by_tuple.remove(&tuple);
        if let Some(count) = self.by_client.get_mut(&tuple.remote.0) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&tuple.remote.0);
            }
        }
        self.free.push(index);
        session
    }

    /// Drops the oldest connection in its handshake: a flood of SYN costs those that are most likely its
    /// own. Returns `false` if there is none.
    fn drop_half_open(&mut self, counters: &Counters) -> bool {
        let oldest = self.half_open().next();
        if let Some(oldest) = oldest {
            self.close(oldest);
            counters.dropped_half_open.add(1);
        }
        oldest.is_some()
    }

    /// Drops the oldest connection in TIME-WAIT. Returns `false` if there is none.
    fn drop_time_wait(&mut self, counters: &Counters) -> bool {
        while let Some((index, use_count)) = self.time_wait.pop_front() {
            let place = &self.places[index as usize];
            if place.use_count == use_count && place.phase == Phase::TimeWait {
                self.close(index);
                counters.dropped_time_wait.add(1);
                return true;
            }
        }
        false
    }
}

/// Removes stale entries when a list has become long, so that it has a bound.
fn trim<S>(
    list: &mut VecDeque<(u32, u32)>,
    places: &[Connection<S>],
    phase: Phase,
    limits: &Limits,
) {
    let live = |entry: &(u32, u32)| {
        let place = &places[entry.0 as usize];
        place.use_count == entry.1 && place.phase == phase
    };
    while list.front().is_some_and(|entry| !live(entry)) {
        list.pop_front();
    }
    if list.len() > 2 * limits.connections {
        list.retain(live);
    }
}
