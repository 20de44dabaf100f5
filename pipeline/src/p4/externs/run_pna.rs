// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of calls that only PNA has.

use std::sync::atomic::Ordering::Relaxed;

use adit_p4_frontend::ir::Chosen;

use super::op::{Op, Operand};
use super::{next_random, Forward, Run};
use crate::p4::hash::sum;
use crate::p4::packets::FIRST_HOST_PORT;
use crate::p4::tables::Learn;

/// Maximum number of input bytes of one `Checksum`.
const MAX_CHECKSUM_BYTES: usize = 64 << 10;

impl Run<'_> {
    pub(super) fn run_pna(&mut self, op: &Op, frame: &mut [u64]) {
        match op {
            Op::Forward(port) => self.local.requests.forward = Forward::Port(port.get(frame)),
            Op::ForwardGroup(group) => {
                self.local.requests.forward = Forward::Group(group.get(frame));
            }
            Op::ForwardDrop => self.local.requests.forward = Forward::Drop,
            Op::ForwardAgain => self.local.requests.forward = Forward::Again,
            Op::SetQueue(queue) => {
                self.local.requests.receive.queue = Some(queue.get(frame) as u16);
            }
            Op::SetFlowId(id) => {
                self.local.requests.receive.flow_id = Some(id.get(frame) as u32);
            }
            Op::SetHash(hash) => {
                self.local.requests.receive.hash = Some(hash.get(frame) as u32);
            }
            Op::Mirror { slot, session } => {
                // One mirror for each slot: the last call for it wins.
                let (slot, session) = (slot.get(frame), session.get(frame));
                self.local.mirrors.retain(|m| m.0 != slot);
                self.local.mirrors.push((slot, session));
            }
            Op::AddEntry {
                condition,
                action,
                arguments,
                profile,
                result,
                done,
            } => {
                let wanted = condition.as_ref().is_none_or(|c| c.get(frame) != 0);
                let added = wanted && self.learn(action, arguments, profile.get(frame), frame);
                result.set(frame, done[usize::from(added)]);
            }
            Op::FlowId(result) => {
                let last = self.state.flow_id.fetch_add(1, Relaxed);
                result.set(frame, last.wrapping_add(1));
            }
            Op::SetExpireTime { condition, profile } => {
                if condition.as_ref().is_none_or(|c| c.get(frame) != 0) {
                    self.set_profile(profile.get(frame));
                }
            }
            Op::RestartTimer => self.restart_timer(),
            Op::UpdateExpire {
                restart,
                set,
                profile,
            } => match (restart.get(frame), set.get(frame)) {
                (0, _) => {}
                (_, 0) => self.restart_timer(),
                _ => self.set_profile(profile.get(frame)),
            },
            Op::IsPort {
                port,
                is_host,
                result,
            } => {
                let from_host = port.get(frame) >= FIRST_HOST_PORT.into();
                result.set(frame, (from_host == *is_host).into());
            }
            Op::Select {
                direction,
                first,
                second,
                result,
            } => {
                let chosen = match direction.get(frame) {
                    0 => first,
                    _ => second,
                };
                let from = chosen.slot as usize;
                let limbs = result.flat.limbs as usize;
                frame.copy_within(from..from + limbs, result.slot as usize);
            }
            Op::HashOf {
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
            Op::ChecksumClear { object } => {
                self.local.checksums[*object].clear();
            }
            Op::ChecksumUpdate { object, data } => {
                self.local.gather(data, frame);
                let bytes = &mut self.local.checksums[*object];
                if bytes.len() < MAX_CHECKSUM_BYTES {
                    bytes.extend_from_slice(&self.local.bytes);
                }
            }
            Op::ChecksumGet {
                object,
                algorithm,
                result,
            } => {
                let bytes = &self.local.checksums[*object];
                result.set(frame, self.state.hashes.hash(*algorithm, bytes, || 0));
            }
            Op::SumClear { object } => self.sum(*object, |_| 0),
            Op::SumSet { object, value } => {
                let value = value.get(frame) as u16;
                self.sum(*object, |_| value);
            }
            Op::SumAdd {
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
            Op::SumGet {
                object,
                result,
                inverted,
            } => {
                let value = self.local.sums[*object] as u16;
                let value = if *inverted { !value } else { value };
                result.set(frame, value.into());
            }
            Op::RandomBetween { low, high, result } => {
                let span = u128::from(high.saturating_sub(*low)) + 1;
                let value = u128::from(next_random(&mut self.local.random)) % span;
                result.set(frame, low.wrapping_add(value as u64));
            }
            other => self.run_meters(other, frame),
        }
    }

    fn set_profile(&mut self, profile: u64) {
        if let Some((table, Some(entry))) = self.local.applied {
            self.state.tables[table].set_profile(entry, profile, self.local.now_ns);
        }
    }

    fn restart_timer(&mut self) {
        if let Some((table, Some(entry))) = self.local.applied {
            self.state.tables[table].restart_timer(entry, self.local.now_ns);
        }
    }

    fn sum(&mut self, object: usize, change: impl FnOnce(u16) -> u16) {
        let value = &mut self.local.sums[object];
        *value = change(*value as u16).into();
    }

    /// Adds the key that was looked up last, if its table learns and missed.
    fn learn(&mut self, action: &str, arguments: &Operand, profile: u64, frame: &[u64]) -> bool {
        let Some((table, None)) = self.local.applied else {
            return false;
        };
        let table = &self.state.tables[table];
        let Some(at) = table.action_named(action).filter(|_| table.learns()) else {
            return false;
        };
        let value = &frame[arguments.slot as usize..][..arguments.flat.limbs as usize];
        let chosen = || {
            let arguments = arguments.flat.leaves.iter().map(|leaf| {
                let limbs = adit_p4_frontend::ir::limbs_of(leaf.width) as usize;
                value[leaf.offset as usize..][..limbs].to_vec()
            });
            Chosen {
                action: at,
                arguments: arguments.collect(),
            }
        };
        let (key, now) = (&self.local.key, self.local.now_ns);
        table.learn(key, chosen, profile, now) == Learn::Done
    }
}
