// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machines whose device process runs under a keeper, and is killed and replaced: one with `adit-nic`, and one with
//! devices that the vDCM composes, the second of which has the queues of two ADIs.

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;

use super::selection::Selection;

/// Folder of the selftests in the guest of the first machine.
pub(super) const FOLDER: &str = "/repo/qemu-tests/selftests/keeper";

/// Folder of the selftests that run in the second machine only.
pub(super) const COMPOSED_FOLDER: &str = "/repo/qemu-tests/selftests/keeper_composed";

/// The selftests of the first that also run in the second machine.
const COMPOSED: [&str; 2] = ["device_crash", "live_update"];

/// The argument of all devices, and those of the first. The guest reaches P4Runtime over its wire.
const KEEPER: &str = "--keeper";
const FIRST: [&str; 2] = ["--p4rt", "0.0.0.0:9561"];

/// Returns those of the first machine's selftests that are selected for the second.
pub(super) fn names(which: &Selection) -> Vec<&'static str> {
    let wanted = |name: &&str| which.is_ordinary() && name.contains(which.filter);
    COMPOSED.into_iter().filter(wanted).collect()
}

/// Returns a machine as a variant of another one.
pub(super) fn config(mut machine: GuestConfig) -> GuestConfig {
    for (index, nic) in machine.nics.iter_mut().enumerate() {
        match nic {
            Nic::Adit { args, .. } | Nic::Composed { args, .. } => {
                args.push(KEEPER.to_owned());
                if index == 0 {
                    args.extend(FIRST.map(String::from));
                }
            }
            Nic::Qemu { .. } => {}
        }
    }
    machine
}

/// Adds a device out of a group of two ADIs to the machine with a composed device.
pub(super) fn with_group(mut machine: GuestConfig) -> GuestConfig {
    if let Some(Nic::Composed { daemon, .. }) = machine.nics.first() {
        let group = Nic::composed(daemon.clone(), 1, &["group = 2".to_owned()]);
        machine.nics.push(group);
    }
    machine
}
