// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whole messages, received and sent on.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zerocopy::IntoBytes;

use super::Lost;
use crate::header::{Command, Header};
use crate::transport::{End, ReceivedFds, Transport, UnixTransport};
use crate::Errno;

/// A message of the client.
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    pub(super) fds: Vec<Arc<OwnedFd>>,
    /// Set if it came with more descriptors than a message may have.
    pub(super) excess: bool,
    /// The time at which the rest of it was received.
    pub(super) came: Instant,
}

/// A message of the client that may not have come as a whole. Its parts are taken as they come, so that a client
/// that stalls within a message keeps its relay from nothing else.
#[derive(Default)]
pub(super) struct Incoming {
    header: Header,
    /// Empty until the header has come.
    payload: Vec<u8>,
    /// The number of bytes that have come of both.
    filled: usize,
    fds: ReceivedFds,
    /// The time by which the rest must have come, since the first byte has.
    by: Option<Instant>,
}

impl Incoming {
    /// The time by which the rest of a message must have come that has begun.
    pub(super) fn by(&self) -> Option<Instant> {
        self.by
    }

    /// Gives a client more time that could not send the rest.
    pub(super) fn extend(&mut self, timeout: Duration) {
        if self.by.is_some() {
            self.by = Some(Instant::now() + timeout);
        }
    }

    /// Takes what has come of a message of at most `max` bytes, all of which must come within `timeout` of its first
    /// byte. Returns the message once that is all of it.
    pub(super) fn receive(
        &mut self,
        client: &UnixTransport<'_>,
        (max, timeout): (usize, Duration),
    ) -> Result<Option<Message>, End> {
        loop {
            let rest = match self.filled.checked_sub(Header::SIZE) {
                None => &mut self.header.as_mut_bytes()[self.filled..],
                Some(filled) => &mut self.payload[filled..],
            };
            match client.receive_some(rest, &mut self.fds) {
                Ok(0) | Err(Errno::CONNRESET) if self.by.is_some() => return Err(End::Truncated),
                Ok(0) | Err(Errno::CONNRESET) => return Err(End::Closed),
                Ok(n) => self.filled += n,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) if self.by.is_some_and(|by| by <= Instant::now()) => {
                    return Err(End::Stalled);
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(End::Io(errno)),
            }
            if self.filled == Header::SIZE {
                self.payload = vec![0; payload_len(&self.header, max)?];
            }
            if self.filled >= Header::SIZE && self.filled == Header::SIZE + self.payload.len() {
                return Ok(Some(std::mem::take(self).complete()));
            }
            self.by = self.by.or_else(|| Some(Instant::now() + timeout));
        }
    }

    fn complete(mut self) -> Message {
        let excess = self.fds.has_excess();
        Message {
            header: self.header,
            payload: self.payload,
            fds: self.fds.take().into_iter().map(Arc::new).collect(),
            excess,
            came: Instant::now(),
        }
    }
}

/// The length of the payload of a message of at most `max` bytes.
fn payload_len(header: &Header, max: usize) -> Result<usize, End> {
    match header.payload_len() {
        Some(len) if len <= max - Header::SIZE => Ok(len),
        _ => {
            tracing::warn!(size = header.size, max, "message with an impossible size");
            Err(End::Protocol)
        }
    }
}

/// The payload of a reply, and its descriptor.
pub(super) type Data = (Vec<u8>, Option<Arc<OwnedFd>>);
/// The worker's reply: data, or an error.
pub(super) type Reply = Result<Data, Errno>;

/// Sends a command to the worker and receives its reply of at most `max` bytes.
pub(super) fn exchange(
    link: &mut UnixTransport<'_>,
    command: Command,
    payload: &[u8],
    fds: &[Arc<OwnedFd>],
    (max, timeout): (usize, Duration),
) -> Result<Reply, Lost> {
    let request = Header {
        id: 0,
        command: command as u16,
        // A payload that was received, or is small.
        size: (Header::SIZE + payload.len()) as u32,
        ..Header::default()
    };
    let gone = |end| match end {
        End::Stalled | End::Protocol => Lost::Silent(command),
        End::Closed | End::Truncated | End::Stopped | End::HandedOver | End::Io(_) => Lost::Gone,
    };
    let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let message = [request.as_bytes(), payload].concat();
    link.send(&message, &borrowed).map_err(gone)?;
    let (mut fds, mut header) = (ReceivedFds::default(), Header::default());
    link.receive_first(header.as_mut_bytes(), &mut fds, Some(timeout))
        .map_err(gone)?;
    let len = header.payload_len().filter(|len| *len <= max);
    let is_reply = header.message_type() == Header::TYPE_REPLY && header.command == request.command;
    let (Some(len), true) = (len, is_reply) else {
        return Err(Lost::Silent(command));
    };
    let mut payload = vec![0; len];
    link.receive_more(&mut payload, &mut fds).map_err(gone)?;
    if header.flags & Header::ERROR != 0 {
        return Ok(Err(Errno::from_raw_os_error(header.error as i32)));
    }
    Ok(Ok((payload, fds.take().into_iter().next().map(Arc::new))))
}

/// Sends a reply to the client, unless it wants none.
pub(super) fn reply(
    client: &mut UnixTransport<'_>,
    request: &Header,
    reply: &Reply,
) -> Result<(), End> {
    if request.no_reply() {
        return Ok(());
    }
    let (payload, fd, flags, error) = match reply {
        Ok((payload, fd)) => (&payload[..], fd.as_ref(), 0, 0),
        Err(errno) => (&[][..], None, Header::ERROR, errno.raw_os_error() as u32),
    };
    let header = Header {
        id: request.id,
        command: request.command,
        size: (Header::SIZE + payload.len()) as u32,
        flags: Header::TYPE_REPLY | flags,
        error,
    };
    let fd = fd.map(|fd| fd.as_fd());
    client.send(&[header.as_bytes(), payload].concat(), fd.as_slice())
}
