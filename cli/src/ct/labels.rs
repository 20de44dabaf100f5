// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The names of labels' bits: lines of a number and a name.

use std::io;

use super::error::{note, usage, Result};
use super::values;

/// The file that iptables and conntrack(8) have.
const FILE: &str = "/etc/xtables/connlabel.conf";
/// The number of bits that may have names. A connection has fewer of them.
const MAX_BITS: u64 = 1024;
/// The number of bits of a connection's label.
const BITS: u32 = 128;

/// The names of bits.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(Vec<(u32, String)>);

/// Bits of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) bits: u128,
    /// There are others that no connection has.
    pub(super) has_others: bool,
}

impl std::ops::BitOrAssign for Bits {
    fn bitor_assign(&mut self, other: Bits) {
        self.bits |= other.bits;
        self.has_others |= other.has_others;
    }
}

impl Labels {
    /// Loads the names. If there are none, that is reported as conntrack(8) does.
    pub(super) fn load() -> Option<Self> {
        let loaded = match std::fs::read(FILE) {
            Ok(text) => Labels::parse(&String::from_utf8_lossy(&text)).ok_or("Success".to_owned()),
            Err(error) => Err(reason(&error)),
        };
        loaded
            .inspect_err(|reason| note(&format!("nfct_labelmap_new: {reason}")))
            .ok()
    }

    /// The names of a file. Of two lines with the same number, or name, the first one counts.
    fn parse(text: &str) -> Option<Self> {
        let mut all: Vec<(u32, String)> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let line = line.trim_start_matches(is_blank);
            let end = line.find(is_blank).unwrap_or(line.len());
            let (number, name) = line.split_at(end);
            let number = values::whole_number(number).filter(|number| *number < MAX_BITS);
            let (Some(number), name) = (number, name.trim_matches(is_blank)) else {
                continue;
            };
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == ' ' || c == '-';
            let is_known = all
                .iter()
                .any(|(bit, known)| u64::from(*bit) == number || known == name);
            if !name.is_empty() && name.chars().all(is_plain) && !is_known {
                all.push((number as u32, name.to_owned()));
            }
        }
        all.sort();
        (!all.is_empty()).then_some(Labels(all))
    }

    /// The names of the bits that are set, in their order. Bits without a name are left out.
    pub(super) fn names(&self, bits: u128) -> Vec<&str> {
        let is_set = |bit: u32| bit < BITS && bits >> bit & 1 == 1;
        let set = self.0.iter().filter(|(bit, _)| is_set(*bit));
        set.map(|(_, name)| name.as_str()).collect()
    }
}

/// The bits of a list of names.
pub(super) fn bits(labels: Option<&Labels>, names: &str) -> Result<Bits> {
    let mut all = Bits::default();
    for name in names.split(',') {
        let mut known = labels.iter().flat_map(|labels| &labels.0);
        match known.find(|(_, known)| known == name) {
            Some((bit, _)) if *bit < BITS => all.bits |= 1 << bit,
            Some(_) => all.has_others = true,
            None => return usage(format!("unknown label '{name}'")),
        }
    }
    Ok(all)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c')
}

/// The text of an error number, without the number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# comment\n0 first\n127 last  \n128 over\nx y\n1\teth0 in\n1 again\n\
                        2 first\n3 no;name\n4\n0x5 five\n1024 none\n6 # no\n";

    #[test]
    fn bits_have_names() {
        let labels = Labels::parse(TEXT).unwrap();
        let bits = |names| bits(Some(&labels), names);
        let both = bits("last,first").unwrap();
        assert_eq!((both.bits, both.has_others), (1 << 127 | 1, false));
        assert!(bits("over,five").unwrap().has_others);
        for unknown in ["none", "again", "no;name", "", "first,", "# no"] {
            assert!(bits(unknown).is_err(), "{unknown}");
        }
        assert_eq!(
            labels.names(1 << 127 | 1 << 9 | 0x22),
            ["eth0 in", "five", "last"]
        );
    }

    #[test]
    fn a_file_without_names_has_no_labels() {
        assert!(Labels::parse("# none\n1024 x\n").is_none());
        assert!(bits(None, "x").is_err());
    }
}
