// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of all devices, for a daemon that replaces this one without a reset.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use adit_keeper::Unfit;

use super::entry::Entry;
use super::{check, Manager};
use crate::protocol::{ErrorCode, VdevError};
use crate::snapshot::{DeviceState, StateError};

/// The states of devices, by name.
pub type DeviceStates = BTreeMap<String, DeviceState>;
/// The windows of memory that are registered for ADIs which stay open, by the names of devices: the address and
/// the length of each.
pub type Registered = BTreeMap<String, Vec<(u64, u64)>>;

impl Manager {
    /// Suspends all devices and saves their states. Until [`thaw`](Self::thaw) requests are refused
    /// that change a device.
    ///
    /// # Errors
    /// When a device is suspended already, is being created, changed or destroyed, or has no state, and at the
    /// end of the daemon; all are as before then.
    pub fn freeze(&self) -> Result<DeviceStates, Unfit> {
        let entries: Vec<Arc<Entry>> = {
            let mut devices = self.devices.lock();
            if !devices.reserved.is_empty() {
                return Err(Unfit::busy("a device is being created or destroyed"));
            }
            if devices.changes > 0 {
                return Err(Unfit::busy(
                    "a device is being saved or resumed, or gets another ADI",
                ));
            }
            if devices.closed {
                return Err(Unfit::busy("the daemon is stopping"));
            }
            devices.frozen = true;
            devices.entries.values().cloned().collect()
        };
        let mut states = DeviceStates::new();
        for (n, entry) in entries.iter().enumerate() {
            // A client that leaves from now on does so behind its saved state.
            entry.vdev.hand_over(true);
            if entry.vdev.is_gone() && self.keeps_adis(&entry.name) {
                // The next daemon finds no ADI, either, and needs no state of it.
                continue;
            }
            match save(entry) {
                Ok(state) => drop(states.insert(entry.name.clone(), state)),
                Err(error) => {
                    entry.vdev.hand_over(false);
                    resume(&entries[..n]);
                    self.devices.lock().frozen = false;
                    return Err(error);
                }
            }
        }
        Ok(states)
    }

    /// The windows that are registered for ADIs which stay open.
    #[must_use]
    pub fn registered(&self) -> Registered {
        let devices = self.devices.lock();
        let kept = devices.entries.iter();
        let kept = kept.filter(|(name, entry)| self.keeps_adis(name) && !entry.vdev.is_gone());
        kept.map(|(name, entry)| (name.clone(), entry.vdev.registered()))
            .collect()
    }

    /// Returns whether the ADIs of a device stay open when this process ends.
    fn keeps_adis(&self, name: &str) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.has_adis(name))
    }

    /// Has all devices go on: those of [`freeze`](Self::freeze), and of
    /// [`take_over`](Self::take_over).
    pub fn thaw(&self) {
        let entries: Vec<Arc<Entry>> = {
            let devices = self.devices.lock();
            if !devices.frozen {
                return;
            }
            devices.entries.values().cloned().collect()
        };
        resume(&entries);
        // Not before: requests would find devices whose ADIs are held.
        self.devices.lock().frozen = false;
        // The previous daemon will not go on.
        self.close_abandoned();
    }

    /// Restores the states of the previous daemon's devices, which have been composed again, with the
    /// doorbell pages that their clients have mapped. They are suspended until [`thaw`](Self::thaw). ADIs
    /// that stay open are not touched before; the windows that are `registered` for them must be those that
    /// the clients have here.
    ///
    /// # Errors
    /// When the devices are others, or one cannot have its state.
    pub fn take_over(
        &self,
        mut states: DeviceStates,
        registered: &Registered,
    ) -> Result<(), VdevError> {
        let entries = {
            let mut devices = self.devices.lock();
            devices.frozen = true;
            devices.entries.clone()
        };
        entries
            .values()
            .for_each(|entry| entry.vdev.hand_over(true));
        for (name, entry) in &entries {
            let inherits = entry.vdev.has_inherited_adis();
            if inherits && entry.vdev.is_gone() && !states.contains_key(name) {
                continue;
            }
            let state = states.remove(name).ok_or_else(|| {
                let message = format!("device {name} is not part of the state");
                VdevError::new(ErrorCode::Invalid, message)
            })?;
            let pages = match inherits {
                true => {
                    check_registered(name, registered, &entry.vdev.registered())?;
                    None
                }
                false => Some(self.expected_pages(name)?),
            };
            let checked = state.check_version();
            checked.map_err(|error| of_device(name, &error))?;
            let taken = entry.vdev.take_over(&state, pages);
            taken.map_err(|error| of_device(name, &error))?;
        }
        match states.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let message = format!("device {name} of the state could not be composed");
                Err(VdevError::new(ErrorCode::Invalid, message))
            }
        }
    }

    /// Gives the devices, which begin with the state after a reset, the doorbell pages of the previous
    /// daemon's, or its ADIs with their pages.
    ///
    /// # Errors
    /// When a device cannot have them.
    pub fn inherit_pages(&self) -> Result<(), VdevError> {
        let entries = self.devices.lock().entries.clone();
        for (name, entry) in &entries {
            let pages = match entry.vdev.has_inherited_adis() {
                true => None,
                false => Some(self.expected_pages(name)?),
            };
            let inherited = entry.vdev.inherit(pages);
            inherited.map_err(|error| of_device(name, &error))?;
            entry.vdev.hand_over(false);
        }
        self.close_abandoned();
        Ok(())
    }

    /// Closes the ADIs of the previous daemon, which has ended, with which no device continues.
    fn close_abandoned(&self) {
        let abandoned = self.kept.as_ref().map(|kept| kept.abandoned());
        for adi in abandoned.unwrap_or_default() {
            self.provider.close(&adi);
        }
    }

    /// Returns whether the devices wait for [`thaw`](Self::thaw).
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.devices.lock().frozen
    }

    fn expected_pages(&self, name: &str) -> Result<OwnedFd, VdevError> {
        let pages = self.kept.as_ref().and_then(|kept| kept.expected(name));
        pages.ok_or_else(|| {
            let message = format!("the doorbell pages of device {name} are not kept");
            VdevError::new(ErrorCode::Invalid, message)
        })
    }
}

/// Checks that the windows of a device are those that are registered for its ADIs.
fn check_registered(
    name: &str,
    registered: &Registered,
    own: &[(u64, u64)],
) -> Result<(), VdevError> {
    let theirs = registered.get(name).map_or(&[][..], Vec::as_slice);
    if theirs == own {
        return Ok(());
    }
    let message = format!(
        "device {name}: {} windows are registered for its ADIs, and its client has {}, or others",
        theirs.len(),
        own.len()
    );
    Err(VdevError::new(ErrorCode::Invalid, message))
}

fn of_device(name: &str, error: &StateError) -> VdevError {
    let VdevError { code, message } = check::state_error(error);
    VdevError::new(code, format!("device {name}: {message}"))
}

fn save(entry: &Entry) -> Result<DeviceState, Unfit> {
    let named = |error: StateError| format!("device {}: {error}", entry.name);
    if entry.vdev.is_suspended() {
        return Err(Unfit::busy(format!("device {} is suspended", entry.name)));
    }
    let suspended = entry.vdev.suspend();
    suspended.map_err(|error| Unfit::reset(named(error)))?;
    entry.vdev.save().map_err(|error| {
        // The error is that of saving.
        let _ = entry.vdev.resume();
        Unfit::reset(named(error))
    })
}

fn resume(entries: &[Arc<Entry>]) {
    for entry in entries {
        if let Err(error) = entry.vdev.go_on() {
            tracing::error!(name = entry.name, "the device does not go on: {error}");
        }
        entry.vdev.hand_over(false);
    }
}
