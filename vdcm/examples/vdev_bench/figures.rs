// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Summaries of samples.

use std::time::Duration;

use serde_json::{json, Value};

/// The sample that `part` of them do not exceed; samples must be sorted.
fn quantile(sorted: &[u64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (part * last as f64).round() as usize;
    sorted.get(at).map_or(f64::NAN, |&n| n as f64)
}

/// Median and 99th percentile of nanoseconds, in other units.
pub(crate) fn summary(mut nanoseconds: Vec<u64>, unit: f64) -> Value {
    nanoseconds.sort_unstable();
    json!({
        "median": quantile(&nanoseconds, 0.5) / unit,
        "p99": quantile(&nanoseconds, 0.99) / unit,
    })
}

/// Median and 99th percentile in milliseconds.
pub(crate) fn milliseconds(times: &[Duration]) -> Value {
    summary(times.iter().map(|it| it.as_nanos() as u64).collect(), 1e6)
}

/// Median and 99th percentile in microseconds.
pub(crate) fn microseconds(nanoseconds: Vec<u64>) -> Value {
    summary(nanoseconds, 1e3)
}
