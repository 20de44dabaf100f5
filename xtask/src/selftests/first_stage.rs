// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine whose IOMMU has first-stage tables, which the kernel then uses for ADIs: their entries
//! and locations differ from those of the second stage (VT-d specification, 3.6 and 3.7), and the
//! device walks them, too.

use adit_qemu_tests::guest::GuestConfig;

use super::selection::Selection;

/// The selftests that also run in it.
const NAMES: [&str; 2] = ["adi_isolation", "adi_ping"];

/// Returns those of them that are selected.
pub(super) fn names(which: &Selection) -> Vec<&'static str> {
    let wanted = |name: &&str| which.is_ordinary() && name.contains(which.filter);
    NAMES.into_iter().filter(wanted).collect()
}

/// Returns the machine, as a variant of another one.
pub(super) fn config(machine: GuestConfig) -> GuestConfig {
    GuestConfig {
        first_stage: true,
        ..machine
    }
}
