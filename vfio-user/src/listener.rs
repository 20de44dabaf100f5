// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The listening socket and its place in the file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{flock, lstat, unlink, FileType, FlockOperation, Mode, OFlags};
use rustix::net::{
    bind, connect, listen, socket_with, AddressFamily, SocketAddrUnix, SocketFlags, SocketType,
};
use thiserror::Error;

use crate::Errno;

/// The reason that a socket path cannot be used.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another server is listening on it.
    #[error("{0}: another process listens on this socket; stop it or choose another path")]
    InUse(PathBuf),
    /// A file that is not a socket exists there.
    #[error("{0}: exists and is not a socket; remove it or choose another path")]
    NotASocket(PathBuf),
    /// Another server is being started in the same folder.
    #[error("{0}: this folder is locked by another process (flock)")]
    Locked(PathBuf),
    /// A system call failed.
    #[error("{path}: {call}: {errno}")]
    Io {
        /// The path of the socket, or of its folder.
        path: PathBuf,
        /// The name of the system call.
        call: &'static str,
        /// The errno.
        errno: Errno,
    },
}

/// A non-blocking listening socket, whose file is removed on drop.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// The device and inode of the socket file, to remove no other.
    file: (u64, u64),
}

/// The maximum number of connections that wait while a client is served.
const BACKLOG: i32 = 4;

impl Listener {
    pub(crate) fn bind(path: &Path) -> Result<Self, BindError> {
        let io = |call| {
            move |errno| BindError::Io {
                path: path.to_owned(),
                call,
                errno,
            }
        };
        let address = SocketAddrUnix::new(path).map_err(io("socket address"))?;
        let socket = new_socket().map_err(io("socket"))?;
        // No other process may interfere between detecting a stale socket and replacing it.
        let _lock = lock_folder(path)?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address)?;
                bind(&socket, &address).map_err(io("bind"))?;
            }
            other => other.map_err(io("bind"))?,
        }
        listen(&socket, BACKLOG).map_err(io("listen"))?;
        let stat = lstat(path).map_err(io("lstat"))?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            file: (stat.st_dev, stat.st_ino),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Another file may have been created there.
        if lstat(&self.path).is_ok_and(|s| (s.st_dev, s.st_ino) == self.file) {
            let _ = unlink(&self.path);
        }
    }
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Removes the socket file if no process listens on it.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let io = |call| {
        move |errno| BindError::Io {
            path: path.to_owned(),
            call,
            errno,
        }
    };
    let stat = lstat(path).map_err(io("lstat"))?;
    if !FileType::from_raw_mode(stat.st_mode).is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match connect(&new_socket().map_err(io("socket"))?, address) {
        Err(Errno::CONNREFUSED) => unlink(path).map_err(io("unlink")),
        // A listener with a full backlog is still a listener.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => Err(BindError::InUse(path.to_owned())),
        Err(errno) => Err(io("connect")(errno)),
    }
}

/// Locks the folder of `path` against other servers that start, for the lifetime of the returned
/// descriptor.
fn lock_folder(path: &Path) -> Result<OwnedFd, BindError> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let io = |call| {
        move |errno| BindError::Io {
            path: folder.to_owned(),
            call,
            errno,
        }
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder, flags, Mode::empty()).map_err(io("open"))?;
    let give_up = Instant::now() + Duration::from_secs(2);
    loop {
        match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(fd),
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(Errno::WOULDBLOCK) => return Err(BindError::Locked(folder.to_owned())),
            Err(errno) => return Err(io("flock")(errno)),
        }
    }
}
