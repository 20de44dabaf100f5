// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest: how it is built, booted and talked to, and how its selftests are judged.
//!
//! - [`tree`]: the Debian tree (compiler, emulator and guest root at once) in the user's cache;
//! - [`workshop`]: the tree as a place to make things in;
//! - [`image`]: kernel, initramfs and agent, made from the tree;
//! - [`flavour`]: which kernel; [`kernel`]: its tree for modules in Rust, and our module;
//! - [`sandbox`]: the name spaces on the host that everything of one guest runs in, which is also
//!   the other end of the wire;
//! - [`guest`]: QEMU with the NIC in it; [`machine`]: its command line; [`end`]: the ways in which
//!   it ends; [`process`]: what has to run beside it; [`run`]: the folder of its logs;
//! - [`link`]: commands on both sides;
//! - [`python`]: clients of others that drive ours;
//! - [`ktap`]: the selftests' report.

pub mod accel;
pub mod end;
pub mod flavour;
pub mod guest;
pub mod image;
pub mod kernel;
pub mod ktap;
pub mod link;
pub mod machine;
mod monitor;
pub mod nic;
pub mod paths;
pub mod process;
mod progress;
pub mod proto;
pub mod python;
pub mod run;
pub mod sandbox;
pub mod tree;
pub mod wire;
pub mod workshop;
