// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A connection: a set with one socket of smoltcp, and the session of the server.

use std::time::Instant;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;

use crate::timers::Due;
use crate::tuple::Tuple;
use crate::Limits;

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its place is not in use.
    Free,
    /// SYN received.
    Handshake,
    /// Established, with a session.
    Open,
    /// Closed by the server; the peer has not acknowledged or closed yet.
    Closing,
    /// In TIME-WAIT.
    TimeWait,
}

/// The place of a connection. Its buffers are used by one connection after another.
pub(crate) struct Connection<S> {
    pub(crate) sockets: SocketSet<'static>,
    handle: SocketHandle,
    pub(crate) tuple: Tuple,
    pub(crate) phase: Phase,
    pub(crate) session: Option<S>,
    /// The end of the phase, if it has one.
    pub(crate) deadline: Option<Instant>,
    pub(crate) due: Due,
    /// Set while it is in the list of connections to look at.
    pub(crate) listed: bool,
    /// Set until a segment of it was sent.
    pub(crate) silent: bool,
    /// Raised with each use of the place.
    pub(crate) use_count: u32,
}

impl<S> Connection<S> {
    pub(crate) fn new(limits: &Limits, tuple: Tuple) -> Self {
        let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
        let mut socket =
            tcp::Socket::new(buffer(limits.receive_buffer), buffer(limits.send_buffer));
        // Servers write whole responses; the last segment need not wait.
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(tcp::CongestionControl::Cubic);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self {
            sockets,
            handle,
            tuple,
            phase: Phase::Free,
            session: None,
            deadline: None,
            due: Due::default(),
            listed: false,
            silent: true,
            use_count: 0,
        }
    }

    pub(crate) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub(crate) fn state(&self) -> tcp::State {
        self.sockets
            .get::<tcp::Socket<'static>>(self.handle)
            .state()
    }

    /// Prepares the place for a SYN. Returns `false` if the socket does not listen there, which port 0
    /// would cause.
    pub(crate) fn listen(&mut self, tuple: Tuple, deadline: Instant) -> bool {
        self.tuple = tuple;
        self.phase = Phase::Handshake;
        self.deadline = Some(deadline);
        self.silent = true;
        self.use_count = self.use_count.wrapping_add(1);
        let (ip, port) = tuple.local;
        let socket = self.socket();
        socket.abort();
        socket.listen((ip, port)).is_ok()
    }
}
