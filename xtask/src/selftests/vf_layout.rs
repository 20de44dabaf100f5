// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine whose NIC has the registers of a VF: `idpf` detects that by its probe, and uses other
//! offsets for the mailbox, the interrupts and the reset.

use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::nic::Nic;

use super::selection::Selection;

/// The selftests that also run in it: those that touch each group of registers. No other selftest's
/// name contains one of these.
const NAMES: [&str; 8] = [
    "channels", "flr", "link", "mtu", "promisc", "reload", "rss", "tcp",
];

/// Returns those of them that are selected.
pub(super) fn names(which: &Selection) -> Vec<&'static str> {
    let wanted = |name: &&str| which.is_ordinary() && name.contains(which.filter);
    NAMES.into_iter().filter(wanted).collect()
}

/// Returns the machine, as a variant of another one.
pub(super) fn config(machine: GuestConfig) -> GuestConfig {
    let nics = machine.nics.into_iter().map(|nic| match nic {
        Nic::Adit { binary, mut args } => {
            args.extend(["--layout".into(), "vf".into()]);
            Nic::Adit { binary, args }
        }
        other => other,
    });
    GuestConfig {
        nics: nics.collect(),
        ..machine
    }
}
