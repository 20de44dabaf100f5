// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The selftests in the guest: one boot for most of them, others for those that reboot it or lose
//! its NIC, and other machines for those about wires and about P4 programs.

mod cables;
mod cases;
mod first_stage;
mod guest_exit;
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
use adit_qemu_tests::ktap::Verdict;
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::paths;
use adit_qemu_tests::tree::Tree;
use anyhow::Result;

use crate::build::{self, Profile, Programs};
use crate::lanes::{self, Job};
use crate::phases::Phases;
use crate::report::Report;
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
            || self.on_host(guest_exit::NAME)
            || self.readme()
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

    /// Returns whether those of README's commands are among them. The ones that take long install
    /// the programs, which the ordinary ones do not.
    fn readme(&self) -> bool {
        self.flavour == Flavour::Stock && readme::NAME.contains(self.filter)
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

/// What the guests of the selftests are made of.
pub(crate) struct Machines {
    tree: Tree,
    image: Image,
    programs: Programs,
    /// Factor by which operations may take longer, because of other guests.
    pace: u32,
}

impl Machines {
    /// Boots a guest.
    fn boot(&self, report: &mut Report, config: GuestConfig) -> Result<Guest> {
        let config = GuestConfig {
            pace: self.pace,
            ..config
        };
        let guest = Guest::boot(&self.tree, &self.image, &config)?;
        report.line(format_args!(
            "  guest: Linux {} in {:.1} s ({:?}); logs in {}",
            guest.kernel,
            guest.boot_time.as_secs_f64(),
            guest.accel,
            guest.run_folder().display()
        ));
        Ok(guest)
    }

    /// Returns the machine of most selftests.
    fn config(&self) -> GuestConfig {
        GuestConfig {
            nics: vec![Nic::Adit {
                binary: self.programs.nic.clone(),
                args: Vec::new(),
            }],
            ..GuestConfig::default()
        }
    }
}

/// Builds what the guests need besides the programs, which the unit tests need, too: it requires
/// the network and the disk more than processors.
pub(crate) fn set_up(flavour: Flavour, phases: &Phases) -> Result<(Tree, Image)> {
    let (tree, image) = phases.time("tree and image", || build::set_up(flavour))?;
    phases.time("build of the module", || build::module(&tree, flavour))?;
    Ok((tree, image))
}

/// Runs the selftests, in two guests at a time if the machine allows that. The ones that take
/// longest come first.
pub(crate) fn run(which: &Which, (tree, image): (Tree, Image), phases: &Phases) -> Result<Report> {
    let programs = phases.time("build of adit and adit-nic", || {
        build::programs(Profile::Dev)
    })?;
    let mut machines = Machines {
        tree,
        image,
        programs,
        pace: 1,
    };
    let guest_mib = which
        .flavour
        .memory_mib()
        .max(GuestConfig::default().memory_mib) as usize;
    let lanes = lanes::lanes(jobs(which, &machines)?.len(), guest_mib);
    machines.pace = lanes as u32;
    let report = lanes::run(jobs(which, &machines)?, lanes, phases);
    let totals = report.totals();
    println!(
        "guest selftests: {} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.skipped,
    );
    Ok(report)
}

/// Returns the jobs of the selected selftests, each with a guest of its own, or several.
fn jobs<'a>(which: &'a Which, machines: &'a Machines) -> Result<Vec<Job<'a>>> {
    let filter = which.filter;
    let mut jobs = Vec::new();
    let folders = [SELFTESTS, DEBUG, SOAK];
    let folders: Result<Vec<_>> = folders
        .into_iter()
        .map(|folder| Ok(which.any_in(folder)?.then_some(folder)))
        .collect();
    let folders: Vec<_> = folders?.into_iter().flatten().collect();
    if !folders.is_empty() {
        jobs.push(Job::new("selftests", move |report| {
            let mut guest = machines.boot(report, machines.config())?;
            for folder in folders {
                run_in(&mut guest, folder, filter, report)?;
            }
            Ok(())
        }));
    }
    if which.on_host(guest_exit::NAME) {
        jobs.push(Job::new(guest_exit::NAME, move |report| {
            guest_exit::run(report, machines.programs.profile);
            Ok(())
        }));
    }
    if which.readme() {
        jobs.push(Job::new(readme::NAME, move |report| {
            let install = match which.soak {
                true => readme::Install::Run,
                false => readme::Install::Check(&machines.programs),
            };
            readme::run(report, machines, &install)
        }));
    }
    let (reboot, last) = (which.reboot(), which.any_in(LAST)?);
    if reboot || last {
        jobs.push(Job::new("selftests, reboot and last", move |report| {
            let config = GuestConfig {
                may_reboot: true,
                ..machines.config()
            };
            let mut guest = machines.boot(report, config)?;
            if reboot {
                reboot::run(&mut guest, report)?;
            }
            if last {
                // These end the device process themselves.
                guest.let_nics_end();
                run_in(&mut guest, LAST, filter, report)?;
            }
            Ok(())
        }));
    }
    if which.any_in(programs::FOLDER)? {
        jobs.push(Job::new("machine of P4 programs", move |report| {
            let programs = &machines.programs;
            let mut guest = machines.boot(report, programs::config(&programs.nic))?;
            if let Err(error) = programs::client(&guest, &programs.adit, filter) {
                report.line(format_args!(
                    "no P4Runtime client, which its selftest shows: {error:#}"
                ));
            }
            run_in(&mut guest, programs::FOLDER, filter, report)
        }));
    }
    if which.any_in(cables::FOLDER)? {
        jobs.push(Job::new("machine of cables", move |report| {
            let config = cables::config(&machines.programs.nic)?;
            let mut guest = machines.boot(report, config)?;
            run_in(&mut guest, cables::FOLDER, filter, report)
        }));
    }
    let names = first_stage::names(which);
    if !names.is_empty() {
        jobs.push(Job::new("first-stage machine", move |report| {
            let config = first_stage::config(machines.config());
            let mut guest = machines.boot(report, config)?;
            for name in names {
                run_in(&mut guest, SELFTESTS, name, report)?;
            }
            Ok(())
        }));
    }
    if which.any_in(hot_plug::FOLDER)? {
        jobs.push(Job::new("machine of hot-plug", move |report| {
            let config = hot_plug::config(machines.config());
            let mut guest = machines.boot(report, config)?;
            run_in(&mut guest, hot_plug::FOLDER, filter, report)
        }));
    }
    Ok(jobs)
}

/// Runs the selftests in `folder` of the guest whose names contain `filter`.
fn run_in(guest: &mut Guest, folder: &str, filter: &str, report: &mut Report) -> Result<()> {
    let mut reader = Reader::new(report);
    let from = format!("SELFTEST_DIR={folder}");
    let runner = format!("{SELFTESTS}/run.sh");
    let words = ["env", &from, &runner, filter];
    let limit = if folder == SOAK { SOAK_LIMIT } else { LIMIT } * guest.pace();
    let outcome = guest.exec(&words, Some(limit), |frame| reader.feed(&frame.data))?;
    reader.finish();
    let failure = match outcome {
        Outcome::Exited(0 | 1) => return Ok(()),
        Outcome::Exited(status) => format!("the selftests' runner gave status {status}"),
        Outcome::TimedOut => format!("the selftests were not done after {} s", limit.as_secs()),
        Outcome::Ended(End::PowerDown) => {
            "the guest powered itself down in the middle of the selftests".into()
        }
        Outcome::Ended(end) => guest.report(&end),
    };
    report.line(failure);
    report.count(Verdict::Failed);
    Ok(())
}
