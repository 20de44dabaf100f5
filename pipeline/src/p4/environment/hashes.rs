// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of calls of hash functions, checksums and random numbers.

use super::local::next_random;
use super::Environment;
use crate::p4::bits::mask;
use crate::p4::externs::{ChecksumCall, HashCall, RandomCall, SumCall};
use crate::p4::hash::{sum, Algorithm};

/// Maximum number of input bytes of one `Checksum`.
const MAX_CHECKSUM_BYTES: usize = 64 << 10;

impl Environment<'_> {
    /// Executes a call of a hash function.
    pub(super) fn hash(&mut self, call: &HashCall, frame: &mut [u64]) {
        match call {
            HashCall::Selected {
                result,
                algorithm,
                base,
                data,
                max,
            } => {
                self.local.gather(data, frame);
                let hash = self.local.hash(&self.state.hashes, algorithm.get(frame));
                let (base, max) = (base.get(frame), max.get(frame));
                let value = match max {
                    0 => base,
                    max => base.wrapping_add(hash % max),
                };
                result.set(frame, value);
            }
            HashCall::Fixed {
                algorithm,
                data,
                range,
                result,
            } => {
                self.local.gather(data, frame);
                let hash = self.local.hash(&self.state.hashes, *algorithm);
                let value = match range {
                    None => hash,
                    Some((base, max)) => match max.get(frame) {
                        0 => base.get(frame),
                        max => base.get(frame).wrapping_add(hash % max),
                    },
                };
                result.set(frame, value);
            }
            HashCall::Checksum16 { data, result } => {
                self.local.gather(data, frame);
                frame[*result as usize] =
                    self.local.hash(&self.state.hashes, Algorithm::Checksum16);
            }
        }
    }

    /// Executes a call of a checksum over a buffer.
    pub(super) fn checksum(&mut self, call: &ChecksumCall, frame: &mut [u64]) {
        match call {
            ChecksumCall::Field {
                condition,
                data,
                checksum,
                algorithm,
                is_update,
                with_payload,
            } => {
                if condition.get(frame) == 0 {
                    return;
                }
                self.local.gather(data, frame);
                if *with_payload {
                    self.local.bytes.extend_from_slice(self.payload);
                };
                let value = self.local.hash(&self.state.hashes, algorithm.get(frame))
                    & mask(checksum.width());
                match is_update {
                    true => checksum.set(frame, value),
                    false => self.local.checksum_error |= value != checksum.get(frame),
                }
            }
            ChecksumCall::Clear { object } => {
                self.local.checksums[*object].clear();
            }
            ChecksumCall::Update { object, data } => {
                self.local.gather(data, frame);
                let bytes = &mut self.local.checksums[*object];
                if bytes.len() < MAX_CHECKSUM_BYTES {
                    bytes.extend_from_slice(&self.local.bytes);
                }
            }
            ChecksumCall::Get {
                object,
                algorithm,
                result,
            } => {
                let bytes = &self.local.checksums[*object];
                result.set(frame, self.state.hashes.hash(*algorithm, bytes, || 0));
            }
        }
    }

    /// Executes a call of an `InternetChecksum`.
    pub(super) fn internet_checksum(&mut self, call: &SumCall, frame: &mut [u64]) {
        match call {
            SumCall::Clear { object } => self.sum(*object, |_| 0),
            SumCall::Add {
                object,
                data,
                subtract,
            } => {
                let value = match data.in_one_word(frame) {
                    Some(word) => sum(&word.to_be_bytes()),
                    None => {
                        self.local.gather(data, frame);
                        sum(&self.local.bytes)
                    }
                };
                // In ones' complement, subtracting is adding the inverse.
                let value = if *subtract { !value } else { value };
                self.sum(*object, |old| {
                    let (new, carry) = old.overflowing_add(value);
                    new + u16::from(carry)
                });
            }
            SumCall::Get {
                object,
                result,
                inverted,
            } => {
                let value = self.local.sums[*object] as u16;
                let value = if *inverted { !value } else { value };
                result.set(frame, value.into());
            }
            SumCall::Set { object, value } => {
                let value = value.get(frame) as u16;
                self.sum(*object, |_| value);
            }
        }
    }

    /// Executes a call of a random number generator.
    pub(super) fn random(&mut self, call: &RandomCall, frame: &mut [u64]) {
        match call {
            RandomCall::Between { result, bounds } => {
                let [low, high] = &**bounds;
                let value = self.random_between(low.get(frame), high.get(frame));
                result.set(frame, value);
            }
            RandomCall::BetweenConstants { low, high, result } => {
                let value = self.random_between(*low, *high);
                result.set(frame, value);
            }
        }
    }

    /// A random number of which both bounds are included.
    fn random_between(&mut self, low: u64, high: u64) -> u64 {
        let span = u128::from(high.saturating_sub(low)) + 1;
        let value = u128::from(next_random(&mut self.local.random)) % span;
        low.wrapping_add(value as u64)
    }

    fn sum(&mut self, object: usize, change: impl FnOnce(u16) -> u16) {
        let value = &mut self.local.sums[object];
        *value = change(*value as u16).into();
    }
}
