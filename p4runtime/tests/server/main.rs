// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server, driven over gRPC.

mod availability;
mod batches;
mod common;
mod configs;
mod continuity;
mod digests;
mod entities;
mod hostile;
mod kept;
mod messages;
mod one_shot;
mod rules;
mod streams;
mod succession;
mod texts;
mod tls;
