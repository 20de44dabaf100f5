// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prometheus metrics over HTTP: writing them ([`Exposition`]) and serving them
//! ([`MetricsServer`]).

mod exposition;
mod server;

pub use exposition::{Exposition, Family, Kind};
pub use server::MetricsServer;
