// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Direct counters and meters of entries that are written.

use adit_pipeline::p4::objects::{Count, MeterConfig};
use adit_pipeline::p4::tables::{EntryId, Table};

use super::fault::{Fault, Result};
use super::rates::config;
use crate::proto::v1;

/// The direct counter and meter of an entry, as far as they are given.
pub(crate) struct Direct {
    counts: Option<Count>,
    rates: Option<MeterConfig>,
}

impl Direct {
    /// Checks those of an entry.
    pub(crate) fn of(given: &v1::TableEntry) -> Result<Self> {
        Ok(Self {
            counts: given.counter_data.as_ref().map(count).transpose()?,
            rates: given.meter_config.as_ref().map(config).transpose()?,
        })
    }

    /// Sets them.
    pub(crate) fn set(self, table: &Table, id: EntryId) -> Result<()> {
        if let Some(counts) = self.counts {
            table.set_count(id, counts)?;
        }
        if let Some(rates) = self.rates {
            table.set_meter(id, Some(rates))?;
        }
        Ok(())
    }
}

pub(crate) fn count(data: &v1::CounterData) -> Result<Count> {
    match (
        u64::try_from(data.packet_count),
        u64::try_from(data.byte_count),
    ) {
        (Ok(packets), Ok(bytes)) => Ok(Count { packets, bytes }),
        _ => Err(Fault::invalid(format!(
            "packet_count is {} and byte_count {}: neither is below 0",
            data.packet_count, data.byte_count
        ))),
    }
}
