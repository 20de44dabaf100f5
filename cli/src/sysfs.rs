// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel shows of ADIs in sysfs: auxiliary devices `adit.adi.N` under their function.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::devlink::Handle;
use crate::registry::Key;

const AUXILIARY: &str = "/sys/bus/auxiliary/devices";
const DEVICES: &str = "/sys/bus/pci/devices";
/// What names of ADIs' devices begin with; a number follows.
const PREFIX: &str = "adit.adi.";
const DRIVER: &str = "/sys/bus/pci/drivers/adit";

/// An ADI's auxiliary device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuxDevice {
    /// `adit.adi.3`
    pub(crate) name: String,
    folder: PathBuf,
}

impl AuxDevice {
    /// An attribute, as a person reads it.
    pub(crate) fn text(&self, attribute: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join(attribute)).ok()?;
        Some(text.trim_end().to_owned())
    }

    /// An attribute that is a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, attribute: &str) -> Option<T> {
        self.text(attribute)?.parse().ok()
    }

    /// Its VFIO group (`/dev/vfio/7`), once its driver has made one.
    pub(crate) fn vfio_group(&self) -> Option<PathBuf> {
        let group = fs::read_link(self.folder.join("iommu_group")).ok()?;
        Some(Path::new("/dev/vfio").join(group.file_name()?))
    }

    /// What is in the folder `statistics`: a counter a file.
    pub(crate) fn statistics(&self) -> io::Result<BTreeMap<String, u64>> {
        let mut counters = BTreeMap::new();
        for entry in fs::read_dir(self.folder.join("statistics"))? {
            let entry = entry?;
            let text = fs::read_to_string(entry.path())?;
            let value = text.trim_end().parse().map_err(io::Error::other)?;
            counters.insert(entry.file_name().to_string_lossy().into_owned(), value);
        }
        Ok(counters)
    }
}

/// All ADIs' devices, by the device that they are of and their sfnum.
pub(crate) fn devices() -> Result<BTreeMap<Key, AuxDevice>> {
    let mut devices = BTreeMap::new();
    let entries = match fs::read_dir(AUXILIARY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(devices),
        Err(error) => return Err(error).context(AUXILIARY),
    };
    for entry in entries {
        let entry = entry.context(AUXILIARY)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) {
            continue;
        }
        // One that goes while it is looked at is not there.
        let Ok(folder) = fs::canonicalize(entry.path()) else {
            continue;
        };
        let device = AuxDevice { name, folder };
        let parent = device.folder.parent().and_then(Path::file_name);
        if let (Some(parent), Some(sfnum)) = (parent, device.number("sfnum")) {
            devices.insert((Handle::pci(&parent.to_string_lossy()), sfnum), device);
        }
    }
    Ok(devices)
}

/// The device of an ADI that was just made. Those with the highest numbers are looked at first, so
/// that this takes as long with many ADIs as with few.
pub(crate) fn newest((function, sfnum): &Key) -> Option<AuxDevice> {
    let folder = Path::new(DEVICES).join(&function.device);
    let mut numbers: Vec<u32> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix(PREFIX)?.parse().ok()
        })
        .collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.into_iter().find_map(|number| {
        let name = format!("{PREFIX}{number}");
        let folder = folder.join(&name);
        let device = AuxDevice { name, folder };
        (device.number("sfnum") == Some(*sfnum)).then_some(device)
    })
}

/// The functions that the adit driver has.
pub(crate) fn functions() -> Vec<Handle> {
    let entries = fs::read_dir(DRIVER).into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut functions: Vec<_> = entries
        .map(name)
        // Among the driver's own files the devices are links named by their address.
        .filter(|name| name.matches(':').count() == 2)
        .map(|name| Handle::pci(&name))
        .collect();
    functions.sort();
    functions
}
