// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One program: its architecture, and whether the front end and the engine accept it.

use std::path::PathBuf;

use adit_p4_frontend::files::Folders;
use adit_p4_frontend::{compile, Options};
use adit_pipeline::p4::Engine;

/// A program and its build options.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) defines: Vec<String>,
    pub(super) include: Vec<PathBuf>,
}

/// Result of compiling and loading a program.
pub(super) enum Outcome {
    /// The program was compiled, and the engine has loaded it.
    Accepted,
    Refused {
        /// The first error, without the parts that differ from program to program.
        kind: String,
        /// The first error with its place.
        error: String,
    },
}

impl Outcome {
    fn refused(place: &str, message: &str) -> Outcome {
        Outcome::Refused {
            kind: kind(message),
            error: format!("{place}: {message}"),
        }
    }
}

impl Program {
    pub(super) fn outcome(&self) -> Outcome {
        let defines = self
            .defines
            .iter()
            .map(|name| (name.clone(), "1".to_owned()));
        let options = Options {
            defines: defines.collect(),
            ..Options::default()
        };
        let includes = Folders(self.include.clone());
        let compiled = compile(&self.name, &self.text, &includes, &options);
        let errors = compiled.diagnostics.iter();
        let error = errors
            .into_iter()
            .find(|d| d.severity == adit_p4_frontend::diagnostics::Severity::Error);
        match (error, compiled.program) {
            (Some(error), _) => {
                Outcome::refused(&compiled.sources.position(error.span), &error.message)
            }
            (None, None) => Outcome::refused(&self.name, "no `main`"),
            (None, Some(program)) => match Engine::load(program) {
                Ok(_) => Outcome::Accepted,
                Err(error) => Outcome::refused(&self.name, &format!("loading: {error}")),
            },
        }
    }
}

/// Returns the architecture of the package that a program's `main` instantiates, if this file has
/// one.
pub(super) fn architecture(text: &str) -> Option<&'static str> {
    let code = without_comments(text);
    let package = |name: &str| {
        code.match_indices(name).any(|(at, _)| {
            let is_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let rest = &code[at + name.len()..];
            let statement = rest.split(';').next().unwrap_or_default().trim();
            // `V1Switch(…) main`, `V1Switch<…>(…) main`.
            is_word && statement.starts_with(['(', '<']) && statement.ends_with("main")
        })
    };
    match (package("V1Switch"), package("PNA_NIC")) {
        (true, _) => Some("v1model"),
        (false, true) => Some("pna"),
        (false, false) => None,
    }
}

fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.get(..2) {
            Some("//") => rest.find('\n').unwrap_or(rest.len()),
            Some("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            _ => {
                code.push('/');
                1
            }
        };
        rest = &rest[length..];
    }
    code.push_str(rest);
    code
}

/// Returns a message without names and numbers.
fn kind(message: &str) -> String {
    let mut kind = String::new();
    for (n, part) in message.split('`').enumerate() {
        match n % 2 {
            0 => kind.extend(part.chars().filter(|c| !c.is_ascii_digit())),
            // An extern or a directive that is missing is kept; other names are the program's own.
            _ if message.starts_with("loading") || message.contains("directive") => {
                kind = format!("{kind}`{part}`");
            }
            _ => kind.push('…'),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_their_main() {
        assert_eq!(architecture("V1Switch(P(), I()) main;"), Some("v1model"));
        let text = "PNA_NIC < H, M >\n(P(), // parser; not main\n C()) main ;";
        assert_eq!(architecture(text), Some("pna"));
        assert_eq!(architecture("package PNA_NIC<H>(P p);"), None);
        assert_eq!(
            architecture("/* V1Switch(P()) main; */ control C() {}"),
            None
        );
        assert_eq!(architecture("MyV1Switch(P()) main;"), None);
    }

    #[test]
    fn a_program_is_accepted_when_it_loads() {
        let program = |body: &str| Program {
            name: "p.p4".to_owned(),
            text: format!("#include <v1model.p4>\n{body}"),
            defines: Vec::new(),
            include: Vec::new(),
        };
        let refused = |body: &str| match program(body).outcome() {
            Outcome::Accepted => panic!("accepted: {body}"),
            Outcome::Refused { kind, error } => (kind, error),
        };
        let (kind, error) = refused("bit<8> f() { return nothing; }");
        assert!(
            !kind.contains("nothing") && error.starts_with("p.p4:2:"),
            "{kind} {error}"
        );
        assert_eq!(refused("const bit<8> A = 1;").0, "no …");
    }
}
