// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest: building, booting and communication, and evaluation of its selftests.
//!
//! - [`tree`]: the Debian tree (compiler, emulator and guest root at once) in the user's cache;
//! - [`workshop`]: the tree as a build environment;
//! - [`image`]: kernel, initramfs and agent, built from the tree;
//! - [`flavour`]: kernel flavours; [`kernel`]: the kernel's tree for modules in Rust, and our
//!   module;
//! - [`sandbox`]: the namespaces on the host that all processes of one guest run in, which are
//!   also the other end of the wire;
//! - [`guest`]: QEMU with the NIC; [`machine`]: its command line; [`end`]: the ways in which it
//!   ends; [`stall`]: the report on a boot that does not; [`process`]: processes that must run besides it; [`run`]: the folder of its logs;
//! - [`link`]: commands on both sides;
//! - [`python`]: third-party clients that drive our server;
//! - [`vfio_selftests`]: the kernel's own selftests of VFIO;
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
pub mod stall;
pub mod tree;
pub mod vfio_selftests;
pub mod wire;
pub mod workshop;
