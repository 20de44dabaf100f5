// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs in sysfs: auxiliary devices `adit.adi.N` and mediated devices named by their UUID, each
//! with a folder below that of its function.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::devlink::Handle;

const BUSES: [&str; 2] = ["/sys/bus/auxiliary/devices", "/sys/bus/mdev/devices"];
const DEVICES: &str = "/sys/bus/pci/devices";
const IOMMU_GROUPS: &str = "/sys/kernel/iommu_groups";
const DRIVER: &str = "/sys/bus/pci/drivers/adit";

/// The device of an ADI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdiDevice {
    /// `adit.adi.3`, or a UUID.
    pub(crate) name: String,
    /// The UUID that no other ADI has or had.
    pub(crate) instance: String,
    folder: PathBuf,
}

impl AdiDevice {
    /// Returns the device with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return None;
        }
        let mut folders = BUSES.iter().map(|bus| Path::new(bus).join(name));
        folders.find_map(|folder| Self::at(name.into(), folder))
    }

    /// Returns the device of a devlink port; `None` while the port is inactive.
    pub(crate) fn of_port(function: &Handle, index: u32) -> Option<Self> {
        let function = Path::new(DEVICES).join(&function.device);
        let target = fs::read_link(function.join(format!("port.{index}"))).ok()?;
        let name = target.file_name()?.to_str()?.to_owned();
        Self::at(name.clone(), function.join(name))
    }

    /// Returns the device in a VFIO group (the 7 of `/dev/vfio/7`), if it is an ADI's.
    pub(crate) fn in_group(group: &str) -> Option<Self> {
        let devices = Path::new(IOMMU_GROUPS).join(group).join("devices");
        let entry = fs::read_dir(devices).ok()?.next()?.ok()?;
        Self::at(entry.file_name().to_str()?.to_owned(), entry.path())
    }

    fn at(name: String, folder: PathBuf) -> Option<Self> {
        // The attribute that distinguishes an ADI from other devices on these buses.
        let instance = fs::read_to_string(folder.join("instance")).ok()?;
        Some(Self {
            name,
            instance: instance.trim_end().to_owned(),
            folder,
        })
    }

    /// Returns an attribute as text.
    pub(crate) fn text(&self, attribute: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join(attribute)).ok()?;
        Some(text.trim_end().to_owned())
    }

    /// Returns a numeric attribute.
    pub(crate) fn number<T: std::str::FromStr>(&self, attribute: &str) -> Option<T> {
        self.text(attribute)?.parse().ok()
    }

    /// Returns its devlink port: function and index.
    pub(crate) fn port(&self) -> Option<(Handle, u32)> {
        let text = self.text("port")?;
        let (function, index) = text.rsplit_once('/')?;
        Some((Handle::parse(function)?, index.parse().ok()?))
    }

    /// Returns its VFIO group (`/dev/vfio/7`), once its driver has created one.
    pub(crate) fn vfio_group(&self) -> Option<PathBuf> {
        let group = fs::read_link(self.folder.join("iommu_group")).ok()?;
        Some(Path::new("/dev/vfio").join(group.file_name()?))
    }

    /// Returns the counters in the folder `statistics`, one per file.
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

/// Makes udev process a VFIO group's node again, since it may have a name now. Without permission,
/// or without udev, this has no effect.
pub(crate) fn announce(node: &Path) {
    let Some(group) = node.file_name().and_then(OsStr::to_str) else {
        return;
    };
    let _ = fs::write(format!("/sys/class/vfio/{group}/uevent"), "change");
}

/// Returns the functions that are bound to the adit driver.
pub(crate) fn functions() -> Vec<Handle> {
    let entries = fs::read_dir(DRIVER).into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut functions: Vec<_> = entries
        .map(name)
        // Besides the driver's own files, the devices are links named by their addresses.
        .filter(|name| name.matches(':').count() == 2)
        .map(|name| Handle::pci(&name))
        .collect();
    functions.sort();
    functions
}
