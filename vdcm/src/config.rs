// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon's configuration file (TOML).
//!
//! ```toml
//! max_devices = 1024
//!
//! [control]                   # the control socket
//! mode = "0660"               # of its file: who can connect can look
//! group = "adit"              # of its file; its members may change things, too
//! users = ["alice", 1001]     # who may change things besides root and the daemon's user
//! groups = ["netadmin"]
//!
//! [sockets]                   # the sockets of devices
//! folder = "/run/adit/vdcm"   # of those without a path
//! mode = "0660"
//! group = "kvm"
//!
//! [limits]                    # of a device's client; see Limits
//! messages_per_second = 1000
//!
//! [[device]]                  # a device that is made at start; see Spec
//! name = "web"
//! adis = ["adi0"]
//! ```

use std::path::{Path, PathBuf};

use adit_vfio_user::Permissions;
use serde::Deserialize;
use thiserror::Error;

use crate::control::access::Access;
use crate::protocol::{Limits, Spec};

mod ids;

use ids::{GroupRef, ModeText, UserRef};

/// The maximum length of a configuration file in bytes.
const MAX_LEN: u64 = 1 << 20;
/// The default maximum number of devices.
const DEFAULT_DEVICES: usize = 1_024;

/// The configuration of the daemon.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The maximum number of devices.
    pub max_devices: usize,
    /// The control socket.
    pub control: ControlConfig,
    /// The sockets of devices.
    pub sockets: SocketsConfig,
    /// The limits of a device's client, unless its spec has others.
    pub limits: Limits,
    /// The devices that are made at start.
    #[serde(rename = "device")]
    pub devices: Vec<Spec>,
}

/// The settings of the control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    mode: Option<ModeText>,
    group: Option<GroupRef>,
    users: Vec<UserRef>,
    groups: Vec<GroupRef>,
}

/// The settings of the sockets of devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SocketsConfig {
    /// The folder of those without a path.
    pub folder: Option<PathBuf>,
    mode: Option<ModeText>,
    group: Option<GroupRef>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_devices: DEFAULT_DEVICES,
            control: ControlConfig::default(),
            sockets: SocketsConfig::default(),
            limits: Limits::default(),
            devices: Vec::new(),
        }
    }
}

/// The reason for which a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading {path}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is too long.
    #[error("{0}: a configuration has at most {MAX_LEN} bytes")]
    TooLong(PathBuf),
    /// It is not TOML, or has what a configuration does not have.
    #[error("{path}")]
    Parse {
        /// Its path.
        path: PathBuf,
        /// The cause, with the line.
        source: toml::de::Error,
    },
    /// Two devices have the same name.
    #[error("{path}: two devices have the name `{name}`")]
    SameName {
        /// Its path.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A device has no name, by which it is found again when the file is read again.
    #[error("{path}: the device number {number} of the file has no name")]
    NoName {
        /// Its path.
        path: PathBuf,
        /// The device, from 1.
        number: usize,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Fails when it cannot be read, or is not a configuration.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        use std::io::Read;

        let read_error = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(read_error)?;
        let mut text = String::new();
        let mut limited = file.take(MAX_LEN + 1);
        limited.read_to_string(&mut text).map_err(read_error)?;
        if text.len() as u64 > MAX_LEN {
            return Err(ConfigError::TooLong(path.to_owned()));
        }
        let config: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source,
        })?;
        let mut names = std::collections::BTreeSet::new();
        for (number, device) in (1..).zip(&config.devices) {
            let Some(name) = &device.name else {
                return Err(ConfigError::NoName {
                    path: path.to_owned(),
                    number,
                });
            };
            if !names.insert(name) {
                return Err(ConfigError::SameName {
                    path: path.to_owned(),
                    name: name.clone(),
                });
            }
        }
        Ok(config)
    }

    /// The parts, without devices, in which another configuration differs.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let parts = [
            ("max_devices", self.max_devices == other.max_devices),
            ("control", self.control == other.control),
            ("sockets", self.sockets == other.sockets),
            ("limits", self.limits == other.limits),
        ];
        let differ = parts.into_iter().filter(|(_, same)| !same);
        differ.map(|(part, _)| part).collect()
    }
}

impl ControlConfig {
    /// The permissions of the socket's file: by default, only root and the daemon's user can
    /// connect.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        permissions(self.mode, self.group)
    }

    /// The users and groups that may change something. The group of the socket's file is one.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            users: self.users.iter().map(|user| user.0).collect(),
            groups: self
                .groups
                .iter()
                .chain(&self.group)
                .map(|it| it.0)
                .collect(),
        }
    }
}

impl SocketsConfig {
    /// The permissions of the files of sockets: by default, only root and the daemon's user can
    /// connect.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        permissions(self.mode, self.group)
    }
}

/// A group alone means that its members can connect.
fn permissions(mode: Option<ModeText>, group: Option<GroupRef>) -> Permissions {
    let default = match group {
        Some(_) => 0o660,
        None => 0o600,
    };
    Permissions {
        mode: Some(mode.map_or(default, |mode| mode.0)),
        group: group.map(|group| group.0),
    }
}

#[cfg(test)]
mod tests;
