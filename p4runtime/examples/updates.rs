// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Updates per second: `updates [ROUNDS]`, for `cargo xtask bench p4rt`. One client writes batches
//! to a server on loopback and waits for each answer; the same updates without gRPC are measured
//! for comparison. Writes a JSON value.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Instant;

use adit_p4runtime::client::{Client, Target};
use adit_p4runtime::p4info::p4info;
use adit_p4runtime::program::Package;
use adit_p4runtime::proto::v1::{
    action::Param, entity::Entity as E, field_match::FieldMatchType, field_match::Lpm,
    table_action, update::Type, Action, Entity, FieldMatch, TableAction, TableEntry, Update,
};
use adit_p4runtime::server::{listen, Pipeline, PipelineHandle, Server};
use adit_pipeline::p4::Engine;

/// A routing table: a longest-prefix match selects the next hop.
const PROGRAM: &str = r#"
#include <core.p4>
#include <v1model.p4>
struct headers_t { }
struct metadata_t { bit<32> dst; bit<16> nexthop; }
parser P(packet_in p, out headers_t h, inout metadata_t m, inout standard_metadata_t s) {
    state start { m.dst = p.lookahead<bit<32>>(); transition accept; }
}
control V(inout headers_t h, inout metadata_t m) { apply {} }
control I(inout headers_t h, inout metadata_t m, inout standard_metadata_t s) {
    direct_counter(CounterType.packets_and_bytes) routed;
    action route(bit<16> nexthop) { m.nexthop = nexthop; }
    table routes {
        key = { m.dst: lpm; }
        actions = { route; NoAction; }
        counters = routed;
        size = 1048576;
    }
    apply { routes.apply(); }
}
control E(inout headers_t h, inout metadata_t m, inout standard_metadata_t s) { apply {} }
control D(packet_out p, in headers_t h) { apply {} }
V1Switch(P(), V(), I(), E(), V(), D()) main;
"#;
const ENTRIES: u32 = 200_000;
const BATCH: usize = 1000;

struct Idle;

impl PipelineHandle for Idle {
    fn commit(&self, _: Arc<Engine>) -> Result<(), String> {
        Ok(())
    }
    fn now_ns(&self) -> u64 {
        0
    }
}

/// Creates batches of one kind of update.
fn batches(table: u32, action: u32, kind: Type) -> Vec<Vec<Update>> {
    let one = |n: u32| {
        let entry = TableEntry {
            table_id: table,
            r#match: vec![FieldMatch {
                field_id: 1,
                field_match_type: Some(FieldMatchType::Lpm(Lpm {
                    value: (0x0A00_0000 + (n << 4)).to_be_bytes().to_vec(),
                    prefix_len: 28,
                })),
            }],
            action: (kind != Type::Delete).then(|| TableAction {
                r#type: Some(table_action::Type::Action(Action {
                    action_id: action,
                    params: vec![Param {
                        param_id: 1,
                        value: vec![kind as u8, n as u8],
                    }],
                })),
            }),
            ..Default::default()
        };
        Update {
            r#type: kind as i32,
            entity: Some(Entity {
                entity: Some(E::TableEntry(entry)),
            }),
        }
    };
    let all: Vec<u32> = (0..ENTRIES).collect();
    let chunks = all.chunks(BATCH);
    chunks
        .map(|numbers| numbers.iter().map(|n| one(*n)).collect())
        .collect()
}

/// Returns the median; there is at least one sample.
fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: usize = match std::env::args().nth(1) {
        Some(text) => text.parse::<NonZero<usize>>()?.get(),
        None => 5,
    };
    let program = Package::source(PROGRAM).program()?;
    let info = p4info(&program)?.p4info;
    let table = info.tables[0].preamble.as_ref().ok_or("a table")?.id;
    let action = info.tables[0].action_refs[0].id;
    let engine = Arc::new(Engine::load(program)?);
    let direct = Pipeline::of_engine(engine.clone())?;
    let pipeline = Pipeline::of_engine(engine)?;
    let server = Server::new(1, Arc::new(Idle), Some(pipeline));
    let listening = listen(server, &"127.0.0.1:0".parse()?, None)?;
    let mut client = Client::connect(Target {
        address: listening.address.clone(),
        device_id: 1,
        role: String::new(),
        tls: None,
    })?;
    let kinds = [
        ("insert", Type::Insert),
        ("modify", Type::Modify),
        ("delete", Type::Delete),
    ];
    let mut grpc = vec![Vec::new(); kinds.len()];
    let mut alone = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for (n, (_, kind)) in kinds.iter().enumerate() {
            let batches = batches(table, action, *kind);
            let begin = Instant::now();
            for batch in batches {
                client.write(batch, false)?;
            }
            grpc[n].push(f64::from(ENTRIES) / begin.elapsed().as_secs_f64());
        }
        for (n, (_, kind)) in kinds.iter().enumerate() {
            let batches = batches(table, action, *kind);
            let begin = Instant::now();
            let failed: usize = batches.iter().map(|b| direct.write(b, 0).len()).sum();
            assert_eq!(failed, 0, "all updates are right");
            alone[n].push(f64::from(ENTRIES) / begin.elapsed().as_secs_f64());
        }
    }
    let rows = kinds.iter().enumerate().map(|(n, (name, _))| {
        let (grpc, alone) = (median(&mut grpc[n]), median(&mut alone[n]));
        format!(
            "{{\"update\": \"{name}\", \"grpc_per_s\": {grpc:.0}, \"without_grpc_per_s\": {alone:.0}, \
             \"ratio\": {:.3}}}",
            grpc / alone
        )
    });
    let rows: Vec<_> = rows.collect();
    println!(
        "{{\"entries\": {ENTRIES}, \"batch\": {BATCH}, \"rounds\": {rounds}, \"rows\": [{}]}}",
        rows.join(", ")
    );
    Ok(())
}
