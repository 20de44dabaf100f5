// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rates of meters.

use adit_pipeline::p4::objects::MeterConfig;

use super::fault::{Fault, Result};
use crate::proto::v1;

/// Converts and checks rates for the engine: an excess burst selects a single-rate marker.
pub(crate) fn config(given: &v1::MeterConfig) -> Result<MeterConfig> {
    let positive = |value: i64, what: &str| {
        u64::try_from(value).map_err(|_| Fault::invalid(format!("{what} is {value}, below 0")))
    };
    let committed_rate = positive(given.cir, "cir")?;
    let committed_burst = positive(given.cburst, "cburst")?;
    let config = match given.eburst {
        0 => MeterConfig::TwoRates {
            committed_rate,
            committed_burst,
            peak_rate: positive(given.pir, "pir")?,
            peak_burst: positive(given.pburst, "pburst")?,
        },
        excess => MeterConfig::OneRate {
            committed_rate,
            committed_burst,
            excess_burst: positive(excess, "eburst")?,
        },
    };
    config.check()?;
    Ok(config)
}

/// Converts rates for clients.
pub(crate) fn shown_config(config: MeterConfig) -> v1::MeterConfig {
    match config {
        MeterConfig::TwoRates {
            committed_rate,
            committed_burst,
            peak_rate,
            peak_burst,
        } => v1::MeterConfig {
            cir: committed_rate as i64,
            cburst: committed_burst as i64,
            pir: peak_rate as i64,
            pburst: peak_burst as i64,
            eburst: 0,
        },
        MeterConfig::OneRate {
            committed_rate,
            committed_burst,
            excess_burst,
        } => v1::MeterConfig {
            cir: committed_rate as i64,
            cburst: committed_burst as i64,
            eburst: excess_burst as i64,
            ..Default::default()
        },
    }
}
