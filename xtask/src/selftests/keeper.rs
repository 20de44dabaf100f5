// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machines whose device process runs under a keeper, and is killed and replaced: one with `adit-nic`, and one with
//! a device that the vDCM composes.

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;

/// Folder of the selftests in the guest of the first machine.
pub(super) const FOLDER: &str = "/repo/qemu-tests/selftests/keeper";

/// The selftests of them that also run in the second machine.
pub(super) const COMPOSED: [&str; 2] = ["device_crash", "live_update"];

/// The arguments of the devices. The guest reaches P4Runtime over the wire.
const ARGS: [&str; 3] = ["--keeper", "--p4rt", "0.0.0.0:9561"];

/// Returns a machine as a variant of another one.
pub(super) fn config(machine: GuestConfig) -> GuestConfig {
    let nics = machine.nics.into_iter().map(|mut nic| {
        match &mut nic {
            Nic::Adit { args, .. } | Nic::Composed { args, .. } => {
                args.extend(ARGS.map(String::from));
            }
            Nic::Qemu { .. } => {}
        }
        nic
    });
    GuestConfig {
        nics: nics.collect(),
        ..machine
    }
}
