// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server on sockets of the kernel: threads that each accept connections of their own
//! (SO_REUSEPORT) and wait for them with epoll.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{epoll, Timespec};
use rustix::net::{self, sockopt, AddressFamily, SocketFlags, SocketType};

use crate::adi::{Pace, ServeError};
use crate::date::DateText;
use crate::report::{Worker, Workers};
use crate::session::{self, Session, Stream};
use crate::{Counters, Next, Shared};

/// Bytes of each connection's buffers: those of a stack on an ADI by default.
const RECEIVE: usize = 8 << 10;
const SEND: usize = 32 << 10;
/// The key of the listening socket; connections have others.
const LISTENER: u64 = 0;
const EVENTS: usize = 256;
const BACKLOG: i32 = 1024;
/// The interval at which deadlines and a stop are noticed.
const NAP: Duration = Duration::from_millis(100);
/// The time that the peer of a closed connection has to close it, too.
const LINGER: Duration = Duration::from_secs(2);

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

/// A connection's socket and buffers.
struct Socket {
    stream: TcpStream,
    received: Box<[u8]>,
    start: usize,
    end: usize,
    at_end: bool,
    out: Box<[u8]>,
    out_start: usize,
    out_end: usize,
}

impl Stream for Socket {
    fn receive(&mut self, f: impl FnOnce(&[u8]) -> usize) -> usize {
        let bytes = &self.received[self.start..self.end];
        if bytes.is_empty() {
            return 0;
        }
        let taken = f(bytes).min(bytes.len());
        self.start += taken;
        taken
    }

    fn received(&self) -> usize {
        self.end - self.start
    }

    fn is_at_end(&self) -> bool {
        self.at_end && self.start == self.end
    }

    fn send(&mut self, f: impl FnOnce(&mut [u8]) -> usize) -> usize {
        if self.out_start == self.out_end {
            (self.out_start, self.out_end) = (0, 0);
        }
        let space = &mut self.out[self.out_end..];
        if space.is_empty() {
            return 0;
        }
        let written = f(space).min(space.len());
        self.out_end += written;
        written
    }
}

impl Socket {
    /// Reads what is there, as far as there is space. Returns whether there may be more.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.received.len() {
            self.received.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.at_end || self.end == self.received.len() {
            return Ok(false);
        }
        let space = self.received.len() - self.end;
        match self.stream.read(&mut self.received[self.end..]) {
            Ok(0) => {
                self.at_end = true;
                Ok(false)
            }
            Ok(len) => {
                self.end += len;
                Ok(len == space)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Writes what is to be sent. Returns whether all of it was taken.
    fn drain(&mut self) -> io::Result<bool> {
        while self.out_start < self.out_end {
            match self.stream.write(&self.out[self.out_start..self.out_end]) {
                Ok(len) => self.out_start += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

struct Connection {
    socket: Socket,
    session: Session,
    deadline: Instant,
    /// Set when the session is done: what is left is sent, then the peer's end is awaited.
    closing: bool,
    shut: bool,
    waits_for_space: bool,
}

struct Thread<'a> {
    listener: TcpListener,
    connections: HashMap<u64, Connection>,
    max: usize,
    next_key: u64,
    epoll: OwnedFd,
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
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
        Ok(Self {
            listener,
            connections: HashMap::new(),
            max,
            next_key: LISTENER + 1,
            epoll,
            shared,
            counters,
            date: DateText::new(),
        })
    }

    fn run(&mut self, pace: Pace) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let nap = Timespec::try_from(NAP).map_err(io::Error::other)?;
        let mut checked = Instant::now();
        let mut end = None;
        loop {
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&nap),
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
            let stops = end.is_none() && self.shared.is_stopping();
            if stops {
                end = Some(now + pace.grace);
                epoll::delete(&self.epoll, &self.listener)?;
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
        while self.connections.len() < self.max {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The errors of a connection that has ended already (accept(2)).
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    std::thread::sleep(NAP);
                    return Ok(());
                }
            };
            if self.add(stream, peer, now).is_err() {
                self.counters.closed.add(1);
            }
        }
        if self.connections.len() >= self.max {
            // No busy loop while the limit is reached.
            std::thread::sleep(Duration::from_millis(1));
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
        let worker = session::Worker {
            shared: self.shared,
            counters: self.counters,
            date: &mut self.date,
            now,
        };
        let session = Session::new(peer, local, &worker);
        let buffer = |len| vec![0; len].into_boxed_slice();
        let connection = Connection {
            socket: Socket {
                stream,
                received: buffer(RECEIVE),
                start: 0,
                end: 0,
                at_end: false,
                out: buffer(SEND),
                out_start: 0,
                out_end: 0,
            },
            session,
            deadline: now + self.shared.limits.head_time,
            closing: false,
            shut: false,
            waits_for_space: false,
        };
        self.connections.insert(key, connection);
        self.go_on(key, now, true);
        Ok(())
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
        let ends = connection.go_on(&mut worker, readable).unwrap_or(true);
        let waits = connection.socket.out_start < connection.socket.out_end;
        let mut failed = false;
        if !ends && waits != connection.waits_for_space {
            connection.waits_for_space = waits;
            // What is received waits as well while nothing can be sent.
            let flags = if waits {
                epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            let data = epoll::EventData::new_u64(key);
            failed =
                epoll::modify(&self.epoll, connection.socket.stream.as_fd(), data, flags).is_err();
        }
        if ends || failed {
            // Closing the socket removes it from the epoll instance.
            self.connections.remove(&key);
            self.counters.closed.add(1);
        }
    }
}

impl Connection {
    /// Returns whether the connection has ended.
    fn go_on(&mut self, worker: &mut session::Worker<'_>, readable: bool) -> io::Result<bool> {
        let mut more = readable && self.socket.fill()?;
        loop {
            if !self.closing {
                match self.session.advance(&mut self.socket, worker) {
                    Next::Wait(until) => self.deadline = until,
                    Next::Again => more = true,
                    Next::Done => {
                        self.closing = true;
                        self.deadline = worker.now + LINGER;
                    }
                    Next::Abort => return Ok(true),
                }
            }
            let sent = self.socket.out_start < self.socket.out_end;
            let drained = self.socket.drain()?;
            if self.closing {
                if drained && !self.shut {
                    self.shut = true;
                    self.socket.stream.shutdown(std::net::Shutdown::Write)?;
                }
                // What the peer still sends is discarded, so that its end is seen.
                for _ in 0..EVENTS {
                    self.socket.start = self.socket.end;
                    if !self.socket.fill()? {
                        break;
                    }
                }
                let ended = self.shut && self.socket.at_end;
                return Ok(ended || worker.now >= self.deadline);
            }
            if !drained {
                return Ok(false);
            }
            // There is space again for a response that is longer than the buffer.
            if more {
                more = self.socket.fill()? || self.socket.received() > 0;
            } else if !sent {
                return Ok(false);
            }
        }
    }
}
