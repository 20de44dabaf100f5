// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask demo`.

mod nic;
mod node;

use anyhow::Result;

/// The demos.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// A service in the NIC: curl on the wire reaches one of three containers, each with an ADI.
    #[default]
    Node,
    /// A page from the guest, over the NIC and the stock driver.
    Nic,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// node (a service in the NIC, containers with an ADI each), or nic (a page through the stock driver)
    #[arg(value_enum, default_value_t)]
    which: Which,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    match args.which {
        Which::Node => node::run(),
        Which::Nic => nic::run(),
    }
}

fn heading(text: &str) {
    println!("\n{text}");
}
