// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs, as a combined view of devlink, sysfs and the folder of names.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{bail, Context, Result};
use serde::ser::{SerializeStruct, Serializer};
use serde::Serialize;

use crate::devlink::{Devlink, Handle, Port};
use crate::output::Row;
use crate::registry::{Entry, Key, Name, Registry};
use crate::sysfs::AdiDevice;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MacAddress(pub(crate) [u8; 6]);

impl FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octet = |part: &str| {
            let hex = part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
            hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
        let address: [u8; 6] = octets
            .and_then(|octets| octets.try_into().ok())
            .ok_or("an Ethernet address is six octets, as in 02:00:00:00:00:01")?;
        if address[0] & 1 != 0 {
            return Err("that is a group's address (the first octet is odd)".into());
        }
        if address == [0; 6] {
            return Err("the all-zero address cannot be assigned".into());
        }
        Ok(Self(address))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An ADI.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Adi {
    pub(crate) name: Option<Name>,
    pub(crate) port: Port,
    pub(crate) mac: MacAddress,
    pub(crate) device: Option<AdiDevice>,
}

impl Adi {
    /// Creates the ADI of a port, without its name.
    fn of(port: Port) -> Self {
        Self {
            name: None,
            mac: MacAddress(port.hw_addr),
            device: AdiDevice::of_port(&port.handle, port.index),
            port,
        }
    }

    /// Returns whether this is the ADI that was named. An inactive one has no device that
    /// identifies it: it matches if its port does.
    pub(super) fn is(&self, entry: &Entry) -> bool {
        match (&entry.adi, &self.device) {
            (Some(named), Some(device)) => device.instance == named.instance,
            (None, _) | (_, None) => entry.key == self.key(),
        }
    }

    fn key(&self) -> Key {
        (self.port.handle.clone(), self.port.sfnum)
    }

    /// Returns the label for users: its name, else its device, else its port.
    pub(crate) fn label(&self) -> String {
        match (&self.name, &self.device) {
            (Some(name), _) => name.to_string(),
            (None, Some(device)) => device.name.clone(),
            (None, None) => format!("{}/{}", self.port.handle, self.port.index),
        }
    }

    /// Returns `inactive`, `active`, or `dead` if a reset of the function has ended it.
    pub(crate) fn state(&self) -> &'static str {
        match (self.port.active, self.port.attached) {
            (false, _) => "inactive",
            (true, true) => "active",
            (true, false) => "dead",
        }
    }

    /// Returns its VFIO group.
    pub(crate) fn vfio_group(&self) -> Option<PathBuf> {
        self.device.as_ref()?.vfio_group()
    }

    /// Returns its counters.
    pub(crate) fn counters(&self) -> Result<BTreeMap<String, u64>> {
        let device = self
            .device
            .as_ref()
            .with_context(|| format!("{} is inactive and counts nothing", self.label()))?;
        device
            .statistics()
            .with_context(|| format!("cannot read the counters of {}", self.label()))
    }

    fn number<T: FromStr>(&self, attribute: &str) -> Option<T> {
        self.device.as_ref()?.number(attribute)
    }
}

impl Serialize for Adi {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut s = serializer.serialize_struct("Adi", 13)?;
        s.serialize_field("name", &self.name.as_ref().map(ToString::to_string))?;
        s.serialize_field("device", &self.device.as_ref().map(|d| &d.name))?;
        let instance = self.device.as_ref().map(|device| &device.instance);
        s.serialize_field("instance", &instance)?;
        s.serialize_field("state", self.state())?;
        s.serialize_field("function", &self.port.handle.to_string())?;
        s.serialize_field("port_index", &self.port.index)?;
        s.serialize_field("sfnum", &self.port.sfnum)?;
        s.serialize_field("mac", &self.mac.to_string())?;
        s.serialize_field("queues", &self.port.max_io_eqs)?;
        s.serialize_field("vport", &self.number::<u32>("vport"))?;
        s.serialize_field("pasid", &self.number::<u32>("pasid"))?;
        s.serialize_field("faults", &self.number::<u64>("faults"))?;
        s.serialize_field("vfio_group", &self.vfio_group())?;
        s.end()
    }
}

impl Row for Adi {
    const HEAD: &'static [&'static str] = &[
        "NAME", "DEVICE", "STATE", "MAC", "QUEUES", "VPORT", "PASID", "FAULTS", "VFIO", "FUNCTION",
        "SFNUM",
    ];

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        vec![
            or_dash(self.name.as_ref().map(ToString::to_string)),
            or_dash(self.device.as_ref().map(|device| device.name.clone())),
            self.state().into(),
            self.mac.to_string(),
            self.port.max_io_eqs.to_string(),
            or_dash(self.number::<u32>("vport").map(|n| n.to_string())),
            or_dash(self.number::<u32>("pasid").map(|n| n.to_string())),
            or_dash(self.number::<u64>("faults").map(|n| n.to_string())),
            or_dash(self.vfio_group().map(|path| path.display().to_string())),
            self.port.handle.to_string(),
            self.port.sfnum.to_string(),
        ]
    }
}

/// All ADIs.
pub(crate) struct Adis(Vec<Adi>);

impl Adis {
    /// Reads devlink, sysfs and the folder of names.
    pub(crate) fn load() -> Result<Self> {
        Self::with_names(&Registry::open().entries()?)
    }

    /// Loads all ADIs as [`Self::load`] does, with names that have been read already.
    pub(super) fn with_names(entries: &[(Name, Entry)]) -> Result<Self> {
        let ports = Devlink::connect()?.ports()?;
        let mut adis: Vec<_> = ports.into_iter().map(Adi::of).collect();
        let mut by_key: BTreeMap<Key, Vec<&(Name, Entry)>> = BTreeMap::new();
        for entry in entries {
            by_key.entry(entry.1.key.clone()).or_default().push(entry);
        }
        for adi in &mut adis {
            let candidates = by_key.get(&adi.key()).into_iter().flatten();
            let mut own = candidates.filter(|(_, entry)| adi.is(entry));
            adi.name = own.next().map(|(name, _)| name.clone());
        }
        adis.sort_by_key(Adi::key);
        Ok(Self(adis))
    }

    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self(Vec::new())
    }

    /// Finds the ADI that a user refers to.
    fn find(&self, which: &str) -> Result<&Adi> {
        let is_it = |adi: &&Adi| {
            let name = adi.name.as_ref().map(ToString::to_string);
            name.as_deref() == Some(which)
                || adi.device.as_ref().map(|device| &*device.name) == Some(which)
                || format!("{}/{}", adi.port.handle, adi.port.index) == which
                || adi.port.sfnum.to_string() == which
        };
        let mut found = self.iter().filter(is_it);
        if let Some(adi) = found.next() {
            if let Some(other) = found.next() {
                let [one, other] = [adi, other].map(Adi::label);
                bail!("`{which}` may be {one} or {other}: use its name or its device");
            }
            return Ok(adi);
        }
        if self.0.is_empty() {
            bail!("no ADI `{which}`: there is none at all; `adit adi create` makes one");
        }
        let some: Vec<_> = self.iter().take(8).map(Adi::label).collect();
        let more = if self.0.len() > some.len() {
            ", …"
        } else {
            ""
        };
        bail!("no ADI `{which}`: there is {}{more}", some.join(", "))
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Adi> {
        self.0.iter()
    }

    pub(crate) fn into_list(self) -> Vec<Adi> {
        self.0
    }
}

/// Finds the ADI that a user refers to: by its name, its device (`adit.adi.3`, a UUID), its port
/// (`pci/0000:00:05.0/3`) or, where it is unambiguous, its sfnum. By name, device or port, only
/// that ADI is read, however many there are.
pub(crate) fn find(devlink: &Devlink, which: &str) -> Result<Adi> {
    match directly(devlink, which) {
        Some(adi) => Ok(adi),
        None => Adis::load()?.find(which).cloned(),
    }
}

/// Returns the ADI with a name, if it exists.
pub(super) fn named(devlink: &Devlink, name: &Name) -> Result<Option<Adi>> {
    if let Some(adi) = directly(devlink, &name.to_string()) {
        if adi.name.as_ref() == Some(name) {
            return Ok(Some(adi));
        }
    }
    let adis = Adis::load()?.into_list();
    Ok(adis.into_iter().find(|adi| adi.name.as_ref() == Some(name)))
}

fn directly(devlink: &Devlink, which: &str) -> Option<Adi> {
    let registry = Registry::open();
    let by_name = || {
        let entry = registry.get(&which.parse().ok()?)?;
        let adi = entry.adi?;
        let device = AdiDevice::named(&adi.device)?;
        (device.instance == adi.instance).then(|| device.port())?
    };
    let by_device = || AdiDevice::named(which)?.port();
    let by_port = || {
        let (function, index) = which.rsplit_once('/')?;
        Some((Handle::parse(function)?, index.parse().ok()?))
    };
    let (function, index) = by_name().or_else(by_device).or_else(by_port)?;
    let port = devlink.port_get(&function, index).ok()?;
    let mut adi = Adi::of(port);
    let name = registry.at(&adi.key());
    adi.name = name.filter(|name| registry.get(name).is_some_and(|entry| adi.is(&entry)));
    Some(adi)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adis() -> Adis {
        let adi = |sfnum, name: Option<&str>| Adi {
            name: name.map(|name| name.parse().unwrap()),
            mac: MacAddress([2, 0, 0, 0, 0, 0x1f]),
            device: None,
            port: Port {
                handle: Handle::pci("0000:00:05.0"),
                index: sfnum + 1,
                sfnum,
                hw_addr: [2, 0, 0, 0, 0, 0x1f],
                max_io_eqs: 1,
                active: true,
                attached: false,
            },
        };
        Adis(vec![adi(0, Some("web")), adi(1, None)])
    }

    #[test]
    fn an_adi_is_found_by_any_of_its_names() {
        let adis = adis();
        assert_eq!(adis.find("web").unwrap().port.sfnum, 0);
        assert_eq!(adis.find("pci/0000:00:05.0/2").unwrap().port.sfnum, 1);
        assert_eq!(adis.find("1").unwrap().port.sfnum, 1);
        let error = adis.find("wbe").unwrap_err().to_string();
        assert!(error.contains("web"), "{error}");
    }

    #[test]
    fn a_number_that_two_have_is_refused() {
        let mut adis = adis();
        adis.0[1].port.handle = Handle::pci("0000:00:06.0");
        adis.0[1].port.sfnum = 0;
        let error = adis.find("0").unwrap_err().to_string();
        assert!(error.contains("web or pci/0000:00:06.0/2"), "{error}");
    }

    #[test]
    fn an_inactive_adi_is_known_by_its_port() {
        let adis = adis();
        let entry = |sfnum, adi| Entry {
            key: (Handle::pci("0000:00:05.0"), sfnum),
            cdi: None,
            adi,
        };
        let named = crate::registry::Named {
            instance: "6d3c".into(),
            device: "adit.adi.4".into(),
        };
        for adi in [None, Some(named)] {
            assert!(adis.0[1].is(&entry(1, adi.clone())));
            assert!(!adis.0[1].is(&entry(0, adi)));
        }
    }

    #[test]
    fn what_programs_read() {
        let json = serde_json::to_value(&adis().0[0]).unwrap();
        assert_eq!(json["name"], "web");
        assert_eq!(json["state"], "dead");
        assert_eq!(json["mac"], "02:00:00:00:00:1f");
        assert_eq!(json["pasid"], serde_json::Value::Null);
        assert_eq!(json["vport"], serde_json::Value::Null);
    }

    #[test]
    fn addresses_are_read_strictly() {
        let read = |text: &str| text.parse::<MacAddress>();
        assert_eq!(
            read("02:00:00:00:00:1F").unwrap().to_string(),
            "02:00:00:00:00:1f"
        );
        for bad in [
            "02:00:00:00:00",
            "2:0:0:0:0:1",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "+2:00:00:00:00:01",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
