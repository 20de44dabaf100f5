// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log's line for a program that was loaded, by the NIC at its start or by a client.

use std::time::Duration;

use adit_pipeline::p4::Engine;

/// Characters of a name that are logged: clients choose it.
const MAX_NAME: usize = 80;

/// Logs that `engine` has the program `name`, which took `took` to compile and load: a warning if
/// it is interpreted, which is many times slower.
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
