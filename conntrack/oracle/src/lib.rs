// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Linux as oracle: packets of scripts through a router in a network namespace of this process, which
//! forwards between two TUN devices, and its connections over ctnetlink.

pub mod ctnetlink;
pub mod feed;
pub mod kernel;
pub mod library;
pub mod links;
pub mod log;
pub mod netlink;
pub mod observation;
pub mod policy;
pub mod router;
pub mod runner;
pub mod script;
pub mod settings;
pub mod trace;
pub mod tun;
