// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Services over gRPC, and packets through the program.

mod apply;
mod churn;
mod common;
mod concurrent;
mod setup;
