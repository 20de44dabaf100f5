// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Transmission of bytes and file descriptors over a UNIX socket, with timeouts.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use thiserror::Error;

use crate::stop::Request;
use crate::{Config, Errno, StopHandle, MAX_MSG_FDS};

/// The reason that a connection ends.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed the connection between two messages.
    #[error("the client closed the connection")]
    Closed,
    /// The client closed the connection within a message.
    #[error("the client closed the connection within a message")]
    Truncated,
    /// A message, its reply or the negotiation timed out.
    #[error("the client stalled")]
    Stalled,
    /// The client broke the protocol in a way that does not permit to continue.
    #[error("the client broke the protocol")]
    Protocol,
    /// The server was stopped.
    #[error("the server was stopped")]
    Stopped,
    /// The client is handed over; no part of its next message was read.
    #[error("the client is handed over")]
    HandedOver,
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(Errno),
}

/// The file descriptors received with one message.
#[derive(Debug, Default)]
pub(crate) struct ReceivedFds {
    fds: Vec<OwnedFd>,
    excess: bool,
}

impl ReceivedFds {
    /// Stores `fd`, or closes it if there are [`MAX_MSG_FDS`] already.
    pub(crate) fn push(&mut self, fd: OwnedFd) {
        if self.fds.len() < MAX_MSG_FDS {
            self.fds.push(fd);
        } else {
            self.excess = true;
        }
    }

    /// Records that the kernel discarded descriptors for lack of space.
    pub(crate) fn set_excess(&mut self) {
        self.excess = true;
    }

    /// Returns whether there were more than are stored.
    pub(crate) fn has_excess(&self) -> bool {
        self.excess
    }

    /// Returns the descriptors and resets the state.
    pub(crate) fn take(&mut self) -> Vec<OwnedFd> {
        self.excess = false;
        std::mem::take(&mut self.fds)
    }
}

/// A stream of messages.
pub(crate) trait Transport {
    /// Fills `buf` with the start of a message. Waits for its first byte, but no longer than
    /// `timeout`.
    fn receive_first(
        &mut self,
        buf: &mut [u8],
        fds: &mut ReceivedFds,
        timeout: Option<Duration>,
    ) -> Result<(), End>;

    /// Fills `buf` with more of the message.
    fn receive_more(&mut self, buf: &mut [u8], fds: &mut ReceivedFds) -> Result<(), End>;

    /// Sends a message in one piece, with at most [`MAX_MSG_FDS`] descriptors: QEMU does not wait
    /// for the rest of a header.
    fn send(&mut self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), End>;
}

/// A connected UNIX stream socket.
#[derive(Debug)]
pub(crate) struct UnixTransport<'a> {
    socket: OwnedFd,
    stop: &'a StopHandle,
    /// Set if the client can be handed over, instead of being disconnected.
    handover: bool,
    /// The timeout for one message from its first byte to its last, and for its reply.
    message_timeout: Duration,
    /// The deadline of the message that is being read; set at its first wait, so that a message
    /// that is already complete needs no clock.
    deadline: Option<Instant>,
}

impl<'a> UnixTransport<'a> {
    pub(crate) fn new(socket: OwnedFd, stop: &'a StopHandle, config: &Config) -> Self {
        Self {
            socket,
            stop,
            handover: config.handover,
            message_timeout: config.message_timeout,
            deadline: None,
        }
    }

    /// Returns the socket.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Returns the end that `request` is. A handover has to wait for the end of the message unless
    /// the session is `between` two.
    fn end(&self, request: Request, between: bool) -> Option<End> {
        match request {
            Request::None => None,
            Request::HandOver if !self.handover => Some(End::Stopped),
            Request::HandOver => between.then_some(End::HandedOver),
            Request::Stop => Some(End::Stopped),
        }
    }

    /// Waits for `events`, a requested end or the deadline.
    fn wait(&self, events: PollFlags, deadline: Option<Instant>, between: bool) -> Result<(), End> {
        loop {
            let request = self.stop.requested();
            if let Some(end) = self.end(request, between) {
                return Err(end);
            }
            // A handover that has to wait leaves its descriptor readable.
            let deferred = request != Request::None;
            let timeout = deadline.map(|at| {
                let left = at.saturating_duration_since(Instant::now());
                // Cannot fail: deadlines are near.
                Timespec::try_from(left).unwrap_or_default()
            });
            let mut fds = [
                PollFd::new(&self.socket, events),
                PollFd::new(self.stop, PollFlags::IN),
            ];
            let watched = if deferred { 1 } else { fds.len() };
            match poll(&mut fds[..watched], timeout.as_ref()) {
                Ok(0) => return Err(End::Stalled),
                Ok(_) if !fds[1].revents().is_empty() => {}
                // Hang-ups and errors are reported when the socket is used.
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(End::Io(e)),
            }
        }
    }

    /// Receives the available bytes, at most what `buf` has room for, which is not nothing; returns 0 only at the end of
    /// the stream.
    ///
    /// # Errors
    /// `AGAIN` if there are none.
    pub(crate) fn receive_some(
        &self,
        buf: &mut [u8],
        fds: &mut ReceivedFds,
    ) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_MSG_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let message = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(buf)],
            &mut control,
            flags,
        )?;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = part {
                received.for_each(|fd| fds.push(fd));
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) {
            fds.set_excess();
        }
        Ok(message.bytes)
    }

    fn fill(
        &mut self,
        buf: &mut [u8],
        fds: &mut ReceivedFds,
        mut begun: bool,
        timeout: Option<Duration>,
    ) -> Result<(), End> {
        let mut idle_until = None;
        let mut filled = 0;
        while filled < buf.len() {
            match self.receive_some(&mut buf[filled..], fds) {
                Ok(0) => return Err(if begun { End::Truncated } else { End::Closed }),
                Ok(n) => {
                    filled += n;
                    begun = true;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let now = Instant::now();
                    let deadline = if begun {
                        let message_timeout = self.message_timeout;
                        Some(*self.deadline.get_or_insert_with(|| now + message_timeout))
                    } else {
                        idle_until = idle_until.or(timeout.map(|p| now + p));
                        idle_until
                    };
                    self.wait(PollFlags::IN, deadline, !begun)?;
                }
                Err(Errno::CONNRESET) => {
                    return Err(if begun { End::Truncated } else { End::Closed });
                }
                Err(e) => return Err(End::Io(e)),
            }
        }
        Ok(())
    }
}

impl AsFd for UnixTransport<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Transport for UnixTransport<'_> {
    fn receive_first(
        &mut self,
        buf: &mut [u8],
        fds: &mut ReceivedFds,
        timeout: Option<Duration>,
    ) -> Result<(), End> {
        // A client that sends without pause must not prevent the server from stopping.
        if let Some(end) = self.end(self.stop.requested(), true) {
            return Err(end);
        }
        self.deadline = None;
        self.fill(buf, fds, false, timeout)
    }

    fn receive_more(&mut self, buf: &mut [u8], fds: &mut ReceivedFds) -> Result<(), End> {
        self.fill(buf, fds, true, None)
    }

    fn send(&mut self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), End> {
        let mut deadline = None;
        let mut sent = 0;
        while sent < message.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_MSG_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // The descriptors are sent once, with the first byte.
            if sent == 0 && !fds.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(fds));
            }
            let rest = [IoSlice::new(&message[sent..])];
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(self.socket.as_fd(), &rest, &mut control, flags) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let at = deadline.get_or_insert_with(|| Instant::now() + self.message_timeout);
                    let at = *at;
                    self.wait(PollFlags::OUT, Some(at), false)?;
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(End::Closed),
                Err(e) => return Err(End::Io(e)),
            }
        }
        Ok(())
    }
}
