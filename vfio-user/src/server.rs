// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Serving clients one after the other.

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

/// What a server allows its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The longest a message may take once its first byte has come, the
    /// longest its reply may wait for the client to read, and the longest a
    /// new client may take to send its version.
    pub message_timeout: Duration,
    /// The most data in one read or write of a region, in bytes. QEMU takes
    /// up to 64 MiB; the protocol's default is 1 MiB.
    pub max_data_xfer_size: u32,
    /// The most DMA windows of a client; at most 65535 (QEMU's limit).
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
    /// The longest message in bytes: a write with all the data that it may
    /// have, and room for the fixed parts and for version data.
    pub(crate) const fn max_message(&self) -> usize {
        const FIXED: usize = Header::SIZE + wire::IrqSet::SIZE;
        const VERSION: usize = wire::Version::SIZE + crate::version::MAX_VERSION_DATA;
        FIXED + VERSION + self.max_data_xfer_size as usize
    }
}

/// Why a server does not start or does not go on.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The socket could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Waiting for clients failed.
    #[error("waiting for a client: {0}")]
    Accept(Errno),
    /// Out of file descriptors, in setting up.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A vfio-user server on a UNIX socket. The socket file goes when it drops.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    config: Config,
    stats: Arc<Stats>,
}

impl Server {
    /// Takes the socket `path`. A socket file on which nobody listens is
    /// replaced; anything else in that place is left alone, and an error.
    pub fn bind(path: impl AsRef<Path>, config: Config) -> Result<Self, ServerError> {
        Ok(Self {
            listener: Listener::bind(path.as_ref())?,
            config,
            stats: Arc::default(),
        })
    }

    /// The counters, also for other threads.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Serves one client after the other until `stop` is used; a client that
    /// is connected then has gone from the device when this returns.
    pub fn run<D>(&self, device: &mut D, stop: &StopHandle) -> Result<(), ServerError>
    where
        D: Device + ?Sized,
    {
        while self.wait(stop)? {
            let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => continue,
                // The process or the system is short of something; that can
                // pass, and spinning would not help.
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

    /// Waits for a client; false once stopped.
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

    /// A tenth of a second, or until stopped.
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
