// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Negotiation of the version and of capabilities (vfio-user.rst, "Version").

use serde::{Deserialize, Serialize};

use crate::error::ProtocolError;
use crate::{Config, MAX_MSG_FDS, PAGE_SIZE};

/// The major version of the protocol: the only one that exists.
pub const MAJOR: u16 = 0;
/// The newest minor version that the server supports.
pub const MINOR: u16 = 1;
/// The maximum length of version data that is read; QEMU sends about 250 bytes.
pub const MAX_VERSION_DATA: usize = 4096;

/// The JSON object of version data.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct VersionData {
    #[serde(default)]
    capabilities: Capabilities,
}

/// The capabilities that the server supports; any others of a client are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// The maximum number of file descriptors that the sender accepts in one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msg_fds: Option<u64>,
    /// The maximum data length of one message, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_data_xfer_size: Option<u64>,
    /// The maximum number of DMA windows at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_dma_maps: Option<u64>,
    /// The page sizes of DMA windows, as a bit mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgsizes: Option<u64>,
    /// Set if `VFIO_USER_REGION_WRITE_MULTI` is supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_multiple: Option<bool>,
    /// The sender's limits for the migration of devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationCapability>,
}

/// The capability `migration`. The specification no longer lists it, but QEMU's client sends it; all
/// of it is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MigrationCapability {
    /// The page size of dirty bitmaps; the smaller one of both sides applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgsize: Option<u64>,
    /// The maximum length of a dirty bitmap in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bitmap_size: Option<u64>,
}

impl MigrationCapability {
    /// Returns what is common to both sides; see [`Capabilities::agree`].
    fn agree(&self, config: &Config) -> Result<Self, ProtocolError> {
        if let Some(theirs) = self.pgsize.filter(|&size| size < PAGE_SIZE) {
            return Err(ProtocolError::VersionData(format!(
                "migration.pgsize {theirs:#x} is below {PAGE_SIZE}"
            )));
        }
        Ok(Self {
            pgsize: self.pgsize.map(|_| PAGE_SIZE),
            max_bitmap_size: self
                .max_bitmap_size
                .map(|theirs| theirs.min(config.max_bitmap())),
        })
    }
}

impl Capabilities {
    /// Parses version data: either empty, or JSON that ends with its only NUL.
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

    /// Encodes the capabilities as version data, including its NUL.
    pub fn to_version_data(&self) -> Vec<u8> {
        let data = VersionData {
            capabilities: self.clone(),
        };
        // Serialising numbers and booleans into memory cannot fail.
        let mut json = serde_json::to_vec(&data).unwrap_or_default();
        json.push(0);
        json
    }

    /// Returns the capabilities common to both sides. The reply contains only those that the client
    /// listed, as the specification requires; the protocol's defaults apply to the others. The
    /// reply is not longer than the proposal: QEMU reads it into the same buffer. `migrates` is set
    /// for a device that supports migration or logs DMA writes.
    pub fn agree(&self, config: &Config, migrates: bool) -> Result<Self, ProtocolError> {
        let pgsizes = self.pgsizes.map(|theirs| theirs & !(PAGE_SIZE - 1));
        if pgsizes == Some(0) {
            let theirs = self.pgsizes.unwrap_or_default();
            return Err(ProtocolError::VersionData(format!(
                "pgsizes {theirs:#x} has no size of {PAGE_SIZE} or above"
            )));
        }
        Ok(Self {
            // The server's own limit on messages from the client, not a common one.
            max_msg_fds: self.max_msg_fds.map(|_| MAX_MSG_FDS as u64),
            max_data_xfer_size: self
                .max_data_xfer_size
                .map(|theirs| theirs.min(config.max_data_xfer_size.into())),
            max_dma_maps: self
                .max_dma_maps
                .map(|theirs| theirs.min(config.max_dma_maps as u64)),
            pgsizes,
            write_multiple: self.write_multiple.filter(|&yes| yes),
            migration: match &self.migration {
                Some(theirs) if migrates => Some(theirs.agree(config)?),
                _ => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The version data of QEMU 11.1 (hw/vfio-user/proxy.c, caps_json).
    const QEMU: &[u8] = b"{\"capabilities\": {\"migration\": {\"max_bitmap_size\": 268435456, \
        \"pgsize\": 4096}, \"max_msg_fds\": 16, \"max_data_xfer_size\": 1048576, \
        \"pgsizes\": 4096, \"max_dma_maps\": 65535, \"write_multiple\": true}}\0";

    #[test]
    fn qemu_gets_an_answer_that_fits_its_buffer() {
        let theirs = Capabilities::from_version_data(QEMU).unwrap();
        for migrates in [false, true] {
            let ours = theirs.agree(&Config::default(), migrates).unwrap();
            let migration = migrates.then_some(MigrationCapability {
                pgsize: Some(4096),
                max_bitmap_size: Some(Config::default().max_bitmap()),
            });
            let mut expected = theirs.clone();
            expected.migration = migration;
            assert_eq!(ours, expected);
            assert!(ours.to_version_data().len() <= QEMU.len());
        }
    }

    #[test]
    fn limits_of_a_migration_are_the_smaller_ones() {
        let agree = |json: &str| {
            let data = format!("{{\"capabilities\":{{\"migration\":{json}}}}}\0");
            let theirs = Capabilities::from_version_data(data.as_bytes()).unwrap();
            let ours = theirs.agree(&Config::default(), true).ok()?;
            Some(String::from_utf8(ours.to_version_data()).unwrap())
        };
        let reply = |json: &str| Some(format!("{{\"capabilities\":{{\"migration\":{json}}}}}\0"));
        assert_eq!(agree("{}"), reply("{}"));
        assert_eq!(agree("{\"pgsize\":65536}"), reply("{\"pgsize\":4096}"));
        let small = "{\"max_bitmap_size\":64}";
        assert_eq!(agree(small), reply(small));
        assert_eq!(agree("{\"pgsize\":2048}"), None);
        assert_eq!(agree("{\"pgsize\":0}"), None);
    }

    #[test]
    fn silence_is_answered_with_silence() {
        for data in [&b""[..], b"{}\0", b"{\"capabilities\":{}}\0"] {
            let theirs = Capabilities::from_version_data(data).unwrap();
            assert_eq!(
                theirs.agree(&Config::default(), true).unwrap(),
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
            b"{\"capabilities\":{\"migration\":true}}\0",
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
        assert!(caps.agree(&Config::default(), false).is_err());
    }

    proptest! {
        #[test]
        fn version_data_round_trips(
            max_msg_fds: Option<u64>, max_data_xfer_size: Option<u64>, max_dma_maps: Option<u64>,
            pgsizes: Option<u64>, write_multiple: Option<bool>,
            migration: Option<(Option<u64>, Option<u64>)>,
        ) {
            let migration = migration
                .map(|(pgsize, max_bitmap_size)| MigrationCapability { pgsize, max_bitmap_size });
            let caps = Capabilities {
                max_msg_fds, max_data_xfer_size, max_dma_maps, pgsizes, write_multiple, migration,
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
