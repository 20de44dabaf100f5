// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The selftests in the guest: one boot for most of them, reboots at its end, and other machines
//! for those about wires and about P4 programs.

mod cables;
mod programs;
mod reader;
mod reboot;

use std::fs;
use std::time::Duration;

use adit_qemu_tests::guest::{Guest, GuestConfig, Outcome};
use adit_qemu_tests::image::Image;
use adit_qemu_tests::ktap::Totals;
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::paths;
use adit_qemu_tests::tree::Tree;
use anyhow::Result;

use crate::build;
use reader::Reader;

/// All of them must be done by then; each has a limit of its own besides.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Where they are in the guest.
const SELFTESTS: &str = "/repo/qemu-tests/selftests";
/// Those after which its NIC is of no more use.
const LAST: &str = "/repo/qemu-tests/selftests/last";
/// The name of those that reboot it.
const REBOOT: &str = "reboot";

/// Whether a selftest's name contains `filter`.
pub(crate) fn any(filter: Option<&str>) -> Result<bool> {
    let filter = filter.unwrap_or("");
    let folders = [SELFTESTS, LAST, cables::FOLDER, programs::FOLDER];
    let found: Result<Vec<_>> = folders.map(|it| any_in(it, filter)).into_iter().collect();
    Ok(REBOOT.contains(filter) || found?.contains(&true))
}

fn any_in(folder: &str, filter: &str) -> Result<bool> {
    let folder = folder.trim_start_matches("/repo/");
    let names = fs::read_dir(paths::repo().join(folder))?.flatten();
    let mut names =
        names.filter_map(|it| Some(it.file_name().to_str()?.strip_suffix(".sh")?.to_owned()));
    Ok(names.any(|name| name != "run" && name.contains(filter)))
}

/// Boots the guests and runs them; each result is printed when it comes.
pub(crate) fn run(filter: Option<&str>) -> Result<Totals> {
    let filter = filter.unwrap_or("");
    let (tree, image) = build::set_up()?;
    build::module(&tree)?;
    build::cli()?;
    let binary = build::nic()?;
    let mut totals = Totals::default();
    let (most, reboot) = (any_in(SELFTESTS, filter)?, REBOOT.contains(filter));
    let last = any_in(LAST, filter)?;
    if most || reboot || last {
        let config = GuestConfig {
            nics: vec![Nic::Adit {
                binary: binary.clone(),
                args: Vec::new(),
            }],
            may_reboot: true,
            ..GuestConfig::default()
        };
        let mut guest = boot(&tree, &image, &config)?;
        if most {
            totals += run_in(&mut guest, SELFTESTS, filter)?;
        }
        if reboot {
            totals += reboot::run(&mut guest)?;
        }
        if last {
            totals += run_in(&mut guest, LAST, filter)?;
        }
    }
    if any_in(cables::FOLDER, filter)? {
        let mut guest = boot(&tree, &image, &cables::config(&binary)?)?;
        totals += run_in(&mut guest, cables::FOLDER, filter)?;
    }
    if any_in(programs::FOLDER, filter)? {
        let mut guest = boot(&tree, &image, &programs::config(&binary))?;
        totals += run_in(&mut guest, programs::FOLDER, filter)?;
    }
    println!(
        "guest selftests: {} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.skipped,
    );
    Ok(totals)
}

fn boot(tree: &Tree, image: &Image, config: &GuestConfig) -> Result<Guest> {
    let guest = Guest::boot(tree, image, config)?;
    println!(
        "guest: Linux {} in {:.1} s ({:?}); logs in {}",
        guest.kernel,
        guest.boot_time.as_secs_f64(),
        guest.accel,
        guest.run_folder().display()
    );
    Ok(guest)
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
