// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A pair of UNIX datagram sockets: one frame is one datagram, without encapsulation.
//!
//! This is the protocol of QEMU's `-netdev dgram,local.type=unix,…`. Each end binds its own path
//! and sends to the other's, and each can be started and stopped independently.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use adit_pipeline::offload::{Checksum, FrameMeta, OnWire};
use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;
use rustix::net::{
    bind, connect, getsockname, sendmsg_addr, socket_with, sockopt, AddressFamily, RecvFlags,
    SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use thiserror::Error;

use super::counters::{PortCounters, RxDrop};
use super::port::{
    checked_len, count_sent, drop_received, LifelineReports, LinkState, Port, Received, RecvError,
    SendError, DEFAULT_SPEED_MBPS, MIN_FRAME_LEN,
};

/// The maximum number of bytes of frames queued in the socket of the other end.
const SEND_BUFFER: usize = 4 << 20;

/// The suffix that the second end of a wire adds to the wire's path.
const SECOND_END: &str = ".peer";

/// The reason that a UNIX socket could not be opened.
#[derive(Debug, Error)]
pub enum UnixError {
    /// The path does not fit into a socket address.
    #[error("`{0}` is not a socket path: at most 107 bytes, none of them zero")]
    Path(PathBuf),
    /// The path exists and is not a socket.
    #[error("`{0}` exists and is not a socket: delete it or choose another path")]
    NotSocket(PathBuf),
    /// Another process receives at this path.
    #[error("`{0}` is in use by another process")]
    InUse(PathBuf),
    /// Both ends of a wire identified by one path are in use.
    #[error("both ends of `{0}` are in use: a wire has two ends")]
    BothEnds(PathBuf),
    /// Any other step failed.
    #[error("socket `{path}`: {step} failed: {error}")]
    Setup {
        /// The path.
        path: PathBuf,
        /// The operation that failed.
        step: &'static str,
        /// The host's error.
        error: io::Error,
    },
}

/// A port whose other end is a UNIX datagram socket.
///
/// The link is up while a process receives at the other path, which is checked by each call of
/// [`link`](Port::link): a socket does not notify of that change. Frames sent while there is no
/// receiver are dropped and counted (`TxDrop::Down`). If the port's own socket file is removed, the
/// port recreates it.
#[derive(Debug)]
pub struct Unix {
    name: String,
    socket: OwnedFd,
    generation: u32,
    /// The reason that the link is down, while it is.
    down_reason: Option<String>,
    local: PathBuf,
    /// The device and inode of the socket file, so that only this port's own file is removed.
    inode: (u64, u64),
    remote: SocketAddrUnix,
    counters: PortCounters,
    lifelines: LifelineReports,
    /// Set unless the socket may be that of another process, which needs its file.
    is_own: bool,
}

impl Unix {
    /// Opens a port that receives at `local` and sends to `remote`. A socket that a dead process
    /// left at `local` is replaced.
    ///
    /// # Errors
    /// Fails with the path that cannot be used and the reason.
    pub fn open(local: &Path, remote: &Path) -> Result<Self, UnixError> {
        let _lock = lock_folder(local)?;
        let name = format!("unix:{},{}", local.display(), remote.display());
        Self::bind(local, remote, name)?.ok_or_else(|| UnixError::InUse(local.to_owned()))
    }

    /// Opens one end of the wire that is identified by `path`. The first end receives at `path`
    /// and sends to `path.peer`; the second end does the opposite.
    ///
    /// # Errors
    /// Fails like [`open`](Self::open), and when both ends are in use.
    pub fn open_either_end(path: &Path) -> Result<Self, UnixError> {
        let _lock = lock_folder(path)?;
        let second = Self::second_end(path);
        let name = format!("unix:{}", path.display());
        if let Some(first) = Self::bind(path, &second, name.clone())? {
            return Ok(first);
        }
        Self::bind(&second, path, name)?.ok_or_else(|| UnixError::BothEnds(path.to_owned()))
    }

    /// Takes over the socket of another process, which receives at one of the two paths and sends to the
    /// other; `None` if it is no such socket. It leaves the socket's file as it is until it
    /// [claims](Port::claim) it.
    ///
    /// # Errors
    /// Fails with the path that cannot be used and the reason.
    pub fn adopt(
        socket: OwnedFd,
        name: &str,
        paths: [&Path; 2],
    ) -> Result<Option<Self>, UnixError> {
        let Ok(bound) = getsockname(&socket) else {
            return Ok(None);
        };
        let bound = SocketAddrUnix::try_from(bound).ok();
        let bound = bound.and_then(|bound| Some(bound.path_bytes()?.to_owned()));
        let is_local = |path: &&Path| bound.as_deref() == Some(path.as_os_str().as_bytes());
        let Some(at) = paths.iter().position(is_local) else {
            return Ok(None);
        };
        let (local, remote) = (paths[at], paths[1 - at]);
        // Without its file it is bound again by the next check of the link. The file is another socket's if
        // nobody receives there: its process has bound it again, and ended before it could report that.
        let is_alive = has_receiver(&address(local)?).unwrap_or(true);
        let file = fs::symlink_metadata(local).ok().filter(|_| is_alive);
        Ok(Some(Self {
            name: name.to_owned(),
            socket,
            generation: 0,
            down_reason: None,
            local: local.to_owned(),
            inode: file.map_or((0, 0), |file| (file.dev(), file.ino())),
            remote: address(remote)?,
            counters: PortCounters::default(),
            lifelines: LifelineReports::default(),
            is_own: false,
        }))
    }

    /// The second path of a wire that is identified by one.
    fn second_end(path: &Path) -> PathBuf {
        let mut second = path.as_os_str().to_owned();
        second.push(SECOND_END);
        second.into()
    }

    /// Takes over the socket of another process, as [`open_either_end`](Self::open_either_end) has
    /// opened it.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_either_end(socket: OwnedFd, path: &Path) -> Result<Option<Self>, UnixError> {
        let name = format!("unix:{}", path.display());
        Self::adopt(socket, &name, [path, &Self::second_end(path)])
    }

    /// Binds the socket; returns `None` when another process receives at `local`.
    fn bind(local: &Path, remote: &Path, name: String) -> Result<Option<Self>, UnixError> {
        let setup = |step| {
            move |errno: Errno| UnixError::Setup {
                path: local.to_owned(),
                step,
                error: errno.into(),
            }
        };
        let address = address(local)?;
        let remote = self::address(remote)?;
        match fs::symlink_metadata(local) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(UnixError::NotSocket(local.to_owned()));
            }
            Ok(_) if has_receiver(&address).map_err(setup("probing the socket"))? => {
                return Ok(None);
            }
            Ok(_) => fs::remove_file(local).map_err(|error| UnixError::Setup {
                path: local.to_owned(),
                step: "removing the stale socket",
                error,
            })?,
            Err(_) => {}
        }
        let socket = new_socket().map_err(setup("creating a socket"))?;
        sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER).map_err(setup("SO_SNDBUF"))?;
        bind(&socket, &address).map_err(setup("bind"))?;
        let file = fs::symlink_metadata(local).map_err(|error| UnixError::Setup {
            path: local.to_owned(),
            step: "reading the metadata of the socket file",
            error,
        })?;
        Ok(Some(Self {
            name,
            socket,
            generation: 0,
            down_reason: None,
            local: local.to_owned(),
            inode: (file.dev(), file.ino()),
            remote,
            counters: PortCounters::default(),
            lifelines: LifelineReports::default(),
            is_own: true,
        }))
    }

    /// The path at which this port receives.
    #[must_use]
    pub fn local(&self) -> &Path {
        &self.local
    }

    /// Returns whether the socket file at [`local`](Self::local) is this port's.
    fn owns_path(&self) -> bool {
        fs::symlink_metadata(&self.local).is_ok_and(|file| (file.dev(), file.ino()) == self.inode)
    }

    /// Binds to its path again after the socket file was removed.
    fn rebind(&mut self) -> Result<(), UnixError> {
        // This must not wait for the lock of another process: the frames of other ports would wait,
        // too.
        let _lock = lock_folder_with(&self.local, FlockOperation::NonBlockingLockExclusive)?;
        let path = self.remote.path_bytes().unwrap_or_default();
        let remote = PathBuf::from(std::ffi::OsStr::from_bytes(path));
        let new = Self::bind(&self.local, &remote, String::new())?;
        let mut new = new.ok_or_else(|| UnixError::InUse(self.local.clone()))?;
        // The old socket, which no longer has a file, is then dropped.
        std::mem::swap(&mut self.socket, &mut new.socket);
        std::mem::swap(&mut self.inode, &mut new.inode);
        self.generation = self.generation.wrapping_add(1);
        self.lifelines.report(self.socket.as_fd());
        Ok(())
    }

    /// Returns the reason that the port cannot be used, if there is one.
    fn check_link(&mut self) -> Option<String> {
        if self.is_own && !self.owns_path() {
            if let Err(error) = self.rebind() {
                return Some(error.to_string());
            }
        }
        match has_receiver(&self.remote) {
            Ok(true) => None,
            Ok(false) => Some("no process receives at the other end".to_owned()),
            Err(errno) => Some(format!("the other end cannot be reached: {errno}")),
        }
    }

    fn write(&self, frame: &[IoSlice<'_>], meta: &FrameMeta) -> Result<usize, SendError> {
        let len = checked_len(frame)?;
        if meta.gso.is_some() || matches!(meta.checksum, Checksum::Partial { .. }) {
            return Err(SendError::Refused);
        }
        let mut none = SendAncillaryBuffer::default();
        // Frames are sent by address: a connected socket would stay connected to a dead peer, and
        // receive from no other.
        match sendmsg_addr(
            &self.socket,
            &self.remote,
            frame,
            &mut none,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => Ok(len),
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => Err(SendError::Full),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Err(SendError::Down),
            Err(Errno::MSGSIZE) => Err(SendError::TooBig {
                len,
                max: SEND_BUFFER,
            }),
            Err(errno) => Err(SendError::Io(errno.into())),
        }
    }
}

impl Port for Unix {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.poll_fd()
    }

    fn report_lifelines(&mut self, to: LifelineReports) {
        self.lifelines = to;
    }

    fn claim(&mut self) {
        self.is_own = true;
    }

    fn release(&mut self) {
        self.is_own = false;
    }

    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<Received>, RecvError> {
        // With MSG_TRUNC the second number is the datagram's full length.
        let len = match rustix::net::recv(&self.socket, &mut *buf, RecvFlags::TRUNC) {
            Ok((_, len)) => len,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(RecvError::Io(errno.into())),
        };
        if len < MIN_FRAME_LEN {
            return Err(drop_received(&mut self.counters, RxDrop::Runt));
        }
        if len > buf.len() {
            return Err(drop_received(&mut self.counters, RxDrop::TooBig));
        }
        self.counters.received(OnWire::single(len));
        Ok(Some(Received {
            len,
            meta: FrameMeta::default(),
        }))
    }

    fn send(&mut self, frame: &[IoSlice<'_>], meta: &FrameMeta) -> Result<(), SendError> {
        let outcome = self.write(frame, meta);
        count_sent(&mut self.counters, frame, meta, outcome)
    }

    fn link(&mut self) -> LinkState {
        self.down_reason = self.check_link();
        LinkState {
            up: self.down_reason.is_none(),
            speed_mbps: DEFAULT_SPEED_MBPS,
        }
    }

    fn is_unwatched(&self) -> bool {
        true
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn down_reason(&self) -> Option<&str> {
        self.down_reason.as_deref()
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut PortCounters {
        &mut self.counters
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        if self.is_own && self.owns_path() {
            // A failure can be ignored: the next port that binds here replaces a dead socket.
            let _ = fs::remove_file(&self.local);
        }
    }
}

fn address(path: &Path) -> Result<SocketAddrUnix, UnixError> {
    SocketAddrUnix::new(path).map_err(|_| UnixError::Path(path.to_owned()))
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
}

/// Returns whether a process has this address bound: a socket whose owner died refuses connections.
fn has_receiver(address: &SocketAddrUnix) -> Result<bool, Errno> {
    match connect(new_socket()?, address) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        // EPERM: it is connected to another socket. EPROTOTYPE: it is a stream socket.
        Ok(()) | Err(Errno::PERM | Errno::PROTOTYPE) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Locks the folder, until dropped, against concurrent replacement of a dead socket.
fn lock_folder(path: &Path) -> Result<File, UnixError> {
    lock_folder_with(path, FlockOperation::LockExclusive)
}

fn lock_folder_with(path: &Path, operation: FlockOperation) -> Result<File, UnixError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let setup = |error| UnixError::Setup {
        path: path.to_owned(),
        step: "locking its folder",
        error,
    };
    let folder = File::open(folder).map_err(setup)?;
    flock(&folder, operation).map_err(|errno| setup(errno.into()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests;
