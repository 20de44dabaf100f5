// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Generates Rust code from the service's messages. Those of P4Runtime are that crate's.

const FOLDERS: [&str; 2] = ["proto", "../p4runtime/proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={folder}");
    }
    let mut descriptors = protox::compile(["adit/v1/trace.proto"], FOLDERS)?;
    descriptors.file.retain(|file| file.package() == "adit.v1");
    tonic_prost_build::configure()
        .extern_path(".p4.v1", "::adit_p4runtime::proto::v1")
        .compile_fds(descriptors)?;
    Ok(())
}
