// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cost of ADIs in the device model alone: time and memory of each, by their number, and the
//! cost of a packet and of an address translation.

use anyhow::{ensure, Context, Result};
use serde_json::Value;

use crate::build::cargo;

pub(super) fn run() -> Result<Value> {
    let output = cargo()
        .args(["run", "--quiet", "--release", "--package", "adit-nic"])
        .args(["--features", "fuzzing", "--example", "adi_scale"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "the measurement failed: see above");
    serde_json::from_slice(&output.stdout).context("its report")
}

/// Returns the report as a table for the reader.
pub(super) fn table(model: &Value) -> String {
    let mut text = format!(
        "{:>8} {:>12} {:>12} {:>12} {:>14}\n",
        "ADIs", "create µs", "destroy µs", "bytes each", "idle turn ns"
    );
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    for row in model["scale"].as_array().into_iter().flatten() {
        text += &format!(
            "{:>8} {:>12.1} {:>12.1} {:>12.0} {:>14.1}\n",
            number(row, "adis"),
            number(row, "create_us"),
            number(row, "destroy_us"),
            number(row, "bytes_each"),
            number(row, "idle_turn_ns"),
        );
    }
    let (packet, translation) = (&model["packet"], &model["translation"]);
    let per_access = number(translation, "cost_cached_ns");
    let walk = number(translation, "walked_ns") - number(translation, "none_ns");
    let device = number(packet, "device_ns");
    let (translations, walks) = (number(packet, "translations"), number(packet, "walks"));
    let new = number(translation, "learned_ns") - number(translation, "none_ns");
    let cost = (translations - walks) * per_access + walks * new;
    text += &format!(
        "\npacket from ADI to ADI: {device:.0} ns in the device, {translations:.2} translations, \
         {walks:.2} walked for\n\
         translation: {per_access:.1} ns when the burst knows the page, {new:.1} ns when it is new \
         to it, {walk:.1} ns with all tables walked\n\
         translation's share of a packet: {:.1} %\n",
        cost / device * 100.0,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_has_a_line_for_each_population_and_the_share_of_translation() {
        let model = json!({
            "scale": [
                { "adis": 1, "create_us": 2.0, "destroy_us": 3.0, "bytes_each": 4, "idle_turn_ns": 5 },
                { "adis": 100, "create_us": 2.5, "destroy_us": 3.5, "bytes_each": 4, "idle_turn_ns": 5 },
            ],
            "packet": { "device_ns": 1000.0, "translations": 6.0, "walks": 0.5 },
            "translation": { "none_ns": 10.0, "learned_ns": 50.0, "walked_ns": 110.0, "cost_cached_ns": 10.0 },
        });
        let text = table(&model);
        assert!(text.contains("     100          2.5"), "{text}");
        assert!(text.contains("100.0 ns with all"), "{text}");
        assert!(text.ends_with("of a packet: 7.5 %\n"), "{text}");
    }
}
