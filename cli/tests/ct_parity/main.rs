// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The same command lines for conntrack(8) and for `adit ct`, on the same traffic: standard output, error
//! output and exit code are the same but for version, ids and the order of entries.
//!
//! conntrack(8) runs in a network namespace of its own. Where its kernel has no connection tracking,
//! or a program is not installed, the tests are reported as ignored, with the reason.

#[path = "../ct_common/mod.rs"]
mod ct_common;
mod edges;
mod events;
mod namespace;
mod neutral;
mod pairs;
mod steps;
mod tables;
mod traffic;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use namespace::Namespace;

/// A name, and the steps of both programs, which begin without connections.
const TABLES: [(&str, &str); 12] = [
    ("what_is_wrong_is_reported", tables::WRONG),
    ("usages_are_those_of_version_1_4_7", tables::USAGES),
    ("connections_are_created_and_listed", tables::CREATED),
    ("filters_select", tables::FILTERS),
    ("connections_are_changed_and_deleted", tables::CHANGED),
    ("protocols_have_options", tables::PROTOCOLS),
    ("values_have_limits", tables::VALUES),
    ("the_last_protocol_says_what_options_mean", edges::PROTOCOLS),
    ("changes_may_be_refused_and_zones_are_one", edges::CHANGES),
    ("labels_have_names", traffic::LABELS),
    ("files_have_commands", traffic::LOADED),
    ("helpers_announce_connections", traffic::EXPECTED),
];

fn main() -> ExitCode {
    if let Some(exit) = namespace::serve() {
        return exit;
    }
    let arguments = Arguments::from_args();
    let unavailable = Namespace::new().err();
    if let Some(reason) = &unavailable {
        eprintln!("ignoring the comparison with conntrack(8): {reason}");
    }
    let tables = TABLES.map(|(name, table)| Trial::test(name, || steps::compare(table)));
    let pairs = [
        Trial::test("each_command_with_each_option", pairs::of_reading),
        Trial::test("each_change_with_each_option", pairs::of_changing),
        Trial::test("each_option_with_each_option", pairs::of_options),
    ];
    let watches = events::WATCHED
        .map(|(name, watches, table)| Trial::test(name, || events::compare(watches, table)));
    let trials = tables.into_iter().chain(pairs).chain(watches);
    let trials = trials.map(|trial| trial.with_ignored_flag(unavailable.is_some()));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
