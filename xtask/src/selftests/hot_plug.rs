// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine with an empty root port, into which its NIC is plugged while it runs.

use std::path::Path;

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;

/// Where its selftests are in the guest.
pub(super) const FOLDER: &str = "/repo/qemu-tests/selftests/hot_plug";

/// The machine.
pub(super) fn config(binary: &Path) -> GuestConfig {
    GuestConfig {
        nics: vec![Nic::Adit {
            binary: binary.to_owned(),
            args: Vec::new(),
        }],
        hot_plug: true,
        ..GuestConfig::default()
    }
}
