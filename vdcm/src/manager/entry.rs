// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device that is served: its thread and its counters.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use adit_vfio_user::relay::PassedClients;
use adit_vfio_user::{Config, Permissions, Reason, Server, ServerError, Stats, StopHandle};
use parking_lot::Mutex;

use super::events::Waker;
use super::kept::Kept;
use super::STACK;
use crate::protocol::{ErrorCode, VdevError, VdevInfo, VdevState, VdevStats};
use crate::vdev::{by_name, Front, Vdev};

/// The maximum length of one access to a region in bytes: the whole MSI-X BAR or more.
const MAX_ACCESS: u32 = 64 << 10;

/// The clients of a device.
enum Clients {
    /// Those that connect to a socket of this process.
    Own(Server),
    /// Those of a keeper's socket.
    Passed(PassedClients),
}

impl Clients {
    fn stats(&self) -> &Arc<Stats> {
        match self {
            Self::Own(server) => server.stats(),
            Self::Passed(clients) => clients.stats(),
        }
    }

    fn run(&self, front: &mut Front, stop: &StopHandle) -> Result<(), ServerError> {
        match self {
            Self::Own(server) => server.run(front, stop),
            Self::Passed(clients) => clients.run(front, stop),
        }
    }
}

/// A device that is served at its socket.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) socket: PathBuf,
    pub(super) vdev: Arc<Vdev>,
    server: Arc<Stats>,
    /// Set once its server has failed.
    failed: Arc<AtomicBool>,
    stop: StopHandle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Entry {
    /// Starts serving a device.
    pub(super) fn serve(
        id: u64,
        name: &str,
        socket: &Path,
        permissions: Permissions,
        vdev: Arc<Vdev>,
        waker: Arc<Waker>,
        kept: Option<&Kept>,
    ) -> Result<Self, VdevError> {
        let system = |error: &dyn std::fmt::Display| {
            VdevError::new(ErrorCode::System, format!("{}: {error}", socket.display()))
        };
        let config = Config {
            max_data_xfer_size: MAX_ACCESS,
            max_dma_maps: vdev.shape().limits.windows.min(u16::MAX.into()) as usize,
            permissions,
            ..Config::default()
        };
        let exists =
            |error: &dyn std::fmt::Display| VdevError::new(ErrorCode::Exists, error.to_string());
        let server = match kept {
            None => Clients::Own(Server::bind(socket, config).map_err(|error| exists(&error))?),
            Some(kept) => {
                let passed = kept.serve(name, socket, config);
                Clients::Passed(passed.map_err(|error| exists(&error))?)
            }
        };
        let stop = StopHandle::new().map_err(|error| system(&error))?;
        let stats = server.stats().clone();
        let failed = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name(format!("vdev-{id}"))
            .stack_size(STACK)
            .spawn({
                let (stop, failed, name) = (stop.clone(), failed.clone(), name.to_owned());
                let mut front = Front::new(vdev.clone(), Box::new(move || waker.delayed()));
                move || {
                    if let Err(error) = server.run(&mut front, &stop) {
                        tracing::error!(name, "the device is no longer served: {error}");
                        failed.store(true, Ordering::Release);
                    }
                }
            })
            .map_err(|error| system(&error))?;
        Ok(Self {
            id,
            name: name.to_owned(),
            socket: socket.to_owned(),
            vdev,
            server: stats,
            failed,
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Stops the server, without waiting for that.
    pub(super) fn stop(&self) {
        self.stop.stop();
    }

    /// Stops the server: its client is disconnected when this returns.
    pub(super) fn join(&self) {
        self.stop();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A panic of the thread has been reported by its own message.
            let _ = thread.join();
        }
    }

    pub(super) fn info(&self) -> VdevInfo {
        let (shape, frames) = (self.vdev.shape(), self.vdev.frames());
        let (windows, registered_bytes) = self.vdev.windows();
        let thread = self.thread.lock();
        let ended = thread.as_ref().is_none_or(JoinHandle::is_finished);
        drop(thread);
        let state = if ended || self.failed.load(Ordering::Acquire) {
            VdevState::Failed
        } else if self.vdev.is_gone() {
            VdevState::Gone
        } else if self.vdev.is_connected() {
            VdevState::Connected
        } else {
            VdevState::Idle
        };
        VdevInfo {
            name: self.name.clone(),
            state,
            suspended: self.vdev.is_suspended(),
            socket: self.socket.clone(),
            layout: shape.layout,
            pci_id: shape.pci_id,
            queues: frames.rx_queues,
            tx_queues: frames.pairs,
            vectors: self.vdev.vectors(),
            adis: self.vdev.adis(),
            limits: shape.limits,
            windows,
            registered_bytes,
        }
    }

    /// The counters, with those of the ADIs, which are read now.
    pub(super) fn stats(&self) -> VdevStats {
        let refused = Reason::ALL.map(|(reason, name)| (name, self.server.refused(reason)));
        VdevStats {
            name: self.name.clone(),
            connections: self.server.connections(),
            messages: self.server.messages(),
            messages_refused: by_name(refused),
            ..self.vdev.stats()
        }
    }
}
