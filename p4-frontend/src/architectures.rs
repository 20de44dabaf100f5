// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The architectures shipped with the front end, as include files.

use std::fmt;
use std::str::FromStr;

use crate::syntax::ast::{DeclKind, Direction, ExprKind, Program, TypeKind};

/// The names that a program can include.
pub const FILES: [&str; 10] = [
    "core.p4",
    "pna.p4",
    "dpdk/pna.p4",
    "tc/pna.p4",
    "bmv2/pna.p4",
    "v1model.p4",
    "adit.p4",
    "adit_headers.p4",
    "adit_ipv6.p4",
    "adit_quic.p4",
];

const CORE: &str = include_str!("../../p4/include/core.p4");
const V1MODEL: &str = include_str!("../../p4/include/v1model.p4");
const PNA: &str = include_str!("../../p4/include/pna.p4");
const ADIT: &str = include_str!("../../p4/include/adit.p4");
const HEADERS: &str = include_str!("../../p4/include/adit_headers.p4");
const IPV6: &str = include_str!("../../p4/include/adit_ipv6.p4");
const QUIC: &str = include_str!("../../p4/include/adit_quic.p4");

/// The architecture a program is written for, and the form of PNA that `#include <pna.p4>` selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Architecture {
    /// The architecture of the program's `main`; the form of PNA follows from its blocks.
    #[default]
    Auto,
    /// `V1Switch`.
    V1model,
    /// Version 0.7 of the PNA specification: parser, control, deparser.
    Pna,
    /// The older form, with a control before the main control, plus DPDK's additions.
    PnaDpdk,
    /// Version 0.7 plus the additions of Linux's traffic control.
    PnaTc,
}

impl Architecture {
    /// The selectable architectures, by name.
    pub const NAMED: [(&'static str, Architecture); 4] = [
        ("v1model", Architecture::V1model),
        ("pna", Architecture::Pna),
        ("pna-dpdk", Architecture::PnaDpdk),
        ("pna-tc", Architecture::PnaTc),
    ];

    /// The package that `main` must instantiate.
    pub(crate) fn package(self) -> Option<&'static str> {
        match self {
            Architecture::Auto => None,
            Architecture::V1model => Some("V1Switch"),
            Architecture::Pna | Architecture::PnaDpdk | Architecture::PnaTc => Some("PNA_NIC"),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMED.iter().find(|(_, named)| named == self);
        f.write_str(named.map_or("auto", |(name, _)| name))
    }
}

/// An unknown architecture name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no architecture: v1model, pna, pna-dpdk or pna-tc")]
pub struct UnknownArchitecture(String);

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(name: &str) -> Result<Architecture, UnknownArchitecture> {
        let named = Self::NAMED.iter().find(|(known, _)| *known == name);
        let unknown = || UnknownArchitecture(name.to_owned());
        named.map(|(_, named)| *named).ok_or_else(unknown)
    }
}

/// A form of the Portable NIC Architecture, as macros that `pna.p4` tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    blocks: u32,
    deparser_writes: bool,
    addition: Option<&'static str>,
}

impl Form {
    /// The form that an architecture's name selects; for `Auto`, the one tried first.
    pub(crate) fn of(architecture: Architecture) -> Form {
        let form = |blocks, addition| Form {
            blocks,
            deparser_writes: false,
            addition,
        };
        match architecture {
            Architecture::Auto | Architecture::V1model => form(4, None),
            Architecture::Pna => form(3, None),
            Architecture::PnaDpdk => form(4, Some("ADIT_PNA_DPDK")),
            Architecture::PnaTc => form(3, Some("ADIT_PNA_TC")),
        }
    }

    /// The form implied by a program's `main`: the number of blocks passed to `PNA_NIC`, and
    /// whether the last of them may write headers.
    pub(crate) fn shown(tree: &Program) -> Option<Form> {
        let arguments = tree.decls.iter().find_map(|decl| match &decl.kind {
            DeclKind::Instance(ty, arguments, _) if &*decl.name.name == "main" => match &ty.kind {
                TypeKind::Named(name, _, _) if &*name.name == "PNA_NIC" => Some(arguments),
                _ => None,
            },
            _ => None,
        })?;
        let deparser = arguments.last().and_then(|last| match &last.value.kind {
            ExprKind::Call(callee, _, _) => match &callee.kind {
                ExprKind::Name(name, _) => Some(&name.name),
                ExprKind::Type(ty) => match &ty.kind {
                    TypeKind::Named(name, _, _) => Some(&name.name),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        });
        let mut decls = tree.decls.iter();
        let deparser_writes = decls.any(|decl| match &decl.kind {
            DeclKind::Control(signature, _) if Some(&decl.name.name) == deparser => {
                let headers = signature.parameters.get(1);
                headers.is_some_and(|p| p.direction == Direction::InOut)
            }
            _ => false,
        });
        let three = arguments.len() == 3;
        Some(Form {
            blocks: if three { 3 } else { 4 },
            deparser_writes: three && deparser_writes,
            addition: None,
        })
    }

    fn text(self) -> String {
        let mut text = format!("#define ADIT_PNA_BLOCKS {}\n", self.blocks);
        let writes = self.deparser_writes.then_some("ADIT_PNA_DEPARSER_WRITES");
        for name in writes.into_iter().chain(self.addition) {
            text += &format!("#define {name}\n");
        }
        text + PNA
    }

    /// A file shipped with the front end: its name and text.
    pub(crate) fn file(self, path: &str) -> Option<(String, String)> {
        let text = match path {
            "core.p4" => CORE.to_owned(),
            "v1model.p4" => V1MODEL.to_owned(),
            "pna.p4" => self.text(),
            "dpdk/pna.p4" => Form::of(Architecture::PnaDpdk).text(),
            "tc/pna.p4" => Form::of(Architecture::PnaTc).text(),
            "bmv2/pna.p4" => Form {
                deparser_writes: true,
                ..Form::of(Architecture::Pna)
            }
            .text(),
            "adit.p4" => ADIT.to_owned(),
            "adit_headers.p4" => HEADERS.to_owned(),
            "adit_ipv6.p4" => IPV6.to_owned(),
            "adit_quic.p4" => QUIC.to_owned(),
            _ => return None,
        };
        Some((format!("<{path}>"), text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Severity;
    use crate::source::NoIncludes;
    use crate::{check, Options};

    const BLOCKS: &str = "
        struct H {} struct M {}
        parser P(packet_in p, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
            state start { transition accept; }
        }
        control C(inout H h, inout M m, in pna_main_input_metadata_t i,
                  inout pna_main_output_metadata_t o) {
            apply { if (is_net_port(i.input_port)) { drop_packet(); } }
        }
        control D(packet_out p, in H h, in M m, in pna_main_output_metadata_t o) { apply {} }
        control W(packet_out p, inout H h, in M m, in pna_main_output_metadata_t o) { apply {} }";
    const PRE: &str = "
        control Q(in H h, inout M m, in pna_pre_input_metadata_t i,
                  inout pna_pre_output_metadata_t o) { apply {} }";

    fn errors(include: &str, main: &str, architecture: Architecture) -> String {
        let options = Options {
            architecture,
            ..Options::default()
        };
        let pre = if main.contains('Q') { PRE } else { "" };
        let text = format!("#include <{include}>\n{BLOCKS}{pre}\n{main}");
        let checked = check("p.p4", &text, &NoIncludes, &options);
        let errors = checked.diagnostics.iter();
        let errors = errors.filter(|d| d.severity == Severity::Error);
        let messages = errors.map(|d| d.message.clone());
        messages.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_form_is_that_of_the_program_not_of_its_text() {
        let accepted = |include: &str, main: &str| {
            assert_eq!(
                errors(include, main, Architecture::Auto),
                "",
                "{include} {main}"
            );
        };
        for main in [
            "PNA_NIC(P(), C(), D()) main;",
            "PNA_NIC (P(), C(), D()) main;",
            "PNA_NIC(P(), // parser, first\n C(), D()) main;",
            "PNA_NIC(P(), C(), D()) main; // not PNA_NIC(P(), X(), C(), D())",
            "PNA_NIC<H, M>(P(), C(), D()) main;",
            "PNA_NIC(P(), C(), W()) main;",
            "PNA_NIC(P(), Q(), C(), D()) main;",
            "PNA_NIC(P(), Q(), C(), D()) main; /* PNA_NIC(P(), C(), D()) */",
        ] {
            accepted("pna.p4", main);
        }
        accepted("adit.p4", "PNA_NIC (P(), C(), D()) main;");
        accepted("adit.p4", "PNA_NIC(P(), Q(), C(), D()) main;");
        accepted("dpdk/pna.p4", "PNA_NIC(P(), Q(), C(), D()) main;");
        accepted("tc/pna.p4", "PNA_NIC(P(), C(), W()) main;");
        accepted("bmv2/pna.p4", "PNA_NIC(P(), C(), W()) main;");
    }

    #[test]
    fn a_chosen_architecture_is_what_the_program_has_to_be() {
        let three = "PNA_NIC(P(), C(), D()) main;";
        let four = "PNA_NIC(P(), Q(), C(), D()) main;";
        let check = |main: &str, name: &str| errors("pna.p4", main, name.parse().unwrap());
        assert_eq!(check(three, "pna"), "");
        assert_eq!(check(four, "pna-dpdk"), "");
        assert_eq!(check("PNA_NIC(P(), C(), W()) main;", "pna-tc"), "");
        assert_ne!(check(four, "pna"), "");
        assert_ne!(check(three, "pna-dpdk"), "");
        let other = check(three, "v1model");
        assert!(
            other.contains("`PNA_NIC`") && other.contains("`V1Switch`"),
            "{other}"
        );
        let unknown = "psa".parse::<Architecture>().unwrap_err().to_string();
        assert!(
            unknown.contains("`psa`") && unknown.contains("pna-tc"),
            "{unknown}"
        );
    }
}
