// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The listening socket and its place in the file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    chmod, chownat, flock, lstat, unlink, AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, CWD,
};
use rustix::net::{
    bind, connect, listen, socket_with, AddressFamily, SocketAddrUnix, SocketFlags, SocketType,
};
use thiserror::Error;

use crate::handover::{self, HandoverError, InheritedFds, SavedServer, SentFds, FORMAT};
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

/// The permissions of a socket's file: who can write to it can connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// The mode, as of chmod(2); `None` for that of the umask.
    pub mode: Option<u32>,
    /// The group's id; `None` for that of the process, or of a folder with the set-group-ID bit.
    pub group: Option<u32>,
}

/// A non-blocking listening socket, whose file is removed on drop.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// The device and inode of the socket file, to remove no other; `None` to keep it.
    file: Option<(u64, u64)>,
}

impl Listener {
    /// Binds a stream socket to `path` and listens, for `backlog` connections that wait. A socket
    /// file on which no process listens is replaced; any other file is kept, and is an error. The
    /// file has its permissions before anybody can connect.
    ///
    /// # Errors
    /// Fails when the path is in use, or a system call fails.
    pub fn bind(path: &Path, permissions: Permissions, backlog: i32) -> Result<Self, BindError> {
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
        let stat = lstat(path).map_err(io("lstat"))?;
        // From here on an error removes the file.
        let listener = Self {
            socket,
            path: path.to_owned(),
            file: Some((stat.st_dev, stat.st_ino)),
        };
        // A connection is refused before `listen`.
        permissions.apply(path)?;
        listen(&listener.socket, backlog).map_err(io("listen"))?;
        Ok(listener)
    }

    /// Keeps the socket file when the listener is dropped.
    pub(crate) fn keep_file(&mut self) {
        self.file = None;
    }

    /// Describes the listener for a successor.
    pub(crate) fn save<'a>(&'a self, fds: &mut SentFds<'a>) -> SavedServer {
        SavedServer {
            format: FORMAT,
            socket: fds.add(self.socket.as_fd()),
            path: self.path.clone(),
            file: self.file,
        }
    }
}

impl SavedServer {
    /// Takes over the listener of another process.
    pub(crate) fn restore(self, fds: &mut InheritedFds) -> Result<Listener, HandoverError> {
        handover::check_format(self.format)?;
        Ok(Listener {
            socket: fds.take(self.socket)?,
            path: self.path,
            file: self.file,
        })
    }
}

impl Permissions {
    /// Gives the permissions to a file, which nobody else can replace meanwhile: the folder belongs
    /// to this process.
    fn apply(self, path: &Path) -> Result<(), BindError> {
        let io = |call| {
            move |errno| BindError::Io {
                path: path.to_owned(),
                call,
                errno,
            }
        };
        if let Some(group) = self.group {
            let group = Some(Gid::from_raw(group));
            chownat(CWD, path, None, group, AtFlags::SYMLINK_NOFOLLOW).map_err(io("chown"))?;
        }
        if let Some(mode) = self.mode {
            chmod(path, Mode::from_raw_mode(mode & 0o777)).map_err(io("chmod"))?;
        }
        Ok(())
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
        if self.file.is_some()
            && lstat(&self.path).is_ok_and(|s| Some((s.st_dev, s.st_ino)) == self.file)
        {
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
