// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The names of labels' bits: lines of a number and a name.

use super::error::{usage, Result};

/// The file that iptables and conntrack(8) have.
const FILE: &str = "/etc/xtables/connlabel.conf";

/// The names of bits.
#[derive(Debug, Default)]
pub(super) struct Labels(Vec<(u32, String)>);

impl Labels {
    /// Loads the names; without a file there are none, which is reported as conntrack(8) does.
    pub(super) fn load() -> Self {
        match std::fs::read_to_string(FILE) {
            Ok(text) => Labels::parse(&text),
            Err(_) => {
                eprintln!("nfct_labelmap_new: No such file or directory");
                Labels::default()
            }
        }
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let bit: u32 = words.next()?.parse().ok()?;
            Some((bit, words.next()?.to_owned())).filter(|_| bit < 128)
        });
        Labels(lines.collect())
    }

    /// The bits of names.
    pub(super) fn bits(&self, names: &str) -> Result<u128> {
        let mut bits = 0;
        for name in names.split(',') {
            match self.0.iter().find(|(_, known)| known == name) {
                Some((bit, _)) => bits |= 1 << bit,
                None => return usage(format!("unknown label '{name}'")),
            }
        }
        Ok(bits)
    }

    /// The names of the bits that are set, in their order. A bit without a name has its number.
    pub(super) fn names(&self, bits: u128) -> Vec<String> {
        let set = (0..128_u32).filter(|bit| bits >> bit & 1 == 1);
        let name = |bit: u32| {
            let known = self.0.iter().find(|(known, _)| *known == bit);
            known.map_or_else(|| bit.to_string(), |(_, name)| name.clone())
        };
        set.map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_names() {
        let labels = Labels::parse("# comment\n0 first\n127 last # of all\n128 none\nx y\n");
        assert_eq!(labels.bits("last,first").unwrap(), 1 << 127 | 1);
        assert!(labels.bits("none").is_err());
        assert_eq!(labels.names(1 << 127 | 2), ["1", "last"]);
    }
}
