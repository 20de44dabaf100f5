// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of ADIs. Devlink knows ports by number only, so names are kept in a folder: a file each,
//! which says whose name it is (`pci/0000:00:05.0 7`: device and sfnum) and, in a second line, which
//! folder has its CDI specification if it got one. It goes with the machine's next boot, as the ADIs
//! do.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{bail, Context, Result};

use crate::devlink::Handle;
use crate::files;

/// Where names are, unless `ADIT_RUN_DIR` names another folder.
const FOLDER: &str = "/run/adit/adi";

/// A name that CDI takes for a device, too: letters, digits, and `_`, `-`, `.`, `:` between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl Name {
    const MAX_LEN: usize = 63;
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inner = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
        if text.len() > Self::MAX_LEN {
            return Err(format!("longer than {} characters", Self::MAX_LEN));
        }
        if !plain(text.chars().next()) || !plain(text.chars().last()) || !text.chars().all(inner) {
            return Err(
                "a name has letters and digits, and `_`, `-`, `.` or `:` between them".into(),
            );
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whose name it is: an ADI's device and sfnum.
pub(crate) type Key = (Handle, u32);

/// The folder of names.
pub(crate) struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// The one of this machine.
    pub(crate) fn open() -> Self {
        let folder = std::env::var_os("ADIT_RUN_DIR").map_or_else(|| FOLDER.into(), PathBuf::from);
        Self { folder }
    }

    /// All names. A file that does not say whose name it is is nobody's.
    pub(crate) fn names(&self) -> Result<BTreeMap<Key, Name>> {
        let mut names = BTreeMap::new();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(error).with_context(|| self.folder.display().to_string()),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let (Some(name), Some(key)) = (name, read(&entry.path())) {
                names.insert(key, name);
            }
        }
        Ok(names)
    }

    /// Gives a name, unless an ADI that is there has it. `cdi` is where its CDI specification will
    /// be.
    pub(crate) fn take(
        &self,
        name: &Name,
        key: &Key,
        cdi: Option<&Path>,
        exists: impl Fn(&Key) -> Result<bool>,
    ) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        let path = self.path(name);
        let mut content = format!("{} {}\n", key.0, key.1).into_bytes();
        if let Some(cdi) = cdi {
            content.extend(cdi.as_os_str().as_bytes());
            content.push(b'\n');
        }
        // What stays behind from an ADI that was destroyed in another way is taken over.
        if let Some(owner) = read(&path) {
            if owner != *key && exists(&owner)? {
                bail!(
                    "the name {name} is taken, by the ADI with sfnum {} of {}",
                    owner.1,
                    owner.0
                );
            }
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        let mut file = fs::File::create_new(&path).with_context(|| path.display().to_string())?;
        file.write_all(&content)?;
        Ok(())
    }

    /// Where the CDI specification of a name is, if it has one.
    pub(crate) fn cdi(&self, name: &Name) -> Option<PathBuf> {
        let content = fs::read(self.path(name)).ok()?;
        let folder = content.split(|&byte| byte == b'\n').nth(1)?;
        (!folder.is_empty()).then(|| OsStr::from_bytes(folder).into())
    }

    /// Gives a name up.
    pub(crate) fn give_up(&self, name: &Name) -> Result<()> {
        files::remove(&self.path(name))
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(&name.0)
    }
}

fn read(path: &Path) -> Option<Key> {
    let content = fs::read(path).ok()?;
    let line = content.split(|&byte| byte == b'\n').next()?;
    let (handle, sfnum) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((Handle::parse(handle)?, sfnum.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_cdi_takes() {
        for good in ["web", "a", "web-1.prod_x:0"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a/b", "..", "a b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_one_adis_until_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry {
            folder: folder.path().join("adi"),
        };
        assert!(registry.names().unwrap().is_empty());
        let (web, key) = ("web".parse().unwrap(), |n| (Handle::pci("0000:00:05.0"), n));
        registry.take(&web, &key(1), None, |_| Ok(false)).unwrap();
        assert_eq!(registry.names().unwrap()[&key(1)], web);
        assert_eq!(registry.cdi(&web), None);
        let taken = registry
            .take(&web, &key(2), None, |_| Ok(true))
            .unwrap_err();
        assert!(taken.to_string().contains("sfnum 1"), "{taken}");
        let cdi = Path::new("/etc/cdi");
        registry
            .take(&web, &key(2), Some(cdi), |_| Ok(false))
            .unwrap();
        assert_eq!(registry.cdi(&web).as_deref(), Some(cdi));
        assert_eq!(registry.names().unwrap()[&key(2)], web);
        registry.give_up(&web).unwrap();
        registry.give_up(&web).unwrap();
        assert!(registry.names().unwrap().is_empty());
    }
}
