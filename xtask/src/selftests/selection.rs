// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Selection of the selftests that run.

use std::fs;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::paths;
use anyhow::Result;

/// Folder of the selftests in the guest.
pub(super) const SELFTESTS: &str = "/repo/qemu-tests/selftests";
/// Folder of those after which the guest's NIC is no longer usable.
pub(super) const LAST: &str = "/repo/qemu-tests/selftests/last";
/// Name of those that reboot the guest.
pub(super) const REBOOT: &str = "reboot";
/// Folder of those for features of the debug kernel.
pub(super) const DEBUG: &str = "/repo/qemu-tests/selftests/debug";
/// Folder of those that take many minutes.
pub(super) const SOAK: &str = "/repo/qemu-tests/selftests/soak";

/// Folder of those with a VM in the guest.
pub(super) const NESTED: &str = "/repo/qemu-tests/selftests/nested";

/// The kind of the selftests of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those that a change is checked with.
    Ordinary,
    /// Those that take many minutes.
    Soak,
    /// Those with a VM in the guest.
    Nested,
}

/// Selection of the selftests to run, and their configuration.
pub(crate) struct Selection<'a> {
    /// Part of the names of those to run.
    pub(crate) filter: &'a str,
    /// The guest's kernel.
    pub(crate) flavour: Flavour,
    /// Their kind.
    pub(crate) kind: Kind,
}

impl Selection<'_> {
    /// Returns whether those that a change is checked with are among them.
    pub(super) fn is_ordinary(&self) -> bool {
        self.kind == Kind::Ordinary
    }

    /// Returns whether those that reboot are among them.
    pub(super) fn reboot(&self) -> bool {
        self.is_ordinary() && REBOOT.contains(self.filter)
    }

    /// Returns whether those of that name are among them, which start guests by commands of the
    /// host.
    pub(super) fn on_host(&self, name: &str) -> bool {
        self.is_ordinary() && self.flavour == Flavour::Stock && name.contains(self.filter)
    }

    /// Returns whether those of that name are among them, which start guests by commands of the
    /// host, and of which some take long.
    pub(super) fn on_host_or_soak(&self, name: &str) -> bool {
        self.kind != Kind::Nested && self.flavour == Flavour::Stock && name.contains(self.filter)
    }

    /// Returns whether there are any in a folder.
    pub(super) fn any_in(&self, folder: &str) -> Result<bool> {
        let kind = match folder {
            SOAK => Kind::Soak,
            NESTED => Kind::Nested,
            _ => Kind::Ordinary,
        };
        let fits = self.kind == kind && (folder != DEBUG || self.flavour == Flavour::Debug);
        Ok(fits && !names_in(folder, self.filter)?.is_empty())
    }

    /// Returns the names of those in [`SELFTESTS`], in two parts: those of ADIs, and the others.
    pub(super) fn parts(&self) -> Result<[Vec<String>; 2]> {
        if !self.any_in(SELFTESTS)? {
            return Ok([Vec::new(), Vec::new()]);
        }
        let names = names_in(SELFTESTS, self.filter)?;
        let (adis, others) = names.into_iter().partition(|name| name.starts_with("adi"));
        Ok([adis, others])
    }
}

/// Returns the names of the selftests in a folder that contain `filter`, in order.
fn names_in(folder: &str, filter: &str) -> Result<Vec<String>> {
    let folder = folder.trim_start_matches("/repo/");
    let names = fs::read_dir(paths::repo().join(folder))?.flatten();
    let names =
        names.filter_map(|it| Some(it.file_name().to_str()?.strip_suffix(".sh")?.to_owned()));
    let mut names: Vec<_> = names
        .filter(|name| name != "run" && name.contains(filter))
        .collect();
    names.sort();
    Ok(names)
}
