// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server on sockets of the kernel: threads that each accept connections of their own
//! (SO_REUSEPORT) and wait for them with epoll.
//!
//! A thread does a bounded amount for one client before it turns to the others: in connections that it
//! accepts, and in requests and bytes of each.

mod acceptor;
mod connection;
mod socket;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{epoll, Timespec};
use rustix::net::{self, sockopt, AddressFamily, SocketFlags, SocketType};

use crate::adi::{Pace, ServeError};
use crate::date::DateText;
use crate::report::{Worker, Workers};
use crate::session::{self, Session};
use crate::{Counters, Shared};
use acceptor::{Accepted, Acceptor};
use connection::{Connection, Pause};
use socket::Socket;

/// The key of the listening socket; connections have others.
const LISTENER: u64 = 0;
const EVENTS: usize = 256;
const BACKLOG: i32 = 1024;
/// Connections that are accepted before others take their turn.
const ACCEPTS: usize = 16;
/// The interval at which deadlines and a stop are noticed.
const NAP: Duration = Duration::from_millis(100);

/// Opens the listening socket of a thread.
///
/// # Errors
/// Fails when the address cannot be listened at.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Serves on these listening sockets, each with a thread, until the server is stopped
/// ([`Shared::stop`]). `connections` is the maximum of each thread.
///
/// # Errors
/// Fails when a thread fails.
pub fn serve(
    listeners: Vec<TcpListener>,
    connections: usize,
    pace: Pace,
    shared: &Arc<Shared>,
    workers: &Workers,
) -> Result<(), ServeError> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let counters = Arc::new(Counters::default());
                workers.add(Worker {
                    http: Arc::clone(&counters),
                    stack: None,
                });
                scope.spawn(move || {
                    let result = Thread::new(listener, connections, shared, &counters)
                        .and_then(|mut thread| thread.run(pace));
                    if result.is_err() {
                        shared.stop();
                    }
                    result
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result.map_err(ServeError::Sockets),
            Err(_) => Err(ServeError::Panic),
        });
        let results: Vec<_> = joined.collect();
        results.into_iter().collect()
    })
}

struct Thread<'a> {
    acceptor: Acceptor,
    connections: HashMap<u64, Connection>,
    max: usize,
    next_key: u64,
    epoll: OwnedFd,
    /// Connections that have had their turn, and could go on.
    ready: Vec<u64>,
    shared: &'a Shared,
    counters: &'a Counters,
    date: DateText,
}

impl<'a> Thread<'a> {
    fn new(
        listener: TcpListener,
        max: usize,
        shared: &'a Shared,
        counters: &'a Counters,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            acceptor: Acceptor::new(listener, &epoll)?,
            connections: HashMap::new(),
            max,
            next_key: LISTENER + 1,
            epoll,
            ready: Vec::new(),
            shared,
            counters,
            date: DateText::new(),
        })
    }

    fn run(&mut self, pace: Pace) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let mut ready = Vec::new();
        let nap = Timespec::try_from(NAP).map_err(io::Error::other)?;
        let mut checked = Instant::now();
        let mut end = None;
        loop {
            let timeout = if self.ready.is_empty() {
                nap
            } else {
                Timespec::default()
            };
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let now = Instant::now();
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(now)?,
                    key => self.go_on(key, now, true),
                }
            }
            std::mem::swap(&mut ready, &mut self.ready);
            for key in ready.drain(..) {
                if let Some(connection) = self.connections.get_mut(&key) {
                    connection.listed = false;
                    self.go_on(key, now, true);
                }
            }
            self.acceptor.resume(&self.epoll, now)?;
            let stops = end.is_none() && self.shared.is_stopping();
            if stops {
                end = Some(now + pace.grace);
                self.acceptor.stop(&self.epoll)?;
            }
            if stops || now >= checked + NAP {
                checked = now;
                let due = self
                    .connections
                    .iter()
                    .filter(|it| stops || it.1.deadline <= now);
                let due: Vec<_> = due.map(|it| *it.0).collect();
                due.into_iter().for_each(|key| self.go_on(key, now, false));
            }
            if let Some(end) = end {
                if self.connections.is_empty() || now >= end {
                    return Ok(());
                }
            }
        }
    }

    fn accept(&mut self, now: Instant) -> io::Result<()> {
        // What is not accepted waits in the queue of the socket; epoll reports it again.
        for _ in 0..ACCEPTS {
            if self.connections.len() >= self.max {
                self.counters.accept_pauses.add(1);
                return self.acceptor.pause(&self.epoll, None);
            }
            match self.acceptor.accept() {
                Accepted::Connection(stream, peer) => {
                    if let Err(error) = self.add(stream, peer, now) {
                        self.counters.accept_failures.add(1);
                        tracing::debug!(%error, "an accepted connection cannot be served");
                    }
                }
                Accepted::Gone => {}
                Accepted::None => break,
                Accepted::Failed => {
                    self.counters.accept_failures.add(1);
                    return self.acceptor.pause(&self.epoll, Some(now + NAP));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, stream: TcpStream, peer: SocketAddr, now: Instant) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let key = self.next_key;
        self.next_key += 1;
        let data = epoll::EventData::new_u64(key);
        epoll::add(&self.epoll, stream.as_fd(), data, epoll::EventFlags::IN)?;
        let session = Session::new(peer, local, &self.worker(now));
        let deadline = now + self.shared.limits.head_time;
        let connection = Connection::new(Socket::new(stream), session, deadline);
        self.connections.insert(key, connection);
        self.go_on(key, now, true);
        Ok(())
    }

    fn worker(&mut self, now: Instant) -> session::Worker<'_> {
        session::Worker {
            shared: self.shared,
            counters: self.counters,
            date: &mut self.date,
            now,
        }
    }

    /// Lets a connection go on, and removes it if it has ended.
    fn go_on(&mut self, key: u64, now: Instant, readable: bool) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let mut worker = session::Worker {
            shared: self.shared,
            counters: self.counters,
            date: &mut self.date,
            now,
        };
        let mut pause = connection
            .go_on(&mut worker, readable)
            .unwrap_or(Pause::End);
        let waits = connection.socket.unsent() > 0;
        if pause != Pause::End && waits != connection.waits_for_space {
            connection.waits_for_space = waits;
            // What is received waits as well while nothing can be sent.
            let flags = if waits {
                epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            let data = epoll::EventData::new_u64(key);
            if epoll::modify(&self.epoll, connection.socket.stream.as_fd(), data, flags).is_err() {
                pause = Pause::End;
            }
        }
        match pause {
            Pause::Wait => {}
            Pause::Turn => {
                if !connection.listed {
                    connection.listed = true;
                    self.ready.push(key);
                }
            }
            Pause::End => {
                // Closing the socket removes it from the epoll instance.
                self.connections.remove(&key);
                self.counters.closed.add(1);
                self.acceptor.note_space();
            }
        }
    }
}
