// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reboots with traffic in progress: the device process stays, and the driver binds again.

use std::time::Duration;

use adit_qemu_tests::guest::Guest;
use adit_qemu_tests::ktap::{Totals, Verdict};
use anyhow::Result;

use super::{run_in, SELFTESTS};

/// The ways to reboot the guest, and the selftests before and after it. The first two ways notify
/// the driver (`pci_driver.shutdown`), the machine's reset does not.
const WAYS: [(&str, &[&str], [&str; 2]); 5] = [
    ("orderly", &["reboot"], ["before", "after"]),
    ("at once", &["reboot", "-f"], ["before", "after"]),
    ("machine reset", &RESET, ["before", "after"]),
    ("at once, ADIs in use", &["reboot", "-f"], ADIS),
    ("machine reset, ADIs in use", &RESET, ADIS),
];
const RESET: [&str; 3] = ["sh", "-c", "echo b >/proc/sysrq-trigger"];
const ADIS: [&str; 2] = ["adis_in_use", "adis_again"];

/// Timeout until the next boot's agent replies.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn run(guest: &mut Guest) -> Result<Totals> {
    let folder = format!("{SELFTESTS}/reboot");
    let mut totals = Totals::default();
    for (name, words, [before, after]) in WAYS {
        println!("  reboot, {name}:");
        totals += run_in(guest, &folder, before)?;
        if let Err(error) = guest.reboot(words, LIMIT * guest.flavour.pace()) {
            println!("    failed: {error:#}");
            totals.add(Verdict::Failed);
            break;
        }
        let survived = match guest.nic(0) {
            Some(process) => process.try_wait()?.is_none(),
            None => false,
        };
        if !survived {
            println!("    failed: the device process is gone");
        }
        totals.add(if survived {
            Verdict::Passed
        } else {
            Verdict::Failed
        });
        totals += run_in(guest, &folder, after)?;
    }
    Ok(totals)
}
