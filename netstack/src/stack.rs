// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stack of one thread.

mod addresses;
mod announce;

use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_adi::Wakeup;
use smoltcp::iface::{Interface, PollResult, SocketSet};
use smoltcp::socket::tcp::State;
use smoltcp::time;
use smoltcp::wire::{EthernetAddress, HardwareAddress};

use crate::connection::Phase;
use crate::phy::Phy;
use crate::table::Table;
use crate::timers::Timers;
use crate::tuple::{self, Content, Drop, Tuple};
use crate::{Config, Counters, Error, Frame, Mesh, Next, Port, Service, Socket};
use addresses::{set_addresses, set_gateways};
use announce::Announcements;

/// Frames that are received at once.
const BURST: usize = 32;
/// Segments that a connection may send before others take their turn.
const SEGMENTS: usize = 16;
/// The pause before a connection is asked again that says it can send and does not.
const STALLED: Duration = Duration::from_millis(1);
/// The minimum time between two looks at the connections that wait for a neighbour: each may concern all
/// half-open ones, while a frame of ARP costs its sender nothing.
const NEIGHBOURS: Duration = Duration::from_millis(1);

/// A TCP server on one port of a device.
pub struct Stack<P: Port, S: Service> {
    interface: Interface,
    phy: Phy<P>,
    /// For frames of no connection.
    no_sockets: SocketSet<'static>,
    table: Table<S::Session>,
    timers: Timers,
    service: S,
    mesh: Option<Mesh>,
    counters: Arc<Counters>,
    config: Config,
    mac: EthernetAddress,
    /// The origin of smoltcp's time.
    start: Instant,
    frames: Vec<P::Frame>,
    /// Connections to look at in this turn, and in the next one.
    listed: Vec<u32>,
    looking_at: Vec<u32>,
    /// Set when a neighbour may have been learned for which connections wait.
    learned: bool,
    /// The time before which these connections are not looked at.
    neighbours_at: Instant,
    announcements: Announcements,
    stopping: bool,
}

impl<P: Port, S: Service> Stack<P, S> {
    /// Creates a stack that accepts connections from now on.
    ///
    /// # Errors
    /// Fails when the configuration is not possible.
    pub fn new(port: P, config: Config, service: S, mesh: Option<Mesh>) -> Result<Self, Error> {
        let mac = EthernetAddress(config.mac);
        if !mac.is_unicast() {
            return Err(Error::Mac);
        }
        let mut phy = Phy::new(port);
        let mut settings = smoltcp::iface::Config::new(HardwareAddress::Ethernet(mac));
        settings.random_seed = random();
        let mut interface = Interface::new(settings, &mut phy, time::Instant::ZERO);
        set_addresses(&mut interface, &config, mac)?;
        set_gateways(&mut interface, &config)?;
        let start = Instant::now();
        Ok(Self {
            interface,
            phy,
            no_sockets: SocketSet::new(Vec::new()),
            table: Table::new(config.limits),
            timers: Timers::default(),
            service,
            mesh,
            counters: Arc::default(),
            config,
            mac,
            start,
            frames: Vec::with_capacity(BURST),
            listed: Vec::new(),
            looking_at: Vec::new(),
            learned: false,
            neighbours_at: start,
            announcements: Announcements::default(),
            stopping: false,
        })
    }

    /// Returns the counters, which other threads may read.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Returns the server.
    pub fn service(&mut self) -> &mut S {
        &mut self.service
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> &P {
        &self.phy.port
    }

    /// Returns the number of connections, in all states.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    /// Returns the number of connections that have a session, or whose last bytes the peer has not
    /// acknowledged.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        let places = self.table.places.iter();
        places
            .filter(|it| match it.phase {
                Phase::Open => true,
                Phase::Closing => matches!(
                    it.state(),
                    State::Established | State::CloseWait | State::FinWait1 | State::LastAck
                ),
                Phase::Free | Phase::Handshake | Phase::TimeWait => false,
            })
            .count()
    }

    /// Announces the addresses at `now`, and twice more within seconds, so that hosts that know another MAC
    /// address for them learn this one. One stack of an ADI does so.
    pub fn announce(&mut self, now: Instant) {
        self.announcements.begin(now);
    }

    /// Accepts no more connections, and lets each session go on once, so that idle ones end.
    pub fn stop(&mut self) {
        self.stopping = true;
        let all: Vec<_> = self.table.indices().collect();
        all.into_iter().for_each(|index| self.list(index));
    }

    /// Receives frames, lets the sessions of their connections go on, and sends. Returns whether there
    /// was work.
    ///
    /// # Errors
    /// Fails when the device does not work any longer.
    pub fn turn(&mut self, now: Instant) -> Result<bool, Error> {
        let mut busy = false;
        if self.phy.has_room() {
            let mut frames = std::mem::take(&mut self.frames);
            let received = self.phy.port.receive(&mut frames, BURST);
            for frame in frames.drain(..) {
                busy = true;
                self.counters.received_frames.add(1);
                self.counters.received_bytes.add(frame.len() as u64);
                self.input(frame, now);
            }
            self.frames = frames;
            received?;
        }
        // More than these may come meanwhile; they end the next sleep.
        for _ in 0..Mesh::WAITING {
            let Some(passed) = self.mesh.as_ref().and_then(Mesh::take) else {
                break;
            };
            self.learn(passed.frame(), now);
        }
        if self.learned && now >= self.neighbours_at {
            self.learned = false;
            self.neighbours_at = now + NEIGHBOURS;
            self.table.list_silent(&mut self.listed);
        }
        while let Some(entry) = self.timers.pop(now) {
            let due = &mut self.table.get(entry.1).due;
            if self.timers.is_due(entry, due, now) {
                self.list(entry.1);
            }
        }
        let mut looking_at = std::mem::take(&mut self.looking_at);
        std::mem::swap(&mut looking_at, &mut self.listed);
        for index in looking_at.drain(..) {
            busy = true;
            self.table.get(index).listed = false;
            self.look_at(index, now);
        }
        self.looking_at = looking_at;
        if self
            .timers
            .clear_if_over(8 * self.config.limits.connections + 64)
        {
            for (index, place) in (0..).zip(&mut self.table.places) {
                place.due.enter_again(index, &mut self.timers);
            }
        }
        if self.announcements.take(now) {
            self.send_announcements();
        }
        if !self.phy.out.is_empty() {
            let bytes: usize = self.phy.out.iter().map(|frame| frame.len()).sum();
            let sent = self.phy.port.send(&mut self.phy.out)?;
            let left: usize = self.phy.out.iter().map(|frame| frame.len()).sum();
            self.counters.sent_frames.add(sent as u64);
            self.counters.sent_bytes.add((bytes - left) as u64);
        }
        Ok(busy)
    }

    /// Sleeps until there is work, at most for `max`.
    ///
    /// # Errors
    /// Fails when the device does not work any longer.
    pub fn sleep(&mut self, now: Instant, max: Duration) -> Result<Wakeup, Error> {
        if !self.listed.is_empty() {
            return Ok(Wakeup::Ready);
        }
        let neighbours = self.learned.then_some(self.neighbours_at);
        let others = neighbours.into_iter().chain(self.announcements.next());
        let first = self.first_timer().into_iter().chain(others).min();
        let timer = first.map(|at| at.saturating_duration_since(now));
        let timeout = timer.map_or(max, |timer| timer.min(max));
        self.counters.sleeps.add(1);
        self.phy.port.wait(Some(timeout))
    }

    /// Returns the time at which the first connection is due.
    fn first_timer(&mut self) -> Option<Instant> {
        while let Some((at, index)) = self.timers.first() {
            if !self.timers.move_first(&mut self.table.get(index).due) {
                return Some(at);
            }
        }
        None
    }

    fn list(&mut self, index: u32) {
        let place = self.table.get(index);
        if !place.listed {
            place.listed = true;
            self.listed.push(index);
        }
    }

    fn time(&self, now: Instant) -> time::Instant {
        let micros = now.saturating_duration_since(self.start).as_micros();
        time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Processes a received frame.
    fn input(&mut self, frame: P::Frame, now: Instant) {
        let counters = &self.counters;
        match tuple::read(&frame, frame.checksum(), self.mac) {
            Content::Segment { tuple, opens } => self.segment(frame, tuple, opens, now),
            Content::Neighbour { target } => {
                // What concerns other hosts, such as their broadcasts, wakes no stack.
                if self.interface.has_ip_addr(target) {
                    if let Some(mesh) = &self.mesh {
                        mesh.pass_on(&frame);
                    }
                }
                self.process(frame, None, now);
                self.note_neighbour(now);
            }
            Content::Other => self.process(frame, None, now),
            Content::Drop(Drop::Malformed) => counters.dropped_malformed.add(1),
            Content::Drop(Drop::Checksum) => counters.dropped_checksum.add(1),
            Content::Drop(Drop::Fragment) => counters.dropped_fragment.add(1),
            Content::Drop(Drop::NotOurs) => counters.dropped_not_ours.add(1),
        }
    }

    fn segment(&mut self, frame: P::Frame, tuple: Tuple, opens: bool, now: Instant) {
        if !self.interface.has_ip_addr(tuple.local.0) {
            self.counters.dropped_not_ours.add(1);
            return;
        }
        let mut found = self.table.find(&tuple);
        // A client may use a port again that is in TIME-WAIT here (RFC 9293, section 3.6.1).
        if let Some(index) = found.filter(|_| opens) {
            if self.table.get(index).phase == Phase::TimeWait {
                self.table.close(index);
                self.counters.dropped_time_wait.add(1);
                found = None;
            }
        }
        if found.is_none() && opens && tuple.local.1 == self.config.port {
            if self.stopping {
                self.counters.refused_stopping.add(1);
            } else {
                found = self.table.open(tuple, now, &self.counters);
            }
        } else if found.is_none() {
            self.counters.stray_segments.add(1);
        }
        self.process(frame, found, now);
        if let Some(index) = found {
            self.list(index);
        }
    }

    /// Announces each address once. One without a buffer is left to the next announcement.
    fn send_announcements(&mut self) {
        for address in &self.config.addresses {
            let Some(mut frame) = self.phy.port.alloc() else {
                self.counters.dropped_no_buffer.add(1);
                continue;
            };
            frame.set_len(announce::MAX_LEN);
            let len = announce::write(&mut frame, self.mac, address.ip());
            frame.set_len(len);
            self.phy.out.push_back(frame);
            self.counters.announcements.add(1);
        }
    }

    /// Passes a frame to smoltcp, with the socket of its connection. A segment without one is answered
    /// with RST.
    fn process(&mut self, frame: P::Frame, index: Option<u32>, now: Instant) {
        let time = self.time(now);
        self.phy.received = Some(frame);
        let sockets = match index {
            Some(index) => &mut self.table.get(index).sockets,
            None => &mut self.no_sockets,
        };
        self.interface
            .poll_ingress_single(time, &mut self.phy, sockets);
        if self.phy.exhausted {
            self.phy.exhausted = false;
            self.counters.dropped_no_buffer.add(1);
        }
    }

    /// Learns a neighbour from a frame that another stack has received, and answered.
    fn learn(&mut self, bytes: &[u8], now: Instant) {
        let Some(mut frame) = self.phy.port.alloc() else {
            self.counters.dropped_no_buffer.add(1);
            return;
        };
        frame.set_len(bytes.len());
        if frame.len() != bytes.len() {
            return;
        }
        frame.copy_from_slice(bytes);
        self.phy.mute = true;
        self.process(frame, None, now);
        self.phy.mute = false;
        self.note_neighbour(now);
    }

    /// Has the connections looked at that wait for the MAC address of a neighbour, in this turn or soon.
    fn note_neighbour(&mut self, now: Instant) {
        self.learned = true;
        if now < self.neighbours_at {
            self.counters.deferred_neighbours.add(1);
        }
    }

    /// Lets a connection go on.
    fn look_at(&mut self, index: u32, now: Instant) {
        self.counters.looks.add(1);
        self.follow(index, now);
        let mut again = false;
        match self.table.get(index).phase {
            Phase::Free => return,
            Phase::Open => again = self.advance(index, now),
            // What the peer still sends is discarded, so that its end is seen.
            Phase::Closing => {
                while Socket(self.table.get(index).socket()).receive(<[u8]>::len) > 0 {}
            }
            Phase::Handshake | Phase::TimeWait => {}
        }
        let time = self.time(now);
        let mut progress = false;
        let mut budget = SEGMENTS;
        while budget > 0 {
            let sockets = &mut self.table.get(index).sockets;
            match self.interface.poll_egress(time, &mut self.phy, sockets) {
                PollResult::None => break,
                PollResult::SocketStateChanged => progress = true,
            }
            budget -= 1;
        }
        let exhausted = std::mem::take(&mut self.phy.exhausted);
        again |= exhausted || budget == 0;
        self.follow(index, now);
        let place = self.table.get(index);
        if place.phase == Phase::Free {
            return;
        }
        place.silent &= !progress;
        let mut next = place.deadline;
        if let Some(at) = self.interface.poll_at(time, &place.sockets) {
            let mut at = self.start + Duration::from_micros(at.total_micros().max(0) as u64);
            if at <= now && !progress {
                at = now + STALLED;
            }
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        self.timers.set(index, &mut place.due, next);
        if again {
            self.list(index);
        }
    }

    /// Follows the socket's state with the phase.
    fn follow(&mut self, index: u32, now: Instant) {
        let (linger, counters) = (self.config.limits.linger, &self.counters);
        let place = self.table.get(index);
        let late = place.deadline.is_some_and(|deadline| deadline <= now);
        match (place.phase, place.state()) {
            (Phase::Free, _) => {}
            // A socket that listens returns to that state after an RST in the handshake.
            (Phase::Handshake, State::Listen | State::Closed) => self.finish(index),
            (Phase::Handshake, State::SynReceived) if late => {
                counters.dropped_handshake.add(1);
                self.finish(index);
            }
            (Phase::Handshake, State::SynReceived) => {}
            (Phase::Handshake, _) => {
                counters.accepted.add(1);
                let tuple = place.tuple;
                place.deadline = None;
                let (peer, local) = (
                    SocketAddr::from(tuple.remote),
                    SocketAddr::from(tuple.local),
                );
                let session = self.service.open(peer, local, now);
                self.table.get(index).session = Some(session);
                self.table.set_phase(index, Phase::Open);
            }
            (Phase::Open, State::Closed | State::Listen) => {
                counters.reset_by_peer.add(1);
                self.finish(index);
            }
            (Phase::Closing | Phase::TimeWait, State::Closed | State::Listen) => {
                if place.phase == Phase::Closing {
                    counters.closed.add(1);
                }
                self.finish(index);
            }
            (Phase::Closing, State::TimeWait) => {
                counters.closed.add(1);
                place.deadline = Some(now + linger);
                self.table.set_phase(index, Phase::TimeWait);
            }
            (Phase::Closing | Phase::TimeWait, _) if late => {
                if place.phase == Phase::Closing {
                    counters.dropped_lingering.add(1);
                    self.reset(index, now);
                } else {
                    self.finish(index);
                }
            }
            (Phase::Open | Phase::Closing | Phase::TimeWait, _) => {}
        }
    }

    /// Lets a session go on. Returns whether it wants another turn.
    fn advance(&mut self, index: u32, now: Instant) -> bool {
        let place = self.table.get(index);
        let Some(mut session) = place.session.take() else {
            return false;
        };
        let next = self
            .service
            .advance(&mut session, &mut Socket(place.socket()), now);
        match next {
            Next::Wait(until) => {
                place.deadline = Some(until);
                place.session = Some(session);
                false
            }
            Next::Again => {
                place.session = Some(session);
                true
            }
            Next::Done => {
                self.service.close(session);
                place.socket().close();
                place.deadline = Some(now + self.config.limits.linger);
                self.table.set_phase(index, Phase::Closing);
                false
            }
            Next::Abort => {
                self.service.close(session);
                self.counters.aborted.add(1);
                self.reset(index, now);
                false
            }
        }
    }

    /// Resets a connection, with an RST to the peer if there is space for it.
    fn reset(&mut self, index: u32, now: Instant) {
        let time = self.time(now);
        let place = self.table.get(index);
        place.socket().abort();
        self.interface
            .poll_egress(time, &mut self.phy, &mut place.sockets);
        self.finish(index);
    }

    /// Frees the place of a connection.
    fn finish(&mut self, index: u32) {
        if let Some(session) = self.table.close(index) {
            self.service.close(session);
        }
    }
}

/// Returns a random number of the system, by which sequence numbers and ports begin.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
