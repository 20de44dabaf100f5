// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest for tests: memory, drivers.

pub mod adi;
pub mod guest;

pub use adit_function::testing::{ram, sealed, RAM, RAM_LEN};
