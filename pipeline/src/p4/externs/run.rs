// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of calls: those of v1model, and those shared with PNA.

use super::objects::Object;
use super::op::{Op, Operand, DROP_PORT};
use super::{next_random, Run};
use crate::p4::bits::mask;
use crate::p4::events::Digest;
use crate::p4::hash::Algorithm;
use crate::p4::metadata::NO_FIELDS;

/// The list of fields to preserve; if omitted, an empty one.
fn kept(list: &Option<Operand>, frame: &[u64]) -> u32 {
    list.as_ref()
        .map_or(NO_FIELDS, |list| list.get(frame) as u32)
}

impl Run<'_> {
    pub(super) fn run(&mut self, op: &Op, frame: &mut [u64]) {
        match op {
            Op::Nothing => {}
            Op::Mark(mark) => self.mark(*mark, frame),
            Op::Drop {
                base,
                egress_spec,
                mcast_grp,
            } => {
                egress_spec.set(frame, *base, DROP_PORT);
                mcast_grp.set(frame, *base, 0);
            }
            Op::Hash {
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
            Op::Random { result, low, high } => {
                let (low, high) = (low.get(frame), high.get(frame));
                let span = u128::from(high.saturating_sub(low)) + 1;
                let value = u128::from(next_random(&mut self.local.random)) % span;
                result.set(frame, low.wrapping_add(value as u64));
            }
            Op::Digest {
                object,
                receiver,
                data,
            } => {
                self.local.gather(data, frame);
                self.state.digests.push(|| Digest {
                    object: *object,
                    receiver: receiver.as_ref().map_or(0, |r| r.get(frame)),
                    data: self.local.bytes.clone(),
                });
            }
            Op::Checksum {
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
                    & mask(checksum.width);
                match is_update {
                    true => checksum.set(frame, value),
                    false => self.local.checksum_error |= value != checksum.get(frame),
                }
            }
            Op::Clone {
                kind,
                session,
                list,
            } => {
                let list = list.as_ref().map(|l| l.get(frame) as u32);
                let request = Some((session.get(frame), list));
                match kind.get(frame) {
                    0 => self.local.requests.clone_ingress = request,
                    _ => self.local.requests.clone_egress = request,
                }
            }
            Op::Resubmit(list) => self.local.requests.resubmit = Some(kept(list, frame)),
            Op::Recirculate(list) => self.local.requests.recirculate = Some(kept(list, frame)),
            Op::Truncate(length) => {
                // Of several calls the shortest length applies.
                let (length, before) = (length.get(frame), self.local.requests.truncate);
                self.local.requests.truncate = Some(before.map_or(length, |b| b.min(length)));
            }
            Op::DropAny => self.local.requests.drop = true,
            Op::Assert(assertion) => {
                if !assertion.holds(frame) {
                    self.local.assertion_failed = true;
                    self.state.logs.push(|| assertion.message());
                }
            }
            Op::Log(log) => {
                self.state.logs.push(|| log.message(frame));
            }
            Op::Count {
                object,
                index,
                bytes,
            } => {
                let bytes = bytes.as_ref().map(|b| b.get(frame));
                if let Some(Object::Counter(counter)) = self.state.objects.get(*object) {
                    counter.add(index.get(frame), self.local.weight(bytes));
                }
            }
            Op::RegisterRead {
                object,
                result,
                index,
            } => {
                let at = index.get(frame);
                let to = &mut frame[result.slot as usize..][..result.flat.limbs as usize];
                if let Some(Object::Register(register)) = self.state.objects.get(*object) {
                    register.read(at, to);
                }
            }
            Op::RegisterWrite {
                object,
                index,
                value,
            } => {
                let from = &frame[value.slot as usize..][..value.flat.limbs as usize];
                if let Some(Object::Register(register)) = self.state.objects.get(*object) {
                    register.write(index.get(frame), from);
                }
            }
            Op::Checksum16 { data, result } => {
                self.local.gather(data, frame);
                frame[*result as usize] =
                    self.local.hash(&self.state.hashes, Algorithm::Checksum16);
            }
            other => self.run_pna(other, frame),
        }
    }
}
