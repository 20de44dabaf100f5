// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log line for a program that the NIC loaded at startup or that a client loaded.

use std::time::Duration;

use adit_pipeline::p4::Engine;

/// The maximum number of characters of a name in the log: clients choose the name.
const MAX_NAME: usize = 80;

/// Logs that `engine` runs the program `name`, which took `took` to compile and load. An
/// interpreted program is logged as a warning, since it is many times slower.
pub fn log(name: &str, engine: &Engine, took: Duration) {
    let name: String = name.chars().take(MAX_NAME).collect();
    let program = engine.program();
    let (tables, blocks) = (program.tables.len(), program.blocks.len());
    let architecture = &*program.package;
    let ms = took.as_millis() as u64;
    match engine.is_interpreted() {
        None => {
            tracing::info!(
                ?name,
                architecture,
                tables,
                blocks,
                ms,
                "P4 program loaded: compiled"
            )
        }
        Some(why) => tracing::warn!(
            ?name, architecture, tables, blocks, ms, %why,
            "P4 program loaded: interpreted"
        ),
    }
}
