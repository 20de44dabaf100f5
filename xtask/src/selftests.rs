// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The selftests in the guest: one boot for all of them but those that reboot it.

mod reader;
mod reboot;

use std::fs;
use std::time::Duration;

use adit_qemu_tests::guest::{Guest, GuestConfig, Outcome};
use adit_qemu_tests::ktap::Totals;
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::paths;
use anyhow::Result;

use crate::build;
use reader::Reader;

/// All of them must be done by then; each has a limit of its own besides.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Where they are in the guest.
const SELFTESTS: &str = "/repo/qemu-tests/selftests";
/// The name of those that reboot it.
const REBOOT: &str = "reboot";

/// Whether a selftest's name contains `filter`.
pub(crate) fn any(filter: Option<&str>) -> Result<bool> {
    Ok(REBOOT.contains(filter.unwrap_or("")) || any_in_one_boot(filter)?)
}

fn any_in_one_boot(filter: Option<&str>) -> Result<bool> {
    let names = fs::read_dir(paths::repo().join("qemu-tests/selftests"))?.flatten();
    let mut names =
        names.filter_map(|it| Some(it.file_name().to_str()?.strip_suffix(".sh")?.to_owned()));
    Ok(names.any(|name| name != "run" && name.contains(filter.unwrap_or(""))))
}

/// Boots the guest with the NIC and runs them; each result is printed when it comes.
pub(crate) fn run(filter: Option<&str>) -> Result<Totals> {
    let (tree, image) = build::set_up()?;
    build::module(&tree)?;
    build::cli()?;
    let nic = Nic::Adit {
        binary: build::nic()?,
        args: Vec::new(),
    };
    let config = GuestConfig {
        nics: vec![nic],
        may_reboot: true,
        ..GuestConfig::default()
    };
    let mut guest = Guest::boot(&tree, &image, &config)?;
    println!(
        "guest: Linux {} in {:.1} s ({:?})",
        guest.kernel,
        guest.boot_time.as_secs_f64(),
        guest.accel
    );
    let mut totals = Totals::default();
    if any_in_one_boot(filter)? {
        totals += run_in(&mut guest, SELFTESTS, filter.unwrap_or(""))?;
    }
    if REBOOT.contains(filter.unwrap_or("")) {
        totals += reboot::run(&mut guest)?;
    }
    println!(
        "guest selftests: {} passed, {} failed, {} skipped; logs in {}",
        totals.passed,
        totals.failed,
        totals.skipped,
        guest.run_folder().display()
    );
    Ok(totals)
}

/// Runs those in `folder` of the guest whose names contain `filter`.
fn run_in(guest: &mut Guest, folder: &str, filter: &str) -> Result<Totals> {
    let mut reader = Reader::default();
    let from = format!("SELFTEST_DIR={folder}");
    let runner = format!("{SELFTESTS}/run.sh");
    let words = ["env", &from, &runner, filter];
    let outcome = guest.exec(&words, Some(LIMIT), |frame| reader.feed(&frame.data))?;
    let mut totals = reader.finish();
    match outcome {
        Outcome::Exited(0 | 1) => {}
        Outcome::Exited(status) => {
            println!("the selftests' runner gave status {status}");
            totals.failed += 1;
        }
        Outcome::TimedOut => {
            println!("the selftests were not done after {} s", LIMIT.as_secs());
            totals.failed += 1;
        }
        Outcome::GuestDied => {
            println!("the guest ended in the middle\n{}", guest.postmortem());
            totals.failed += 1;
        }
    }
    Ok(totals)
}
