// SPDX-License-Identifier: Apache-2.0 OR MIT
//! P4 programs at work: the machine that runs the intermediate form, tables, externs, and the
//! architectures that programs are written for.

mod bits;
pub mod externs;
mod fields;
pub mod hash;
mod machine;
mod metadata;
mod packet;
pub mod pna;
pub mod tables;
pub mod v1model;
mod wide;

pub use machine::{End, MAX_STEPS};
