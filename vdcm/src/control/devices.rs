// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The devices of a daemon, as the control protocol uses them.

use std::os::fd::OwnedFd;

use serde_json::Value;

use super::message::{Method, Trace, MAX_TRACE};
use super::passed;
use crate::manager::Manager;
use crate::protocol::{ErrorCode, Spec, TraceEntry, VdevError, VdevInfo, VdevStats};
use crate::snapshot::{self, DeviceState};

/// The devices of a daemon. Its methods are called from one thread and are to return soon: they
/// wait for no client of a device.
pub trait Devices {
    /// Composes a device.
    ///
    /// # Errors
    /// Fails when the spec is invalid, or an ADI, a name or a socket is not available.
    fn create(&self, spec: Spec) -> Result<VdevInfo, VdevError>;

    /// The devices, by name.
    fn list(&self) -> Vec<VdevInfo>;

    /// One device.
    ///
    /// # Errors
    /// Fails when there is none of that name; so do the other methods with a name.
    fn show(&self, name: &str) -> Result<VdevInfo, VdevError>;

    /// Destroys a device; its client, if there is one, is disconnected.
    ///
    /// # Errors
    /// See [`show`](Self::show).
    fn destroy(&self, name: &str) -> Result<(), VdevError>;

    /// A device's counters.
    ///
    /// # Errors
    /// See [`show`](Self::show).
    fn stats(&self, name: &str) -> Result<VdevStats, VdevError>;

    /// The entries of a device's trace after a number, the oldest first; `max` at most.
    ///
    /// # Errors
    /// See [`show`](Self::show).
    fn trace(&self, name: &str, after: u64, max: usize) -> Result<Vec<TraceEntry>, VdevError>;

    /// Replaces the ADI of a device's virtual port by another one, or by a group.
    ///
    /// # Errors
    /// Fails when the device has no such port or a client, or the ADIs cannot take the place.
    fn swap(&self, name: &str, vport: u16, adis: &[String]) -> Result<VdevInfo, VdevError>;

    /// Suspends a device and saves its state.
    ///
    /// # Errors
    /// Fails when an ADI is gone or has no such state; the device is as before then.
    fn save(&self, name: &str) -> Result<DeviceState, VdevError>;

    /// Composes a device with a saved state.
    ///
    /// # Errors
    /// Fails as [`create`](Self::create) does, and when the device cannot have the state.
    fn restore(&self, spec: Spec, state: &DeviceState) -> Result<VdevInfo, VdevError>;

    /// Ends the suspension of a device.
    ///
    /// # Errors
    /// Fails when an ADI is gone, or the client has stopped the device.
    fn resume(&self, name: &str) -> Result<(), VdevError>;

    /// The names of the ADIs that can be opened.
    ///
    /// # Errors
    /// Fails when they cannot be listed.
    fn adis(&self) -> Result<Vec<String>, VdevError>;
}

impl Devices for Manager {
    fn create(&self, spec: Spec) -> Result<VdevInfo, VdevError> {
        self.create(spec)
    }

    fn list(&self) -> Vec<VdevInfo> {
        self.list()
    }

    fn show(&self, name: &str) -> Result<VdevInfo, VdevError> {
        self.show(name)
    }

    fn destroy(&self, name: &str) -> Result<(), VdevError> {
        self.destroy(name)
    }

    fn stats(&self, name: &str) -> Result<VdevStats, VdevError> {
        self.stats(name)
    }

    fn trace(&self, name: &str, after: u64, max: usize) -> Result<Vec<TraceEntry>, VdevError> {
        self.trace(name, after, max)
    }

    fn swap(&self, name: &str, vport: u16, adis: &[String]) -> Result<VdevInfo, VdevError> {
        self.swap_adi(name, vport, adis)
    }

    fn save(&self, name: &str) -> Result<DeviceState, VdevError> {
        self.save(name)
    }

    fn restore(&self, spec: Spec, state: &DeviceState) -> Result<VdevInfo, VdevError> {
        self.restore(spec, state)
    }

    fn resume(&self, name: &str) -> Result<(), VdevError> {
        self.resume(name)
    }

    fn adis(&self) -> Result<Vec<String>, VdevError> {
        self.adis()
    }
}

/// Executes a method that is about devices, and takes the file that its request came with if it needs it.
pub(super) fn execute(
    devices: &impl Devices,
    method: Method,
    file: &mut Option<OwnedFd>,
) -> Result<Value, VdevError> {
    let value = match method {
        Method::Create(spec) => serde_json::to_value(devices.create(*spec)?),
        Method::List => serde_json::to_value(devices.list()),
        Method::Show(params) => serde_json::to_value(devices.show(&params.name)?),
        Method::Destroy(params) => serde_json::to_value(devices.destroy(&params.name)?),
        Method::Stats(params) => serde_json::to_value(devices.stats(&params.name)?),
        Method::Trace(params) => {
            let mut entries = devices.trace(&params.name, params.after, MAX_TRACE + 1)?;
            let more = entries.len() > MAX_TRACE;
            entries.truncate(MAX_TRACE);
            serde_json::to_value(Trace { entries, more })
        }
        Method::Swap(params) => {
            serde_json::to_value(devices.swap(&params.name, params.vport, params.names()?)?)
        }
        Method::Save(params) => serde_json::to_value(devices.save(&params.name)?),
        Method::Restore(params) => {
            let state = state(params.state, file)?;
            serde_json::to_value(devices.restore(params.spec, &state)?)
        }
        Method::Resume(params) => serde_json::to_value(devices.resume(&params.name)?),
        Method::Adis => serde_json::to_value(devices.adis()?),
        Method::Hello(_) | Method::Status => {
            return Err(VdevError::new(
                ErrorCode::Invalid,
                format!("{} is not about devices", method.name()),
            ))
        }
    };
    // A path that is not UTF-8 has no JSON.
    value.map_err(|error| VdevError::new(ErrorCode::System, format!("the result: {error}")))
}

/// The state that is to be restored: a parameter, or in a file that was passed.
fn state(given: Value, file: &mut Option<OwnedFd>) -> Result<DeviceState, VdevError> {
    let invalid = |message| VdevError::new(ErrorCode::Invalid, message);
    if !given.is_null() {
        let state = snapshot::from_value(given);
        return state.map_err(|error| invalid(format!("the state: {error}")));
    }
    let missing = "the state is missing: no `state`, and no file was passed with the request";
    passed::state(file.take().ok_or_else(|| invalid(missing.to_owned()))?)
}
