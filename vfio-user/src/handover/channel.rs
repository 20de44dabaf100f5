// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Transmission of a description and its file descriptors over a UNIX stream socket.
//!
//! In the host's byte order: the eight bytes `ADITHAND`, then three 32-bit numbers: the
//! [version](CHANNEL_VERSION), the length of the description in bytes and the number of descriptors;
//! the description; then for each group of descriptors a 32-bit number, how many it has, with the
//! group as `SCM_RIGHTS` of its first byte. The kernel passes no more than 253 descriptors with one
//! message.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{HandoverError, InheritedFds, SentFds};
use crate::Errno;

/// The version of the transmission.
pub const CHANNEL_VERSION: u32 = 1;

/// The maximum number of descriptors in one message: the kernel's `SCM_MAX_FD`.
pub const MAX_FDS_PER_MESSAGE: usize = 253;

const MAGIC: [u8; 8] = *b"ADITHAND";

/// The start of a transmission.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Start {
    magic: [u8; 8],
    version: u32,
    len: u32,
    fds: u32,
}

/// The limits for what is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum length of a description in bytes.
    pub len: u32,
    /// The maximum number of descriptors.
    pub fds: u32,
}

impl Default for Limits {
    /// Sufficient for a client with the maximum of windows, in JSON, each with a file of its own.
    fn default() -> Self {
        Self {
            len: 16 << 20,
            fds: 70_000,
        }
    }
}

/// Sends a description and its descriptors to another process within `timeout`.
///
/// # Errors
/// Fails if the other process closes the connection or does not read in time, and for more data than
/// 32-bit lengths can express.
pub fn send(
    socket: BorrowedFd<'_>,
    description: &[u8],
    fds: &SentFds<'_>,
    timeout: Duration,
) -> Result<(), HandoverError> {
    let channel = Channel::new(socket, timeout);
    let limit = |what, value: usize| {
        let max = u32::MAX;
        u32::try_from(value).map_err(|_| HandoverError::Limit {
            what,
            value: value as u64,
            max: max.into(),
        })
    };
    let start = Start {
        magic: MAGIC,
        version: CHANNEL_VERSION,
        len: limit("the length of the description", description.len())?,
        fds: limit("the number of descriptors", fds.as_slice().len())?,
    };
    channel.write(start.as_bytes(), &[])?;
    channel.write(description, &[])?;
    for group in fds.as_slice().chunks(MAX_FDS_PER_MESSAGE) {
        channel.write((group.len() as u32).as_bytes(), group)?;
    }
    Ok(())
}

/// Receives a description and its descriptors from another process within `timeout`. Nothing beyond
/// them is read.
///
/// # Errors
/// Fails if the other process closes the connection, does not send in time, speaks another protocol,
/// or exceeds `limits`; descriptors that have arrived are closed.
pub fn receive(
    socket: BorrowedFd<'_>,
    limits: Limits,
    timeout: Duration,
) -> Result<(Vec<u8>, InheritedFds), HandoverError> {
    let channel = Channel::new(socket, timeout);
    let mut start = Start::default();
    channel.read(start.as_mut_bytes(), &mut Vec::new(), 0)?;
    if start.magic != MAGIC {
        let text = format!(
            "it begins with {:?}",
            start.magic.escape_ascii().to_string()
        );
        return Err(HandoverError::Protocol(text));
    }
    if start.version != CHANNEL_VERSION {
        let text = format!("version {}, expected {CHANNEL_VERSION}", start.version);
        return Err(HandoverError::Protocol(text));
    }
    for (what, value, max) in [
        ("the length of the description", start.len, limits.len),
        ("the number of descriptors", start.fds, limits.fds),
    ] {
        if value > max {
            let (value, max) = (value.into(), max.into());
            return Err(HandoverError::Limit { what, value, max });
        }
    }
    let mut description = vec![0; start.len as usize];
    channel.read(&mut description, &mut Vec::new(), 0)?;
    let expected = start.fds as usize;
    let mut fds: Vec<OwnedFd> = Vec::new();
    while fds.len() < expected {
        let mut count = 0u32;
        let before = fds.len();
        channel.read(count.as_mut_bytes(), &mut fds, expected)?;
        let came = fds.len() - before;
        if came != count as usize || count == 0 {
            let text = format!("a group of {count} descriptors came with {came}");
            return Err(HandoverError::Protocol(text));
        }
    }
    Ok((description, fds.into_iter().collect()))
}

/// A socket and the time by which all of the transmission must be done.
struct Channel<'a> {
    socket: BorrowedFd<'a>,
    deadline: Instant,
}

impl<'a> Channel<'a> {
    fn new(socket: BorrowedFd<'a>, timeout: Duration) -> Self {
        Self {
            socket,
            deadline: Instant::now() + timeout,
        }
    }

    /// Waits for `events`, but no longer than `at_most`.
    fn wait(
        &self,
        events: PollFlags,
        what: &'static str,
        at_most: Duration,
    ) -> Result<(), HandoverError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HandoverError::Timeout(what));
        }
        let timeout = Timespec::try_from(left.min(at_most)).ok();
        match poll(&mut [PollFd::new(&self.socket, events)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(HandoverError::Io {
                call: "poll",
                errno,
            }),
        }
    }

    fn write(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), HandoverError> {
        const WHAT: &str = "read";
        let mut sent = 0;
        while sent < bytes.len() {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS_PER_MESSAGE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if sent == 0 && !fds.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(fds));
            }
            let rest = [IoSlice::new(&bytes[sent..])];
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(self.socket, &rest, &mut control, flags) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, WHAT, Duration::MAX)?,
                // More descriptors are on their way than the user may have: the receiver must take
                // some first, of which no event tells.
                Err(Errno::TOOMANYREFS) => {
                    self.wait(PollFlags::empty(), WHAT, Duration::from_millis(1))?;
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(HandoverError::Closed),
                Err(errno) => {
                    let call = "sendmsg";
                    return Err(HandoverError::Io { call, errno });
                }
            }
        }
        Ok(())
    }

    /// Fills `buf` and appends the descriptors that come with it, up to a total of `max`.
    fn read(
        &self,
        mut buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
        max: usize,
    ) -> Result<(), HandoverError> {
        while !buf.is_empty() {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS_PER_MESSAGE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let mut parts = [IoSliceMut::new(buf)];
            let message = match recvmsg(self.socket, &mut parts, &mut control, flags) {
                Ok(message) => message,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.wait(PollFlags::IN, "send", Duration::MAX)?;
                    continue;
                }
                Err(Errno::CONNRESET) => return Err(HandoverError::Closed),
                Err(errno) => {
                    let call = "recvmsg";
                    return Err(HandoverError::Io { call, errno });
                }
            };
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = part {
                    fds.extend(received);
                }
            }
            if fds.len() > max {
                let text = format!("{} descriptors where {max} were expected", fds.len());
                return Err(HandoverError::Protocol(text));
            }
            if message.flags.contains(ReturnFlags::CTRUNC) {
                let text = "descriptors were lost; the limit of open files may be too low";
                return Err(HandoverError::Protocol(text.to_owned()));
            }
            if message.bytes == 0 {
                return Err(HandoverError::Closed);
            }
            buf = &mut buf[message.bytes..];
        }
        Ok(())
    }
}
