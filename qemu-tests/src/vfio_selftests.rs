// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's own selftests of VFIO, built for the guest from the source of its kernel.

use std::path::PathBuf;

use anyhow::Result;

use crate::paths;
use crate::tree::Tree;
use crate::workshop::{Workshop, OUT, REPO};

/// All inputs besides the tree.
const TEXTS: [&str; 4] = [
    include_str!("../guest/vfio-selftests/build.sh"),
    include_str!("../guest/vfio-selftests/missing.h"),
    include_str!("../guest/vfio-selftests/mode.c"),
    include_str!("../guest/vfio-selftests/uuid/uuid.h"),
];

/// Returns the folder with the programs; they are built now if the cache does not have them.
pub fn ensure(tree: &Tree) -> Result<PathBuf> {
    let texts = TEXTS.iter().map(|text| text.as_bytes());
    let key = paths::key(texts.chain([tree.key.as_bytes()]));
    let path = paths::cache()?.join(format!("vfio-selftests-{key}"));
    paths::make_once(&path, |partial| {
        let workshop = Workshop {
            tree,
            out: partial,
            input: None,
        };
        let script = format!("{REPO}/qemu-tests/guest/vfio-selftests/build.sh");
        workshop.run("the kernel's selftests of VFIO", &["sh", &script, OUT])?;
        Ok(())
    })?;
    Ok(path)
}
