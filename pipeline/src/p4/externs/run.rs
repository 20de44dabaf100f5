// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What calls do: those of v1model, and those that PNA has too.

use super::objects::Object;
use super::op::{Op, DROP_PORT};
use super::{next_random, Core, MAX_DIGESTS};
use crate::p4::bits::mask;
use crate::p4::hash::Algorithm;

impl Core {
    pub(super) fn run(&mut self, op: &Op, frame: &mut [u64]) {
        match op {
            Op::Nothing => {}
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
                self.gather(data, frame, false);
                let hash = self.hash(algorithm.get(frame));
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
                let value = u128::from(next_random(&mut self.random)) % span;
                result.set(frame, low.wrapping_add(value as u64));
            }
            Op::Digest { receiver, data } => {
                self.gather(data, frame, false);
                if self.digests.len() < MAX_DIGESTS {
                    let receiver = receiver.as_ref().map_or(0, |r| r.get(frame));
                    self.digests.push((receiver, self.bytes.clone()));
                } else {
                    self.digests_lost += 1;
                }
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
                self.gather(data, frame, *with_payload);
                let value = self.hash(algorithm.get(frame)) & mask(checksum.width);
                match is_update {
                    true => checksum.set(frame, value),
                    false => self.checksum_error |= value != checksum.get(frame),
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
                    0 => self.requests.clone_ingress = request,
                    _ => self.requests.clone_egress = request,
                }
            }
            Op::Resubmit(list) => self.requests.resubmit = Some(list.get(frame) as u32),
            Op::Recirculate(list) => self.requests.recirculate = Some(list.get(frame) as u32),
            Op::Truncate(length) => self.requests.truncate = Some(length.get(frame)),
            Op::Assert(check) => self.assertion_failed |= check.get(frame) == 0,
            Op::Count {
                object,
                index,
                bytes,
            } => {
                let at = index.get(frame) as usize;
                let bytes = bytes.as_ref().map_or(self.length, |b| b.get(frame));
                if let Some(Object::Counter(counts)) = self.objects.get_mut(*object) {
                    if let Some(count) = counts.get_mut(at) {
                        count.add(bytes);
                    }
                }
            }
            Op::Set(result, value) => result.set(frame, *value),
            Op::RegisterRead {
                object,
                result,
                index,
            } => {
                let at = index.get(frame) as usize;
                let to = &mut frame[result.slot as usize..][..result.flat.limbs as usize];
                to.fill(0);
                if let Some(Object::Register { limbs, values }) = self.objects.get(*object) {
                    if let Some(value) = values.chunks_exact(*limbs).nth(at) {
                        to.iter_mut().zip(value).for_each(|(to, v)| *to = *v);
                    }
                }
            }
            Op::RegisterWrite {
                object,
                index,
                value,
            } => {
                let at = index.get(frame) as usize;
                let from = &frame[value.slot as usize..][..value.flat.limbs as usize];
                if let Some(Object::Register { limbs, values }) = self.objects.get_mut(*object) {
                    if let Some(to) = values.chunks_exact_mut(*limbs).nth(at) {
                        to.iter_mut().zip(from).for_each(|(to, v)| *to = *v);
                    }
                }
            }
            Op::Checksum16 { data, result } => {
                self.gather(data, frame, false);
                frame[*result as usize] = self.hash(Algorithm::Checksum16);
            }
            other => self.run_pna(other, frame),
        }
    }
}
