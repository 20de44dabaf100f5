// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Digests: gathered into lists, told once until they are acknowledged or that takes too long.

use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::Mutex;

use super::fault::{Fault, Result};
use super::pipeline::{Pipeline, Thing};
use crate::proto::config::{self as pb, p4_data_type_spec::TypeSpec};
use crate::proto::v1::{self, digest_entry::Config, update::Type};

/// The longest list.
const MAX_LIST: usize = 1024;
/// How many lists may wait to be acknowledged.
const MAX_LISTS: usize = 256;

/// A digest that a client wants.
#[derive(Debug, Default)]
struct Wanted {
    config: Config,
    list: Vec<Vec<u8>>,
    since_ns: u64,
    /// Lists that have been told, by number: until when, and what was in them.
    told: BTreeMap<u64, (u64, Vec<Vec<u8>>)>,
    /// What need not be told again.
    known: HashSet<Vec<u8>>,
}

/// All digests of a pipeline.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    wanted: Mutex<HashMap<u32, Wanted>>,
}

fn check(pipeline: &Pipeline, id: u32) -> Result<()> {
    let digests = &pipeline.p4info.digests;
    match digests
        .iter()
        .any(|d| super::pipeline::id_of(&d.preamble) == id)
    {
        true => Ok(()),
        false => Err(Fault::not_found(format!("there is no digest {id:#x}"))),
    }
}

impl Digests {
    pub(crate) fn update(
        &self,
        pipeline: &Pipeline,
        kind: Type,
        given: &v1::DigestEntry,
    ) -> Result<()> {
        check(pipeline, given.digest_id)?;
        let mut wanted = self.wanted.lock();
        let is_there = wanted.contains_key(&given.digest_id);
        match (kind, is_there) {
            (Type::Insert, true) => {
                return Err(Fault::new(
                    tonic::Code::AlreadyExists,
                    format!("the digest {:#x} has its configuration", given.digest_id),
                ))
            }
            (Type::Modify | Type::Delete, false) => {
                return Err(Fault::not_found(format!(
                    "the digest {:#x} has no configuration",
                    given.digest_id
                )))
            }
            (Type::Delete, true) => {
                wanted.remove(&given.digest_id);
                return Ok(());
            }
            _ => {}
        }
        let config = given.config.unwrap_or_default();
        if config.max_timeout_ns < 0 || config.ack_timeout_ns < 0 || config.max_list_size < 0 {
            return Err(Fault::invalid(
                "a digest's times and list size are at least 0",
            ));
        }
        wanted.entry(given.digest_id).or_default().config = config;
        Ok(())
    }

    pub(crate) fn read(&self, pipeline: &Pipeline, id: u32) -> Result<Vec<v1::DigestEntry>> {
        if id != 0 {
            check(pipeline, id)?;
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

    pub(crate) fn acknowledge(&self, ack: &v1::DigestListAck) {
        let mut wanted = self.wanted.lock();
        if let Some(wanted) = wanted.get_mut(&ack.digest_id) {
            wanted.forget(ack.list_id);
        }
    }

    /// Takes what packets have left, and gives the lists that are due.
    pub(crate) fn gather(
        &self,
        pipeline: &Pipeline,
        now_ns: u64,
        next_list: &mut u64,
    ) -> Vec<v1::DigestList> {
        let mut wanted = self.wanted.lock();
        // As many as there may be: what comes meanwhile is for the next time.
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
            if wanted.list.len() < MAX_LIST * 4 {
                wanted.known.insert(digest.data.clone());
                wanted.list.push(digest.data);
            }
        }
        let mut lists = Vec::new();
        for (id, wanted) in wanted.iter_mut() {
            let late: Vec<u64> = wanted
                .told
                .iter()
                .filter(|(_, (until, _))| *until <= now_ns)
                .map(|(list, _)| *list)
                .collect();
            late.into_iter().for_each(|list| wanted.forget(list));
            let most = match usize::try_from(wanted.config.max_list_size) {
                Ok(0) | Err(_) => MAX_LIST,
                Ok(most) => most.min(MAX_LIST),
            };
            let waited = now_ns.saturating_sub(wanted.since_ns);
            let is_due = waited >= wanted.config.max_timeout_ns as u64;
            while wanted.list.len() >= most || is_due && !wanted.list.is_empty() {
                let rest = wanted.list.split_off(wanted.list.len().min(most));
                let list = std::mem::replace(&mut wanted.list, rest);
                *next_list += 1;
                let spec = pipeline.digest_type(*id);
                let data = list.iter().map(|data| pipeline.data(spec, data));
                lists.push(v1::DigestList {
                    digest_id: *id,
                    list_id: *next_list,
                    data: data.collect(),
                    timestamp: now_ns as i64,
                });
                let until = now_ns.saturating_add(wanted.config.ack_timeout_ns as u64);
                wanted.told.insert(*next_list, (until, list));
                if wanted.told.len() > MAX_LISTS {
                    if let Some(oldest) = wanted.told.keys().next().copied() {
                        wanted.forget(oldest);
                    }
                }
            }
        }
        lists
    }
}

impl Wanted {
    fn forget(&mut self, list: u64) {
        for data in self.told.remove(&list).into_iter().flat_map(|(_, l)| l) {
            self.known.remove(&data);
        }
    }
}

impl Pipeline {
    fn digest_type(&self, id: u32) -> Option<&pb::P4DataTypeSpec> {
        let mut digests = self.p4info.digests.iter();
        let digest = digests.find(|d| super::pipeline::id_of(&d.preamble) == id)?;
        digest.type_spec.as_ref()
    }

    /// Which of a function's digests it is: the one whose data is that long.
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

    /// What a `type` is made of; a translated one says no more than how wide clients see it.
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

    /// A digest's bytes as data of its type.
    fn data(&self, spec: Option<&pb::P4DataTypeSpec>, bytes: &[u8]) -> v1::P4Data {
        let mut reader = super::packets::Bits::new(bytes);
        match spec {
            Some(spec) => self.datum(spec, &mut reader),
            None => v1::P4Data {
                data: Some(v1::p4_data::Data::Bitstring(bytes.to_vec())),
            },
        }
    }

    fn datum(&self, spec: &pb::P4DataTypeSpec, bits: &mut super::packets::Bits<'_>) -> v1::P4Data {
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
