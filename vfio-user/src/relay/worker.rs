// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The worker's side: a server whose clients a relay passes on.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{poll, PollFd, PollFlags};
use rustix::net::{
    recvmsg, sendmsg, socketpair, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage,
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::device::Device;
use crate::handover::Client;
use crate::server::serve_client;
use crate::session::State;
use crate::stats::Stats;
use crate::stop::Request;
use crate::{Config, Errno, ServerError, StopHandle};

/// Creates a source: the relay's end and the worker's.
///
/// # Errors
/// Fails when the process is out of file descriptors.
pub fn source() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The byte that announces a client which has no history, and one that another worker has served.
const NEW: u8 = 1;
const KNOWN: u8 = 2;

/// Passes the connection of a client to a worker. `is_known` is set if another one has served it.
pub(super) fn pass(
    source: BorrowedFd<'_>,
    connection: BorrowedFd<'_>,
    is_known: bool,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [connection];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let byte = [if is_known { KNOWN } else { NEW }];
    sendmsg(source, &[IoSlice::new(&byte)], &mut control, flags).map(|_| ())
}

/// A server that serves the clients which a relay passes on, one at a time.
#[derive(Debug)]
pub struct PassedClients {
    source: OwnedFd,
    config: Config,
    stats: Arc<Stats>,
}

impl PassedClients {
    /// Creates a server at the worker's end of a source.
    #[must_use]
    pub fn new(source: OwnedFd, config: Config) -> Self {
        Self {
            source,
            config,
            stats: Arc::default(),
        }
    }

    /// The counters, which other threads may share.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Serves clients until `stop` is used, or the relay is gone.
    ///
    /// # Errors
    /// Fails when the wait for clients does.
    pub fn run<D>(&self, device: &mut D, stop: &StopHandle) -> Result<(), ServerError>
    where
        D: Device + ?Sized,
    {
        while let Some((socket, is_new)) = self.next(stop)? {
            self.stats.count_connections(1);
            if is_new {
                device.new_client();
            } else {
                device.known_client();
            }
            let client = Client::new(socket, State::new(&self.config));
            let served = serve_client(device, stop, client, &self.config, &self.stats)?;
            if served.is_some_and(|client| client.is_connected()) {
                device.disconnected();
            }
        }
        Ok(())
    }

    /// Waits for a client, and returns its connection and whether no other worker has served it; `None`
    /// once stopped, or without a relay.
    fn next(&self, stop: &StopHandle) -> Result<Option<(OwnedFd, bool)>, ServerError> {
        loop {
            let mut fds = [
                PollFd::new(&self.source, PollFlags::IN),
                PollFd::new(stop, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(ServerError::Accept(errno)),
            }
            if stop.requested() != Request::None {
                return Ok(None);
            }
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let mut byte = [0];
            let mut parts = [IoSliceMut::new(&mut byte)];
            let received = match recvmsg(self.source.as_fd(), &mut parts, &mut control, flags) {
                Ok(message) => message.bytes,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(Errno::CONNRESET) => 0,
                Err(errno) => return Err(ServerError::Accept(errno)),
            };
            let passed = control.drain().find_map(|part| match part {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            });
            match (received, passed) {
                (0, _) => return Ok(None),
                (_, Some(socket)) => return Ok(Some((socket, byte != [KNOWN]))),
                (_, None) => self.stats.count_accept_failures(1),
            }
        }
    }
}
