// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask wire`.

use adit_qemu_tests::{proto, run};
use anyhow::Result;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command, from the Debian tree; a shell if there is none
    #[arg(last = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let (program, rest) = args
        .command
        .split_first()
        .map_or(("bash", &[][..]), |(it, rest)| (it.as_str(), rest));
    let status = run::running()?.command(program).args(rest).status()?;
    Ok(u8::try_from(proto::shell_status(status)).unwrap_or(1))
}
