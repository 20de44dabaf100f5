// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways in which a guest ends, and the report for the user about each.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::ExitStatus;

use anyhow::Result;

/// Number of lines of one log in a report.
const LINES: usize = 10;
/// Number of lines of the console in a report of a kernel panic.
const PANIC_LINES: usize = 40;

/// Marks in the guest's console of the beginning of a panic's report.
const CRASHES: [&str; 5] = [
    "BUG: ",
    "Oops: ",
    "general protection fault",
    "sysrq: Trigger a crash",
    "Kernel panic - not syncing",
];

/// The way in which a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The guest powered itself down.
    PowerDown,
    /// The guest reset itself, and QEMU runs with `-no-reboot`.
    Reset,
    /// The guest reset itself and has booted again.
    Rebooted,
    /// The guest's kernel panicked.
    Panic,
    /// A signal requested that QEMU exit.
    Signal,
    /// The agent no longer replies, though QEMU runs.
    Silent,
    /// QEMU exited for this reason, one of QMP's `ShutdownCause`.
    Other(String),
    /// QEMU exited without a SHUTDOWN event.
    QemuDied(ExitStatus),
    /// A process that the guest needs besides QEMU exited.
    ProcessDied {
        /// Its name, such as `adit-nic (NIC 0)`.
        name: String,
        /// Its exit status.
        status: ExitStatus,
        /// Its log in the run folder.
        log: String,
    },
}

impl End {
    /// Returns the end of a QEMU whose process exited with `status`, and whose SHUTDOWN event had
    /// `reason`.
    pub(crate) fn of_qemu(status: ExitStatus, reason: Option<&str>) -> Self {
        match reason {
            Some("guest-shutdown") => Self::PowerDown,
            Some("guest-reset") => Self::Reset,
            Some("guest-panic") => Self::Panic,
            Some("host-signal") => Self::Signal,
            Some(other) => Self::Other(other.to_owned()),
            None => Self::QemuDied(status),
        }
    }

    /// Returns whether this is the end of a process that exited with status 0.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::ProcessDied { status, .. } if status.success())
    }

    /// Returns the end in a sentence and the relevant lines of the logs in `run`; empty for an
    /// orderly power-down, about which there is nothing to report.
    pub fn report(&self, run: &Path) -> String {
        let log = |name: &str| tail(run, name, LINES);
        let (what, logs) = match self {
            Self::PowerDown => return String::new(),
            Self::Reset => ("the guest was reset".into(), log("console.log")),
            Self::Rebooted => ("the guest has booted again".into(), String::new()),
            Self::Silent => ("the guest's agent is gone".into(), log("console.log")),
            Self::Panic => ("the guest's kernel panicked".into(), panic_report(run)),
            Self::Signal => (
                "QEMU was asked to end by SIGTERM, SIGINT or SIGHUP".into(),
                log("qemu.log"),
            ),
            Self::Other(reason) => (
                format!("QEMU ended (reason of its SHUTDOWN event: {reason})"),
                log("qemu.log"),
            ),
            Self::QemuDied(status) => (
                format!("QEMU ended by itself ({status})"),
                log("qemu.log") + &log("console.log"),
            ),
            Self::ProcessDied {
                name,
                status,
                log: file,
            } => (
                format!("{name} ended while the guest ran ({status})"),
                log(file),
            ),
        };
        format!("{what}; logs in {}\n{logs}", run.display())
    }
}

/// Returns the ends of the logs of a boot that failed.
pub(crate) fn postmortem(run: &Path) -> String {
    ["qemu.log", "nic0.log", "console.log"]
        .map(|name| tail(run, name, LINES))
        .concat()
}

/// Returns the last `count` lines of a log, under a line with its name; empty if the log is.
fn tail(run: &Path, name: &str, count: usize) -> String {
    let Ok(text) = end_of(&run.join(name)) else {
        return String::new();
    };
    let lines: Vec<_> = text.lines().collect();
    under_name(name, &lines[lines.len().saturating_sub(count)..])
}

/// Returns the console from the beginning of the kernel's crash report.
fn panic_report(run: &Path) -> String {
    let Ok(text) = end_of(&run.join("console.log")) else {
        return String::new();
    };
    let lines: Vec<_> = text.lines().collect();
    let begins = |line: &&str| CRASHES.iter().any(|mark| line.contains(mark));
    let start = lines.iter().position(begins);
    let start = start.unwrap_or(lines.len().saturating_sub(LINES));
    let end = lines.len().min(start + PANIC_LINES);
    under_name("console.log", &lines[start..end])
}

fn under_name(name: &str, lines: &[&str]) -> String {
    let text = lines.join("\n");
    if text.trim().is_empty() {
        return String::new();
    }
    format!("--- {name}\n{}\n", text.trim_end())
}

/// Returns the last part of a file as text, starting at the beginning of a line.
fn end_of(path: &Path) -> Result<String> {
    const LENGTH: u64 = 16 << 10;
    let mut file = File::open(path)?;
    let size = fs::metadata(path)?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LENGTH)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = if size > LENGTH {
        text.split_once('\n').map_or("", |(_, rest)| rest)
    } else {
        &text
    };
    Ok(whole.replace('\r', ""))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn shutdown_reasons_are_told_apart() {
        let status = ExitStatus::from_raw(0);
        let end = |reason| End::of_qemu(status, reason);
        assert_eq!(end(Some("guest-shutdown")), End::PowerDown);
        assert_eq!(end(Some("guest-reset")), End::Reset);
        assert_eq!(end(Some("guest-panic")), End::Panic);
        assert_eq!(end(Some("host-signal")), End::Signal);
        assert_eq!(
            end(Some("host-qmp-quit")),
            End::Other("host-qmp-quit".into())
        );
        assert_eq!(end(None), End::QemuDied(status));
    }

    #[test]
    fn reports_are_short_and_about_the_cause() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let run = folder.path();
        let long: String = (1..=500).map(|n| format!("line {n}\n")).collect();
        fs::write(run.join("nic1.log"), &long)?;
        fs::write(
            run.join("console.log"),
            format!(
                "{long}[ 9.0] BUG: kernel NULL pointer\r\n[ 9.1] Kernel panic - not syncing\r\n"
            ),
        )?;
        assert_eq!(End::PowerDown.report(run), "");
        let died = End::ProcessDied {
            name: "adit-nic (NIC 1)".into(),
            status: ExitStatus::from_raw(9),
            log: "nic1.log".into(),
        };
        let report = died.report(run);
        assert!(
            report.starts_with("adit-nic (NIC 1) ended while the guest ran (signal: 9 (SIGKILL))"),
            "{report}"
        );
        assert!(
            report.ends_with("line 500\n") && report.lines().count() == 12,
            "{report}"
        );
        let report = End::Panic.report(run);
        assert_eq!(
            report.lines().skip(1).collect::<Vec<_>>(),
            [
                "--- console.log",
                "[ 9.0] BUG: kernel NULL pointer",
                "[ 9.1] Kernel panic - not syncing"
            ]
        );
        Ok(())
    }
}
