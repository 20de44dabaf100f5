// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guests of the selftests, and the run of a folder of selftests in one.

use std::time::Duration;

use adit_qemu_tests::end::End;
use adit_qemu_tests::guest::{Guest, GuestConfig, Outcome};
use adit_qemu_tests::image::Image;
use adit_qemu_tests::ktap::Verdict;
use adit_qemu_tests::nic::Nic;
use adit_qemu_tests::tree::Tree;
use anyhow::Result;

use super::reader::Reader;
use super::selection::{NESTED, SELFTESTS, SOAK};
use crate::build::Programs;
use crate::report::Report;

/// Timeout of the selftests of one folder; each also has its own timeout.
const LIMIT: Duration = Duration::from_secs(15 * 60);
const SOAK_LIMIT: Duration = Duration::from_secs(90 * 60);
const NESTED_LIMIT: Duration = Duration::from_secs(40 * 60);

/// The components of the guests of the selftests.
pub(super) struct Machines {
    pub(super) tree: Tree,
    pub(super) image: Image,
    pub(super) programs: Programs,
    /// Factor by which operations may take longer, because of other guests.
    pub(super) pace: u32,
}

impl Machines {
    /// Boots a guest.
    pub(super) fn boot(&self, report: &mut Report, config: GuestConfig) -> Result<Guest> {
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
        if guest.boots > 1 {
            report.line("  its first boot stalled; the report is on standard error");
        }
        Ok(guest)
    }

    /// Returns the machine of most selftests.
    pub(super) fn config(&self) -> GuestConfig {
        GuestConfig {
            nics: vec![Nic::Adit {
                binary: self.programs.nic.clone(),
                args: Vec::new(),
            }],
            ..GuestConfig::default()
        }
    }
}

/// Runs the selftests in `folder` of the guest whose names contain `filter`.
pub(super) fn run_in(
    guest: &mut Guest,
    folder: &str,
    filter: &str,
    report: &mut Report,
) -> Result<()> {
    run_each(guest, folder, &[filter.to_owned()], report)
}

/// Runs the selftests in `folder` of the guest that have one of these names.
pub(super) fn run_named(
    guest: &mut Guest,
    folder: &str,
    names: &[impl AsRef<str>],
    report: &mut Report,
) -> Result<()> {
    let exact = names.iter().map(|name| format!("={}", name.as_ref()));
    run_each(guest, folder, &exact.collect::<Vec<_>>(), report)
}

/// Runs the selftests that the filters of `run.sh` select.
fn run_each(
    guest: &mut Guest,
    folder: &str,
    filters: &[String],
    report: &mut Report,
) -> Result<()> {
    let mut reader = Reader::new(report);
    let from = format!("SELFTEST_DIR={folder}");
    let runner = format!("{SELFTESTS}/run.sh");
    let mut words = vec!["env", &from, &runner];
    words.extend(filters.iter().map(String::as_str));
    let limit = match folder {
        SOAK => SOAK_LIMIT,
        NESTED => NESTED_LIMIT,
        _ => LIMIT,
    };
    let limit = limit * guest.pace();
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
