// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server of the control protocol: one thread, all connections.

mod reply;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_function::logging::warn_throttled;
use adit_vfio_user::{Errno, Listener, StopHandle};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::net::{accept_with, SocketFlags};

use super::access::{Access, Peer};
use super::connection::{Connection, Line, State};
use super::devices::Devices;
use super::message::Reply;
use super::passed::Receiver;
use crate::protocol::VdevError;

pub use super::connection::Timeouts;
use reply::Session;

/// The number of connections that are accepted before others have their turn.
const ACCEPT_BURST: usize = 32;
/// The pause after a failure to accept a connection (for example, for lack of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The users and groups that may change something.
    pub access: Access,
    /// The times that a client has.
    pub timeouts: Timeouts,
    /// The maximum number of connections; root and the daemon's user can have more.
    pub max_connections: usize,
    /// The maximum number of connections of one user.
    pub max_connections_per_user: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access: Access::default(),
            timeouts: Timeouts::default(),
            max_connections: 128,
            max_connections_per_user: 32,
        }
    }
}

/// A server.
pub struct Server<D> {
    listener: Listener,
    devices: Arc<D>,
    settings: Settings,
    clients: Vec<Client>,
    /// The number of clients, also while they are served.
    connected: usize,
    counters: Counters,
    /// The time at which connections are accepted again, after a failure.
    paused: Option<Instant>,
}

/// Counters since the start.
#[derive(Debug, Default)]
struct Counters {
    accepted: u64,
    requests: u64,
    refused: BTreeMap<&'static str, u64>,
}

impl Counters {
    fn refuse(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }
}

/// A connected client.
struct Client {
    socket: UnixStream,
    /// A file that came with a request, for the next one that takes one.
    file: Option<OwnedFd>,
    peer: Peer,
    connection: Connection,
    session: Session,
}

impl<D: Devices> Server<D> {
    /// A server for the connections to a listening socket.
    #[must_use]
    pub fn new(listener: Listener, devices: Arc<D>, settings: Settings) -> Self {
        Self {
            listener,
            devices,
            settings,
            clients: Vec::new(),
            connected: 0,
            counters: Counters::default(),
            paused: None,
        }
    }

    /// Serves until `stop` is used.
    ///
    /// # Errors
    /// Fails when it can no longer wait for clients.
    pub fn run(&mut self, stop: &StopHandle) -> io::Result<()> {
        loop {
            let (ready, accepts) = self.wait(stop)?;
            if stop.is_stopped() {
                return Ok(());
            }
            let now = Instant::now();
            let mut ready = ready.into_iter();
            self.connected = self.clients.len();
            let mut clients = std::mem::take(&mut self.clients);
            clients.retain_mut(|client| {
                let flags = ready.next().unwrap_or(PollFlags::empty());
                self.serve(client, flags, now)
            });
            self.clients = clients;
            if accepts {
                self.accept(now);
            }
        }
    }

    /// Waits for something to do. Returns the state of each client's socket, and whether there may
    /// be a connection to accept.
    fn wait(&mut self, stop: &StopHandle) -> io::Result<(Vec<PollFlags>, bool)> {
        let now = Instant::now();
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
        }
        let mut deadline = self.paused;
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        let accepting = match self.paused {
            None => PollFlags::IN,
            Some(_) => PollFlags::empty(),
        };
        fds.push(PollFd::new(&self.listener, accepting));
        for client in &self.clients {
            let flags = match client.connection.state() {
                State::Reply => PollFlags::OUT,
                State::Request | State::Idle => PollFlags::IN,
            };
            fds.push(PollFd::new(&client.socket, flags));
            let end = match client.connection.has_line() {
                true => now,
                false => client.connection.deadline(&self.settings.timeouts),
            };
            deadline = Some(deadline.map_or(end, |deadline| deadline.min(end)));
        }
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(now);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            // Nothing is known to be ready; the next turn asks again.
            Err(Errno::INTR) => return Ok((Vec::new(), false)),
            Err(error) => return Err(error.into()),
        }
        let states = fds.iter().map(PollFd::revents);
        let accepts = fds[1].revents().contains(PollFlags::IN);
        Ok((states.skip(2).collect(), accepts))
    }

    /// Serves one client; returns `false` when its connection is over.
    fn serve(&mut self, client: &mut Client, flags: PollFlags, now: Instant) -> bool {
        match self.turn(client, flags, now) {
            Ok(()) if client.connection.is_over() => false,
            Ok(()) if client.connection.deadline(&self.settings.timeouts) <= now => {
                let reason = match client.connection.state() {
                    State::Request => "request_timeout",
                    State::Reply => "reply_timeout",
                    State::Idle => "idle_timeout",
                };
                self.counters.refuse(reason);
                tracing::debug!(pid = client.peer.pid, reason, "control connection ended");
                false
            }
            Ok(()) => true,
            Err(error) => {
                self.counters.refuse("connection_error");
                tracing::debug!(pid = client.peer.pid, "control connection: {error}");
                false
            }
        }
    }

    /// Receives from a client, executes one request at most, and sends.
    fn turn(&mut self, client: &mut Client, flags: PollFlags, now: Instant) -> io::Result<()> {
        let waits = client.connection.state() != State::Reply;
        if waits && flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let Client { socket, file, .. } = client;
            match client.session.may_change() {
                true => client
                    .connection
                    .receive(&mut Receiver { socket, file }, now)?,
                // The files of others are dropped by the kernel.
                false => client.connection.receive(&mut &*socket, now)?,
            }
        }
        if let Some(line) = client.connection.next_line() {
            let reply = match line {
                Line::Complete(line) => self.answer(client, &line),
                Line::TooLong => {
                    client.connection.close();
                    self.refuse(None, reply::too_long())
                }
            };
            client.connection.reply(&reply.line(), now);
        }
        client.connection.send(&mut &client.socket, now)
    }

    /// The reply to a request.
    fn answer(&mut self, client: &mut Client, line: &[u8]) -> Reply {
        self.counters.requests += 1;
        let (id, method) = match reply::parse(line) {
            Ok(request) => request,
            Err((id, error)) => return self.refuse(id, error),
        };
        let name = method.name();
        let result = match client.session.admit(&method, &client.peer) {
            Err(error) => Err(error),
            Ok(()) => self.execute(client, method),
        };
        if client.session.is_over() {
            client.connection.close();
        }
        match result {
            Ok(value) => Reply::new(Some(id), Ok(value)),
            Err(error) => {
                tracing::debug!(
                    uid = client.peer.uid,
                    pid = client.peer.pid,
                    "{name}: {error}"
                );
                self.refuse(Some(id), error)
            }
        }
    }

    /// An error as a reply, counted.
    fn refuse(&mut self, id: Option<u64>, error: VdevError) -> Reply {
        self.counters.refuse(error.code.name());
        Reply::new(id, Err(error))
    }

    /// Accepts some of the connections that wait.
    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPT_BURST {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(&self.listener, flags) {
                Ok(socket) => self.admit(socket.into(), now),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    self.counters.refuse("accept_error");
                    warn_throttled!("control socket: cannot accept a connection: {error}");
                    self.paused = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Adds a client, or refuses it if there are too many.
    fn admit(&mut self, socket: UnixStream, now: Instant) {
        self.counters.accepted += 1;
        let peer = match Peer::of(&socket) {
            Ok(peer) => peer,
            Err(error) => {
                self.counters.refuse("no_credentials");
                warn_throttled!("control socket: a peer without credentials: {error}");
                return;
            }
        };
        let own = self.clients.iter().filter(|it| it.peer.uid == peer.uid);
        let trusted = self.settings.access.is_trusted(&peer);
        let own_full = own.count() >= self.settings.max_connections_per_user;
        let full = self.clients.len() >= self.settings.max_connections && !trusted;
        let mut connection = Connection::new(now);
        if own_full || full {
            let error = reply::too_many(&self.settings, own_full);
            let reply = self.refuse(None, error);
            connection.reply(&reply.line(), now);
            // A new socket has space for it. Otherwise the client finds its connection closed.
            let _ = connection.send(&mut &socket, now);
            return;
        }
        self.clients.push(Client {
            session: Session::new(self.settings.access.may_change(&peer)),
            socket,
            file: None,
            peer,
            connection,
        });
    }
}
