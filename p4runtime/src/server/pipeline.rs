// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A loaded program, with the ids and names that clients use.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use adit_p4_frontend::cancel::Cancel;
use adit_pipeline::p4::tables::EntryState;
use adit_pipeline::p4::Engine;
use parking_lot::Mutex;
use prost::Message;
use tonic::Code;

use super::fault::{Fault, Result};
use super::kept::Kept;
use super::rules::Rules;
use super::texts::Texts;
use crate::loaded;
use crate::p4info::{id_of, p4info};
use crate::program::Package;
use crate::proto::config as pb;
use crate::proto::v1;

/// The NIC's side of a pipeline: activates a committed program.
///
/// ```
/// use adit_p4runtime::server::PipelineHandle;
/// use adit_pipeline::p4::Engine;
/// use std::sync::{Arc, RwLock};
///
/// /// A data path looks here, for each batch, for the engine it is to use.
/// struct Slot(RwLock<Option<Arc<Engine>>>, std::time::Instant);
///
/// impl PipelineHandle for Slot {
///     fn commit(&self, engine: Arc<Engine>) -> Result<(), String> {
///         *self.0.write().unwrap() = Some(engine);
///         Ok(())
///     }
///     fn now_ns(&self) -> u64 {
///         self.1.elapsed().as_nanos() as u64
///     }
/// }
/// ```
pub trait PipelineHandle: Send + Sync + 'static {
    /// Replaces the active engine. On failure the previous one stays active; the text is for the
    /// client.
    fn commit(&self, engine: Arc<Engine>) -> std::result::Result<(), String>;
    /// Returns the time as the data path's workers see it.
    fn now_ns(&self) -> u64;
    /// Stores the config of a committed program for a successor of this process
    /// ([`Pipeline::of_config`]).
    fn keep(&self, _config: &[u8]) {}
    /// Notifies the NIC of packets in [`Engine::packets_out`].
    fn packets_wait(&self) {}
}

/// The entity that an id in P4Info stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Table(usize),
    Extern(usize),
    ValueSet(usize),
    Digest(usize),
}

/// A loaded program.
pub struct Pipeline {
    /// The engine that runs it.
    pub(crate) engine: Arc<Engine>,
    /// The P4Info generated from the program.
    pub(crate) p4info: pb::P4Info,
    /// The client's config.
    pub(crate) config: v1::ForwardingPipelineConfig,
    pub(crate) things: HashMap<u32, Thing>,
    /// The ids of the tables, in the program's order.
    pub(crate) tables: Vec<u32>,
    pub(crate) externs: Vec<u32>,
    pub(crate) value_sets: Vec<u32>,
    pub(crate) actions: HashMap<String, Ids>,
    pub(crate) names: HashMap<u32, String>,
    /// The ids of each table's match fields; 0 for those hidden from clients.
    pub(crate) keys: Vec<Vec<u32>>,
    /// The values that are strings to clients.
    pub(crate) texts: Texts,
    /// The rules for entries from annotations.
    pub(crate) rules: Rules,
    /// The data kept with the default actions of tables, by table id.
    pub(crate) defaults: Mutex<HashMap<u32, Kept>>,
    /// The metadata of multicast groups.
    pub(crate) groups: Mutex<HashMap<u32, Vec<u8>>>,
}

/// The ids of an action and of its parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    pub(crate) id: u32,
    pub(crate) parameters: Vec<u32>,
}

impl Pipeline {
    /// Loads a client's config.
    pub(crate) fn load(config: v1::ForwardingPipelineConfig, cancel: &Cancel) -> Result<Pipeline> {
        let began = Instant::now();
        let package = Package::from_bytes(&config.p4_device_config);
        let package = package.map_err(|e| Fault::invalid(e.to_string()))?;
        if package.text.is_empty() {
            return Err(Fault::invalid(
                "p4_device_config is empty: it takes P4 source or what `adit p4 compile` writes",
            ));
        }
        let program = package.program_unless(cancel);
        still_wanted(cancel)?;
        let program = program.map_err(|e| Fault::invalid(e.to_string()))?;
        let engine = Engine::load(program).map_err(|e| Fault::invalid(e.to_string()))?;
        still_wanted(cancel)?;
        let took = began.elapsed();
        let pipeline = Pipeline::new(Arc::new(engine), config)?;
        if let Some(theirs) = &pipeline.config.p4info {
            agree(&pipeline.p4info, theirs)?;
        }
        loaded::log(&package.name, &pipeline.engine, took);
        Ok(pipeline)
    }

    /// Creates a pipeline for a program that did not come from a client: the NIC's initial one.
    ///
    /// # Errors
    /// When its ids or the rules of its annotations are invalid.
    pub fn of_engine(engine: Arc<Engine>) -> std::result::Result<Pipeline, String> {
        Pipeline::new(engine, v1::ForwardingPipelineConfig::default()).map_err(|f| f.message)
    }

    /// Loads a config that [`PipelineHandle::keep`] was given.
    ///
    /// # Errors
    /// When it is damaged, or its program cannot be loaded any more.
    pub fn of_config(config: &[u8]) -> std::result::Result<Pipeline, String> {
        let config = v1::ForwardingPipelineConfig::decode(config).map_err(|e| e.to_string())?;
        Pipeline::load(config, &Cancel::default()).map_err(|fault| fault.message)
    }

    /// Returns the engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Returns the P4Info of the program.
    pub fn p4info(&self) -> &pb::P4Info {
        &self.p4info
    }

    /// Converts an entry of the table with that index for clients.
    pub fn table_entry(&self, table: usize, state: &EntryState) -> v1::TableEntry {
        self.shown_entry(table, state, &v1::TableEntry::default(), 0)
    }

    fn new(engine: Arc<Engine>, mut config: v1::ForwardingPipelineConfig) -> Result<Pipeline> {
        let info = p4info(engine.program()).map_err(|e| Fault::invalid(e.to_string()))?;
        let p4info = info.p4info;
        config.p4info.get_or_insert_with(|| p4info.clone());
        let mut things = HashMap::new();
        type Made = fn(usize) -> Thing;
        let lists: [(&[u32], Made); 4] = [
            (&info.tables, Thing::Table),
            (&info.externs, Thing::Extern),
            (&info.value_sets, Thing::ValueSet),
            (&info.digests, Thing::Digest),
        ];
        for (ids, thing) in lists {
            for (n, id) in ids.iter().enumerate().filter(|(_, id)| **id != 0) {
                things.insert(*id, thing(n));
            }
        }
        let (mut actions, mut names) = (HashMap::new(), HashMap::new());
        for action in &p4info.actions {
            let Some(preamble) = &action.preamble else {
                continue;
            };
            names.insert(preamble.id, preamble.name.clone());
            let ids = Ids {
                id: preamble.id,
                parameters: action.params.iter().map(|p| p.id).collect(),
            };
            actions.insert(preamble.name.clone(), ids);
        }
        let keys = info.tables.iter().zip(engine.tables()).map(|(id, table)| {
            let shown = p4info.tables.iter().find(|t| id_of(&t.preamble) == *id);
            let mut fields = shown.map_or(&[][..], |t| &t.match_fields).iter();
            let keys = table.spec().keys.iter();
            let ids = keys.map(|key| match key.kind.as_str() {
                "selector" => 0,
                _ => fields.next().map_or(0, |f| f.id),
            });
            ids.collect()
        });
        let keys = keys.collect();
        let texts = Texts::new(&p4info, &engine.program().control);
        let rules = Rules::new(&engine).map_err(Fault::invalid)?;
        Ok(Pipeline {
            engine,
            p4info,
            config,
            things,
            tables: info.tables,
            externs: info.externs,
            value_sets: info.value_sets,
            actions,
            names,
            keys,
            texts,
            rules,
            defaults: Mutex::default(),
            groups: Mutex::default(),
        })
    }
}

/// Fails if the client no longer waits for the program.
fn still_wanted(cancel: &Cancel) -> Result<()> {
    match cancel.is_cancelled() {
        true => Err(Fault::new(Code::Cancelled, "the client has gone")),
        false => Ok(()),
    }
}

/// Checks the ids, names and widths in the client's P4Info, which have to be the program's.
fn agree(ours: &pb::P4Info, theirs: &pb::P4Info) -> Result<()> {
    if theirs.encoded_len() == 0 {
        return Err(Fault::invalid(
            "p4info is empty: it is the program's, or is left out",
        ));
    }
    let (ours, theirs) = (facts(ours), facts(theirs));
    for (id, fact) in &ours {
        match theirs.get(id) {
            Some(other) if other == fact => {}
            Some(other) => {
                return Err(Fault::invalid(format!(
                    "p4info is not the program's: {id} is {other}, and the program's {fact}"
                )))
            }
            None => {
                return Err(Fault::invalid(format!(
                    "p4info is not the program's: {id} is missing, the program's {fact}"
                )))
            }
        }
    }
    match theirs.iter().find(|(id, _)| !ours.contains_key(id)) {
        Some((id, fact)) => Err(Fault::invalid(format!(
            "p4info is not the program's, which has no {id}, {fact}"
        ))),
        None => Ok(()),
    }
}

fn facts(info: &pb::P4Info) -> BTreeMap<u32, String> {
    let mut facts = BTreeMap::new();
    let mut note = |preamble: &Option<pb::Preamble>, more: String| {
        if let Some(p) = preamble {
            facts.insert(p.id, format!("`{}`{more}", p.name));
        }
    };
    for table in &info.tables {
        let keys = table.match_fields.iter();
        let keys: Vec<_> = keys.map(|f| (f.id, &f.name, f.bitwidth)).collect();
        let mut actions: Vec<_> = table.action_refs.iter().map(|a| a.id).collect();
        actions.sort_unstable();
        note(&table.preamble, format!(" with {keys:?} and {actions:?}"));
    }
    for action in &info.actions {
        let parameters = action.params.iter();
        let parameters: Vec<_> = parameters.map(|p| (p.id, &p.name, p.bitwidth)).collect();
        note(&action.preamble, format!(" with {parameters:?}"));
    }
    for header in &info.controller_packet_metadata {
        let fields = header.metadata.iter();
        let fields: Vec<_> = fields.map(|f| (f.id, &f.name, f.bitwidth)).collect();
        note(&header.preamble, format!(" with {fields:?}"));
    }
    macro_rules! others {
        ($($list:ident),*) => {
            $(for entity in &info.$list {
                note(&entity.preamble, String::new());
            })*
        };
    }
    others!(
        action_profiles,
        counters,
        direct_counters,
        meters,
        direct_meters,
        value_sets,
        registers,
        digests
    );
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_nobody_waits_for_is_not_made() {
        let cancel = Cancel::default();
        cancel.cancel();
        let config = v1::ForwardingPipelineConfig {
            p4_device_config: include_bytes!("../../tests/server/test.p4").to_vec(),
            ..Default::default()
        };
        let load = |cancel: &Cancel| Pipeline::load(config.clone(), cancel).err();
        assert_eq!(load(&cancel).map(|f| f.code), Some(Code::Cancelled));
        assert_eq!(load(&Cancel::default()), None);
    }
}
