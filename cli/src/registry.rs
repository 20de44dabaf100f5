// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of ADIs. Devlink identifies ports by number only, so names are stored in a folder: one
//! file each, of up to four lines:
//!
//! 1. the port, as function and sfnum: `pci/0000:00:05.0 7`;
//! 2. the folder of its CDI specification, empty if it has none;
//! 3. the ADI's instance, a UUID that no other ADI has or had: numbers of ports, devices and groups
//!    are reused, so that only this identifies an ADI as the one that was named;
//! 4. its device when it was named, which is looked up first.
//!
//! The last two lines exist once the ADI does. `.ports` has a file for each function and sfnum that
//! contains the name. `.lock` is locked by commands that change ADIs. All of it is lost at the machine's next boot, as the ADIs are.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::devlink::Handle;
use crate::files;

/// The folder of names, unless `ADIT_RUN_DIR` sets another one.
const FOLDER: &str = "/run/adit/adi";
/// The timeout for the lock. Creating an ADI without a VFIO group holds it for 5 s.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval between attempts to lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// A name that is also valid for a device in CDI: letters, digits, and `_`, `-`, `.`, `:` between
/// them.
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

/// A port: its function and sfnum.
pub(crate) type Key = (Handle, u32);

/// The data stored for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The port.
    pub(crate) key: Key,
    /// The folder of its CDI specification.
    pub(crate) cdi: Option<PathBuf>,
    /// The ADI, once there is one.
    pub(crate) adi: Option<Named>,
}

/// The ADI that was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its instance.
    pub(crate) instance: String,
    /// Its device at that time.
    pub(crate) device: String,
}

impl Entry {
    /// Returns whether the ADI with this instance may have the name: the one that was named, or any
    /// on its port if none was yet.
    pub(crate) fn is_of(&self, instance: &str) -> bool {
        self.adi.as_ref().is_none_or(|adi| adi.instance == instance)
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let mut lines = content.split(|&byte| byte == b'\n');
        let (handle, sfnum) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
        let key = (Handle::parse(handle)?, sfnum.parse().ok()?);
        let cdi = lines.next().filter(|folder| !folder.is_empty());
        let mut text = || {
            let line = std::str::from_utf8(lines.next()?).ok()?;
            (!line.is_empty()).then(|| line.to_owned())
        };
        let adi = text().zip(text());
        Some(Self {
            key,
            cdi: cdi.map(|folder| OsStr::from_bytes(folder).into()),
            adi: adi.map(|(instance, device)| Named { instance, device }),
        })
    }

    fn content(&self) -> Vec<u8> {
        let mut content = format!("{} {}\n", self.key.0, self.key.1).into_bytes();
        if let Some(cdi) = &self.cdi {
            content.extend(cdi.as_os_str().as_bytes());
        }
        content.push(b'\n');
        if let Some(Named { instance, device }) = &self.adi {
            content.extend(format!("{instance}\n{device}\n").into_bytes());
        }
        content
    }
}

/// The lock of a registry, released when this is dropped and when the process ends.
pub(crate) struct Lock {
    _file: OwnedFd,
}

/// The folder of names.
pub(crate) struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// Opens the registry of this machine.
    pub(crate) fn open() -> Self {
        let folder = std::env::var_os("ADIT_RUN_DIR").map_or_else(|| FOLDER.into(), PathBuf::from);
        Self { folder }
    }

    /// Locks the registry until the result is dropped. A command that changes ADIs, names or
    /// specifications holds the lock from its first read to its last write: otherwise `adit adi
    /// prune`, which udev starts at any time, could remove what was just written.
    pub(crate) fn lock(&self) -> Result<Lock> {
        self.lock_within(LOCK_TIMEOUT)
    }

    fn lock_within(&self, timeout: Duration) -> Result<Lock> {
        let path = self.folder.join(".lock");
        let context = || format!("cannot lock {}", path.display());
        fs::create_dir_all(&self.folder).with_context(context)?;
        // Without access for others: whoever can open the file can lock it.
        let file = rustix::fs::open(
            &path,
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )
        .with_context(context)?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < timeout => {
                    std::thread::sleep(LOCK_INTERVAL);
                }
                Err(Errno::WOULDBLOCK) => bail!(
                    "another command has held the lock {} for {} s (lslocks(8) shows its process)",
                    path.display(),
                    timeout.as_secs()
                ),
                Err(error) => return Err(error).with_context(context),
            }
        }
    }

    /// Returns all names. Files without a valid entry are ignored.
    pub(crate) fn entries(&self) -> Result<Vec<(Name, Entry)>> {
        let names = self.names()?;
        let entry = |name: Name| self.get(&name).map(|entry| (name, entry));
        Ok(names.into_iter().filter_map(entry).collect())
    }

    /// Returns the names of all files.
    pub(crate) fn names(&self) -> Result<Vec<Name>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| self.folder.display().to_string()),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| self.folder.display().to_string())?;
            let name = entry.file_name();
            names.extend(name.to_str().and_then(|name| name.parse::<Name>().ok()));
        }
        names.sort();
        Ok(names)
    }

    /// Returns the data stored for a name.
    pub(crate) fn get(&self, name: &Name) -> Option<Entry> {
        Entry::parse(&fs::read(self.path(name)).ok()?)
    }

    /// Returns the name that was last given to a port.
    pub(crate) fn at(&self, key: &Key) -> Option<Name> {
        let name = fs::read_to_string(self.index(key)).ok()?;
        let name = name.trim_end().parse().ok()?;
        self.get(&name)
            .filter(|entry| entry.key == *key)
            .map(|_| name)
    }

    /// Gives a name to a port that has no ADI yet. The caller has checked that the name is free.
    pub(crate) fn take(&self, name: &Name, key: &Key, cdi: Option<&Path>) -> Result<()> {
        let path = self.path(name);
        let entry = Entry {
            key: key.clone(),
            cdi: cdi.map(Into::into),
            adi: None,
        };
        let index = self.index(key);
        if let Some(folder) = index.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        // An interrupted write must not leave a name that is neither free nor anyone's.
        files::create_new(&path, &entry.content())
            .and_then(|()| files::replace(&index, format!("{name}\n").as_bytes()))
            .with_context(|| path.display().to_string())
    }

    /// Records the ADI of a name's port.
    pub(crate) fn bind(&self, name: &Name, adi: Named) -> Result<()> {
        let path = self.path(name);
        let context = || path.display().to_string();
        let mut entry = self.get(name).with_context(context)?;
        entry.adi = Some(adi);
        // Atomically: others read the file at any time.
        files::replace(&path, &entry.content()).with_context(context)
    }

    /// Releases a name.
    pub(crate) fn give_up(&self, name: &Name) -> Result<()> {
        if let Some(entry) = self.get(name) {
            if self.at(&entry.key).as_ref() == Some(name) {
                files::remove(&self.index(&entry.key))?;
            }
        }
        files::remove(&self.path(name))
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(&name.0)
    }

    fn index(&self, (function, sfnum): &Key) -> PathBuf {
        let Handle { bus, device } = function;
        self.folder.join(format!(".ports/{bus}-{device}-{sfnum}"))
    }
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
    fn one_command_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry {
            folder: folder.path().join("adi"),
        };
        let lock = registry.lock().unwrap();
        let error = registry.lock_within(Duration::from_millis(20)).err();
        let error = error.unwrap().to_string();
        assert!(error.contains("adi/.lock"), "{error}");
        drop(lock);
        let _lock = registry.lock_within(Duration::from_millis(20)).unwrap();
        assert!(registry.names().unwrap().is_empty());
    }

    #[test]
    fn a_name_is_given_once_and_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry {
            folder: folder.path().join("adi"),
        };
        assert!(registry.entries().unwrap().is_empty());
        let web: Name = "web".parse().unwrap();
        let key = |n| (Handle::pci("0000:00:05.0"), n);
        registry.take(&web, &key(1), None).unwrap();
        assert!(registry.take(&web, &key(2), None).is_err());
        assert_eq!(registry.at(&key(1)), Some(web.clone()));
        assert_eq!(registry.at(&key(2)), None);
        assert_eq!(registry.get(&web).unwrap().adi, None);
        let named = Named {
            instance: "6d3c".into(),
            device: "adit.adi.4".into(),
        };
        registry.bind(&web, named.clone()).unwrap();
        let entries = registry.entries().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].1.adi, Some(named));
        registry.give_up(&web).unwrap();
        registry.give_up(&web).unwrap();
        assert!(registry.names().unwrap().is_empty());
        assert_eq!(registry.at(&key(1)), None);
    }

    #[test]
    fn an_older_name_does_not_take_the_port_of_a_newer_one_along() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry {
            folder: folder.path().into(),
        };
        let key = (Handle::pci("0000:00:05.0"), 0);
        let [old, new] = ["db", "cache"].map(|name| name.parse::<Name>().unwrap());
        registry.take(&old, &key, None).unwrap();
        registry.take(&new, &key, None).unwrap();
        registry.give_up(&old).unwrap();
        assert_eq!(registry.at(&key), Some(new));
    }

    #[test]
    fn entries_are_read_as_they_are_written() {
        let mut entry = Entry {
            key: (Handle::pci("0000:00:05.0"), 7),
            cdi: None,
            adi: None,
        };
        let named = Named {
            instance: "6d3c".into(),
            device: "adit.adi.4".into(),
        };
        for cdi in [None, Some(PathBuf::from("/etc/cdi"))] {
            for adi in [None, Some(named.clone())] {
                (entry.cdi, entry.adi) = (cdi.clone(), adi.clone());
                assert!(entry.is_of("6d3c"));
                assert_eq!(entry.is_of("another"), adi.is_none());
                assert_eq!(Entry::parse(&entry.content()), Some(entry.clone()));
            }
        }
        for bad in ["", "pci/0000:00:05.0", "x 1", "pci/0000:00:05.0 x"] {
            assert_eq!(Entry::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
