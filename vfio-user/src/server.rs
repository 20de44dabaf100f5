// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server: serves one client at a time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::net::{accept_with, SocketFlags};
use thiserror::Error;

use crate::device::Device;
use crate::header::Header;
use crate::listener::{BindError, Listener};
use crate::session::{Session, DEFAULT_MESSAGE_TIMEOUT};
use crate::stats::Stats;
use crate::transport::UnixTransport;
use crate::{wire, Errno, StopHandle};

/// The limits of a server for its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The timeout for a message after its first byte, for sending its reply, and for a new
    /// client's version message.
    pub message_timeout: Duration,
    /// The maximum data length of one read or write of a region, in bytes. QEMU accepts up to 64
    /// MiB; the protocol's default is 1 MiB.
    pub max_data_xfer_size: u32,
    /// The maximum number of DMA windows of a client; at most 65535 (QEMU's limit).
    pub max_dma_maps: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            message_timeout: DEFAULT_MESSAGE_TIMEOUT,
            max_data_xfer_size: 1 << 20,
            max_dma_maps: 65535,
        }
    }
}

impl Config {
    /// Returns the maximum length of a message in bytes: a write of the maximum length, and space
    /// for the fixed parts and for version data.
    pub(crate) const fn max_message(&self) -> usize {
        const FIXED: usize = Header::SIZE + wire::IrqSet::SIZE;
        const VERSION: usize = wire::Version::SIZE + crate::version::MAX_VERSION_DATA;
        FIXED + VERSION + self.max_data_xfer_size as usize
    }
}

/// The reason that a server does not start or continue.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The wait for clients failed.
    #[error("waiting for a client: {0}")]
    Accept(Errno),
    /// The setup ran out of file descriptors.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A vfio-user server on a UNIX socket. The socket file is removed when the server is dropped.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    config: Config,
    stats: Arc<Stats>,
}

impl Server {
    /// Binds the socket `path`. A socket file on which no process listens is replaced; any other
    /// file is kept, and is an error.
    pub fn bind(path: impl AsRef<Path>, config: Config) -> Result<Self, ServerError> {
        Ok(Self {
            listener: Listener::bind(path.as_ref())?,
            config,
            stats: Arc::default(),
        })
    }

    /// The counters, which other threads may share.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Serves one client at a time until `stop` is used; a connected client is disconnected from
    /// the device before this returns.
    pub fn run<D>(&self, device: &mut D, stop: &StopHandle) -> Result<(), ServerError>
    where
        D: Device + ?Sized,
    {
        while self.wait(stop)? {
            let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => continue,
                // The process or the system has exhausted a resource; that may be temporary, and a
                // busy loop would not help.
                Err(e @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    self.stats.count_accept_failures(1);
                    tracing::warn!("cannot accept a client, trying again: {e}");
                    self.pause(stop)?;
                    continue;
                }
                Err(e) => return Err(ServerError::Accept(e)),
            };
            self.stats.count_connections(1);
            tracing::info!("client connected");
            let transport = UnixTransport::new(socket, stop, self.config.message_timeout);
            let end = Session::new(transport, device, &self.config, &self.stats).run();
            tracing::info!("client gone: {end}");
        }
        Ok(())
    }

    /// Waits for a client; returns `false` once stopped.
    fn wait(&self, stop: &StopHandle) -> Result<bool, ServerError> {
        let mut fds = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(!stop.is_stopped()),
            Err(e) => Err(ServerError::Accept(e)),
        }
    }

    /// Waits for a tenth of a second, or until stopped.
    fn pause(&self, stop: &StopHandle) -> Result<(), ServerError> {
        let tenth = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        match poll(&mut [PollFd::new(stop, PollFlags::IN)], Some(&tenth)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(ServerError::Accept(e)),
        }
    }
}
