// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The description of a device that is to be composed.

use std::path::PathBuf;

use adit_function::control::MAX_VPORTS;
use adit_function::layout::{Frames, RegisterLayout};
use adit_function::mac::MacAddr;
use adit_function::pci::{PciId, DEFAULT_ID, SIOV_ID};
use serde::{Deserialize, Serialize};

use super::text;

/// The maximum number of virtual ports of a device: each has an ADI, or a group of them.
pub const MAX_ADIS: usize = MAX_VPORTS;
/// The maximum number of ADIs of a virtual port.
pub const MAX_GROUP: u16 = adit_function::control::MAX_GROUP;
/// The maximum length of a device's name in bytes.
pub const MAX_NAME_LEN: usize = 63;

/// The register layout of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// That of an IDPF VF, whose drivers bind by class code.
    #[default]
    Vf,
    /// That of a device of Intel's vDCM (8086:0dd5).
    Siov,
}

impl Layout {
    /// The layout of the registers of a device out of these ADIs.
    #[must_use]
    pub const fn registers(self, frames: Frames) -> RegisterLayout {
        match self {
            Self::Vf => RegisterLayout::ComposedVf(frames),
            Self::Siov => RegisterLayout::Siov(frames),
        }
    }

    /// The default vendor and device id.
    #[must_use]
    pub const fn pci_id(self) -> PciId {
        match self {
            Self::Vf => DEFAULT_ID,
            Self::Siov => SIOV_ID,
        }
    }

    /// The name, as it is serialised.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vf => "vf",
            Self::Siov => "siov",
        }
    }
}

/// A device that is to be composed. What is absent has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Its name: letters, digits, `.`, `_` and `-`, at most [`MAX_NAME_LEN`], and a letter or digit
    /// first. By default `vdevN`, with the first number that is free.
    pub name: Option<String>,
    /// The names of its ADIs, in the order of its virtual ports. If it is empty, the daemon creates
    /// those of one port, where it manages the ADIs itself.
    pub adis: Vec<String>,
    /// The number of ADIs of each virtual port, whose queues it has: 1 to [`MAX_GROUP`]. By default 1.
    pub group: Option<u16>,
    /// The number of RX queues of each virtual port. By default as many as the ADI has, and 4 if it
    /// is created, which then has twice as many pairs; the ADIs of a group that is created have as many
    /// pairs together. There are as many TX queues as the ADI or the group has pairs.
    pub queues: Option<u16>,
    /// The MAC address of the first virtual port, from which the others count up. An ADI that
    /// exists must have this address.
    #[serde(with = "text::option")]
    pub mac: Option<MacAddr>,
    /// The VLAN of the ADIs, 0 for none. An ADI that exists must be on it.
    pub vlan: Option<u16>,
    /// The port of the NIC for an ADI that the daemon creates.
    pub port: u16,
    /// Vendor and device id; by default those of the layout.
    #[serde(with = "text::option")]
    pub pci_id: Option<PciId>,
    /// The register layout.
    pub layout: Layout,
    /// The path of its socket; by default `NAME.sock` in the daemon's folder.
    pub socket: Option<PathBuf>,
    /// Its limits; by default the daemon's.
    pub limits: Option<Limits>,
}

/// The limits of a device's client. They are the operator's, and not visible to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Mailbox messages a second, in the mean; further ones wait.
    pub messages_per_second: u32,
    /// Messages that may come at once.
    pub message_burst: u32,
    /// Bytes of memory that are registered at a time.
    pub registered_bytes: u64,
    /// Windows of memory at a time.
    pub windows: u32,
    /// Multicast addresses of a virtual port.
    pub multicast_addresses: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_per_second: 1_000,
            message_burst: 4_000,
            registered_bytes: 1 << 42,
            windows: 4_096,
            multicast_addresses: 63,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_written_as_users_write_it() {
        let text = r#"{"adis": ["adi0"], "mac": "02:00:00:00:00:07", "pci_id": "8086:0dd5",
            "layout": "siov", "limits": {"windows": 9}}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        assert_eq!(spec.layout, Layout::Siov);
        assert_eq!(spec.mac, Some(MacAddr([2, 0, 0, 0, 0, 7])));
        let limits = spec.limits.unwrap();
        assert_eq!((limits.windows, limits.message_burst), (9, 4_000));
        let again = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&again).unwrap(), spec);
        for bad in [r#"{"adi": []}"#, r#"{"mac": "1"}"#, r#"{"layout": "pf"}"#] {
            assert!(serde_json::from_str::<Spec>(bad).is_err(), "{bad}");
        }
    }
}
