// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What calls do that only PNA has.

use super::objects::Object;
use super::op::{Op, Operand};
use super::{next_random, Core, Forward};
use crate::p4::hash::sum;

/// The most bytes that one `Checksum` takes.
const MAX_CHECKSUM_BYTES: usize = 64 << 10;

impl Core {
    pub(super) fn run_pna(&mut self, op: &Op, frame: &mut [u64]) {
        match op {
            Op::Forward(port) => self.requests.forward = Forward::Port(port.get(frame)),
            Op::ForwardDrop => self.requests.forward = Forward::Drop,
            Op::ForwardAgain => self.requests.forward = Forward::Again,
            Op::SetQueue(queue) => self.requests.receive.queue = Some(queue.get(frame) as u16),
            Op::SetFlowId(id) => self.requests.receive.flow_id = Some(id.get(frame) as u32),
            Op::SetHash(hash) => self.requests.receive.hash = Some(hash.get(frame) as u32),
            Op::Mirror { slot, session } => {
                // One mirror for each slot: the last call for it wins.
                let (slot, session) = (slot.get(frame), session.get(frame));
                self.requests.mirrors.retain(|m| m.0 != slot);
                self.requests.mirrors.push((slot, session));
            }
            Op::AddEntry {
                action,
                arguments,
                profile,
                result,
                done,
            } => {
                let added = self.learn(action, arguments, profile.get(frame), frame);
                result.set(frame, done[usize::from(added)]);
            }
            Op::FlowId(result) => {
                self.flow_id = self.flow_id.wrapping_add(1);
                result.set(frame, self.flow_id);
            }
            Op::SetExpireTime(profile) => {
                let (profile, now) = (profile.get(frame), self.now_us);
                if let Some((table, Some(entry))) = self.applied {
                    self.tables[table].set_profile(entry, profile, now);
                }
            }
            Op::RestartTimer => {
                let now = self.now_us;
                if let Some((table, Some(entry))) = self.applied {
                    self.tables[table].restart_timer(entry, now);
                }
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
                self.gather(data, frame, false);
                let hash = self.hash(*algorithm);
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
                if let Some(Object::Checksum(bytes)) = self.objects.get_mut(*object) {
                    bytes.clear();
                }
            }
            Op::ChecksumUpdate { object, data } => {
                self.gather(data, frame, false);
                if let Some(Object::Checksum(bytes)) = self.objects.get_mut(*object) {
                    if bytes.len() < MAX_CHECKSUM_BYTES {
                        bytes.extend_from_slice(&self.bytes);
                    }
                }
            }
            Op::ChecksumGet {
                object,
                algorithm,
                result,
            } => {
                if let Some(Object::Checksum(bytes)) = self.objects.get(*object) {
                    result.set(frame, algorithm.hash(bytes, || 0));
                }
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
                self.gather(data, frame, false);
                let value = match subtract {
                    // One's complement: taking away is adding the inverse.
                    true => !sum(&self.bytes),
                    false => sum(&self.bytes),
                };
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
                if let Some(Object::Sum(value)) = self.objects.get(*object) {
                    let value = if *inverted { !*value } else { *value };
                    result.set(frame, value.into());
                }
            }
            Op::RandomBetween { low, high, result } => {
                let span = u128::from(high.saturating_sub(*low)) + 1;
                let value = u128::from(next_random(&mut self.random)) % span;
                result.set(frame, low.wrapping_add(value as u64));
            }
            // The others are v1model's.
            _ => {}
        }
    }

    fn sum(&mut self, object: usize, change: impl FnOnce(u16) -> u16) {
        if let Some(Object::Sum(value)) = self.objects.get_mut(object) {
            *value = change(*value);
        }
    }

    /// Adds the key that was looked up last, if its table learns and missed.
    fn learn(&mut self, action: &str, arguments: &Operand, profile: u64, frame: &[u64]) -> bool {
        let Some((table, None)) = self.applied else {
            return false;
        };
        if !self.learns[table] {
            return false;
        }
        let value = &frame[arguments.slot as usize..][..arguments.flat.limbs as usize];
        let arguments = arguments.flat.leaves.iter().map(|leaf| {
            let limbs = adit_p4_frontend::ir::limbs_of(leaf.width) as usize;
            value[leaf.offset as usize..][..limbs].to_vec()
        });
        let now = self.now_us;
        self.tables[table].learn(action, arguments.collect(), profile, now)
    }
}
