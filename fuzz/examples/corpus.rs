// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes the seed inputs of the fuzz targets to `corpus/TARGET/`, where `cargo fuzz run TARGET`
//! looks for them.

use std::path::Path;

/// A target, and the function of its crate that returns its seed inputs.
type Corpus = (&'static str, fn() -> Vec<Vec<u8>>);

const CORPORA: [Corpus; 5] = [
    ("p4_engine", adit_pipeline::p4::fuzz::engine_corpus),
    ("p4_frontend", adit_p4_frontend::fuzz::corpus),
    ("registers", adit_nic::fuzzing::registers_corpus),
    ("rings", adit_nic::fuzzing::rings_corpus),
    ("vfio_user_server", adit_vfio_user::fuzzing::corpus),
];

fn main() -> std::io::Result<()> {
    for (target, inputs) in CORPORA {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        std::fs::create_dir_all(&folder)?;
        for (n, input) in inputs().iter().enumerate() {
            std::fs::write(folder.join(format!("start-{n:03}")), input)?;
        }
    }
    Ok(())
}
