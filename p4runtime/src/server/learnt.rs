// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries that packets have added (add-on-miss), for another engine: there, too, they are removed when their
//! lifetime is over, which an entry of a control plane is not.

use adit_pipeline::p4::tables::{EntryId, TableError};
use prost::Message;

use super::direct::Direct;
use super::fault::Result;
use super::target::Target;
use crate::proto::v1::{self, entity::Entity as E};

/// The number of entries that are examined at a time.
const PIECE: usize = 1024;

/// An entry with its timer. The clock of the other engine is the same.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Learnt {
    #[prost(message, optional, tag = "1")]
    entry: Option<v1::TableEntry>,
    #[prost(uint64, tag = "2")]
    lifetime_ns: u64,
    #[prost(uint64, tag = "3")]
    since_ns: u64,
}

impl Target<'_> {
    /// Reads all learnt entries, in batches. `sink` returns false to end that.
    pub(super) fn learnt(&self, sink: &mut dyn FnMut(Vec<Learnt>) -> bool) -> Result<()> {
        let wanted = v1::TableEntry {
            counter_data: Some(v1::CounterData::default()),
            meter_config: Some(v1::MeterConfig::default()),
            ..Default::default()
        };
        for (n, table) in self.pipeline.engine.tables().iter().enumerate() {
            if !table.learns() || self.pipeline.tables[n] == 0 {
                continue;
            }
            let mut from = Some(EntryId::FIRST);
            while let Some(at) = from {
                let (learnt, next) = table.learnt(at, PIECE);
                let learnt = learnt.iter().map(|one| Learnt {
                    entry: Some((self.pipeline).shown_entry(n, &one.state, &wanted, self.now_ns)),
                    lifetime_ns: one.lifetime_ns,
                    since_ns: one.state.last_hit_ns,
                });
                if !sink(learnt.collect()) {
                    return Ok(());
                }
                from = next;
            }
        }
        Ok(())
    }

    /// Adds learnt entries. Those of tables that do not learn in this engine are left out: packets are
    /// processed without them, too.
    pub(super) fn learn(
        &self,
        learnt: &[Learnt],
        described: &dyn Fn(&E) -> String,
    ) -> std::result::Result<(), String> {
        for one in learnt {
            let Some(entry) = &one.entry else { continue };
            self.learn_one(entry, one).map_err(|fault| {
                let what = described(&E::TableEntry(entry.clone()));
                format!(
                    "{what} cannot be kept by the new program: {}",
                    fault.message
                )
            })?;
        }
        Ok(())
    }

    fn learn_one(&self, given: &v1::TableEntry, learnt: &Learnt) -> Result<()> {
        let (n, table) = self.pipeline.table(given.table_id)?;
        if !table.learns() {
            return Ok(());
        }
        let (entry, direct) = (self.pipeline.entry(n, given)?, Direct::of(given)?);
        let insert = || table.insert_learnt(&entry, learnt.lifetime_ns, learnt.since_ns);
        let id = match insert() {
            // A client has changed it since entries were copied: in this engine it is not a learnt one yet.
            Err(TableError::Exists(_)) => {
                table.delete(&entry.keys, entry.priority)?;
                insert()?
            }
            inserted => inserted?,
        };
        direct.set(table, id)
    }
}
