// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine with an empty root port, which its NIC is plugged into at run time.

use adit_qemu_tests::guest::GuestConfig;

/// Folder of its selftests in the guest.
pub(super) const FOLDER: &str = "/repo/qemu-tests/selftests/hot_plug";

/// Returns the machine, as a variant of another one.
pub(super) fn config(machine: GuestConfig) -> GuestConfig {
    GuestConfig {
        hot_plug: true,
        ..machine
    }
}
