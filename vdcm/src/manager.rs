// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The devices of a daemon: creates, lists and destroys them.

mod check;
mod entry;
mod events;
mod handover;
mod kept;
mod open;
mod swap;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use adit_function::mac::MacAddr;
use adit_vfio_user::Permissions;
use parking_lot::Mutex;

use crate::backend::Provider;
use crate::protocol::{ErrorCode, Limits, Spec, TraceEntry, VdevError, VdevInfo, VdevStats};
use crate::snapshot::{DeviceState, StateError};
use crate::vdev::{Shape, Vdev};
use entry::Entry;
use events::Events;
use kept::Ports;
use open::queues_to_create;

pub use handover::{DeviceStates, Registered};
pub use kept::Kept;

/// The stack of a device's thread in bytes: it is used by the depth of one request.
const STACK: usize = 256 << 10;

/// The settings of a [`Manager`].
#[derive(Clone, Debug)]
pub struct ManagerOptions {
    /// The folder for the sockets of devices whose spec has no path.
    pub sockets: PathBuf,
    /// The permissions of the sockets' files.
    pub permissions: Permissions,
    /// The limits of devices whose spec has none; the limits of a spec may exceed them.
    pub limits: Limits,
    /// The maximum number of devices.
    pub max_devices: usize,
}

/// All devices of a daemon. Dropping it destroys them, as [`shut_down`](Self::shut_down) does. Its
/// methods block while a device handles a request of its client, for at most some milliseconds, and
/// while the back end creates and closes ADIs.
pub struct Manager {
    provider: Arc<dyn Provider>,
    options: ManagerOptions,
    devices: Mutex<Devices>,
    events: Arc<Events>,
    thread: Mutex<Option<JoinHandle<()>>>,
    kept: Option<Arc<Kept>>,
}

#[derive(Default)]
struct Devices {
    entries: BTreeMap<String, Arc<Entry>>,
    /// The names and sockets of devices that are being created or destroyed.
    reserved: BTreeSet<(String, PathBuf)>,
    /// The number of changes of devices that are under way.
    changes: usize,
    last_id: u64,
    closed: bool,
    /// Set while they are frozen for a successor of this process, or with its predecessor's state.
    frozen: bool,
}

/// A name and a socket that no other device can take.
struct Reservation<'a> {
    devices: &'a Mutex<Devices>,
    id: u64,
    name: String,
    socket: PathBuf,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let key = (self.name.clone(), self.socket.clone());
        self.devices.lock().reserved.remove(&key);
    }
}

/// A change of a device by the operator, during which devices are not frozen.
struct Change<'a>(&'a Mutex<Devices>);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.lock().changes -= 1;
    }
}

impl Manager {
    /// A manager without devices, whose ADIs are those of `provider`.
    ///
    /// # Errors
    /// Fails when the system has no threads or file descriptors left.
    pub fn new(provider: Arc<dyn Provider>, options: ManagerOptions) -> std::io::Result<Self> {
        let events = Arc::new(Events::new()?);
        let thread = std::thread::Builder::new()
            .name("vdev-events".into())
            .stack_size(STACK)
            .spawn({
                let events = events.clone();
                move || {
                    if let Err(error) = events.run() {
                        tracing::error!("events of ADIs are no longer handled: {error}");
                    }
                }
            })?;
        Ok(Self {
            provider,
            options,
            devices: Mutex::default(),
            events,
            thread: Mutex::new(Some(thread)),
            kept: None,
        })
    }

    /// Makes devices outlive this process.
    #[must_use]
    pub fn with_keeper(mut self, kept: Arc<Kept>) -> Self {
        self.kept = Some(kept);
        self
    }

    /// The names of the ADIs that devices can be composed of.
    ///
    /// # Errors
    /// Fails when the back end cannot list them.
    pub fn adis(&self) -> Result<Vec<String>, VdevError> {
        let list = self.provider.list();
        list.map_err(|error| check::adi_error("listing the ADIs", &error))
    }

    /// Composes a device and serves it at its socket.
    ///
    /// # Errors
    /// Fails when the spec is invalid, its name, socket or an ADI is in use, or a limit is reached;
    /// nothing remains then.
    pub fn create(&self, spec: Spec) -> Result<VdevInfo, VdevError> {
        self.compose(spec, None, |_| Ok(()))
    }

    /// Composes a device and serves it at its socket, after `prepare` was called. Its ADIs may be those that the
    /// previous process has `left` open.
    fn compose(
        &self,
        spec: Spec,
        left: Option<Ports>,
        prepare: impl FnOnce(&Vdev) -> Result<(), StateError>,
    ) -> Result<VdevInfo, VdevError> {
        check::spec(&spec)?;
        let reserved = self.reserve(&spec)?;
        let shape = Shape {
            layout: spec.layout,
            pci_id: spec.pci_id.unwrap_or(spec.layout.pci_id()),
            queues: match spec.adis.is_empty() {
                true => Some(queues_to_create(&spec)),
                false => spec.queues,
            },
            limits: spec.limits.unwrap_or(self.options.limits),
        };
        check::limits(&shape.limits)?;
        let (adis, pages) = match &left {
            Some(left) => self.inherit(left)?,
            None => self.open(&spec, &reserved.name)?,
        };
        let (name, socket) = (&reserved.name, &reserved.socket);
        let mut record = match (&self.kept, &adis[..]) {
            (Some(_), [adi]) if spec.adis.is_empty() => {
                Some(Kept::describe(&spec, name, socket, adi.as_ref())?)
            }
            (Some(_), adis) => Some(Kept::describe_adis(&spec, name, socket, adis)),
            (None, _) => None,
        };
        if let (Some(left), Some(record)) = (left, &mut record) {
            // Those of a port that is gone are its ADIs still.
            record.ports = left;
        }
        let kept = self.kept.as_deref().filter(|_| record.is_some());
        let fds = adis.iter().map(|adi| Events::prepare(adi.as_ref()));
        let fds = fds.collect::<std::io::Result<Vec<_>>>().map_err(system)?;
        let vdev = Vdev::new(adis, shape).map_err(|e| check::compose_error(&e))?;
        if let (Some(kept), Some(record)) = (kept, &record) {
            kept.follow_pages(&reserved.name, &pages, &vdev, record)?;
            // Nobody waits for an event of one that was gone before.
            vdev.close_gone();
        }
        prepare(&vdev).map_err(|error| check::state_error(&error))?;
        let (id, vdev) = (reserved.id, Arc::new(vdev));
        let entry = Arc::new(Entry::serve(
            id,
            &reserved.name,
            &reserved.socket,
            self.options.permissions,
            vdev.clone(),
            self.events.waker().clone(),
            kept,
        )?);
        let undo = || {
            self.end(&entry, false);
            // A predecessor that still runs goes on with its socket, client and pages.
            if let Some(kept) = kept.filter(|_| !pages.is_expected()) {
                kept.forget(&entry.name, &entry.socket);
            }
        };
        if let Err(error) = self.events.add(id, &vdev, fds) {
            undo();
            return Err(system(error));
        }
        if let (Some(kept), Some(record)) = (kept, &record) {
            kept.know(&reserved.name, record);
        }
        // What a predecessor has kept, which still runs, is the same.
        if let (Some(kept), Some(record), false) = (kept, &record, pages.is_expected()) {
            kept.keep(&reserved.name, record);
        }
        let info = entry.info();
        tracing::info!(name = info.name, socket = %info.socket.display(), "device created");
        let mut devices = self.devices.lock();
        if devices.closed {
            drop(devices);
            undo();
            return Err(closed());
        }
        devices.entries.insert(info.name.clone(), entry);
        Ok(info)
    }

    /// Suspends a device and saves its state. It stays suspended until it is
    /// [resumed](Self::resume), reset or destroyed.
    ///
    /// # Errors
    /// As [`show`](Self::show), and when an ADI is gone or has no such state; the device is as before
    /// then.
    pub fn save(&self, name: &str) -> Result<DeviceState, VdevError> {
        let (entry, _change) = self.begin_change(name)?;
        let vdev = &entry.vdev;
        let was_suspended = vdev.is_suspended();
        vdev.suspend().map_err(|e| check::state_error(&e))?;
        vdev.save().map_err(|error| {
            if !was_suspended {
                // The error is that of saving.
                let _ = vdev.resume();
            }
            check::state_error(&error)
        })
    }

    /// Ends the suspension of a device.
    ///
    /// # Errors
    /// As [`show`](Self::show), when an ADI is gone, and when the client has stopped the device.
    pub fn resume(&self, name: &str) -> Result<(), VdevError> {
        let (entry, _change) = self.begin_change(name)?;
        let resumed = entry.vdev.resume_for_operator();
        resumed.map_err(|error| check::state_error(&error))
    }

    /// Composes a device with a saved state. It is suspended until its client has set its interrupts.
    /// Its layout and ids are those of the state, and so are the number of queues and the address of an
    /// ADI that is created, unless the spec has others.
    ///
    /// # Errors
    /// As [`create`](Self::create), and when the device cannot have the state.
    pub fn restore(&self, spec: Spec, state: &DeviceState) -> Result<VdevInfo, VdevError> {
        let first = state.function.profile.macs.first();
        let spec = Spec {
            layout: state.device.layout,
            pci_id: Some(state.device.pci_id),
            queues: spec.queues.or(Some(state.device.queues)),
            mac: spec.mac.or(first.map(|mac| MacAddr(mac.0))),
            ..spec
        };
        self.compose(spec, None, |vdev| {
            vdev.restore(state)?;
            vdev.await_client();
            Ok(())
        })
    }

    /// All devices, by name.
    #[must_use]
    pub fn list(&self) -> Vec<VdevInfo> {
        let entries: Vec<_> = self.devices.lock().entries.values().cloned().collect();
        entries.iter().map(|entry| entry.info()).collect()
    }

    /// A device.
    ///
    /// # Errors
    /// Fails when there is none of that name, as the following methods do.
    pub fn show(&self, name: &str) -> Result<VdevInfo, VdevError> {
        Ok(self.entry(name)?.info())
    }

    /// Destroys a device: its client is disconnected, and its ADIs are closed.
    ///
    /// # Errors
    /// See [`show`](Self::show).
    pub fn destroy(&self, name: &str) -> Result<(), VdevError> {
        let (entry, _reserved) = {
            let mut devices = self.devices.lock();
            devices.check_not_frozen()?;
            let entry = devices.entries.remove(name).ok_or_else(|| unknown(name))?;
            let key = (name.to_owned(), entry.socket.clone());
            let reserved = Reservation {
                devices: &self.devices,
                id: entry.id,
                name: key.0.clone(),
                socket: key.1.clone(),
            };
            devices.reserved.insert(key);
            (entry, reserved)
        };
        if let Some(kept) = &self.kept {
            kept.forget(name, &entry.socket);
        }
        self.end(&entry, false);
        tracing::info!(name, "device destroyed");
        Ok(())
    }

    /// The counters of a device.
    ///
    /// # Errors
    /// See [`show`](Self::show).
    pub fn stats(&self, name: &str) -> Result<VdevStats, VdevError> {
        Ok(self.entry(name)?.stats())
    }

    /// The entries of a device's trace after the number `after` (0 for all that are kept), at most
    /// `max` of them, the oldest first.
    ///
    /// # Errors
    /// See [`show`](Self::show).
    pub fn trace(&self, name: &str, after: u64, max: usize) -> Result<Vec<TraceEntry>, VdevError> {
        Ok(self.entry(name)?.vdev.trace(after, max))
    }

    /// Refuses new devices, and that those which are there are frozen. Returns whether they are frozen already:
    /// nothing of theirs may be released then, because another process goes on with it.
    pub fn close(&self) -> bool {
        let mut devices = self.devices.lock();
        devices.closed = true;
        devices.frozen
    }

    /// Ends all devices, and refuses new ones. Under a keeper they are the next process's.
    pub fn shut_down(&self) {
        let entries = {
            let mut devices = self.devices.lock();
            devices.closed = true;
            std::mem::take(&mut devices.entries)
        };
        // All servers stop at the same time.
        entries.values().for_each(|entry| entry.stop());
        entries
            .values()
            .for_each(|entry| entry.vdev.hand_over(false));
        for entry in entries.values() {
            self.end(entry, true);
        }
        self.events.stop();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread has been reported by its own message.
            let _ = thread.join();
        }
    }

    /// Ends a device: nothing of it accesses memory when this returns, unless it `stays` for the next process
    /// under a keeper.
    fn end(&self, entry: &Entry, stays: bool) {
        entry.join();
        self.events.remove(entry.id);
        match stays {
            true => entry.vdev.leave(),
            false => entry.vdev.shut_down(),
        }
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, VdevError> {
        let devices = self.devices.lock();
        devices.check_not_frozen()?;
        let entry = devices.entries.get(name).cloned();
        entry.ok_or_else(|| unknown(name))
    }

    /// The device of this name, which is going to be suspended or resumed, or to get another ADI.
    fn begin_change(&self, name: &str) -> Result<(Arc<Entry>, Change<'_>), VdevError> {
        let mut devices = self.devices.lock();
        devices.check_not_frozen()?;
        let entry = devices.entries.get(name).cloned();
        let entry = entry.ok_or_else(|| unknown(name))?;
        devices.changes += 1;
        Ok((entry, Change(&self.devices)))
    }

    /// Reserves the name and the socket of a new device.
    fn reserve(&self, spec: &Spec) -> Result<Reservation<'_>, VdevError> {
        let mut devices = self.devices.lock();
        if devices.closed {
            return Err(closed());
        }
        devices.check_not_frozen()?;
        let most = self.options.max_devices;
        if devices.entries.len() + devices.reserved.len() >= most {
            let message = format!("there are {most} devices: the limit is reached");
            return Err(VdevError::new(ErrorCode::Limit, message));
        }
        let name = match &spec.name {
            Some(name) => name.clone(),
            None => devices.free_name(),
        };
        if devices.has_name(&name) {
            let message = format!("a device {name} exists");
            return Err(VdevError::new(ErrorCode::Exists, message));
        }
        let socket = match &spec.socket {
            Some(path) => path.clone(),
            None => self.options.sockets.join(format!("{name}.sock")),
        };
        if devices.has_socket(&socket) {
            let message = format!("another device has the socket {}", socket.display());
            return Err(VdevError::new(ErrorCode::Exists, message));
        }
        devices.last_id += 1;
        devices.reserved.insert((name.clone(), socket.clone()));
        Ok(Reservation {
            devices: &self.devices,
            id: devices.last_id,
            name,
            socket,
        })
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Devices {
    fn check_not_frozen(&self) -> Result<(), VdevError> {
        match self.frozen {
            false => Ok(()),
            true => {
                let message = "the daemon is being replaced: try again".to_owned();
                Err(VdevError::new(ErrorCode::Busy, message))
            }
        }
    }

    fn has_name(&self, name: &str) -> bool {
        let reserved = self.reserved.iter().any(|(other, _)| other == name);
        reserved || self.entries.contains_key(name)
    }

    fn has_socket(&self, socket: &Path) -> bool {
        let reserved = self.reserved.iter().any(|(_, other)| other == socket);
        reserved || self.entries.values().any(|entry| entry.socket == socket)
    }

    /// The first of the default names that is free.
    fn free_name(&self) -> String {
        let mut names = (0..).map(|n: u32| format!("vdev{n}"));
        // There are fewer devices than numbers.
        let free = names.find(|name| !self.has_name(name));
        free.unwrap_or_default()
    }
}

fn unknown(name: &str) -> VdevError {
    let shown: String = name.chars().take(crate::protocol::MAX_NAME_LEN).collect();
    let message = format!("there is no device `{}`", shown.escape_default());
    VdevError::new(ErrorCode::NotFound, message)
}

fn closed() -> VdevError {
    VdevError::new(ErrorCode::Busy, "the daemon is stopping")
}

fn system(error: std::io::Error) -> VdevError {
    VdevError::new(ErrorCode::System, error.to_string())
}
