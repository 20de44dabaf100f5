// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The figures of a bench: a table for people, JSON for machines.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use adit_qemu_tests::paths;
use anyhow::{Context, Result};
use serde::Serialize;

/// One quantity, measured for each contestant.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// Whether more is better.
    pub(crate) higher_is_better: bool,
    /// By contestant; one that could not be measured is absent.
    pub(crate) values: BTreeMap<String, f64>,
    /// Ours divided by each peer's.
    pub(crate) ours_to_peer: BTreeMap<String, f64>,
}

/// All figures of one bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The bench.
    pub(crate) bench: &'static str,
    /// What it ran on.
    pub(crate) conditions: BTreeMap<&'static str, String>,
    /// The contestants, ours first.
    pub(crate) contestants: Vec<String>,
    /// The figures.
    pub(crate) figures: Vec<Figure>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(bench: &'static str, contestants: &[&str]) -> Self {
        Self {
            bench,
            conditions: BTreeMap::new(),
            contestants: contestants.iter().map(|&name| name.to_owned()).collect(),
            figures: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Adds one contestant's value.
    pub(crate) fn add(&mut self, who: &str, name: &str, unit: &'static str, up: bool, value: f64) {
        let found = self.figures.iter().position(|figure| figure.name == name);
        let index = found.unwrap_or_else(|| {
            self.figures.push(Figure {
                name: name.to_owned(),
                unit,
                higher_is_better: up,
                values: BTreeMap::new(),
                ours_to_peer: BTreeMap::new(),
            });
            self.figures.len() - 1
        });
        let figure = &mut self.figures[index];
        figure.values.insert(who.to_owned(), value);
        let ours = self
            .contestants
            .first()
            .and_then(|ours| figure.values.get(ours))
            .copied();
        if let Some(ours) = ours {
            figure.ours_to_peer = figure
                .values
                .iter()
                .filter(|(name, value)| self.contestants.first() != Some(name) && **value != 0.0)
                .map(|(name, value)| (name.clone(), ours / value))
                .collect();
        }
    }

    /// Writes `target/bench/NAME.json`.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let folder = paths::target().join("bench");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", self.bench));
        let text = serde_json::to_string_pretty(self)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, value) in &self.conditions {
            writeln!(f, "{what}: {value}")?;
        }
        write!(f, "{:42}", "")?;
        for who in &self.contestants {
            write!(f, "{who:>20}")?;
        }
        writeln!(f, "\n{:42}{:>20}", "", "(ours / peer)")?;
        for figure in &self.figures {
            let better = if figure.higher_is_better {
                "↑"
            } else {
                "↓"
            };
            write!(
                f,
                "{:42}",
                format!("{} [{}] {better}", figure.name, figure.unit)
            )?;
            for who in &self.contestants {
                let value = figure.values.get(who);
                let text =
                    value.map_or_else(|| "-".into(), |value| format!("{value:.*}", digits(*value)));
                let ratio = figure.ours_to_peer.get(who);
                let ratio = ratio.map_or_else(String::new, |ratio| format!(" ({ratio:.2})"));
                write!(f, "{:>20}", text + &ratio)?;
            }
            writeln!(f)?;
        }
        self.failures
            .iter()
            .try_for_each(|failure| writeln!(f, "not measured: {failure}"))
    }
}

/// Decimal places that show three significant digits or more.
fn digits(value: f64) -> usize {
    match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_ours_to_the_peer() {
        let mut report = Report::new("x", &["ours", "peer"]);
        report.add("ours", "rate", "1/s", true, 30.0);
        report.add("peer", "rate", "1/s", true, 20.0);
        assert_eq!(report.figures[0].ours_to_peer.get("peer"), Some(&1.5));
        assert!(report.to_string().contains("20.0 (1.50)"), "{report}");
    }
}
