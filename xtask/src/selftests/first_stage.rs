// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine whose IOMMU has first-stage tables, which the kernel then uses for ADIs: other entries
//! in other places than those of the second stage (VT-d specification, 3.6 and 3.7), which the
//! device walks, too.

use std::path::Path;

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;

use super::Which;

/// The selftests that run once more in it.
const NAMES: [&str; 2] = ["adi_isolation", "adi_ping"];

/// Those of them that are to run.
pub(super) fn names(which: &Which) -> Vec<&'static str> {
    let wanted = |name: &&str| !which.soak && name.contains(which.filter);
    NAMES.into_iter().filter(wanted).collect()
}

/// The machine.
pub(super) fn config(binary: &Path) -> GuestConfig {
    GuestConfig {
        nics: vec![Nic::Adit {
            binary: binary.to_owned(),
            args: Vec::new(),
        }],
        first_stage: true,
        ..GuestConfig::default()
    }
}
