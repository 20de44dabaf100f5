// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files in memory that are passed with requests: for what is longer than a request may be.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use rustix::fs::{fcntl_get_seals, memfd_create, MemfdFlags};
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::protocol::{ErrorCode, VdevError};
use crate::snapshot::{self, DeviceState, StateError};

/// The receiving side of a connection whose client may pass files. Such a client is trusted: to close
/// another one's file could take arbitrarily long.
pub(super) struct Receiver<'a> {
    pub(super) socket: &'a UnixStream,
    /// The last file that has come.
    pub(super) file: &'a mut Option<OwnedFd>,
}

impl Read for Receiver<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(self.socket, &mut parts, &mut control, flags)?;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut files) = part {
                *self.file = files.next_back();
            }
        }
        Ok(received.bytes)
    }
}

/// Writes a request with which a file is passed.
pub(super) fn write(mut to: &UnixStream, bytes: &[u8], file: BorrowedFd<'_>) -> io::Result<()> {
    let files = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let sent = sendmsg(
        to,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    to.write_all(&bytes[sent..])
}

/// A file in memory with this content.
pub(super) fn file_of(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("adit-vdev-state", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// Reads the state of a device out of a file.
pub(super) fn state(file: OwnedFd) -> Result<DeviceState, VdevError> {
    let invalid = |problem: String| {
        let message = format!("the file of the state: {problem}");
        VdevError::new(ErrorCode::Invalid, message)
    };
    // Only files in memory have seals. To read another one could take arbitrarily long.
    if let Err(error) = fcntl_get_seals(file.as_fd()) {
        return Err(invalid(format!(
            "it is not one in memory (memfd_create): {error}"
        )));
    }
    let file = File::from(file);
    let len = file.metadata().map_err(|e| invalid(e.to_string()))?.len();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > snapshot::MAX_LEN {
        return Err(invalid(StateError::TooLong(len).to_string()));
    }
    let mut bytes = vec![0; len];
    let read = file.read_exact_at(&mut bytes, 0);
    read.map_err(|error| invalid(format!("{len} bytes: {error}")))?;
    snapshot::parse(&bytes).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_and_their_file_arrive() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut file = None;
        let mut read = |bytes: &mut [u8]| {
            let socket = &far;
            let file = &mut file;
            let len = Receiver { socket, file }.read(bytes).unwrap();
            (len, file.is_some())
        };
        let mut bytes = [0; 8];
        (&near).write_all(b"one\n").unwrap();
        assert_eq!(read(&mut bytes), (4, false));
        write(&near, b"two\n", file_of(b"state").unwrap().as_fd()).unwrap();
        assert_eq!(read(&mut bytes), (4, true));
        (&near).write_all(b"three\n").unwrap();
        assert_eq!(read(&mut bytes), (6, true), "it stays");
        drop(near);
        assert_eq!(read(&mut bytes), (0, true));
        let mut text = [0; 5];
        let file = File::from(file.unwrap());
        file.read_exact_at(&mut text, 0).unwrap();
        assert_eq!(&text, b"state");
    }

    #[test]
    fn only_files_in_memory_of_limited_length_are_read() {
        let refused = |file: OwnedFd| {
            let error = state(file).unwrap_err();
            assert_eq!(error.code, ErrorCode::Invalid);
            error.message
        };
        let (pipe, _write) = rustix::pipe::pipe().unwrap();
        assert!(refused(pipe).contains("memfd_create"));
        let disk = File::open("/proc/self/status").unwrap();
        assert!(refused(disk.into()).contains("memfd_create"));
        let long = File::from(file_of(b"").unwrap());
        long.set_len(snapshot::MAX_LEN as u64 + 1).unwrap();
        assert!(refused(long.into()).contains("a state of 8388609 bytes: the limit is 8388608"));
        let unreadable = File::from(file_of(b"{}").unwrap());
        let path = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&unreadable)
        );
        let write_only = File::options().write(true).open(path).unwrap();
        assert!(refused(write_only.into()).contains("2 bytes"));
        assert!(refused(file_of(b"{}").unwrap()).contains("format"));
    }
}
