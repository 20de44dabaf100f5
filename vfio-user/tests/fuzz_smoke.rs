// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fuzz target's body on reproducible inputs: valid messages in any order, mutated in a few
//! places, and random bytes.

use adit_vfio_user::fuzzing::{corpus, handover, handover_corpus, seeds, vfio_user_server};

/// Steele and others' SplitMix64: sufficient for choosing inputs, and needs no crate.
struct Choice(u64);

impl Choice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Values at the limits of integer types, where arithmetic may go wrong.
const EDGES: [u64; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0x1000,
    0xffff_ffff,
    0x7fff_ffff,
    u64::MAX,
    u64::MAX - 4095,
    1 << 63,
];

#[test]
fn spoilt_messages_are_survived() {
    let seeds = seeds();
    let mut choice = Choice(1);
    for _ in 0..20_000 {
        let mut input = vec![choice.next() as u8 | 1];
        for _ in 0..=choice.below(8) {
            let mut message = seeds[choice.below(seeds.len())].clone();
            for _ in 0..choice.below(4) {
                let at = choice.below(message.len());
                match choice.below(3) {
                    0 => message[at] ^= 1 << choice.below(8),
                    1 => {
                        let edge = EDGES[choice.below(EDGES.len())].to_ne_bytes();
                        let width = (message.len() - at).min(1 << choice.below(4));
                        message[at..at + width].copy_from_slice(&edge[..width]);
                    }
                    _ => message[at] = choice.next() as u8,
                }
            }
            if choice.below(16) == 0 {
                message.truncate(choice.below(message.len()));
            }
            input.extend_from_slice(&message);
        }
        vfio_user_server(&input);
    }
}

#[test]
fn spoilt_descriptions_are_survived() {
    let seeds = handover_corpus();
    let mut choice = Choice(3);
    for _ in 0..5_000 {
        let mut input = seeds[choice.below(seeds.len())].clone();
        input[0] = choice.next() as u8;
        for _ in 0..choice.below(4) {
            let at = choice.below(input.len());
            match choice.below(3) {
                // Digits make other numbers of the description's numbers.
                0 => input[at] = b'0' + choice.below(10) as u8,
                1 => input.insert(at, b'9'),
                _ => input[at] = choice.next() as u8,
            }
        }
        if choice.below(16) == 0 {
            input.truncate(choice.below(input.len()).max(1));
        }
        handover(&input);
    }
}

#[test]
fn noise_is_survived() {
    let mut choice = Choice(2);
    for _ in 0..5_000 {
        let len = choice.below(400);
        let input: Vec<u8> = (0..len).map(|_| choice.next() as u8).collect();
        vfio_user_server(&input);
    }
}

#[test]
fn the_inputs_to_start_from_are_survived() {
    vfio_user_server(&[]);
    corpus().iter().for_each(|input| vfio_user_server(input));
    handover_corpus().iter().for_each(|input| handover(input));
}
