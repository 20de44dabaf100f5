// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The selftests in the guest: one boot for most of them, reboots at its end, and other machines
//! for those about wires and about P4 programs.

mod cables;
mod endings;
mod first_stage;
mod hot_plug;
mod programs;
mod reader;
mod readme;
mod reboot;

use std::fs;
use std::time::Duration;

use adit_qemu_tests::end::End;
use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::guest::{Guest, GuestConfig, Outcome};
use adit_qemu_tests::image::Image;
use adit_qemu_tests::ktap::Totals;
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::paths;
use adit_qemu_tests::tree::Tree;
use anyhow::Result;

use crate::build;
use crate::phases::Phases;
use reader::Reader;

/// Timeout of the selftests of one folder; each also has its own timeout.
const LIMIT: Duration = Duration::from_secs(15 * 60);
const SOAK_LIMIT: Duration = Duration::from_secs(90 * 60);

/// Folder of the selftests in the guest.
const SELFTESTS: &str = "/repo/qemu-tests/selftests";
/// Folder of those after which the guest's NIC is no longer usable.
const LAST: &str = "/repo/qemu-tests/selftests/last";
/// Name of those that reboot the guest.
const REBOOT: &str = "reboot";
/// Folder of those for features of the debug kernel.
const DEBUG: &str = "/repo/qemu-tests/selftests/debug";
/// Folder of those that take many minutes.
const SOAK: &str = "/repo/qemu-tests/selftests/soak";

/// Selection of the selftests to run, and their configuration.
pub(crate) struct Which<'a> {
    /// Part of the names of those to run.
    pub(crate) filter: &'a str,
    /// The guest's kernel.
    pub(crate) flavour: Flavour,
    /// `true` for those that take long, instead of the ordinary ones.
    pub(crate) soak: bool,
}

impl Which<'_> {
    /// Returns whether there are any.
    pub(crate) fn any(&self) -> Result<bool> {
        let folders = [
            SELFTESTS,
            LAST,
            cables::FOLDER,
            programs::FOLDER,
            hot_plug::FOLDER,
            DEBUG,
            SOAK,
        ];
        let found: Result<Vec<_>> = folders.map(|it| self.any_in(it)).into_iter().collect();
        Ok(self.reboot()
            || self.on_host(endings::NAME)
            || self.on_host(readme::NAME)
            || found?.contains(&true))
    }

    /// Returns whether those that reboot are among them.
    fn reboot(&self) -> bool {
        !self.soak && REBOOT.contains(self.filter)
    }

    /// Returns whether those of that name are among them, which start guests by commands of the
    /// host.
    fn on_host(&self, name: &str) -> bool {
        !self.soak && self.flavour == Flavour::Stock && name.contains(self.filter)
    }

    /// Returns whether there are any in a folder.
    fn any_in(&self, folder: &str) -> Result<bool> {
        let fits =
            self.soak == (folder == SOAK) && (folder != DEBUG || self.flavour == Flavour::Debug);
        Ok(fits && any_in(folder, self.filter)?)
    }
}

fn any_in(folder: &str, filter: &str) -> Result<bool> {
    let folder = folder.trim_start_matches("/repo/");
    let names = fs::read_dir(paths::repo().join(folder))?.flatten();
    let mut names =
        names.filter_map(|it| Some(it.file_name().to_str()?.strip_suffix(".sh")?.to_owned()));
    Ok(names.any(|name| name != "run" && name.contains(filter)))
}

/// Boots the guests and runs the selftests; each result is printed as it arrives.
pub(crate) fn run(which: &Which, phases: &mut Phases) -> Result<Totals> {
    let filter = which.filter;
    let (tree, image) = phases.time("tree and image", || build::set_up(which.flavour))?;
    phases.time("build of the module", || {
        build::module(&tree, which.flavour)
    })?;
    let adit = phases.time("build of adit", build::cli)?;
    let binary = phases.time("build of adit-nic", build::nic)?;
    let mut totals = Totals::default();
    let (most, reboot) = (which.any_in(SELFTESTS)?, which.reboot());
    let (last, soak) = (which.any_in(LAST)?, which.any_in(SOAK)?);
    let debug = which.any_in(DEBUG)?;
    if most || reboot || last || soak || debug {
        let config = GuestConfig {
            nics: vec![Nic::Adit {
                binary: binary.clone(),
                args: Vec::new(),
            }],
            may_reboot: true,
            ..GuestConfig::default()
        };
        let mut guest = phases.time("boot", || boot(&tree, &image, &config))?;
        let folders = [
            (most, "selftests", SELFTESTS),
            (debug, "selftests, debug", DEBUG),
            (soak, "selftests, soak", SOAK),
        ];
        for (_, name, folder) in folders.into_iter().filter(|(wanted, ..)| *wanted) {
            totals += phases.time(name, || run_in(&mut guest, folder, filter))?;
        }
        if reboot {
            totals += phases.time("selftests, reboot", || reboot::run(&mut guest))?;
        }
        if last {
            // These end the device process themselves.
            guest.let_nics_end();
            totals += phases.time("selftests, last", || run_in(&mut guest, LAST, filter))?;
        }
    }
    let names = first_stage::names(which);
    if !names.is_empty() {
        totals += phases.time("first-stage machine", || {
            let mut guest = boot(&tree, &image, &first_stage::config(&binary))?;
            let mut totals = Totals::default();
            for name in names {
                totals += run_in(&mut guest, SELFTESTS, name)?;
            }
            Ok(totals)
        })?;
    }
    if which.any_in(cables::FOLDER)? {
        totals += phases.time("machine of cables", || {
            let mut guest = boot(&tree, &image, &cables::config(&binary)?)?;
            run_in(&mut guest, cables::FOLDER, filter)
        })?;
    }
    if which.any_in(programs::FOLDER)? {
        totals += phases.time("machine of P4 programs", || {
            let mut guest = boot(&tree, &image, &programs::config(&binary))?;
            if let Err(error) = programs::client(&guest, &adit, filter) {
                println!("no P4Runtime client, which its selftest shows: {error:#}");
            }
            run_in(&mut guest, programs::FOLDER, filter)
        })?;
    }
    if which.any_in(hot_plug::FOLDER)? {
        totals += phases.time("machine of hot-plug", || {
            let mut guest = boot(&tree, &image, &hot_plug::config(&binary))?;
            run_in(&mut guest, hot_plug::FOLDER, filter)
        })?;
    }
    if which.on_host(endings::NAME) {
        totals += phases.time("endings", endings::run)?;
    }
    if which.on_host(readme::NAME) {
        totals += phases.time("README", || readme::run(&tree, &image))?;
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

/// Runs the selftests in `folder` of the guest whose names contain `filter`.
fn run_in(guest: &mut Guest, folder: &str, filter: &str) -> Result<Totals> {
    let mut reader = Reader::default();
    let from = format!("SELFTEST_DIR={folder}");
    let runner = format!("{SELFTESTS}/run.sh");
    let words = ["env", &from, &runner, filter];
    let limit = if folder == SOAK { SOAK_LIMIT } else { LIMIT } * guest.flavour.pace();
    let outcome = guest.exec(&words, Some(limit), |frame| reader.feed(&frame.data))?;
    let mut totals = reader.finish();
    match outcome {
        Outcome::Exited(0 | 1) => {}
        Outcome::Exited(status) => {
            println!("the selftests' runner gave status {status}");
            totals.failed += 1;
        }
        Outcome::TimedOut => {
            println!("the selftests were not done after {} s", limit.as_secs());
            totals.failed += 1;
        }
        Outcome::Ended(End::PowerDown) => {
            println!("the guest powered itself down in the middle of the selftests");
            totals.failed += 1;
        }
        Outcome::Ended(end) => {
            println!("{}", guest.report(&end));
            totals.failed += 1;
        }
    }
    Ok(totals)
}
