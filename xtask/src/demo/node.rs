// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask demo`: a service whose connections the NIC balances among containers.

use std::time::Duration;

use adit_qemu_tests::flavour::Flavour;
use adit_qemu_tests::guest::{Guest, Outcome};
use anyhow::{bail, Result};

use super::heading;
use crate::build::{self, Profile};
use crate::guest::pass_on;
use crate::node;

/// The script, which runs in the guest.
const SCRIPT: &str = "/repo/qemu-tests/demo/node.sh";
/// Its timeout.
const TIMEOUT: Duration = Duration::from_secs(900);

pub(super) fn run() -> Result<u8> {
    heading("1. Set-up: the Debian tree (cached after the first time), adit-nic, adit.ko");
    let (tree, image) = build::set_up(Flavour::Stock)?;
    build::module(&tree, Flavour::Stock)?;
    let programs = build::programs(Profile::Release)?;

    heading("2. Boot: stock QEMU, unmodified Debian kernel, adit-nic with p4/k8s_node.p4");
    let mut guest = Guest::boot(&tree, &image, &node::config(&programs.nic))?;
    println!(
        "   Linux {} after {:.1} s with {:?}",
        guest.kernel,
        guest.boot_time.as_secs_f64(),
        guest.accel
    );
    let words = ["bash", SCRIPT].map(String::from);
    match guest.exec(&words, Some(TIMEOUT), pass_on)? {
        Outcome::Exited(status) => Ok(u8::try_from(status).unwrap_or(1)),
        outcome => bail!("the demo did not end: {outcome:?}\n{}", guest.postmortem()),
    }
}
