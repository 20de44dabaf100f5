// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The devices of the configuration file, at start and when it is read again.

use std::path::PathBuf;
use std::sync::Arc;

use adit_vdcm::config::Config;
use adit_vdcm::control::devices::Devices;

/// Makes the devices that do not exist; returns the number of those that do in the end. One that
/// cannot be made keeps no other from being made: its ADI may not be there yet.
pub(crate) fn make(devices: &impl Devices, config: &Config) -> usize {
    let exists = |name: &str| devices.show(name).is_ok();
    let mut present = 0;
    for spec in &config.devices {
        let name = spec.name.as_deref().unwrap_or_default();
        if exists(name) {
            present += 1;
            continue;
        }
        match devices.create(spec.clone()) {
            Ok(info) => {
                tracing::info!(socket = %info.socket.display(), "device {name} of the configuration");
                present += 1;
            }
            Err(error) => tracing::error!("device {name} of the configuration: {error}"),
        }
    }
    present
}

/// Reads the configuration again.
pub(crate) struct Reload<D> {
    path: Option<PathBuf>,
    config: Config,
    devices: Arc<D>,
}

impl<D: Devices> Reload<D> {
    /// For the file that `config` was read from, if it was.
    pub(crate) fn new(path: Option<PathBuf>, config: Config, devices: Arc<D>) -> Self {
        Self {
            path,
            config,
            devices,
        }
    }

    /// Reads the file, and makes the devices that are new in it. Devices are not destroyed: they
    /// may have a client. Returns what became of it, for the service manager.
    pub(crate) fn reload(&mut self) -> String {
        let Some(path) = &self.path else {
            tracing::warn!("there is no configuration file to read again");
            return "there is no configuration file".to_owned();
        };
        let config = match Config::read(path) {
            Ok(config) => config,
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!("the configuration is unchanged: {error:#}");
                return format!("the configuration is unchanged: {error:#}");
            }
        };
        let made = make(&*self.devices, &config);
        for part in self.config.differences(&config) {
            tracing::warn!("the change of {part} in the configuration takes a restart");
        }
        for spec in &self.config.devices {
            let name = spec.name.as_deref().unwrap_or_default();
            let new = config.devices.iter().find(|it| it.name == spec.name);
            match new {
                Some(new) if new != spec => tracing::warn!(
                    "device {name} keeps its settings: destroy it, and reload, for those of the \
                     configuration"
                ),
                Some(_) => {}
                None => tracing::warn!("device {name} is not in the configuration, and stays"),
            }
        }
        self.config.devices = config.devices;
        tracing::info!(devices = made, "configuration read again");
        format!("{made} devices of the configuration")
    }
}
