// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whole messages, received and sent on.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

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
}

impl Message {
    /// Receives a message of at most `max` bytes.
    pub(super) fn receive(client: &mut UnixTransport<'_>, max: usize) -> Result<Self, End> {
        let (mut fds, mut header) = (ReceivedFds::default(), Header::default());
        client.receive_first(header.as_mut_bytes(), &mut fds, None)?;
        let len = match header.payload_len() {
            Some(len) if len <= max - Header::SIZE => len,
            _ => {
                tracing::warn!(size = header.size, max, "message with an impossible size");
                return Err(End::Protocol);
            }
        };
        let mut payload = vec![0; len];
        client.receive_more(&mut payload, &mut fds)?;
        let excess = fds.has_excess();
        let fds = fds.take().into_iter().map(Arc::new).collect();
        Ok(Self {
            header,
            payload,
            fds,
            excess,
        })
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
