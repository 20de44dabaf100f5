// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of P4 programs.
//!
//! An [`Engine`] is a program with its tables and objects. It is shared (`Arc<Engine>`): packets
//! are processed by [`Worker`]s, one for each core, while control planes read and write through the
//! engine, whose methods all take `&self`. The program's package determines its architecture: PNA
//! or v1model.
//!
//! Entities are identified by their index in [`Program`](adit_p4_frontend::ir::Program) (tables,
//! externs, value sets) or by name, entries by their keys and priority. A failed change has no
//! effect. Time is supplied by the caller: workers and [`Engine::expire`] get it as an argument.
//!
//! ```
//! use adit_p4_frontend::{compile, ir::{Chosen, Match}, source::NoIncludes, Options};
//! use adit_pipeline::p4::{tables::{Action, Entry}, Engine, Input, Output, Worker};
//! use std::sync::Arc;
//!
//! let text = r#"
//!     #include <core.p4>
//!     #include <pna.p4>
//!     header eth_t { bit<48> dst; bit<48> src; bit<16> type; }
//!     struct headers_t { eth_t eth; }
//!     struct meta_t { }
//!     parser P(packet_in p, out headers_t h, inout meta_t m, in pna_main_parser_input_metadata_t i) {
//!         state start { p.extract(h.eth); transition accept; }
//!     }
//!     control Pre(in headers_t h, inout meta_t m, in pna_pre_input_metadata_t i,
//!                 inout pna_pre_output_metadata_t o) { apply { } }
//!     control C(inout headers_t h, inout meta_t m, in pna_main_input_metadata_t i,
//!               inout pna_main_output_metadata_t o) {
//!         action forward(PortId_t port) { send_to_port(port); }
//!         action deny() { drop_packet(); }
//!         table by_mac {
//!             key = { h.eth.dst: exact; }
//!             actions = { forward; deny; }
//!             default_action = deny();
//!         }
//!         apply { by_mac.apply(); }
//!     }
//!     control D(packet_out p, in headers_t h, in meta_t m, in pna_main_output_metadata_t o) {
//!         apply { p.emit(h.eth); }
//!     }
//!     PNA_NIC(P(), Pre(), C(), D()) main;
//! "#;
//! let compiled = compile("l2.p4", text, &NoIncludes, &Options::default());
//! let program = compiled.program.expect("it has no errors");
//! let engine = Arc::new(Engine::load(program)?);
//!
//! // The control plane: what the table's actions are, the program says.
//! let table = engine.table("C.by_mac").expect("the program has it");
//! let forward = table.spec().actions.iter().position(|a| a.name == "C.forward").unwrap();
//! let entry = Entry {
//!     keys: vec![Match::Exact(vec![0x0200_0000_0001])],
//!     priority: 0,
//!     action: Action::Direct(Chosen { action: forward as u32, arguments: vec![vec![7]] }),
//!     idle_timeout_ns: None,
//!     opaque: Vec::new(),
//! };
//! table.insert(&entry, 0)?;
//!
//! // A core: packets in, in batches; what becomes of each comes out.
//! let mut worker = Engine::worker(&engine);
//! let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
//! frame.extend_from_slice(b"payload");
//! let mut ports = Vec::new();
//! worker.process(1_000, &[Input::new(1, &frame)], &mut |n, output| {
//!     if let Output::Sent(sent) = output {
//!         assert_eq!((n, sent.headers.len(), sent.payload_offset), (0, 14, 14));
//!         ports.push(sent.port);
//!     }
//! });
//! assert_eq!(ports, [7]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bits;
mod code;
mod connections;
mod effects;
mod engine;
mod environment;
pub mod events;
mod externs;
mod fields;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod hash;
mod lane;
mod load_error;
mod machine;
mod memory;
mod metadata;
mod native;
pub mod objects;
mod packet;
mod packets;
mod pna;
mod rejections;
pub mod replication;
mod round;
mod state;
pub mod tables;
pub mod trace;
mod unsupported;
mod v1model;
mod wide;

pub use connections::TrackerError;
pub use engine::{Engine, Worker};
pub use load_error::{LoadError, MainError};
pub use machine::MAX_STEPS;
pub use native::Untranslated;
pub use packets::{
    Direction, DropReason, Input, Output, Receive, Sent, SentKind, FIRST_HOST_PORT, NO_QUEUE,
};
pub use rejections::Rejections;
pub use unsupported::Unsupported;
