// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bodies of the fuzz targets, run on reproducible inputs.

use std::time::{Duration, Instant};

/// Marsaglia's xorshift64: sufficient for choosing inputs, and needs no crate.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Runs a target on random inputs of all lengths: `rounds` inputs, or fewer on a slow machine.
fn run(target: fn(&[u8]), rounds: u32) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let start = Instant::now();
    target(&[]);
    for _ in 0..rounds {
        let len = random.next() % 2048;
        let input: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        target(&input);
        if start.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
}

#[test]
fn mailbox() {
    run(adit_nic::mailbox::fuzz_mailbox, 1_000);
}

#[test]
fn control() {
    run(adit_nic::control::fuzz_control, 3_000);
}

/// Runs a target on mutated seeds.
fn spoil(target: fn(&[u8]), seeds: &[Vec<u8>], rounds: u32) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let start = Instant::now();
    for round in 0..rounds {
        let mut input = seeds[round as usize % seeds.len()].clone();
        for _ in 0..random.next() % 6 {
            let at = random.next() as usize % input.len();
            match random.next() % 4 {
                0 => input[at] = random.next() as u8,
                1 => input[at] ^= 1 << (random.next() % 8),
                2 => input[at] = 0xFF,
                _ => {
                    let other = &seeds[random.next() as usize % seeds.len()];
                    input.extend_from_slice(&other[at.min(other.len())..]);
                }
            }
        }
        target(&input);
        if start.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
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
