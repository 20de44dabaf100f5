// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The properties of a composed device.

use std::path::PathBuf;

use adit_function::mac::MacAddr;
use adit_function::pci::PciId;
use serde::{Deserialize, Serialize};

use super::{text, Layout, Limits};

/// The state of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VdevState {
    /// No client is connected.
    Idle,
    /// A client is connected.
    Connected,
    /// One of its ADIs is gone: it stays in reset until that is replaced.
    Gone,
    /// Its server has failed; only [`destroy`](crate::manager::Manager::destroy) is possible.
    Failed,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

impl VdevState {
    /// The name, as it is serialised.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connected => "connected",
            Self::Gone => "gone",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// The state of an ADI of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdiState {
    /// Its link is up.
    Up,
    /// Its link is down.
    Down,
    /// It no longer exists.
    Gone,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

impl AdiState {
    /// The name, as it is serialised.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }
}

/// An ADI of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdiInfo {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    #[serde(with = "text")]
    pub mac: MacAddr,
    /// Its VLAN; 0 for none.
    pub vlan: u16,
    /// The number of its queue pairs.
    pub pairs: u16,
    /// The number of its vectors.
    pub vectors: u16,
    /// Its state.
    pub state: AdiState,
    /// The speed of its link in Mbit/s; 0 if that is down.
    pub speed_mbps: u32,
}

/// A composed device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VdevInfo {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: VdevState,
    /// Set while it is suspended: its ADIs do nothing, and its mailbox is not served.
    #[serde(default)]
    pub suspended: bool,
    /// The path of its socket.
    pub socket: PathBuf,
    /// Its register layout.
    pub layout: Layout,
    /// Vendor and device id.
    #[serde(with = "text")]
    pub pci_id: PciId,
    /// The number of RX queues of each virtual port.
    pub queues: u16,
    /// The number of TX queues of each virtual port.
    pub tx_queues: u16,
    /// The number of MSI-X vectors, with the mailbox's and that of polled queues.
    pub vectors: u16,
    /// Its ADIs, in the order of its virtual ports.
    pub adis: Vec<AdiInfo>,
    /// Its limits.
    pub limits: Limits,
    /// The number of windows of the client's memory.
    pub windows: u32,
    /// Their length in bytes.
    pub registered_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_a_later_version_is_some_state() {
        let device: VdevState = serde_json::from_str("\"migrating\"").unwrap();
        let adi: AdiState = serde_json::from_str("\"resting\"").unwrap();
        assert_eq!((device.name(), adi.name()), ("unknown", "unknown"));
    }
}
