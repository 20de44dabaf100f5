// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The open connections. Their number is limited, in total and for each peer. A connection with no
//! request under way is closed after a timeout, or at once when a new one requires its place.

mod io;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub(super) use io::{limited, ConnectionInfo};

/// The minimum rate in bytes per second at which a client receives its replies.
const PACE: u64 = 1 << 10;

/// Limits on connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum number of connections.
    pub connections: usize,
    /// The maximum number of connections of one peer: an address, or a user on a UNIX socket.
    pub connections_of_peer: usize,
    /// The time within which a connection has to make its first request, a request's body has to
    /// make progress, and a stream has to send its role.
    pub first_request: Duration,
    /// The time for which a connection may have no request under way.
    pub idle: Duration,
    /// The time within which a reply has to make progress.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 128,
            connections_of_peer: 96,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            stalled: Duration::from_secs(60),
        }
    }
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    Address(IpAddr),
    User(u32),
    Unknown,
}

impl Peer {
    /// The address, unless it is a user.
    pub(super) fn address(self) -> Option<IpAddr> {
        match self {
            Peer::Address(address) => Some(address),
            Peer::User(_) | Peer::Unknown => None,
        }
    }
}

/// The requests of a connection.
#[derive(Clone, Copy, Debug)]
struct Requests {
    /// Requests that are being received.
    receiving: u32,
    /// Requests that were received completely and are being answered.
    answering: u32,
    /// Set once a request has been received completely.
    has_made: bool,
    /// The time of the last change.
    since: Instant,
    /// The bytes of requests held in memory.
    bytes: usize,
}

/// Frames of replies that have not been sent completely.
#[derive(Debug)]
struct Unsent {
    next: u64,
    /// The time since which each is to be sent.
    frames: BTreeMap<u64, Instant>,
    /// The time of the last progress, and the bytes that had been written by then.
    progress: (Instant, u64),
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) closed: CancellationToken,
    requests: Mutex<Requests>,
    unsent: Mutex<Unsent>,
    /// The bytes written to the socket.
    written: AtomicU64,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// Connections that were closed because no request was under way on them.
    closed: AtomicU64,
    /// Connections that were closed because replies were not received.
    stalled: AtomicU64,
    /// Connections that were refused because all others were in use.
    refused: AtomicU64,
}

impl Connection {
    fn new(peer: Peer, now: Instant) -> Connection {
        Connection {
            peer,
            closed: CancellationToken::new(),
            requests: Mutex::new(Requests {
                receiving: 0,
                answering: 0,
                has_made: false,
                since: now,
                bytes: 0,
            }),
            unsent: Mutex::new(Unsent {
                next: 0,
                frames: BTreeMap::new(),
                progress: (now, 0),
            }),
            written: AtomicU64::new(0),
        }
    }

    /// Notes that a frame of a reply is to be sent; returns its number.
    pub(super) fn sends(&self) -> u64 {
        let mut unsent = self.unsent.lock();
        let frame = unsent.next;
        unsent.next += 1;
        unsent.frames.insert(frame, Instant::now());
        frame
    }

    /// Notes that a frame has been sent or abandoned.
    pub(super) fn sent(&self, frame: u64) {
        self.unsent.lock().frames.remove(&frame);
    }

    /// Counts bytes written to the socket.
    fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
    }

    /// Returns whether a frame has been unsent for too long, without progress on the connection. The
    /// bytes of all replies count: they share the connection. Keepalive pings are too few.
    fn is_stalled(&self, now: Instant, most: Duration) -> bool {
        let written = self.written.load(Relaxed);
        let mut unsent = self.unsent.lock();
        let (_, before) = unsent.progress;
        if written - before >= (PACE as f64 * most.as_secs_f64()) as u64 {
            unsent.progress = (now, written);
        }
        let oldest = unsent.frames.values().min();
        let since = oldest.map(|since| unsent.progress.0.max(*since));
        since.is_some_and(|since| now.saturating_duration_since(since) >= most)
    }

    /// Notes that a request begins to arrive.
    pub(super) fn receives(&self) {
        let mut requests = self.requests.lock();
        requests.receiving += 1;
        requests.since = Instant::now();
    }

    /// Notes that a request has arrived completely.
    pub(super) fn received(&self) {
        let mut requests = self.requests.lock();
        requests.receiving -= 1;
        requests.answering += 1;
        requests.has_made = true;
        requests.since = Instant::now();
    }

    /// Notes that a request has been answered or abandoned.
    pub(super) fn ended(&self, was_received: bool) {
        let mut requests = self.requests.lock();
        match was_received {
            true => requests.answering -= 1,
            false => requests.receiving -= 1,
        }
        requests.since = Instant::now();
    }

    /// Reserves bytes for requests; returns `false` if that would exceed `most`.
    pub(super) fn hold(&self, bytes: usize, most: usize) -> bool {
        let mut requests = self.requests.lock();
        let fits = requests.bytes + bytes <= most;
        if fits {
            requests.bytes += bytes;
        }
        fits
    }

    pub(super) fn release(&self, bytes: usize) {
        self.requests.lock().bytes -= bytes;
    }
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Connections {
        Connections {
            limits,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Returns the numbers of connections that were closed without a request, and that were
    /// refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.closed.load(Relaxed), self.refused.load(Relaxed))
    }

    /// Returns the number of connections that were closed because replies were not received.
    pub(super) fn stalled(&self) -> u64 {
        self.stalled.load(Relaxed)
    }

    /// Admits a new connection. If there is no place for it, a connection without a request to
    /// reply is closed: one of the peer with the most connections, preferably one that has never
    /// made a request, and among these the one without a request for longest.
    pub(super) fn admit(&self, peer: Peer, now: Instant) -> Option<(u64, Arc<Connection>)> {
        let mut open = self.open.lock();
        let mut of_peer: BTreeMap<Peer, usize> = BTreeMap::new();
        for connection in open.values() {
            *of_peer.entry(connection.peer).or_default() += 1;
        }
        let theirs = of_peer.get(&peer).copied().unwrap_or(0);
        let is_full_for_peer = theirs >= self.limits.connections_of_peer;
        if is_full_for_peer || open.len() >= self.limits.connections {
            let idle = open.iter().filter_map(|(id, connection)| {
                let requests = *connection.requests.lock();
                let may_close =
                    requests.answering == 0 && (!is_full_for_peer || connection.peer == peer);
                let share = of_peer.get(&connection.peer).copied().unwrap_or(0);
                let order = (Reverse(share), requests.has_made, requests.since, *id);
                may_close.then_some(order)
            });
            let Some((.., oldest)) = idle.min() else {
                self.refused.fetch_add(1, Relaxed);
                return None;
            };
            if let Some(connection) = open.remove(&oldest) {
                self.close(&connection);
            }
        }
        let id = self.next.fetch_add(1, Relaxed);
        let connection = Arc::new(Connection::new(peer, now));
        open.insert(id, connection.clone());
        Some((id, connection))
    }

    /// Removes a connection that has ended.
    pub(super) fn gone(&self, id: u64) {
        self.open.lock().remove(&id);
    }

    /// Closes connections that have had no request under way, or a reply without progress, for too
    /// long.
    pub(super) fn close_idle(&self, now: Instant) {
        self.open.lock().retain(|_, connection| {
            if connection.is_stalled(now, self.limits.stalled) {
                self.stalled.fetch_add(1, Relaxed);
                let peer = connection.peer;
                tracing::debug!(
                    ?peer,
                    "P4Runtime: a connection is closed: its client does not receive replies"
                );
                connection.closed.cancel();
                return false;
            }
            let requests = *connection.requests.lock();
            let most = match requests.has_made {
                true => self.limits.idle,
                false => self.limits.first_request,
            };
            let is_idle = requests.answering == 0 && requests.receiving == 0;
            let is_late = is_idle && now.saturating_duration_since(requests.since) >= most;
            if is_late {
                self.close(connection);
            }
            !is_late
        });
    }

    fn close(&self, connection: &Connection) {
        self.closed.fetch_add(1, Relaxed);
        tracing::debug!(peer = ?connection.peer, "P4Runtime: an idle connection is closed");
        connection.closed.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections: 4,
            connections_of_peer: 3,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            stalled: Duration::from_secs(60),
        }
    }

    fn request(connection: &Connection) {
        connection.receives();
        connection.received();
    }

    #[test]
    fn the_oldest_idle_connection_of_the_largest_peer_makes_room() {
        let all = Connections::new(limits());
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let (one, other) = (Peer::User(1), Peer::User(2));
        let admit = |peer, seconds| all.admit(peer, at(seconds)).expect("a place").1;
        let kept = admit(other, 0);
        let busy = admit(one, 1);
        request(&busy);
        let oldest = admit(one, 2);
        let newer = admit(one, 3);
        // The peer has its limit of three: one of its own is closed, but not the one with a
        // request.
        admit(one, 4);
        let closed = |c: &Connection| c.closed.is_cancelled();
        assert_eq!(
            [&kept, &busy, &oldest, &newer].map(|c| closed(c)),
            [false, false, true, false]
        );
        // All four places are in use, and the other peer has fewer connections.
        let theirs = admit(other, 5);
        assert_eq!(
            [&kept, &busy, &newer].map(|c| closed(c)),
            [false, false, true]
        );
        // Between peers with equally many connections, the oldest one is closed.
        assert!(!closed(&theirs));
        admit(Peer::User(3), 6);
        assert!(closed(&kept));
        assert_eq!(all.counts(), (3, 0));
    }

    #[test]
    fn connections_in_use_are_not_closed_for_others() {
        let all = Connections::new(limits());
        let now = Instant::now();
        let open: Vec<_> = (0..4)
            .map(|n| all.admit(Peer::User(n), now).expect("a place").1)
            .collect();
        open.iter().for_each(|connection| request(connection));
        assert!(all.admit(Peer::User(9), now).is_none());
        open[2].ended(true);
        let (id, _) = all.admit(Peer::User(9), now).expect("its place");
        assert!(open[2].closed.is_cancelled());
        all.gone(id);
        assert!(all.admit(Peer::User(9), now).is_some());
        assert_eq!(all.counts(), (1, 1));
    }

    #[test]
    fn a_connection_without_a_request_is_closed_in_time() {
        let all = Connections::new(limits());
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let silent = all.admit(Peer::Unknown, begin).expect("a place").1;
        let half_sent = all.admit(Peer::Unknown, begin).expect("a place").1;
        half_sent.receives();
        let quiet = all.admit(Peer::Unknown, begin).expect("a place").1;
        request(&quiet);
        quiet.ended(true);
        all.close_idle(at(9));
        assert!(!silent.closed.is_cancelled());
        all.close_idle(at(11));
        assert!(silent.closed.is_cancelled());
        assert!(!half_sent.closed.is_cancelled());
        assert!(!quiet.closed.is_cancelled());
        all.close_idle(at(299));
        assert!(!quiet.closed.is_cancelled());
        all.close_idle(at(302));
        assert!(quiet.closed.is_cancelled());
    }

    #[test]
    fn a_connection_whose_answer_makes_no_progress_is_closed() {
        let all = Connections::new(limits());
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let open = || {
            let connection = all.admit(Peer::Unknown, begin).expect("a place").1;
            request(&connection);
            let frame = connection.sends();
            (connection, frame)
        };
        let ((stalled, _), (slow, _), (done, frame)) = (open(), open(), open());
        done.sent(frame);
        // Pings are no progress.
        stalled.wrote(34);
        slow.wrote(100 << 10);
        all.close_idle(at(59));
        assert!(!stalled.closed.is_cancelled());
        all.close_idle(at(62));
        let closed = [&stalled, &slow, &done].map(|c| c.closed.is_cancelled());
        assert_eq!(closed, [true, false, false]);
        all.close_idle(at(130));
        let closed = [&slow, &done].map(|c| c.closed.is_cancelled());
        assert_eq!(closed, [true, false]);
        assert_eq!((all.counts(), all.stalled()), ((0, 0), 2));
    }
}
