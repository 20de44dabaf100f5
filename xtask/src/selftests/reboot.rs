// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reboots with traffic in progress: the device process stays, and the driver binds again.

use std::time::Duration;

use adit_qemu_tests::guest::Guest;
use adit_qemu_tests::ktap::Verdict;
use anyhow::Result;

use super::machine::run_in;
use super::selection::SELFTESTS;
use crate::report::Report;

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
const ADIS: [&str; 2] = ["adis_in_use", "adis_recreated"];

/// Timeout until the next boot's agent replies.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn run(guest: &mut Guest, report: &mut Report) -> Result<()> {
    let folder = format!("{SELFTESTS}/reboot");
    for (name, words, [before, after]) in WAYS {
        report.line(format_args!("  reboot, {name}:"));
        run_in(guest, &folder, before, report)?;
        if let Err(error) = guest.reboot(words, LIMIT * guest.pace()) {
            report.line(format_args!("    failed: {error:#}"));
            report.count(Verdict::Failed);
            break;
        }
        let survived = match guest.nic(0) {
            Some(process) => process.try_wait()?.is_none(),
            None => false,
        };
        if survived {
            report.count(Verdict::Passed);
        } else {
            report.line("    failed: the device process is gone");
            report.count(Verdict::Failed);
        }
        run_in(guest, &folder, after, report)?;
    }
    Ok(())
}
