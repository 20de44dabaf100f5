// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server, driven over gRPC.

mod batches;
mod common;
mod configs;
mod entities;
mod hostile;
mod kept;
mod one_shot;
mod streams;
mod texts;
mod tls;
