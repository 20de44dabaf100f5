// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server on top of a stack.

use std::net::SocketAddr;
use std::time::Instant;

use smoltcp::socket::tcp;

/// A server. It is called whenever a connection has received bytes, has space to send, or its time is
/// up; it never blocks.
pub trait Service {
    /// The server's state of a connection.
    type Session;

    /// Begins a connection, which has just been established.
    fn open(&mut self, peer: SocketAddr, local: SocketAddr, now: Instant) -> Self::Session;

    /// Goes on with a connection as far as possible.
    fn advance(
        &mut self,
        session: &mut Self::Session,
        socket: &mut Socket<'_>,
        now: Instant,
    ) -> Next;

    /// Ends a connection, however it came to its end.
    fn close(&mut self, session: Self::Session);
}

/// The event that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// For the peer, but not longer than until this time.
    Wait(Instant),
    /// For nothing: others take their turn first.
    Again,
    /// For the end: what was sent is delivered, then the connection is closed.
    Done,
    /// The connection is reset.
    Abort,
}

/// An established connection.
pub struct Socket<'a>(pub(crate) &'a mut tcp::Socket<'static>);

impl Socket<'_> {
    /// Passes received bytes to `f`, which returns how many of them it has taken; there may be more
    /// after them.
    pub fn receive(&mut self, f: impl FnOnce(&[u8]) -> usize) -> usize {
        if !self.0.can_recv() {
            return 0;
        }
        let taken = self.0.recv(|bytes| {
            let taken = f(bytes).min(bytes.len());
            (taken, taken)
        });
        taken.unwrap_or(0)
    }

    /// Returns the number of bytes that wait to be received.
    #[must_use]
    pub fn received(&self) -> usize {
        self.0.recv_queue()
    }

    /// Returns whether the peer has sent its last byte and it was received.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        !self.0.may_recv()
    }

    /// Passes space to `f`, which returns how many bytes it has written there; there may be more space
    /// after it. Returns their number, and 0 without a call when there is no space.
    pub fn send(&mut self, f: impl FnOnce(&mut [u8]) -> usize) -> usize {
        if !self.0.can_send() {
            return 0;
        }
        let written = self.0.send(|space| {
            let written = f(space).min(space.len());
            (written, written)
        });
        written.unwrap_or(0)
    }

    /// Returns whether bytes can still be sent.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.0.may_send()
    }
}
