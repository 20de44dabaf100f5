// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The listening socket of a thread, which is not watched while no connection can be accepted: nothing
//! waits for it, neither in a sleep nor in a busy loop.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll;

use super::LISTENER;

/// The result of an attempt to accept a connection.
pub(super) enum Accepted {
    Connection(TcpStream, SocketAddr),
    /// One that has ended already.
    Gone,
    /// None waits.
    None,
    /// One waits, but the process has no descriptor or memory for it.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Watched,
    /// Not watched until a connection ends, or until a time.
    Paused(Option<Instant>),
    /// A connection has ended: it is watched again soon.
    Resumes,
    Stopped,
}

pub(super) struct Acceptor {
    listener: TcpListener,
    state: State,
    /// Set from a failure that was logged until the next success.
    failing: bool,
}

impl Acceptor {
    /// Has the epoll instance watch the socket.
    pub(super) fn new(listener: TcpListener, epoll: &OwnedFd) -> io::Result<Self> {
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(epoll, &listener, data, epoll::EventFlags::IN)?;
        Ok(Self {
            listener,
            state: State::Watched,
            failing: false,
        })
    }

    pub(super) fn accept(&mut self) -> Accepted {
        let error = match self.listener.accept() {
            Ok((stream, peer)) => {
                self.failing = false;
                return Accepted::Connection(stream, peer);
            }
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::WouldBlock => Accepted::None,
            // Errors of the connection, as it has ended already (accept(2)).
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable => Accepted::Gone,
            _ => {
                if !self.failing {
                    tracing::warn!(%error, "connections cannot be accepted, and wait");
                }
                self.failing = true;
                Accepted::Failed
            }
        }
    }

    /// Stops to watch the socket until a connection ends, or until a time.
    pub(super) fn pause(&mut self, epoll: &OwnedFd, until: Option<Instant>) -> io::Result<()> {
        self.watch(epoll, epoll::EventFlags::empty(), State::Paused(until))
    }

    /// Notes that a connection has ended, for which another one can be accepted.
    pub(super) fn note_space(&mut self) {
        if let State::Paused(_) = self.state {
            self.state = State::Resumes;
        }
    }

    /// Watches the socket again if a connection has ended, or the time of the pause is up.
    pub(super) fn resume(&mut self, epoll: &OwnedFd, now: Instant) -> io::Result<()> {
        match self.state {
            State::Paused(until) if until.is_none_or(|until| now < until) => Ok(()),
            State::Watched | State::Stopped => Ok(()),
            State::Paused(_) | State::Resumes => {
                self.watch(epoll, epoll::EventFlags::IN, State::Watched)
            }
        }
    }

    /// Accepts nothing any longer.
    pub(super) fn stop(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        self.state = State::Stopped;
        Ok(epoll::delete(epoll, &self.listener)?)
    }

    fn watch(&mut self, epoll: &OwnedFd, flags: epoll::EventFlags, state: State) -> io::Result<()> {
        self.state = state;
        let data = epoll::EventData::new_u64(LISTENER);
        Ok(epoll::modify(epoll, &self.listener, data, flags)?)
    }
}
