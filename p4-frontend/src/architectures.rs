// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The architectures that come with the front end, as files to include.

/// The names that a program can include.
pub const FILES: [&str; 6] = [
    "core.p4",
    "pna.p4",
    "tc/pna.p4",
    "v1model.p4",
    "adit.p4",
    "adit_headers.p4",
];

const CORE: &str = include_str!("../../p4/include/core.p4");
const V1MODEL: &str = include_str!("../../p4/include/v1model.p4");
const PNA: &str = include_str!("../../p4/include/pna.p4");
const ADIT: &str = include_str!("../../p4/include/adit.p4");
const HEADERS: &str = include_str!("../../p4/include/adit_headers.p4");

/// Which form of the Portable NIC Architecture a program is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pna {
    /// What the program shows: the number of blocks that it gives to `PNA_NIC`.
    #[default]
    Auto,
    /// Version 0.7 of the specification: parser, control, deparser.
    ThreeBlocks,
    /// The older form, with a control before the main one.
    FourBlocks,
}

/// Which form of an architecture `#include` gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The form of PNA.
    pub pna: Pna,
}

impl Choice {
    /// The choice for a program that is to be had as text: `Auto` is decided.
    pub(crate) fn decided(self, text: &str) -> Choice {
        let pna = match self.pna {
            Pna::Auto if blocks(text) == Some(3) => Pna::ThreeBlocks,
            Pna::Auto => Pna::FourBlocks,
            chosen => chosen,
        };
        Choice { pna }
    }

    pub(crate) fn file(self, path: &str) -> Option<(String, String)> {
        let text = match path {
            "core.p4" => CORE.to_owned(),
            "v1model.p4" => V1MODEL.to_owned(),
            "pna.p4" if self.pna == Pna::ThreeBlocks => {
                format!("#define ADIT_PNA_BLOCKS 3\n{PNA}")
            }
            // The form of Linux's traffic control has 0.7's blocks.
            "tc/pna.p4" => format!("#define ADIT_PNA_BLOCKS 3\n#define ADIT_PNA_TC\n{PNA}"),
            "pna.p4" => PNA.to_owned(),
            "adit.p4" => ADIT.to_owned(),
            "adit_headers.p4" => HEADERS.to_owned(),
            _ => return None,
        };
        Some((format!("<{path}>"), text))
    }
}

/// How many arguments `PNA_NIC(…)` has in the text; the last one counts.
fn blocks(text: &str) -> Option<usize> {
    let inside = &text[text.rfind("PNA_NIC(")? + "PNA_NIC(".len()..];
    let (mut depth, mut commas) = (0, 0);
    for c in inside.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            ',' if depth == 0 => commas += 1,
            _ => {}
        }
    }
    Some(commas + 1)
}
