// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server: serves one client at a time.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::net::{accept_with, SocketFlags};
use thiserror::Error;

use crate::device::Device;
use crate::handover::{Client, HandoverError, InheritedFds, SavedServer, SentFds};
use crate::header::Header;
use crate::listener::{BindError, Listener, Permissions};
use crate::session::{Session, State, DEFAULT_MESSAGE_TIMEOUT};
use crate::stats::Stats;
use crate::stop::Request;
use crate::transport::{End, UnixTransport};
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
    /// The maximum length of a dirty bitmap in bytes, at most 256 MiB (QEMU's limit): with pages of
    /// 4 KiB, 1 MiB covers 32 GiB of memory. A client can have the server allocate as much for the
    /// time of one reply.
    pub max_bitmap_size: u32,
    /// Set if a client can be handed over to another process ([`handover`](crate::handover)). Costs
    /// a file descriptor for each file that backs DMA windows.
    pub handover: bool,
    /// The permissions of the socket's file.
    pub permissions: Permissions,
}

/// The maximum number of connections that wait while a client is served.
const BACKLOG: i32 = 4;

impl Default for Config {
    fn default() -> Self {
        Self {
            message_timeout: DEFAULT_MESSAGE_TIMEOUT,
            max_data_xfer_size: 1 << 20,
            max_dma_maps: 65535,
            max_bitmap_size: 4 << 20,
            handover: false,
            permissions: Permissions::default(),
        }
    }
}

impl Config {
    /// Returns the maximum length of a message in bytes: a write of the maximum length, and space
    /// for the fixed parts and for version data.
    pub(crate) const fn max_message(&self) -> usize {
        const FIXED: usize = Header::SIZE + wire::IrqSet::SIZE;
        const VERSION: usize = wire::Version::SIZE + crate::version::MAX_VERSION_DATA;
        const { assert!(Header::SIZE + crate::feature::MAX_PAYLOAD <= FIXED + VERSION) };
        FIXED + VERSION + self.max_data_xfer_size as usize
    }

    /// Returns the maximum length of a dirty bitmap in bytes.
    pub(crate) fn max_bitmap(&self) -> u64 {
        self.max_bitmap_size.min(256 << 20).into()
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
    /// The device does not map a window of a client that was taken over. The client has been
    /// disconnected.
    #[error("DMA window at {iova:#x} of a client that was taken over: {errno}")]
    Resume {
        /// The window's address.
        iova: u64,
        /// The device's error.
        errno: Errno,
    },
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
            listener: Listener::bind(path.as_ref(), config.permissions, BACKLOG)?,
            config,
            stats: Arc::default(),
        })
    }

    /// Takes over the listening socket of another process, which [`save`](Self::save) has described
    /// there.
    ///
    /// # Errors
    /// Fails for another format, and for descriptors that are not there.
    pub fn restore(
        saved: SavedServer,
        fds: &mut InheritedFds,
        config: Config,
    ) -> Result<Self, HandoverError> {
        Ok(Self {
            listener: saved.restore(fds)?,
            config,
            stats: Arc::default(),
        })
    }

    /// Describes the listening socket for a successor. Clients that connect meanwhile wait for
    /// whichever process accepts them first.
    pub fn save<'a>(&'a self, fds: &mut SentFds<'a>) -> SavedServer {
        self.listener.save(fds)
    }

    /// Closes the server without removing its socket file: a successor has taken it over.
    pub fn leave(mut self) {
        self.listener.keep_file();
    }

    /// The limits for clients.
    pub fn config(&self) -> &Config {
        &self.config
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
        let handed_over = self.serve(device, stop, None)?;
        if handed_over.is_some_and(|client| client.is_connected()) {
            device.disconnected();
        }
        Ok(())
    }

    /// Serves one client at a time, first `client` if there is one, until `stop` is used. Returns
    /// the client of that time if a handover was requested; the device still has its windows and
    /// eventfds then, and was not told of an end.
    ///
    /// A client that was returned can be served again by this process, with another `stop`, as if
    /// nothing had happened; for one that [`SavedClient::restore`](crate::handover::SavedClient)
    /// has made, the device sees [`connected`](Device::connected), its windows and
    /// [`resumed`](Device::resumed).
    pub fn serve<D>(
        &self,
        device: &mut D,
        stop: &StopHandle,
        mut client: Option<Client>,
    ) -> Result<Option<Client>, ServerError>
    where
        D: Device + ?Sized,
    {
        loop {
            if let Some(client) = client.take() {
                if let Some(client) = serve_client(device, stop, client, &self.config, &self.stats)?
                {
                    return Ok(Some(client));
                }
            }
            match self.accept(stop)? {
                Some(socket) => {
                    client = Some(Client::new(socket, State::new(&self.config)));
                }
                None => return Ok(None),
            }
        }
    }

    /// Waits for a client and accepts it; `None` once stopped.
    fn accept(&self, stop: &StopHandle) -> Result<Option<OwnedFd>, ServerError> {
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
            return Ok(Some(socket));
        }
        Ok(None)
    }

    /// Waits for a client; returns `false` once stopped.
    fn wait(&self, stop: &StopHandle) -> Result<bool, ServerError> {
        let mut fds = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(stop.requested() == Request::None),
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

/// Serves a client until it is gone, or returns it to be handed over.
pub(crate) fn serve_client<D>(
    device: &mut D,
    stop: &StopHandle,
    client: Client,
    config: &Config,
    stats: &Stats,
) -> Result<Option<Client>, ServerError>
where
    D: Device + ?Sized,
{
    let Client {
        socket,
        state,
        is_foreign,
    } = client;
    let transport = UnixTransport::new(socket, stop, config);
    let mut session = Session::new(transport, device, config, stats, state);
    if is_foreign {
        let resumed = session.resume();
        resumed.map_err(|(iova, errno)| ServerError::Resume { iova, errno })?;
        stats.count_resumed(1);
    }
    let (end, transport, state) = session.run();
    tracing::info!("client gone: {end}");
    if end != End::HandedOver {
        return Ok(None);
    }
    stats.count_handed_over(1);
    Ok(Some(Client::new(transport.into_socket(), state)))
}
