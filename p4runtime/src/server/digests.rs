// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Digests: gathered into lists. Data that is not acknowledged in time may be reported again.

use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::Mutex;

use super::fault::{Fault, Result};
use super::names::Kind;
use super::packets::Bits;
use super::pipeline::{Pipeline, Thing};
use crate::proto::config::{self as pb, p4_data_type_spec::TypeSpec};
use crate::proto::v1::{self, digest_entry::Config, update::Type};

/// The maximum number of digests in a list.
const MAX_LIST: usize = 1024;
/// The maximum number of digests that wait to be sent.
const MAX_WAITING: usize = 4 * MAX_LIST;
/// The maximum number of lists that wait for an acknowledgement.
const MAX_LISTS: usize = 256;

/// A list that was sent to clients.
#[derive(Debug)]
struct Sent {
    /// The time at which it counts as lost.
    until_ns: u64,
    data: Vec<Vec<u8>>,
    /// The streams that it was sent on.
    clients: Vec<u64>,
}

/// A digest that a client has enabled.
#[derive(Debug, Default)]
struct Wanted {
    config: Config,
    list: Vec<Vec<u8>>,
    since_ns: u64,
    /// Lists that were sent and are not acknowledged yet, by id.
    sent: BTreeMap<u64, Sent>,
    /// The data of `list` and `sent`, which packets need not report again.
    known: HashSet<Vec<u8>>,
}

/// All digests of a pipeline.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    wanted: Mutex<HashMap<u32, Wanted>>,
}

/// A callback that sends a list and returns the clients that took it.
pub(crate) type Send<'a> = &'a mut dyn FnMut(v1::DigestList) -> Vec<u64>;

impl Digests {
    pub(crate) fn update(
        &self,
        pipeline: &Pipeline,
        kind: Type,
        given: &v1::DigestEntry,
    ) -> Result<()> {
        let name = pipeline.digest_name(given.digest_id)?;
        let mut wanted = self.wanted.lock();
        let is_there = wanted.contains_key(&given.digest_id);
        match (kind, is_there) {
            (Type::Insert, true) => {
                return Err(Fault::new(
                    tonic::Code::AlreadyExists,
                    format!("digest `{name}` has a configuration: MODIFY changes it"),
                ))
            }
            (Type::Modify | Type::Delete, false) => {
                return Err(Fault::not_found(format!(
                    "digest `{name}` has no configuration: INSERT makes one"
                )))
            }
            (Type::Delete, true) => {
                wanted.remove(&given.digest_id);
                return Ok(());
            }
            _ => {}
        }
        let config = given.config.unwrap_or_default();
        for (field, value) in [
            ("max_timeout_ns", config.max_timeout_ns),
            ("ack_timeout_ns", config.ack_timeout_ns),
            ("max_list_size", i64::from(config.max_list_size)),
        ] {
            if value < 0 {
                return Err(Fault::invalid(format!(
                    "digest `{name}`: {field} is {value}, below 0"
                )));
            }
        }
        wanted.entry(given.digest_id).or_default().config = config;
        Ok(())
    }

    pub(crate) fn read(&self, pipeline: &Pipeline, id: u32) -> Result<Vec<v1::DigestEntry>> {
        if id != 0 {
            pipeline.digest_name(id)?;
        }
        let wanted = self.wanted.lock();
        let found = wanted.iter().filter(|(d, _)| id == 0 || **d == id);
        Ok(found
            .map(|(id, wanted)| v1::DigestEntry {
                digest_id: *id,
                config: Some(wanted.config),
            })
            .collect())
    }

    /// Handles an acknowledgement. One for a list that has been given up is not an error; `last` is
    /// the id of the last list that was sent.
    pub(crate) fn acknowledge(
        &self,
        pipeline: &Pipeline,
        ack: &v1::DigestListAck,
        last: u64,
    ) -> Result<()> {
        let name = pipeline.digest_name(ack.digest_id);
        let name = name.map_err(|fault| Fault::invalid(fault.message))?;
        if ack.list_id == 0 || ack.list_id > last {
            return Err(Fault::invalid(format!(
                "list_id {} of digest `{name}` has not been sent: the last list is {last}",
                ack.list_id
            )));
        }
        let mut wanted = self.wanted.lock();
        if let Some(wanted) = wanted.get_mut(&ack.digest_id) {
            wanted.forget(ack.list_id);
        }
        Ok(())
    }

    /// Takes the digests that packets have generated; returns the number of those dropped for lack
    /// of space. Dropped ones are not marked as known, so that the next packet reports them again.
    pub(crate) fn gather(&self, pipeline: &Pipeline, now_ns: u64) -> u64 {
        let mut wanted = self.wanted.lock();
        let mut lost = 0;
        // Only those that wait now: later ones are taken the next time.
        for _ in 0..pipeline.engine.digests().waiting() {
            let Some(digest) = pipeline.engine.digests().take() else {
                break;
            };
            let id = match digest.object {
                Some(object) => pipeline.externs.get(object as usize).copied().unwrap_or(0),
                None => pipeline.function_digest(&digest.data),
            };
            let Some(wanted) = wanted.get_mut(&id) else {
                continue;
            };
            if wanted.known.contains(&digest.data) {
                continue;
            }
            if wanted.list.is_empty() {
                wanted.since_ns = now_ns;
            }
            if wanted.list.len() < MAX_WAITING {
                wanted.known.insert(digest.data.clone());
                wanted.list.push(digest.data);
            } else {
                lost += 1;
            }
        }
        lost
    }

    /// Requeues lists that only clients which are no longer primaries have received.
    pub(crate) fn keep(&self, primaries: &[u64]) {
        for wanted in self.wanted.lock().values_mut() {
            let gone = wanted.sent.iter().filter(|(_, sent)| {
                let mut clients = sent.clients.iter();
                !clients.any(|client| primaries.contains(client))
            });
            let gone: Vec<u64> = gone.map(|(list, _)| *list).collect();
            for list in gone.into_iter().rev() {
                if let Some(sent) = wanted.sent.remove(&list) {
                    wanted.wait_again(sent.data);
                }
            }
        }
    }

    /// Sends the lists that are due. Data that no client takes keeps waiting.
    pub(crate) fn send(&self, pipeline: &Pipeline, now_ns: u64, last: &mut u64, send: Send<'_>) {
        let mut wanted = self.wanted.lock();
        for (id, wanted) in wanted.iter_mut() {
            let late = wanted.sent.iter().filter(|(_, s)| s.until_ns <= now_ns);
            let late: Vec<u64> = late.map(|(list, _)| *list).collect();
            late.into_iter().for_each(|list| wanted.forget(list));
            let most = match usize::try_from(wanted.config.max_list_size) {
                Ok(0) | Err(_) => MAX_LIST,
                Ok(most) => most.min(MAX_LIST),
            };
            let waited = now_ns.saturating_sub(wanted.since_ns);
            let is_due = waited >= wanted.config.max_timeout_ns as u64;
            while wanted.list.len() >= most || is_due && !wanted.list.is_empty() {
                let rest = wanted.list.split_off(wanted.list.len().min(most));
                let data = std::mem::replace(&mut wanted.list, rest);
                let spec = pipeline.digest_type(*id);
                let clients = send(v1::DigestList {
                    digest_id: *id,
                    list_id: *last + 1,
                    data: data.iter().map(|d| pipeline.data(spec, d)).collect(),
                    timestamp: now_ns as i64,
                });
                if clients.is_empty() {
                    wanted.wait_again(data);
                    break;
                }
                *last += 1;
                if wanted.config.ack_timeout_ns == 0 {
                    for digest in &data {
                        wanted.known.remove(digest);
                    }
                    continue;
                }
                let sent = Sent {
                    until_ns: now_ns.saturating_add(wanted.config.ack_timeout_ns as u64),
                    data,
                    clients,
                };
                wanted.sent.insert(*last, sent);
                if wanted.sent.len() > MAX_LISTS {
                    if let Some(oldest) = wanted.sent.keys().next().copied() {
                        wanted.forget(oldest);
                    }
                }
            }
        }
    }
}

impl Wanted {
    fn forget(&mut self, list: u64) {
        for data in self.sent.remove(&list).into_iter().flat_map(|s| s.data) {
            self.known.remove(&data);
        }
    }

    /// Puts data at the front of the queue. Data that exceeds the limit is forgotten, so that the
    /// next packet reports it again.
    fn wait_again(&mut self, mut data: Vec<Vec<u8>>) {
        data.append(&mut self.list);
        for digest in data.drain(data.len().min(MAX_WAITING)..) {
            self.known.remove(&digest);
        }
        self.list = data;
    }
}

impl Pipeline {
    /// Returns the name of a digest.
    fn digest_name(&self, id: u32) -> Result<&str> {
        let mut digests = self
            .p4info
            .digests
            .iter()
            .filter_map(|d| d.preamble.as_ref());
        let found = digests.find(|preamble| preamble.id == id);
        let found = found.ok_or_else(|| self.unknown(Kind::Digest, id))?;
        Ok(&found.name)
    }

    fn digest_type(&self, id: u32) -> Option<&pb::P4DataTypeSpec> {
        let mut digests = self.p4info.digests.iter();
        let digest = digests.find(|d| crate::p4info::id_of(&d.preamble) == id)?;
        digest.type_spec.as_ref()
    }

    /// Returns the id of a function's digest: the one whose data has that length.
    fn function_digest(&self, data: &[u8]) -> u32 {
        let by_function = self
            .things
            .iter()
            .filter(|(_, thing)| matches!(thing, Thing::Digest(_)));
        let mut ids: Vec<u32> = by_function.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let fits = |id: &u32| {
            let bits = self.digest_type(*id).map_or(0, |spec| self.bits(spec));
            bits.div_ceil(8) as usize == data.len()
        };
        let found = ids.iter().copied().find(fits);
        found.or(ids.first().copied()).unwrap_or(0)
    }

    fn parts(&self, spec: &pb::P4DataTypeSpec) -> Option<Vec<pb::P4DataTypeSpec>> {
        let info = self.p4info.type_info.as_ref()?;
        match spec.type_spec.as_ref()? {
            TypeSpec::Tuple(tuple) => Some(tuple.members.clone()),
            TypeSpec::Struct(name) => {
                let found = info.structs.get(&name.name)?;
                Some(
                    found
                        .members
                        .iter()
                        .filter_map(|m| m.type_spec.clone())
                        .collect(),
                )
            }
            TypeSpec::Header(name) => {
                let found = info.headers.get(&name.name)?;
                let bits = found.members.iter().filter_map(|m| m.type_spec.clone());
                let whole = bits.map(|b| pb::P4DataTypeSpec {
                    type_spec: Some(TypeSpec::Bitstring(b)),
                });
                Some(whole.collect())
            }
            _ => None,
        }
    }

    fn bits(&self, spec: &pb::P4DataTypeSpec) -> u32 {
        use pb::p4_bitstring_like_type_spec::TypeSpec as Bits;
        let info = self.p4info.type_info.as_ref();
        if let Some(parts) = self.parts(spec) {
            return parts.iter().map(|p| self.bits(p)).sum();
        }
        match &spec.type_spec {
            Some(TypeSpec::Bitstring(bits)) => match &bits.type_spec {
                Some(Bits::Bit(bit)) => bit.bitwidth as u32,
                Some(Bits::Int(int)) => int.bitwidth as u32,
                _ => 0,
            },
            Some(TypeSpec::Bool(_)) => 1,
            Some(TypeSpec::Enum(_) | TypeSpec::Error(_)) => 32,
            Some(TypeSpec::SerializableEnum(name)) => {
                let found = info.and_then(|i| i.serializable_enums.get(&name.name));
                found
                    .and_then(|e| e.underlying_type)
                    .map_or(0, |b| b.bitwidth as u32)
            }
            Some(TypeSpec::NewType(name)) => self.original(&name.name).map_or(0, |s| self.bits(&s)),
            _ => 0,
        }
    }

    /// Returns the underlying type of a `type`; P4Info of a translated one has only its width for
    /// clients.
    fn original(&self, name: &str) -> Option<pb::P4DataTypeSpec> {
        use adit_p4_frontend::control::{Definition, Type as Shown};
        let api = &self.engine.program().control;
        let Some(Definition::New(inner, _)) = api.types.get(name) else {
            return None;
        };
        let bits = match inner {
            Shown::Bit(width) => *width,
            Shown::Int(width) => *width,
            Shown::Bool => 1,
            _ => return None,
        };
        Some(pb::P4DataTypeSpec {
            type_spec: Some(TypeSpec::Bitstring(pb::P4BitstringLikeTypeSpec {
                type_spec: Some(pb::p4_bitstring_like_type_spec::TypeSpec::Bit(
                    pb::P4BitTypeSpec {
                        bitwidth: bits as i32,
                    },
                )),
                ..Default::default()
            })),
        })
    }

    /// Decodes a digest's bytes as data of its type.
    fn data(&self, spec: Option<&pb::P4DataTypeSpec>, bytes: &[u8]) -> v1::P4Data {
        let mut reader = Bits::new(bytes);
        match spec {
            Some(spec) => self.datum(spec, &mut reader),
            None => v1::P4Data {
                data: Some(v1::p4_data::Data::Bitstring(bytes.to_vec())),
            },
        }
    }

    fn datum(&self, spec: &pb::P4DataTypeSpec, bits: &mut Bits<'_>) -> v1::P4Data {
        use v1::p4_data::Data;
        let data = match (&spec.type_spec, self.parts(spec)) {
            (Some(TypeSpec::Tuple(_)), Some(parts)) => Data::Tuple(v1::P4StructLike {
                members: parts.iter().map(|p| self.datum(p, bits)).collect(),
            }),
            (Some(TypeSpec::Header(_)), Some(parts)) => Data::Header(v1::P4Header {
                is_valid: true,
                bitstrings: parts.iter().map(|p| bits.take(self.bits(p))).collect(),
            }),
            (_, Some(parts)) => Data::Struct(v1::P4StructLike {
                members: parts.iter().map(|p| self.datum(p, bits)).collect(),
            }),
            (Some(TypeSpec::Bool(_)), _) => Data::Bool(bits.take(1) != [0]),
            (Some(TypeSpec::NewType(name)), _) => {
                let value = bits.take(self.bits(spec));
                Data::Bitstring(self.texts.shown_type(&name.name, value))
            }
            _ => Data::Bitstring(bits.take(self.bits(spec))),
        };
        v1::P4Data { data: Some(data) }
    }
}
