// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Orphans of ADIs that were removed by other means than `adit adi destroy`: names and CDI
//! specifications.

use std::path::{Path, PathBuf};

use anyhow::{Error, Result};
use serde::Serialize;

use super::record::{Adi, Adis};
use crate::cdi::{self, Found};
use crate::devlink::{Devlink, Handle};
use crate::files;
use crate::output::Row;
use crate::registry::{Entry, Name, Registry};
use crate::sysfs::{self, AdiDevice};

/// An orphaned name or specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Orphan {
    /// The name that the ADI had.
    pub(crate) name: String,
    state: &'static str,
    /// The kind of orphan, and the reason why it is one.
    pub(crate) why: String,
    /// The specification's path, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    specification: Option<PathBuf>,
}

impl Orphan {
    fn new(name: String, why: String, specification: Option<PathBuf>) -> Self {
        Self {
            name,
            state: "orphan",
            why,
            specification,
        }
    }
}

impl Row for Orphan {
    const HEAD: &'static [&'static str] = &["ORPHAN", "WHY (`adit adi prune` removes it)"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.why.clone()]
    }
}

/// The existing ADIs, and the orphans of others.
pub(crate) struct Survey {
    pub(crate) adis: Adis,
    pub(crate) orphans: Vec<Orphan>,
    /// The errors of folders that could not be searched for specifications.
    pub(crate) unread: Vec<Error>,
}

/// Examines all ADIs, names and specifications. Specifications are searched for in `folder`,
/// besides the folders that engines use and those recorded with names.
pub(crate) fn survey(folder: Option<&Path>) -> Result<Survey> {
    let entries = Registry::open().entries()?;
    let mut folders: Vec<PathBuf> = folder.map(Into::into).into_iter().collect();
    folders.extend(entries.iter().filter_map(|(_, entry)| entry.cdi.clone()));
    let (specifications, unread) = cdi::find(&folders);
    // Last: an ADI that is created meanwhile exists before its specification does.
    let adis = Adis::with_names(&entries)?;
    let hidden = hidden()?;
    let shown = |found: &Found| {
        let adi = found.adi.as_ref()?;
        let device = AdiDevice::named(&adi.device).filter(|it| it.instance == adi.instance)?;
        Some(!hidden.contains(&device.port()?.0))
    };
    // The ADI of a hidden function exists even if its name was released.
    let specifications: Vec<_> = specifications
        .into_iter()
        .filter(|found| shown(found).unwrap_or(true))
        .collect();
    let orphans = orphans(&entries, &specifications, &adis, &hidden);
    Ok(Survey {
        adis,
        orphans,
        unread,
    })
}

/// Returns the functions of the adit driver that devlink does not show. Devlink is per network
/// namespace; sysfs and the folder of names are not: the ADIs of these functions may exist.
///
/// The driver is read last. The kernel removes its link in sysfs before it has the driver unregister
/// the devlink instance: a function that is being unbound is not returned.
pub(super) fn hidden() -> Result<Vec<Handle>> {
    let devlink = Devlink::connect()?;
    let mut hidden = Vec::new();
    for function in sysfs::functions() {
        if !devlink.has(&function)? && sysfs::functions().contains(&function) {
            hidden.push(function);
        }
    }
    Ok(hidden)
}

/// Returns whether a name's ADI exists, or may exist on a hidden function.
fn exists(entry: &Entry, adis: &Adis, hidden: &[Handle]) -> bool {
    hidden.contains(&entry.key.0) || adis.iter().any(|adi| adi.is(entry))
}

fn orphans(
    entries: &[(Name, Entry)],
    specifications: &[Found],
    adis: &Adis,
    hidden: &[Handle],
) -> Vec<Orphan> {
    let names = entries
        .iter()
        .filter(|(_, entry)| !exists(entry, adis, hidden))
        .map(|(name, entry)| {
            let (function, sfnum) = &entry.key;
            let device = entry.adi.as_ref().map(|adi| format!("{}, ", adi.device));
            let device = device.unwrap_or_default();
            let why = format!("a name: its ADI ({device}sfnum {sfnum} of {function}) is gone");
            Orphan::new(name.to_string(), why, None)
        });
    let specifications = specifications.iter().filter_map(|found| {
        let why = specification_is_orphan(found, entries, adis, hidden)?;
        let why = format!("{}: {why}", found.path.display());
        Some(Orphan::new(
            found.name.clone(),
            why,
            Some(found.path.clone()),
        ))
    });
    names.chain(specifications).collect()
}

fn specification_is_orphan(
    found: &Found,
    entries: &[(Name, Entry)],
    adis: &Adis,
    hidden: &[Handle],
) -> Option<&'static str> {
    let Some(adi) = &found.adi else {
        return Some("it does not identify its ADI");
    };
    let is_it = |it: &&Adi| {
        let device = it.device.as_ref();
        device.map(|device| &device.instance) == Some(&adi.instance)
    };
    match adis.iter().find(is_it) {
        Some(it) if it.device.as_ref().map(|device| &device.name) == Some(&adi.device) => None,
        Some(_) => Some("its ADI was stopped and started since, and has another VFIO group"),
        // It may be inactive; `adit adi reset` starts it again and writes another specification.
        None => {
            let mut named = entries
                .iter()
                .filter(|(_, entry)| entry.adi.as_ref() == Some(adi));
            let inactive = named.any(|(_, entry)| exists(entry, adis, hidden));
            (!inactive).then_some("its ADI is gone")
        }
    }
}

/// Removes the orphans and returns them.
pub(crate) fn prune(folder: Option<&Path>) -> Result<Vec<Orphan>> {
    let Survey {
        orphans, unread, ..
    } = survey(folder)?;
    report(&unread);
    let registry = Registry::open();
    for orphan in &orphans {
        match (&orphan.specification, orphan.name.parse()) {
            (Some(path), _) => files::remove(path)?,
            (None, Ok(name)) => forget(&registry, &name)?,
            // Only the file name of a specification can be an invalid name.
            (None, Err(_)) => {}
        }
    }
    Ok(orphans)
}

/// Prints the errors of folders that could not be searched.
pub(super) fn report(unread: &[Error]) {
    for error in unread {
        eprintln!("adit: {error:#}");
    }
}

/// Releases a name, and removes its specification.
pub(super) fn forget(registry: &Registry, name: &Name) -> Result<()> {
    if let Some(folder) = registry.get(name).and_then(|entry| entry.cdi) {
        cdi::remove(&folder, name)?;
    }
    registry.give_up(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Named;

    fn adi(instance: &str) -> Named {
        Named {
            instance: instance.into(),
            device: "adit.adi.4".into(),
        }
    }

    #[test]
    fn a_name_and_a_specification_without_their_adi_are_left_over() {
        let entry = Entry {
            key: (Handle::pci("0000:00:05.0"), 3),
            cdi: None,
            adi: Some(adi("one")),
        };
        let found = |adi| Found {
            path: "/etc/cdi/adit.dev-adi_web.json".into(),
            name: "web".into(),
            adi,
        };
        let entries = [("web".parse().unwrap(), entry)];
        let none = Adis::empty();
        let specifications = [found(Some(adi("one"))), found(None)];
        let left = orphans(&entries, &specifications, &none, &[]);
        let why: Vec<_> = left.iter().map(|orphan| &*orphan.why).collect();
        assert_eq!(
            why,
            [
                "a name: its ADI (adit.adi.4, sfnum 3 of pci/0000:00:05.0) is gone",
                "/etc/cdi/adit.dev-adi_web.json: its ADI is gone",
                "/etc/cdi/adit.dev-adi_web.json: it does not identify its ADI",
            ]
        );
        // Devlink shows no ADI of this function here.
        let hidden = [Handle::pci("0000:00:05.0")];
        assert_eq!(orphans(&entries, &specifications[..1], &none, &hidden), []);
        let other = [Handle::pci("0000:00:06.0")];
        assert_eq!(orphans(&entries, &specifications, &none, &other), left);
    }
}
