// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The selftests in the guest: two boots for most of them, others for those that reboot it or lose
//! its NIC, and other machines for those about wires and about P4 programs.

mod cases;
mod first_stage;
mod guest_exit;
mod hot_plug;
mod keeper;
mod machine;
mod programs;
mod reader;
mod readme;
mod reboot;
mod selection;
mod vdcm;
mod vf_layout;
mod wires;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::guest::GuestConfig;
use adit_qemu_tests::image::Image;
use adit_qemu_tests::tree::Tree;
use anyhow::Result;

use crate::build::{self, Profile};
use crate::lanes::{self, Job};
use crate::node;
use crate::phases::Phases;
use crate::report::Report;
use machine::{run_in, run_named, Machines};
use selection::{DEBUG, LAST, NESTED, SELFTESTS, SOAK};

pub(crate) use selection::{Kind, Selection};

/// Number of selftests that are run in one guest.
const FEW: usize = 8;

/// Returns whether any selftests are selected.
pub(crate) fn any(which: &Selection) -> Result<bool> {
    let folders = [
        SELFTESTS,
        LAST,
        wires::FOLDER,
        programs::FOLDER,
        node::SELFTESTS,
        hot_plug::FOLDER,
        keeper::FOLDER,
        keeper::COMPOSED_FOLDER,
        vdcm::FOLDER,
        DEBUG,
        SOAK,
        NESTED,
    ];
    let found: Result<Vec<_>> = folders.map(|it| which.any_in(it)).into_iter().collect();
    Ok(which.reboot()
        || which.on_host(guest_exit::NAME)
        || which.on_host_or_soak(readme::NAME)
        || found?.contains(&true))
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
pub(crate) fn run(
    which: &Selection,
    (tree, image): (Tree, Image),
    phases: &Phases,
) -> Result<Report> {
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
fn jobs<'a>(which: &'a Selection, machines: &'a Machines) -> Result<Vec<Job<'a>>> {
    let filter = which.filter;
    let mut jobs = Vec::new();
    // Two guests take about half the time of one where two can run at a time. A few selftests are
    // not worth a second boot.
    let [mut adis, mut others] = which.parts()?;
    if adis.len() + others.len() <= FEW {
        others.append(&mut adis);
    }
    for (name, names) in [("selftests of ADIs", adis), ("selftests", others)] {
        if !names.is_empty() {
            jobs.push(Job::new(name, move |report| {
                let mut guest = machines.boot(report, machines.config())?;
                run_named(&mut guest, SELFTESTS, &names, report)
            }));
        }
    }
    for folder in [DEBUG, SOAK, NESTED] {
        if which.any_in(folder)? {
            jobs.push(Job::new(
                "selftests of the debug kernel, or long ones",
                move |report| {
                    let mut guest = machines.boot(report, machines.config())?;
                    run_in(&mut guest, folder, filter, report)
                },
            ));
        }
    }
    if which.on_host(guest_exit::NAME) {
        jobs.push(Job::new(guest_exit::NAME, move |report| {
            guest_exit::run(report, machines);
            Ok(())
        }));
    }
    if which.on_host_or_soak(readme::NAME) {
        jobs.push(Job::new(readme::NAME, move |report| {
            let install = match which.kind {
                Kind::Soak => readme::Install::Run,
                _ => readme::Install::Check(&machines.programs),
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
    if which.any_in(node::SELFTESTS)? {
        jobs.push(Job::new("machine of a container node", move |report| {
            let mut guest = machines.boot(report, node::config(&machines.programs.nic))?;
            run_in(&mut guest, node::SELFTESTS, filter, report)
        }));
    }
    if which.any_in(wires::FOLDER)? {
        jobs.push(Job::new("machine of wires", move |report| {
            let config = wires::config(&machines.programs.nic)?;
            let mut guest = machines.boot(report, config)?;
            run_in(&mut guest, wires::FOLDER, filter, report)
        }));
    }
    let names = first_stage::names(which);
    if !names.is_empty() {
        jobs.push(Job::new("first-stage machine", move |report| {
            let config = first_stage::config(machines.config());
            let mut guest = machines.boot(report, config)?;
            run_named(&mut guest, SELFTESTS, &names, report)
        }));
    }
    let names = vf_layout::names(which);
    if !names.is_empty() {
        jobs.push(Job::new("machine with a VF's registers", move |report| {
            let config = vf_layout::config(machines.config());
            let mut guest = machines.boot(report, config)?;
            run_named(&mut guest, SELFTESTS, &names, report)
        }));
    }
    let (names, own) = (vdcm::names(which), which.any_in(vdcm::FOLDER)?);
    if own || !names.is_empty() {
        jobs.push(Job::new("machine with composed devices", move |report| {
            if own {
                vdcm::provide(&machines.tree)?;
            }
            let config = vdcm::with_others(vdcm::config(machines.config(), &machines.programs));
            let mut guest = machines.boot(report, config)?;
            if !names.is_empty() {
                run_named(&mut guest, SELFTESTS, &names, report)?;
            }
            match own {
                true => run_in(&mut guest, vdcm::FOLDER, filter, report),
                false => Ok(()),
            }
        }));
    }
    if which.any_in(keeper::FOLDER)? {
        jobs.push(Job::new("machine with a keeper", move |report| {
            let config = keeper::config(machines.config());
            let mut guest = machines.boot(report, config)?;
            run_in(&mut guest, keeper::FOLDER, filter, report)
        }));
    }
    let (names, own) = (keeper::names(which), which.any_in(keeper::COMPOSED_FOLDER)?);
    if own || !names.is_empty() {
        jobs.push(Job::new(
            "machine with composed devices and keepers",
            move |report| {
                let composed = vdcm::config(machines.config(), &machines.programs);
                let config = keeper::config(keeper::with_group(composed));
                let mut guest = machines.boot(report, config)?;
                if !names.is_empty() {
                    run_named(&mut guest, keeper::FOLDER, &names, report)?;
                }
                match own {
                    true => run_in(&mut guest, keeper::COMPOSED_FOLDER, filter, report),
                    false => Ok(()),
                }
            },
        ));
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
