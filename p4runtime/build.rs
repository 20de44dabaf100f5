// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates Rust code from the standard's messages, and keeps their descriptors for the text
//! format.

use std::path::PathBuf;

const FILES: [&str; 2] = ["p4/v1/p4runtime.proto", "google/rpc/status.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("descriptors.bin"),
        protox::prost::Message::encode_to_vec(&descriptors),
    )?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
