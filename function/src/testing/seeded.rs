// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reproducible inputs for the bodies of fuzz targets, so that a plain test runs them.

use std::time::{Duration, Instant};

/// The time after which a run ends on a slow machine.
const LIMIT: Duration = Duration::from_secs(5);
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

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
pub fn run(target: fn(&[u8]), rounds: u32) {
    let mut random = Random(SEED);
    let start = Instant::now();
    target(&[]);
    for _ in 0..rounds {
        let len = random.next() % 2048;
        let input: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        target(&input);
        if start.elapsed() > LIMIT {
            break;
        }
    }
}

/// Runs a target on mutated seeds.
///
/// # Panics
/// When there are no seeds, or one is empty.
pub fn spoil(target: fn(&[u8]), seeds: &[Vec<u8>], rounds: u32) {
    let mut random = Random(SEED);
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
        if start.elapsed() > LIMIT {
            break;
        }
    }
}
