// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates Rust code from the service's messages.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["adit/v1/conntrack.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
