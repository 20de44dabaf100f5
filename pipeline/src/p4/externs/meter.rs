// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Meters: RFC 2697's and RFC 2698's markers, under the caller's clock.
//!
//! Buckets are exact. What a rate has brought by a time, `rate * now_ns`, is a whole number of
//! billionths of a unit, and a bucket is the one number that says how much of that is spoken for.
//! Packets change it by compare and swap: no core waits for another.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use portable_atomic::AtomicU128;

use super::{Count, ObjectError};

/// Billionths in a unit, and nanoseconds in a second.
const NANO: u128 = 1_000_000_000;

/// What a packet is marked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Color {
    /// Within the committed rate.
    Green,
    /// Above it, within what is tolerated.
    Yellow,
    /// Above that.
    Red,
}

/// What a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterUnit {
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
}

/// The rates of a meter, in its units a second, and its bursts, in its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterConfig {
    /// The two rate three color marker, RFC 2698.
    TwoRates {
        /// The committed information rate.
        committed_rate: u64,
        /// The committed burst size.
        committed_burst: u64,
        /// The peak information rate.
        peak_rate: u64,
        /// The peak burst size.
        peak_burst: u64,
    },
    /// The single rate three color marker, RFC 2697. Without an excess burst nothing is yellow.
    OneRate {
        /// The committed information rate.
        committed_rate: u64,
        /// The committed burst size.
        committed_burst: u64,
        /// The excess burst size.
        excess_burst: u64,
    },
}

impl MeterConfig {
    /// RFC 2698, section 2: the peak is not below the committed rate.
    fn check(&self) -> Result<(), ObjectError> {
        match *self {
            MeterConfig::TwoRates {
                committed_rate,
                peak_rate,
                ..
            } if peak_rate < committed_rate => Err(ObjectError::Rates {
                committed: committed_rate,
                peak: peak_rate,
            }),
            _ => Ok(()),
        }
    }
}

/// A bucket that a rate fills: the amount up to which what the rate brings is spoken for, counted
/// such that the bucket is full when that is not above what it has brought, and empty when it is
/// above by the burst.
#[derive(Debug, Default)]
struct Bucket(AtomicU128);

impl Bucket {
    /// Takes an amount if it is there. `brought` is what the rate has brought by now. Gives
    /// whether it was there, and what has run over since the bucket was asked last.
    fn take(&self, brought: u128, burst: u64, amount: u128) -> (bool, u128) {
        let limit = brought + u128::from(burst) * NANO;
        let mut old = self.0.load(Relaxed);
        loop {
            let filled = old.max(brought);
            let wanted = filled + amount;
            let fits = wanted <= limit;
            let new = if fits { wanted } else { filled };
            match self.0.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return (fits, filled - old),
                Err(other) => old = other,
            }
        }
    }
}

/// Rates with the state of their buckets. Buckets begin full.
#[derive(Debug)]
struct Metered {
    config: MeterConfig,
    committed: Bucket,
    peak: Bucket,
    /// Of one rate: what is missing from the excess bucket.
    missing: AtomicU128,
}

impl Metered {
    fn mark(&self, now_ns: u64, amount: u64, color: Color) -> Color {
        let amount = u128::from(amount) * NANO;
        let brought = |rate: u64| u128::from(rate) * u128::from(now_ns);
        match self.config {
            MeterConfig::TwoRates {
                committed_rate,
                committed_burst,
                peak_rate,
                peak_burst,
            } => {
                if color == Color::Red {
                    return Color::Red;
                }
                if !self.peak.take(brought(peak_rate), peak_burst, amount).0 {
                    return Color::Red;
                }
                let committed = || {
                    let brought = brought(committed_rate);
                    self.committed.take(brought, committed_burst, amount).0
                };
                match color == Color::Green && committed() {
                    true => Color::Green,
                    false => Color::Yellow,
                }
            }
            MeterConfig::OneRate {
                committed_rate,
                committed_burst,
                excess_burst,
            } => {
                // What is more than there can be takes nothing, and only lets the bucket fill.
                let asked = match color {
                    Color::Green => amount,
                    _ => u128::MAX >> 1,
                };
                let brought = brought(committed_rate);
                let (fits, over) = self.committed.take(brought, committed_burst, asked);
                self.change_missing(|missing| Some(missing.saturating_sub(over)));
                if fits {
                    return Color::Green;
                }
                let excess = u128::from(excess_burst) * NANO;
                let take = |missing: u128| Some(missing + amount).filter(|new| *new <= excess);
                match color != Color::Red && self.change_missing(take) {
                    true => Color::Yellow,
                    false => Color::Red,
                }
            }
        }
    }

    fn change_missing(&self, change: impl FnMut(u128) -> Option<u128>) -> bool {
        self.missing.fetch_update(Relaxed, Relaxed, change).is_ok()
    }
}

/// One meter. Until it has rates everything is green, or keeps its color.
#[derive(Debug, Default)]
pub(in crate::p4) struct MeterCell(ArcSwapOption<Metered>);

impl MeterCell {
    pub(in crate::p4) fn get(&self) -> Option<MeterConfig> {
        self.0.load().as_ref().map(|metered| metered.config)
    }

    pub(in crate::p4) fn set(&self, config: Option<MeterConfig>) -> Result<(), ObjectError> {
        if let Some(config) = &config {
            config.check()?;
        }
        let metered = config.map(|config| Metered {
            config,
            committed: Bucket::default(),
            peak: Bucket::default(),
            missing: AtomicU128::new(0),
        });
        self.0.store(metered.map(Arc::new));
        Ok(())
    }

    pub(in crate::p4) fn mark(&self, now_ns: u64, amount: u64, color: Color) -> Color {
        match &*self.0.load() {
            Some(metered) => metered.mark(now_ns, amount, color),
            None => color,
        }
    }
}

/// A `meter`: as many meters as it has elements.
#[derive(Debug)]
pub struct Meter {
    unit: MeterUnit,
    cells: Box<[MeterCell]>,
}

impl Meter {
    pub(super) fn new(unit: MeterUnit, size: usize) -> Meter {
        Meter {
            unit,
            cells: (0..size).map(|_| MeterCell::default()).collect(),
        }
    }

    /// How many elements there are.
    pub fn size(&self) -> u64 {
        self.cells.len() as u64
    }

    /// What is counted.
    pub fn unit(&self) -> MeterUnit {
        self.unit
    }

    /// The rates of an element; `None`: it has none, and everything is green.
    pub fn get(&self, index: u64) -> Result<Option<MeterConfig>, ObjectError> {
        Ok(self.cell(index)?.get())
    }

    /// Sets the rates of an element. Its buckets are full then.
    pub fn set(&self, index: u64, config: Option<MeterConfig>) -> Result<(), ObjectError> {
        self.cell(index)?.set(config)
    }

    /// Marks a packet; beyond the end it keeps its color.
    pub(super) fn mark(&self, index: u64, now_ns: u64, weight: Count, color: Color) -> Color {
        let amount = self.unit.amount(weight);
        self.cell(index)
            .map_or(color, |cell| cell.mark(now_ns, amount, color))
    }

    fn cell(&self, index: u64) -> Result<&MeterCell, ObjectError> {
        let found = usize::try_from(index).ok().and_then(|n| self.cells.get(n));
        found.ok_or(ObjectError::Index {
            index,
            size: self.size(),
        })
    }
}

impl MeterUnit {
    /// How much of a packet is measured.
    pub(in crate::p4) fn amount(self, weight: Count) -> u64 {
        match self {
            MeterUnit::Packets => weight.packets,
            MeterUnit::Bytes => weight.bytes,
        }
    }
}

#[cfg(test)]
mod tests;
