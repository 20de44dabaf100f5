// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine with an empty root port, which its NIC is plugged into at run time.

use std::path::Path;

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;

/// Folder of its selftests in the guest.
pub(super) const FOLDER: &str = "/repo/qemu-tests/selftests/hot_plug";

/// Returns the machine.
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
