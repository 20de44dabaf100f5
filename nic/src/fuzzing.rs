// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bodies of the fuzz targets for the device as a whole, so that a plain test can run them too.
//! Those of single modules are in these modules.

mod adis;
mod corpus;
mod registers;
mod rings;
mod update;

pub use adis::adis;
pub use corpus::{registers_corpus, rings_corpus};
#[cfg(test)]
pub(crate) use registers::loaded;
pub use registers::registers;
pub use rings::{accounts, rings};
pub use update::update;

use adit_function::testing::Choices;
