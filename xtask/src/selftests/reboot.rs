// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reboots with traffic under way: the device process stays, the driver comes back.

use std::time::Duration;

use adit_qemu_tests::guest::Guest;
use adit_qemu_tests::ktap::{Totals, Verdict};
use anyhow::Result;

use super::{run_in, SELFTESTS};

/// How the guest is made to reboot. The first two tell the driver (`pci_driver.shutdown`), the
/// last one does not.
const WAYS: [(&str, &[&str]); 3] = [
    ("orderly", &["reboot"]),
    ("at once", &["reboot", "-f"]),
    (
        "machine reset",
        &["sh", "-c", "echo b >/proc/sysrq-trigger"],
    ),
];

/// How long until the next boot's agent answers.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn run(guest: &mut Guest) -> Result<Totals> {
    let folder = format!("{SELFTESTS}/reboot");
    let mut totals = Totals::default();
    for (name, words) in WAYS {
        println!("  reboot, {name}:");
        totals += run_in(guest, &folder, "before")?;
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
        totals += run_in(guest, &folder, "after")?;
    }
    Ok(totals)
}
