// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Devlink's notation for an instance.

use std::fmt;

/// A devlink instance, in devlink's notation: `BUS/DEVICE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    /// The bus: `pci`.
    pub(crate) bus: String,
    /// The device on it: `0000:00:05.0`.
    pub(crate) device: String,
}

impl Handle {
    /// Creates the handle of a PCI function.
    pub(crate) fn pci(device: &str) -> Self {
        Self {
            bus: "pci".into(),
            device: device.into(),
        }
    }

    /// Parses devlink's notation.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (bus, device) = text.split_once('/')?;
        let whole = |part: &str| !part.is_empty() && !part.contains('/');
        (whole(bus) && whole(device)).then(|| Self {
            bus: bus.into(),
            device: device.into(),
        })
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bus, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_as_devlink_writes_them() {
        let handle = Handle::parse("pci/0000:00:05.0").unwrap();
        assert_eq!(handle, Handle::pci("0000:00:05.0"));
        assert_eq!(handle.to_string(), "pci/0000:00:05.0");
        for bad in ["", "pci", "pci/", "/0000:00:05.0", "pci/0000:00:05.0/1"] {
            assert_eq!(Handle::parse(bad), None, "{bad}");
        }
    }
}
