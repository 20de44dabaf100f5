// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bodies of the fuzz targets, run on reproducible inputs.

use adit_function::testing::seeded::{run, spoil};

#[test]
fn mailbox() {
    run(adit_nic::mailbox::fuzz_mailbox, 1_000);
}

#[test]
fn control() {
    run(adit_nic::control::fuzz_control, 3_000);
}

#[test]
fn registers() {
    run(adit_nic::fuzzing::registers, 500);
    let seeds = adit_nic::fuzzing::registers_corpus();
    spoil(adit_nic::fuzzing::registers, &seeds, 2_000);
}

#[test]
fn rings() {
    run(adit_nic::fuzzing::rings, 1_000);
    let seeds = adit_nic::fuzzing::rings_corpus();
    spoil(adit_nic::fuzzing::rings, &seeds, 3_000);
}

#[test]
fn walk() {
    run(adit_nic::pasid::fuzz_walk, 2_000);
}

#[test]
fn adis() {
    run(adit_nic::fuzzing::adis, 300);
}

#[test]
fn update() {
    // One or two changes: most states with many are refused at once.
    let seeds = [vec![1; 4], vec![7; 8]];
    spoil(adit_nic::fuzzing::update, &seeds, 3_000);
}
