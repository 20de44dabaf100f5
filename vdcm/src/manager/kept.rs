// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parts of devices that outlive the daemon's process under a keeper: their specs, sockets,
//! clients' connections, and doorbell pages, or ADIs that stay open with their pages. The next process composes
//! the same devices again, in the state after a reset.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use adit_function::mac::MacAddr;
use adit_keeper::{ServeError, Store, Worker, WorkerError};
use adit_vfio_user::relay::PassedClients;
use adit_vfio_user::Config;
use parking_lot::Mutex;

use super::Manager;
use crate::backend::{Adi, KeptAdi};
use crate::protocol::{ErrorCode, Spec, VdevError};
use crate::vdev::Vdev;

/// The prefix of devices' names at the keeper.
const PREFIX: &str = "vdev ";
/// The prefix of the notes of devices' ADIs.
const ADIS: &str = "adis of ";

/// The ADIs of a device: those of each virtual port.
pub(super) type Ports = Vec<Vec<KeptAdi>>;

/// The connection to a keeper, and what it has kept for this process.
pub struct Kept {
    worker: Worker,
    store: Arc<Store>,
    /// The devices of the previous process, by their names at the keeper.
    notes: Mutex<BTreeMap<String, String>>,
    /// Set while the previous process runs, whose state will be taken over.
    takes_over: AtomicBool,
    /// The doorbell pages that will be taken over, by the names of devices.
    expected: Mutex<BTreeMap<String, OwnedFd>>,
    /// The ADIs of devices that are composed of ADIs which exist, by the names of devices.
    ports: Mutex<BTreeMap<String, Ports>>,
    /// ADIs that the previous process has left open, and with which none of the devices continues.
    abandoned: Mutex<Vec<KeptAdi>>,
}

/// The doorbell pages that a device had in the previous process.
pub(super) enum PreviousPages {
    /// There was no such device.
    None,
    /// Those of a process that has ended; nothing once they are in use again.
    Inherited(Option<OwnedFd>),
    /// The process runs: they will be taken over.
    Expected(OwnedFd),
    /// They are those of the ADIs, which stay open. The process `runs`, or has ended.
    OfAdis { runs: bool },
}

impl PreviousPages {
    /// Returns whether they will be taken over.
    pub(super) fn is_expected(&self) -> bool {
        matches!(self, Self::Expected(_) | Self::OfAdis { runs: true })
    }
}

/// A device as the next process needs it.
pub(super) struct Record {
    spec: Spec,
    /// The doorbell pages, unless the ADIs stay open.
    pages: Option<OwnedFd>,
    /// The ADIs that stay open.
    pub(super) ports: Ports,
}

impl Kept {
    /// Takes over what the previous process has left in a store, and its notes. It `runs` if its state
    /// will be taken over.
    #[must_use]
    pub fn new(
        worker: &Worker,
        store: Arc<Store>,
        notes: BTreeMap<String, String>,
        runs: bool,
    ) -> Self {
        Self {
            worker: worker.clone(),
            store,
            notes: Mutex::new(notes),
            takes_over: AtomicBool::new(runs),
            expected: Mutex::default(),
            ports: Mutex::default(),
            abandoned: Mutex::default(),
        }
    }

    /// Returns whether the previous process runs, whose state will be taken over.
    pub(super) fn takes_over(&self) -> bool {
        self.takes_over.load(Ordering::Acquire)
    }

    /// Returns whether the ADIs of a device stay open when this process ends.
    pub(super) fn has_adis(&self, name: &str) -> bool {
        self.ports.lock().contains_key(name)
    }

    /// Notes ADIs with which no device continues.
    pub(super) fn abandon(&self, adis: impl IntoIterator<Item = KeptAdi>) {
        self.abandoned.lock().extend(adis);
    }

    /// The ADIs with which no device continues, once.
    pub(super) fn abandoned(&self) -> Vec<KeptAdi> {
        std::mem::take(&mut self.abandoned.lock())
    }

    /// Keeps other ADIs of a virtual port.
    pub(super) fn replace_adis(&self, name: &str, vport: u16, members: Vec<KeptAdi>) {
        let mut all = self.ports.lock();
        let Some(ports) = all.get_mut(name) else {
            return;
        };
        if let Some(port) = ports.get_mut(usize::from(vport)) {
            *port = members;
        }
        report(name, self.note_adis(name, ports));
    }

    fn note_adis(&self, name: &str, ports: &Ports) -> Result<(), WorkerError> {
        // Names and numbers have a JSON form.
        let text = serde_json::to_string(ports).ok();
        self.worker.note(&adis_of(name), text)
    }

    /// The pages of a device that have been announced, once.
    pub(super) fn expected(&self, name: &str) -> Option<OwnedFd> {
        self.expected.lock().remove(name)
    }

    /// The doorbell pages that a device of the previous process had.
    pub(super) fn pages(&self, name: &str) -> Result<PreviousPages, VdevError> {
        let taken = self.store.take(&key(name));
        let taken = taken.map_err(|error| VdevError::new(ErrorCode::System, error.to_string()))?;
        Ok(match taken {
            None => PreviousPages::None,
            Some(pages) if self.takes_over() => PreviousPages::Expected(pages),
            Some(pages) => PreviousPages::Inherited(Some(pages)),
        })
    }

    /// Has the keeper store each new file of a device's doorbell pages.
    pub(super) fn follow_pages(
        &self,
        name: &str,
        pages: &PreviousPages,
        vdev: &Vdev,
        record: &Record,
    ) -> Result<(), VdevError> {
        if let PreviousPages::OfAdis { runs } = pages {
            vdev.inherits_adis(*runs);
        }
        if record.pages.is_none() {
            // Each ADI keeps its own.
            return Ok(());
        }
        let (store, device) = (self.store.clone(), name.to_owned());
        let keep = move |file: BorrowedFd<'_>| report(&device, store.keep(&key(&device), file));
        vdev.keep_pages(!matches!(pages, PreviousPages::None), Box::new(keep));
        if let PreviousPages::Expected(pages) = pages {
            let system = |error: std::io::Error| {
                VdevError::new(ErrorCode::System, format!("doorbell pages: {error}"))
            };
            vdev.expect_pages(pages.try_clone().map_err(system)?);
            let pages = pages.try_clone().map_err(system)?;
            self.expected.lock().insert(name.to_owned(), pages);
        }
        Ok(())
    }

    /// Serves the socket of a device: a new one, or that of the previous process.
    pub(super) fn serve(
        &self,
        name: &str,
        path: &Path,
        config: Config,
    ) -> Result<PassedClients, ServeError> {
        self.worker.serve(&key(name), path, config)
    }

    /// Describes a device of ADIs that exist.
    pub(super) fn describe_adis(
        spec: &Spec,
        name: &str,
        socket: &Path,
        adis: &[Box<dyn Adi>],
    ) -> Record {
        Record {
            spec: Spec {
                name: Some(name.to_owned()),
                socket: Some(socket.to_owned()),
                ..spec.clone()
            },
            pages: None,
            ports: adis.iter().map(|adi| adi.members()).collect(),
        }
    }

    /// Describes a device of the ADI, or the group, that was created for it.
    pub(super) fn describe(
        spec: &Spec,
        name: &str,
        socket: &Path,
        adi: &dyn Adi,
    ) -> Result<Record, VdevError> {
        let system = |error: &dyn std::fmt::Display| {
            VdevError::new(ErrorCode::System, format!("doorbell pages: {error}"))
        };
        let pages = adi.pages().map_err(|error| system(&error))?;
        let pages = pages.file.as_fd().try_clone_to_owned();
        Ok(Record {
            spec: Spec {
                name: Some(name.to_owned()),
                socket: Some(socket.to_owned()),
                mac: Some(MacAddr(adi.properties().mac)),
                ..spec.clone()
            },
            pages: Some(pages.map_err(|error| system(&error))?),
            ports: Ports::new(),
        })
    }

    /// Notes the ADIs of a device that is kept.
    pub(super) fn know(&self, name: &str, record: &Record) {
        if !record.ports.is_empty() {
            let ports = record.ports.clone();
            self.ports.lock().insert(name.to_owned(), ports);
        }
    }

    /// Keeps a device that was created.
    pub(super) fn keep(&self, name: &str, record: &Record) {
        let kept = || {
            if let Some(pages) = &record.pages {
                self.store.keep(&key(name), pages.as_fd())?;
            }
            if !record.ports.is_empty() {
                self.note_adis(name, &record.ports)?;
            }
            // Text, numbers and paths in UTF-8: only a path can be something else.
            let text = serde_json::to_string(&record.spec).ok();
            if text.is_none() {
                tracing::error!(
                    name,
                    "the device is lost with this process: its path is not UTF-8"
                );
            }
            self.worker.note(&key(name), text)
        };
        report(name, kept());
    }

    /// Removes a destroyed device from the keeper: its client is disconnected, and its socket can
    /// be bound again.
    pub(super) fn forget(&self, name: &str, socket: &Path) {
        // The keeper closes the socket soon; another one may be bound at once.
        let _ = std::fs::remove_file(socket);
        self.ports.lock().remove(name);
        let forgotten = || {
            self.worker.note(&key(name), None)?;
            self.worker.note(&adis_of(name), None)?;
            self.store.forget(&key(name))?;
            self.worker.unserve(&key(name))
        };
        report(name, forgotten());
    }
}

/// Logs the loss of the keeper, after which this process exits soon.
fn report(name: &str, done: Result<(), WorkerError>) {
    if let Err(error) = done {
        tracing::error!(name, "the device is not kept: {error}");
    }
}

impl Manager {
    /// Composes the devices of the previous process again. One that cannot be composed keeps no other
    /// from it; its client is disconnected.
    pub fn recreate(&self) {
        let Some(kept) = &self.kept else { return };
        let notes = std::mem::take(&mut *kept.notes.lock());
        let takes_over = kept.takes_over();
        for (key, text) in &notes {
            let Some(name) = key.strip_prefix(PREFIX) else {
                continue;
            };
            let adis = notes.get(&adis_of(name));
            let adis = adis.map(|text| serde_json::from_str(text)).transpose();
            let described = serde_json::from_str(text).and_then(|spec| Ok((spec, adis?)));
            let (spec, adis): (Spec, Option<Ports>) = match described {
                Ok(described) => described,
                Err(error) => {
                    tracing::error!(name, "a device of the previous process is lost: {error}");
                    if !takes_over {
                        kept.forget(name, Path::new(""));
                    }
                    continue;
                }
            };
            let socket = spec.socket.clone().unwrap_or_default();
            match self.compose(spec, adis, |_| Ok(())) {
                Ok(_) => tracing::info!(name, socket = %socket.display(), "device restored"),
                Err(error) => {
                    tracing::error!(name, "a device of the previous process is lost: {error}");
                    if !takes_over {
                        kept.forget(name, &socket);
                    }
                }
            }
        }
        if !takes_over {
            self.provider.close_left();
        }
        // Devices that are created later are this process's own.
        kept.takes_over.store(false, Ordering::Release);
    }
}

fn adis_of(name: &str) -> String {
    format!("{ADIS}{name}")
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}
