// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A relay between clients and a server in another process, the *worker*, which may die or be
//! replaced while a client is connected.
//!
//! The relay owns the listening socket and the client's connection. It passes each message on to the
//! worker and its reply back, one at a time, and records what a successor needs: the version, the DMA
//! windows with their files, the eventfds, and configuration space.
//!
//! *While there is no worker* it answers as a PCI function in reset does: registers read as zero,
//! writes to them have no effect; configuration space can be read, and writes to it are kept; windows
//! and eventfds are recorded. Requests that only a worker can answer (a version, a description that
//! was never asked for) wait for it; migration and DMA logging fail with `EAGAIN`. A message that was
//! with the worker when it died is answered likewise. So a client loses no reply, and waits for none.
//!
//! *A new worker* is introduced to the client by the same messages that the client has sent: its
//! version, windows, eventfds, the start of its log of DMA writes, and (after a death) the last content of
//! configuration space. The marks of the former log are lost: the device of the new worker, which is told that the
//! client had another one ([`known_client`](crate::Device::known_client)), must report all that may have been
//! written.
//!
//! The worker's side is [`PassedClients`], which takes the place of a [`Server`](crate::Server): it
//! receives one connection for each client over a socket pair, the *source*.
//!
//! The process of the relay must be told when a worker is no longer useful, for which there is
//! [`Lost`]; and it gives orders by a [`RelayHandle`].

mod absent;
mod introduction;
mod message;
mod record;
mod state;
mod worker;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{channel, sync_channel, Receiver, Sender, SyncSender};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};
use thiserror::Error;

use crate::handover::{HandoverError, InheritedFds, SavedServer};
use crate::listener::Listener;
use crate::stats::Stats;
use crate::{Config, Errno, ServerError, StopHandle};

pub use worker::{source, PassedClients};

/// The time within which a worker must answer a message. QEMU waits for five seconds.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(4);

/// The additional time within which a worker that was given up should have ended. A client's message waits for that,
/// and is answered nevertheless once this and [`REPLY_TIMEOUT`] have passed since it came: together less than QEMU
/// waits.
pub const END_TIMEOUT: Duration = Duration::from_millis(800);

/// The reason why a relay gives up its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Lost {
    /// The worker closed its end of the source, or died.
    #[error("the worker is gone")]
    Gone,
    /// A reply did not come in time, or is no reply. The worker should be killed.
    #[error("the worker does not answer: {0:?}")]
    Silent(crate::header::Command),
}

/// The reason why a worker cannot take over.
#[derive(Debug, Error)]
pub enum IntroductionError {
    /// The worker died, or does not answer.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The worker refuses what the client has set up.
    #[error("the worker refuses {command:?} of the client: {errno}")]
    Refused {
        /// The message.
        command: crate::header::Command,
        /// The worker's error.
        errno: Errno,
    },
    /// The worker agrees on other capabilities than the client was promised.
    #[error("the worker agrees on other capabilities than the client has: {0}")]
    Version(String),
    /// The system failed an operation.
    #[error("{call}: {errno}")]
    Io {
        /// The operation.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// The relay has ended, or is busy with a client or worker that stalls.
    #[error("the relay does not react")]
    NoReaction,
}

/// An order to a relay, carried out between two messages.
enum Order {
    Connect(OwnedFd),
    Ended,
    Pause(SyncSender<()>),
    Switch(OwnedFd, SyncSender<Result<(), IntroductionError>>),
    Commit(SyncSender<()>),
    Revert(SyncSender<()>),
}

/// A relay for one socket. [`run`](Self::run) serves one client at a time.
pub struct Relay {
    listener: Listener,
    config: Config,
    stats: Arc<Stats>,
    stop: StopHandle,
    wake: Arc<OwnedFd>,
    orders: Receiver<Order>,
    lost: Box<dyn FnMut(Lost) + Send>,
}

/// Gives orders to a [`Relay`], from any thread.
#[derive(Clone)]
pub struct RelayHandle {
    orders: Sender<Order>,
    wake: Arc<OwnedFd>,
    stop: StopHandle,
    stats: Arc<Stats>,
}

/// An order that a relay may not have carried out yet. It does so, whether this is waited for or not: orders can be
/// given to many relays before the first one has answered.
#[derive(Debug)]
pub struct Pending(Receiver<()>);

impl Pending {
    /// Waits until the order was carried out; returns false if it was not within `timeout`, or the relay has ended.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.0.recv_timeout(timeout).is_ok()
    }
}

impl Relay {
    /// Takes over a listening socket, which a worker has bound and described by
    /// [`Server::save`](crate::Server::save). `lost` is called when the worker is given up.
    ///
    /// # Errors
    /// Fails for another format, for descriptors that are not there, and without a descriptor left.
    pub fn new(
        saved: SavedServer,
        fds: &mut InheritedFds,
        config: Config,
        lost: impl FnMut(Lost) + Send + 'static,
    ) -> Result<(Self, RelayHandle), HandoverError> {
        let io = |call| move |errno| HandoverError::Io { call, errno };
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Arc::new(eventfd(0, flags).map_err(io("eventfd"))?);
        let stop = StopHandle::new().map_err(|error| HandoverError::Io {
            call: "eventfd",
            errno: Errno::from_io_error(&error).unwrap_or(Errno::MFILE),
        })?;
        let (sender, orders) = channel();
        let handle = RelayHandle {
            orders: sender,
            wake: wake.clone(),
            stop: stop.clone(),
            stats: Arc::default(),
        };
        let relay = Self {
            listener: saved.restore(fds)?,
            config: Config {
                // The files are needed for the next worker.
                handover: true,
                ..config
            },
            stats: handle.stats.clone(),
            stop,
            wake,
            orders,
            lost: Box::new(lost),
        };
        Ok((relay, handle))
    }

    /// Serves clients until [`RelayHandle::stop`]. The socket file is removed at the end.
    ///
    /// # Errors
    /// Fails when the wait for events or clients does.
    pub fn run(&mut self) -> Result<(), ServerError> {
        let stop = self.stop.clone();
        state::State::new(self, &stop).run()
    }
}

impl RelayHandle {
    /// Has the relay use a worker from now on, as the first one or after a death: a client is
    /// introduced to it, and goes on even if the worker refuses some of what it has set up.
    pub fn connect(&self, source: OwnedFd) {
        self.order(Order::Connect(source));
    }

    /// Has the relay answer in place of a worker that it has given up, which has ended, and with it all accesses
    /// to the memory of its clients.
    pub fn worker_ended(&self) {
        self.order(Order::Ended);
    }

    /// Stops the relay between two messages to the worker; the client's messages wait in its socket. If that is
    /// not possible in time, the relay stops nevertheless once it can, unless [`revert`](Self::revert) follows.
    pub fn pause(&self) -> Pending {
        self.pending(Order::Pause)
    }

    /// Introduces the client of a paused relay to another worker; the present one is kept for
    /// [`revert`](Self::revert).
    ///
    /// # Errors
    /// Fails if the worker does not take the client as it is, or not within `timeout`.
    pub fn switch(&self, source: OwnedFd, timeout: Duration) -> Result<(), IntroductionError> {
        let (done, switched) = sync_channel(1);
        self.order(Order::Switch(source, done));
        switched
            .recv_timeout(timeout)
            .unwrap_or(Err(IntroductionError::NoReaction))
    }

    /// Goes on with the worker of the last [`switch`](Self::switch), and leaves the one before it.
    pub fn commit(&self) -> Pending {
        self.pending(Order::Commit)
    }

    /// Goes on with the worker before the last [`switch`](Self::switch).
    pub fn revert(&self) -> Pending {
        self.pending(Order::Revert)
    }

    /// Ends the relay; its client is disconnected.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// The counters of the relay.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    fn pending(&self, order: impl FnOnce(SyncSender<()>) -> Order) -> Pending {
        let (done, carried_out) = sync_channel(1);
        self.order(order(done));
        Pending(carried_out)
    }

    fn order(&self, order: Order) {
        // A relay that has ended has no use for it.
        let _ = self.orders.send(order);
        let _ = rustix::io::write(self.wake.as_fd(), &1u64.to_ne_bytes());
    }
}
