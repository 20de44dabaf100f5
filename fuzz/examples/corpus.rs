// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes the seed inputs of the fuzz targets to `corpus/TARGET/`, where `cargo fuzz run TARGET`
//! looks for them.

use std::path::Path;

use adit_conntrack::fuzzing::helper_corpus;
use adit_conntrack::Helper;

/// A target, and the function of its crate that returns its seed inputs.
type Corpus = (&'static str, fn() -> Vec<Vec<u8>>);

const CORPORA: [Corpus; 15] = [
    ("ct_ftp", || helper_corpus(Helper::Ftp)),
    ("ct_h245", || helper_corpus(Helper::H245)),
    ("ct_irc", || helper_corpus(Helper::Irc)),
    ("ct_packets", adit_conntrack::fuzzing::packets_corpus),
    ("ct_pptp", || helper_corpus(Helper::Pptp)),
    ("ct_q931", || helper_corpus(Helper::Q931)),
    ("ct_ras", || helper_corpus(Helper::Ras)),
    ("ct_sip", || helper_corpus(Helper::Sip)),
    ("ct_tftp", || helper_corpus(Helper::Tftp)),
    ("p4_engine", adit_pipeline::p4::fuzz::engine_corpus),
    ("p4_frontend", adit_p4_frontend::fuzz::corpus),
    ("registers", adit_nic::fuzzing::registers_corpus),
    ("rings", adit_nic::fuzzing::rings_corpus),
    ("vdev", adit_vdcm::fuzzing::vdev_corpus),
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
