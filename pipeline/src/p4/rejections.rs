// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Answers to the packets that programs reject (`reject` in `adit.p4`), at a limited rate.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::objects::Bucket;
use super::packets::Input;
use crate::reject::{answer, Answer, Unanswered};

/// Answers a second, and at once.
const RATE: u64 = 10_000;
const BURST: u64 = 1_000;
/// Parts of an answer in the bucket.
const NANO: u128 = 1_000_000_000;

/// The rate of answers, and what became of rejected packets.
#[derive(Debug, Default)]
pub struct Rejections {
    bucket: Bucket,
    resets: AtomicU64,
    unreachable: AtomicU64,
    unanswered: [AtomicU64; Unanswered::ALL.len()],
}

impl Rejections {
    /// The number of TCP resets.
    pub fn resets(&self) -> u64 {
        self.resets.load(Relaxed)
    }

    /// The number of ICMP errors.
    pub fn unreachable(&self) -> u64 {
        self.unreachable.load(Relaxed)
    }

    /// The number of packets that were not answered for that reason.
    pub fn unanswered(&self, reason: Unanswered) -> u64 {
        let count = self.unanswered.get(reason as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    /// Writes the answer to a packet. Returns whether there is one.
    pub(super) fn answer(&self, now_ns: u64, input: &Input<'_>, out: &mut Vec<u8>) -> bool {
        let made = answer(input.data, input.length, input.checksums_verified, out);
        let brought = u128::from(RATE) * u128::from(now_ns);
        let count = match made {
            Ok(_) if !self.bucket.take(brought, BURST, NANO).0 => {
                return self.refuse(Unanswered::Rate);
            }
            Ok(Answer::Reset) => &self.resets,
            Ok(Answer::Unreachable) => &self.unreachable,
            Err(reason) => return self.refuse(reason),
        };
        count.fetch_add(1, Relaxed);
        true
    }

    fn refuse(&self, reason: Unanswered) -> bool {
        if let Some(count) = self.unanswered.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
        false
    }
}
