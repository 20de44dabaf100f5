// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The peer: the connection tracker of Open vSwitch's userspace datapath, of Debian's package
//! `openvswitch-source`, built with Debian's flags. `ovs.c` drives it with the packets of our example.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use adit_qemu_tests::paths;
use anyhow::{ensure, Context, Result};
use serde_json::Value;

use crate::build::captured;

const PACKAGE: &str = "openvswitch-source";
const DRIVER: &str = include_str!("ovs.c");
/// The sources in the package.
const ARCHIVE: &str = "usr/src/openvswitch/openvswitch.tar.gz";

/// The built driver.
pub(super) struct Peer {
    program: PathBuf,
    /// The package's file name, which has its version.
    pub(super) package: String,
}

impl Peer {
    /// Builds the library and the driver. A library that is there is kept.
    pub(super) fn build() -> Result<Peer> {
        let folder = paths::target().join("bench/ovs");
        fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
        let archive = match package_in(&folder)? {
            Some(archive) => archive,
            None => {
                shell(&folder, &format!("apt-get download {PACKAGE}"))?;
                package_in(&folder)?
                    .with_context(|| format!("`apt-get download {PACKAGE}` has left no package"))?
            }
        };
        let library = folder.join("openvswitch/build/lib/.libs/libopenvswitch.a");
        if !library.exists() {
            println!("building {archive}");
            shell(
                &folder,
                &format!("dpkg-deb -x {archive} package && tar xzf package/{ARCHIVE}"),
            )?;
            let build = folder.join("openvswitch/build");
            fs::create_dir_all(&build)?;
            let options = "-q --enable-static --disable-shared --disable-ssl --disable-libcapng";
            with_flags(&build, &format!("../configure {options}"))?;
            // Only `make all`, which builds everything, makes the generated headers by itself.
            let makefile = "include Makefile\\ngenerated: $(BUILT_SOURCES)\\n";
            with_flags(
                &build,
                &format!("printf '{makefile}' | make -s -f - generated"),
            )?;
            with_flags(&build, "make -s -j\"$(nproc)\" lib/libopenvswitch.la")?;
        }
        fs::write(folder.join("driver.c"), DRIVER)?;
        let includes = ["", "lib", "include", "build", "build/lib", "build/include"]
            .map(|folder| format!("-Iopenvswitch/{folder}"));
        with_flags(
            &folder,
            &format!(
                "gcc $CPPFLAGS $CFLAGS {} driver.c {} $LDFLAGS -o driver -lpthread -lrt -lm \
                 $(sed -n 's/^LIBS = //p' openvswitch/build/Makefile)",
                includes.join(" "),
                library.display()
            ),
        )?;
        Ok(Peer {
            program: folder.join("driver"),
            package: archive,
        })
    }

    /// Measures with a number of connections.
    pub(super) fn measure(&self, connections: u32, lookups: u32, inserts: u32) -> Result<Value> {
        let numbers = [connections, lookups, inserts].map(|number| number.to_string());
        let output = captured(Command::new(&self.program).args(&numbers))?;
        ensure!(
            output.status.success(),
            "{} {} failed ({}):\n{}",
            self.program.display(),
            numbers.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("the driver's report")
    }
}

/// The package's file in a folder.
fn package_in(folder: &Path) -> Result<Option<String>> {
    let entries = fs::read_dir(folder)?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names
        .filter(|name| name.starts_with(PACKAGE) && name.ends_with(".deb"))
        .max())
}

/// Runs a command line with Debian's flags for compilers in its environment.
fn with_flags(folder: &Path, line: &str) -> Result<()> {
    shell(
        folder,
        &format!("eval \"$(dpkg-buildflags --export=sh)\" && {line}"),
    )
}

fn shell(folder: &Path, line: &str) -> Result<()> {
    let output = captured(Command::new("sh").args(["-c", line]).current_dir(folder))?;
    ensure!(
        output.status.success(),
        "`{line}` in {} failed ({}); it needs apt-get, dpkg-dev, gcc, make and python3:\n{}",
        folder.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
