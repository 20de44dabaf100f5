// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests that run on the host, as opposed to selftests, which report themselves.

use std::time::Instant;

use adit_qemu_tests::ktap::Verdict;
use anyhow::Result;

use crate::report::Report;

/// Runs a test and reports its result; returns whether it passed.
pub(super) fn case(report: &mut Report, name: &str, test: impl FnOnce() -> Result<()>) -> bool {
    let start = Instant::now();
    let result = test();
    report.took(name, start.elapsed());
    match result {
        Ok(()) => {
            report.line(format_args!("    {name}: ok"));
            report.count(Verdict::Passed);
            true
        }
        Err(error) => {
            report.line(format_args!("    {name}: FAILED\n{error:#}"));
            report.count(Verdict::Failed);
            false
        }
    }
}
