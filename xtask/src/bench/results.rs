// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Figures, the table and the JSON file.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use adit_qemu_tests::paths;
use anyhow::{Context, Result};
use serde_json::{json, Value};

/// A measured quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) higher_is_better: bool,
}

impl Quantity {
    pub(crate) const fn higher(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            higher_is_better: true,
        }
    }

    pub(crate) const fn lower(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            higher_is_better: false,
        }
    }

    fn better(&self) -> &'static str {
        if self.higher_is_better {
            "higher"
        } else {
            "lower"
        }
    }
}

/// Samples of one quantity for one contender, one per round.
#[derive(Debug)]
struct Figure {
    contender: &'static str,
    quantity: Quantity,
    samples: Vec<f64>,
}

/// A contender, with a column in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// `true` if it is ours.
    pub(crate) ours: bool,
}

/// Results of all measurements.
#[derive(Debug)]
pub(crate) struct Results {
    columns: Vec<Column>,
    quantities: Vec<Quantity>,
    figures: Vec<Figure>,
    failures: Vec<String>,
}

impl Results {
    /// Creates empty results.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            quantities: Vec::new(),
            figures: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Adds a sample.
    pub(crate) fn add(&mut self, contender: &'static str, quantity: Quantity, sample: f64) {
        if !self.quantities.contains(&quantity) {
            self.quantities.push(quantity);
        }
        let existing = self
            .figures
            .iter_mut()
            .find(|it| it.contender == contender && it.quantity == quantity);
        match existing {
            Some(figure) => figure.samples.push(sample),
            None => self.figures.push(Figure {
                contender,
                quantity,
                samples: vec![sample],
            }),
        }
    }

    /// Records a measurement without a result.
    pub(crate) fn fail(&mut self, failure: String) {
        println!("  {failure}");
        self.failures.push(failure);
    }

    fn median(&self, contender: &str, quantity: &Quantity) -> Option<f64> {
        self.figures
            .iter()
            .find(|it| it.contender == contender && it.quantity == *quantity)
            .and_then(|it| percentile(&it.samples, 50.0))
    }

    /// Returns the ratios of ours to each peer: (quantity, ours, peer, ratio).
    fn ratios(&self) -> Vec<(Quantity, &'static str, &'static str, f64)> {
        let mut ratios = Vec::new();
        for quantity in &self.quantities {
            for ours in self.columns.iter().filter(|it| it.ours) {
                for peer in self.columns.iter().filter(|it| !it.ours) {
                    let medians = (
                        self.median(ours.name, quantity),
                        self.median(peer.name, quantity),
                    );
                    if let (Some(our), Some(their)) = medians {
                        if their != 0.0 {
                            ratios.push((*quantity, ours.name, peer.name, our / their));
                        }
                    }
                }
            }
        }
        ratios
    }

    /// Returns the figures, then the ratios, as tables.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        row(
            &mut text,
            "",
            self.columns.iter().map(|it| it.name.to_owned()),
        );
        for quantity in &self.quantities {
            let title = format!("{} [{}]", quantity.name, quantity.unit);
            let cells = self.columns.iter().map(|it| {
                self.median(it.name, quantity)
                    .map_or_else(|| "-".into(), format_figure)
            });
            row(&mut text, &title, cells);
        }
        let ratios = self.ratios();
        let peers = self.columns.iter().filter(|it| !it.ours);
        let _ = writeln!(text, "\nRatios ours/peer:");
        row(
            &mut text,
            "",
            peers
                .clone()
                .map(|it| it.name.to_owned())
                .chain(["better".into()]),
        );
        for quantity in &self.quantities {
            for ours in self.columns.iter().filter(|it| it.ours) {
                let ratio = |peer: &str| {
                    ratios
                        .iter()
                        .find(|it| it.0 == *quantity && it.1 == ours.name && it.2 == peer)
                        .map(|it| format!("{:.2}", it.3))
                };
                let cells: Vec<_> = peers.clone().map(|peer| ratio(peer.name)).collect();
                if cells.iter().all(Option::is_none) {
                    continue;
                }
                let title = format!("{}, {}", quantity.name, ours.name);
                let cells = cells
                    .into_iter()
                    .map(|cell| cell.unwrap_or_else(|| "-".into()))
                    .chain([quantity.better().into()]);
                row(&mut text, &title, cells);
            }
        }
        for failure in &self.failures {
            let _ = writeln!(text, "no figure: {failure}");
        }
        text
    }

    /// Returns the results as JSON.
    pub(crate) fn json(&self, name: &str, environment: &Value) -> Value {
        let figures: Vec<_> = self.figures.iter().map(Figure::json).collect();
        let ratios: Vec<_> = self
            .ratios()
            .into_iter()
            .map(|(quantity, ours, peer, ratio)| {
                json!({
                    "quantity": quantity.name,
                    "ours": ours,
                    "peer": peer,
                    "ratio": ratio,
                    "unit": "ours/peer",
                    "better": quantity.better(),
                })
            })
            .collect();
        json!({
            "benchmark": name,
            "environment": environment,
            "figures": figures,
            "ratios": ratios,
            "failures": self.failures,
        })
    }
}

/// Writes `target/bench/NAME.json`.
pub(crate) fn write(name: &str, json: &Value) -> Result<PathBuf> {
    let folder = paths::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_vec_pretty(json)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

impl Figure {
    fn json(&self) -> Value {
        json!({
            "contender": self.contender,
            "quantity": self.quantity.name,
            "unit": self.quantity.unit,
            "better": self.quantity.better(),
            "median": percentile(&self.samples, 50.0),
            "samples": self.samples,
        })
    }
}

fn row(text: &mut String, title: &str, cells: impl Iterator<Item = String>) {
    let _ = write!(text, "{title:<58}");
    for cell in cells {
        let _ = write!(text, " {cell:>11}");
    }
    text.push('\n');
}

fn format_figure(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// Returns the `percent`th percentile of `samples`, interpolated if it falls between two.
pub(crate) fn percentile(samples: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = percent / 100.0 * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[low] + (sorted[high] - sorted[low]) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Quantity = Quantity::higher("rate", "1/s");
    const COLUMNS: [Column; 2] = [
        Column {
            name: "adit",
            ours: true,
        },
        Column {
            name: "igb",
            ours: false,
        },
    ];

    #[test]
    fn percentiles_interpolate() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(&samples, 50.0), Some(2.5));
        assert_eq!(percentile(&samples, 100.0), Some(4.0));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn ratios_are_of_medians_ours_over_peer() {
        let mut results = Results::new(&COLUMNS);
        for sample in [10.0, 30.0, 20.0] {
            results.add("adit", RATE, sample);
        }
        results.add("igb", RATE, 5.0);
        assert_eq!(results.ratios(), [(RATE, "adit", "igb", 4.0)]);
        let table = results.table();
        assert!(
            table.contains("rate [1/s]") && table.contains("4.00"),
            "{table}"
        );
    }

    #[test]
    fn a_peer_that_did_nothing_gives_no_ratio() {
        let mut results = Results::new(&COLUMNS);
        results.add("adit", RATE, 1.0);
        results.add("igb", RATE, 0.0);
        assert_eq!(results.ratios(), []);
    }
}
