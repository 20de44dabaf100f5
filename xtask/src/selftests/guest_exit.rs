// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways in which a guest ends, as reported by `cargo xtask guest`: status and messages.

mod terminal;

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::cases::case;
use super::machine::Machines;
use crate::report::Report;

/// The name of these tests.
pub(super) const NAME: &str = "guest_exit";

/// Command that lasts longer than any of the ends takes on the slowest machine: a guest that is not ended
/// exits with status 0 only after it.
const FOR_LONG: &str = "sleep 600; echo not ended";

/// One way to end.
struct Case {
    name: &'static str,
    options: &'static [&'static str],
    /// Command that the guest runs before it sleeps.
    command: &'static str,
    status: i32,
    /// Texts that standard error must contain.
    stderr: &'static [&'static str],
    /// Texts that it must not contain.
    absent: &'static [&'static str],
}

const CASES: [Case; 6] = [
    Case {
        name: "poweroff is a normal end",
        options: &[],
        command: "poweroff",
        status: 0,
        stderr: &[],
        absent: &["error:", "console.log", "nic0.log"],
    },
    Case {
        name: "a reset is reported",
        options: &["--nic", "none"],
        command: "reboot",
        status: 125,
        stderr: &["error: the guest was reset; logs in ", "--- console.log\n"],
        absent: &["nic0.log"],
    },
    Case {
        name: "a panic is reported with the message of the kernel",
        options: &["--nic", "none"],
        command: "echo c >/proc/sysrq-trigger",
        status: 125,
        stderr: &[
            "error: the guest's kernel panicked; logs in ",
            "Kernel panic - not syncing: sysrq triggered crash",
        ],
        absent: &[],
    },
    Case {
        name: "a QEMU that is killed is reported with its signal",
        options: &["--nic", "none"],
        command: "wire pkill -9 qemu-system",
        status: 125,
        stderr: &["error: QEMU ended by itself (signal: 9 (SIGKILL))"],
        absent: &[],
    },
    Case {
        name: "adit-nic that is killed is reported with its signal and log",
        options: &[],
        command: "nic-up >/dev/null; wire pkill -9 -x adit-nic",
        status: 123,
        stderr: &[
            "error: adit-nic (NIC 0) ended while the guest ran (signal: 9 (SIGKILL))",
            "--- nic0.log\n",
        ],
        absent: &["console.log"],
    },
    Case {
        name: "virtiofsd that is killed is reported with its signal",
        options: &["--nic", "none"],
        command: "wire pkill -9 -f shared-dir=/run/share",
        status: 123,
        stderr: &["error: virtiofsd (share share) ended while the guest ran (signal: 9 (SIGKILL))"],
        absent: &[],
    },
];

pub(super) fn run(report: &mut Report, machines: &Machines) {
    for it in &CASES {
        case(report, it.name, || check(it, machines));
    }
    case(report, terminal::NAME, || terminal::check(machines));
}

/// The arguments of a guest on the machine of these tests.
fn guest(machines: &Machines) -> [String; 5] {
    let (profile, pace) = (machines.programs.profile, machines.pace);
    [
        "guest",
        "--profile",
        &profile.to_string(),
        "--pace",
        &pace.to_string(),
    ]
    .map(str::to_owned)
}

/// The start of the warning that a guest's kernel has hung while it booted.
const STALLED: &str = "warning: the guest's agent did not respond within";

fn check(case: &Case, machines: &Machines) -> Result<()> {
    let line = format!("{}; {FOR_LONG}", case.command);
    let run = || {
        Command::new(std::env::current_exe()?)
            .args(guest(machines))
            .args(case.options)
            .args(["--", "sh", "-c", &line])
            .stdin(Stdio::null())
            .output()
            .context("cannot start xtask")
    };
    let mut output = run()?;
    // It has booted again then, and the logs of the first boot are among its messages.
    if String::from_utf8_lossy(&output.stderr).contains(STALLED) {
        output = run()?;
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let as_it_should = output.status.code() == Some(case.status)
        && !stdout.contains("not ended")
        && case.stderr.iter().all(|words| stderr.contains(words))
        && !case.absent.iter().any(|words| stderr.contains(words));
    anyhow::ensure!(
        as_it_should,
        "wanted status {}, {:?} and not {:?}; got {}\n{stdout}{stderr}",
        case.status,
        case.stderr,
        case.absent,
        output.status
    );
    Ok(())
}
