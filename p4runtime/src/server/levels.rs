// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The levels of meters' buckets for another engine, under the same clock: who has used up a rate does not get
//! another burst.

use adit_pipeline::p4::objects::{MeterLevels, Object};
use prost::Message;

use super::fault::Result;
use super::target::Target;
use crate::proto::v1;

/// The levels of a meter's buckets, of which one is not full.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Levels {
    /// The meter; 0 for the direct meter of an entry.
    #[prost(uint32, tag = "1")]
    meter: u32,
    #[prost(uint64, tag = "2")]
    index: u64,
    /// The key of the entry.
    #[prost(message, optional, tag = "3")]
    entry: Option<v1::TableEntry>,
    /// The amounts of committed, peak and excess bucket, the lower half of each first.
    #[prost(uint64, repeated, tag = "4")]
    amounts: Vec<u64>,
}

fn amounts(levels: MeterLevels) -> Vec<u64> {
    let all = [levels.committed, levels.peak, levels.missing].into_iter();
    all.flat_map(|amount| [amount as u64, (amount >> 64) as u64])
        .collect()
}

impl Levels {
    fn levels(&self) -> MeterLevels {
        let amount = |n: usize| {
            let half = |n: usize| u128::from(self.amounts.get(n).copied().unwrap_or(0));
            half(2 * n) | half(2 * n + 1) << 64
        };
        MeterLevels {
            committed: amount(0),
            peak: amount(1),
            missing: amount(2),
        }
    }
}

impl Target<'_> {
    /// The levels of all meters with a bucket that is not full.
    pub(super) fn levels(&self) -> Result<Vec<Levels>> {
        let mut all = Vec::new();
        let objects = self.pipeline.engine.objects().iter();
        for (object, &meter) in objects.zip(&self.pipeline.externs) {
            let Object::Meter(object) = object else {
                continue;
            };
            for index in 0..object.size() {
                if let Some(levels) = object.levels(index, self.now_ns)? {
                    all.push(Levels {
                        meter,
                        index,
                        entry: None,
                        amounts: amounts(levels),
                    });
                }
            }
        }
        for (n, table) in self.pipeline.engine.tables().iter().enumerate() {
            if self.pipeline.tables[n] == 0 {
                continue;
            }
            for (id, levels) in table.meter_levels(self.now_ns) {
                let (found, _) = table.entries(id, 1);
                let Some(state) = found.first().filter(|state| state.id == id) else {
                    continue;
                };
                let entry = &state.entry;
                all.push(Levels {
                    meter: 0,
                    index: 0,
                    entry: Some(self.pipeline.shown_key(n, &entry.keys, entry.priority)),
                    amounts: amounts(levels),
                });
            }
        }
        Ok(all)
    }

    /// Sets the levels of meters that have their rates. Those that there are not in this engine are left out.
    pub(super) fn fill(&self, all: &[Levels]) {
        for one in all {
            let levels = one.levels();
            match &one.entry {
                Some(entry) => {
                    if let Ok((n, id)) = self.find_entry(entry) {
                        let table = &self.pipeline.engine.tables()[n];
                        table.set_meter_levels(id, &levels, self.now_ns);
                    }
                }
                None => {
                    if let Ok(meter) = self.pipeline.meter(one.meter) {
                        // One that is smaller here has no such element.
                        let _ = meter.set_levels(one.index, &levels, self.now_ns);
                    }
                }
            }
        }
    }
}
