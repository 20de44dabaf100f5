// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traces of packets: the events that the P4 engine records, in the terms of a program's control
//! plane, and the service `adit.v1.Trace`, whose messages `proto/adit/v1/trace.proto` documents.
//!
//! - [`Record`]: a packet that was traced, as the data path has it
//! - [`Translator`]: its message
//! - [`Filter`], [`Seen`], [`Watcher`]: the packets that a client wants, and their way to it
//! - [`service`], [`client`]: the service for a NIC ([`Tap`]), and a client
#![forbid(unsafe_code)]

mod blame;
mod changes;
pub mod client;
mod filter;
pub mod proto;
mod record;
mod seen;
mod server;
mod translate;
mod values;
mod watcher;

pub use filter::{BadFilter, Filter, MAX_SOCKETS};
pub use record::{Dropped, Fate, Record, Sent, SNAP};
pub use seen::Seen;
pub use server::{service, Injection, Refused, Tap};
pub use translate::Translator;
pub use watcher::{Rate, Received, Watcher, DEFAULT_RATE, MAX_RATE};
