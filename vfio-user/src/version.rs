// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Agreeing on a version and on capabilities (vfio-user.rst, "Version").

use serde::{Deserialize, Serialize};

use crate::error::ProtocolError;
use crate::{Config, MAX_MSG_FDS, PAGE_SIZE};

/// Major version of the protocol: the only one there is.
pub const MAJOR: u16 = 0;
/// Newest minor version that the server speaks.
pub const MINOR: u16 = 1;
/// The longest version data that is read; QEMU sends about 250 bytes.
pub const MAX_VERSION_DATA: usize = 4096;

/// The JSON of version data.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct VersionData {
    #[serde(default)]
    capabilities: Capabilities,
}

/// The capabilities the server knows; a client's others are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// How many file descriptors the sender takes in one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msg_fds: Option<u64>,
    /// The most data in one message, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_data_xfer_size: Option<u64>,
    /// The most DMA windows at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_dma_maps: Option<u64>,
    /// Page sizes of DMA windows, a bit each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgsizes: Option<u64>,
    /// Is `VFIO_USER_REGION_WRITE_MULTI` understood?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_multiple: Option<bool>,
}

impl Capabilities {
    /// Reads version data: nothing at all, or JSON that ends in its only NUL.
    pub fn from_version_data(data: &[u8]) -> Result<Self, ProtocolError> {
        let bad = |what: &str| ProtocolError::VersionData(what.to_owned());
        match data {
            [] => Ok(Self::default()),
            [json @ .., 0] => serde_json::from_slice::<VersionData>(json)
                .map(|data| data.capabilities)
                .map_err(|e| ProtocolError::VersionData(e.to_string())),
            _ => Err(bad("does not end in NUL")),
        }
    }

    /// Version data that says this, its NUL included.
    pub fn to_version_data(&self) -> Vec<u8> {
        let data = VersionData {
            capabilities: self.clone(),
        };
        // Serialising numbers and booleans into memory has no way to fail.
        let mut json = serde_json::to_vec(&data).unwrap_or_default();
        json.push(0);
        json
    }

    /// What both sides can do. Only what the client named is answered, as
    /// the specification asks; for the rest its defaults hold. The answer is
    /// not longer than the proposal: QEMU reads it into the same buffer.
    pub fn agree(&self, config: &Config) -> Result<Self, ProtocolError> {
        let pgsizes = self.pgsizes.map(|theirs| theirs & !(PAGE_SIZE - 1));
        if pgsizes == Some(0) {
            let theirs = self.pgsizes.unwrap_or_default();
            return Err(ProtocolError::VersionData(format!(
                "pgsizes {theirs:#x} has no size of {PAGE_SIZE} or above"
            )));
        }
        Ok(Self {
            // A limit of ours on what they send, not a common one.
            max_msg_fds: self.max_msg_fds.map(|_| MAX_MSG_FDS as u64),
            max_data_xfer_size: self
                .max_data_xfer_size
                .map(|theirs| theirs.min(config.max_data_xfer_size.into())),
            max_dma_maps: self
                .max_dma_maps
                .map(|theirs| theirs.min(config.max_dma_maps as u64)),
            pgsizes,
            write_multiple: self.write_multiple.filter(|&yes| yes),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What QEMU 11.1 sends (hw/vfio-user/proxy.c, caps_json).
    const QEMU: &[u8] = b"{\"capabilities\": {\"migration\": {\"max_bitmap_size\": 268435456, \
        \"pgsize\": 4096}, \"max_msg_fds\": 16, \"max_data_xfer_size\": 1048576, \
        \"pgsizes\": 4096, \"max_dma_maps\": 65535, \"write_multiple\": true}}\0";

    #[test]
    fn qemu_gets_an_answer_that_fits_its_buffer() {
        let theirs = Capabilities::from_version_data(QEMU).unwrap();
        let ours = theirs.agree(&Config::default()).unwrap();
        assert_eq!(ours, theirs);
        assert!(ours.to_version_data().len() <= QEMU.len());
    }

    #[test]
    fn silence_is_answered_with_silence() {
        for data in [&b""[..], b"{}\0", b"{\"capabilities\":{}}\0"] {
            let theirs = Capabilities::from_version_data(data).unwrap();
            assert_eq!(
                theirs.agree(&Config::default()).unwrap(),
                Capabilities::default()
            );
        }
    }

    #[test]
    fn malformed_data_is_refused() {
        for data in [
            &b"\0"[..],
            b"{}",
            b"{\0}\0",
            b"[1,2\0",
            b"{\"capabilities\":{\"max_msg_fds\":\"many\"}}\0",
            b"{\"capabilities\":{\"max_msg_fds\":-1}}\0",
            b"{\"capabilities\":{\"max_dma_maps\":1e300}}\0",
            b"\xff\xff\0",
        ] {
            assert!(Capabilities::from_version_data(data).is_err(), "{data:?}");
        }
        let deep = [b"{\"x\":".repeat(800), b"\0".to_vec()].concat();
        assert!(Capabilities::from_version_data(&deep).is_err());
    }

    #[test]
    fn page_sizes_below_ours_are_no_basis() {
        let caps = Capabilities {
            pgsizes: Some(0x800),
            ..Capabilities::default()
        };
        assert!(caps.agree(&Config::default()).is_err());
    }

    proptest! {
        #[test]
        fn version_data_round_trips(
            max_msg_fds: Option<u64>, max_data_xfer_size: Option<u64>, max_dma_maps: Option<u64>,
            pgsizes: Option<u64>, write_multiple: Option<bool>,
        ) {
            let caps = Capabilities {
                max_msg_fds, max_data_xfer_size, max_dma_maps, pgsizes, write_multiple,
            };
            let data = caps.to_version_data();
            prop_assert_eq!(Capabilities::from_version_data(&data).unwrap(), caps);
        }

        #[test]
        fn any_bytes_are_read_or_refused(data: Vec<u8>) {
            let _ = Capabilities::from_version_data(&data);
        }
    }
}
