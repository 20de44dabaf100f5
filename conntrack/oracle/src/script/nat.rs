// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The translation that a script demands.

use adit_conntrack::NatRange;
use anyhow::{bail, Context, Result};

use super::line::Line;
use super::Script;

impl Script {
    /// `nat src|dst [to=HOST [upto=HOST]] [ports=FIRST-LAST] [persistent]`.
    pub(super) fn nat(&mut self, line: &Line<'_>) -> Result<()> {
        let mut range = NatRange::default();
        if let Some(first) = line.value("to") {
            let last = line.value("upto").unwrap_or(first);
            range = NatRange::to_addresses(self.host(first)?, self.host(last)?)?;
        }
        if let Some(ports) = line.value("ports") {
            let (first, last) = ports.split_once('-').context("ports=FIRST-LAST")?;
            range = range.with_ports(
                first.parse().context("port")?,
                last.parse().context("port")?,
            );
        }
        if line.has("persistent") {
            range = range.with_persistent_address();
        }
        let nat = self.policy.nat.get_or_insert_default();
        match line.word(1) {
            "src" => nat.source = Some(range),
            "dst" => nat.destination = Some(range),
            "none" => {}
            other => bail!("`{other}' is none of src, dst, none"),
        }
        Ok(())
    }
}
