// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The contents of `p4_device_config`: a program's source as a single text, or a package of the
//! source with all files that it includes, after a magic number and a version. A package is
//! compiled again when it is loaded, so that it is trusted no more than source.

use std::collections::BTreeMap;
use std::sync::Mutex;

use adit_p4_frontend::architectures::{Architecture, UnknownArchitecture};
use adit_p4_frontend::cancel::Cancel;
use adit_p4_frontend::source::Includes;
use adit_p4_frontend::warnings::Actions;
use adit_p4_frontend::{compile, ir::Program, Compiled, Options};
use prost::Message;

/// The magic number of a package; the last byte is the version.
const MAGIC: [u8; 8] = *b"ADIT-P4\x01";
/// The maximum number of a program's warnings in the log: clients write programs.
const MAX_LOGGED: usize = 10;
/// The maximum size of a package or source in bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// The error for a configuration that is not a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A program that is too large.
    #[error("a program of {0} bytes: {MAX_BYTES} are the most")]
    Size(usize),
    /// A package of another version.
    #[error("a package of version {0}: this program reads version 1")]
    Version(u8),
    /// Data that is neither a package nor text.
    #[error(
        "p4_device_config is neither P4 source (UTF-8) nor a package of `adit p4 compile`: {0}"
    )]
    Form(String),
    /// Source that has errors.
    #[error("{0}")]
    Source(String),
    /// An architecture that does not exist.
    #[error(transparent)]
    Architecture(#[from] UnknownArchitecture),
    /// Source without `main`.
    #[error("the program has no `main`")]
    NoMain,
}

/// A package: a program's source and the files that it includes.
#[derive(Clone, PartialEq, Message)]
pub struct Package {
    /// The name of the file in diagnostics.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The text.
    #[prost(string, tag = "2")]
    pub text: String,
    /// Included files.
    #[prost(message, repeated, tag = "3")]
    pub files: Vec<File>,
    /// Predefined macros, as `NAME=VALUE`.
    #[prost(string, repeated, tag = "4")]
    pub defines: Vec<String>,
    /// The architecture to compile for ([`Architecture::NAMED`]); if empty, that of its `main`.
    #[prost(string, tag = "6")]
    pub architecture: String,
}

/// An included file.
#[derive(Clone, PartialEq, Message)]
pub struct File {
    /// The path in the `#include` directive.
    #[prost(string, tag = "1")]
    pub path: String,
    /// The file that includes it in quotes, or empty.
    #[prost(string, tag = "2")]
    pub from: String,
    /// The name of the file in diagnostics.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The text.
    #[prost(string, tag = "4")]
    pub text: String,
}

/// Includes from a package's files.
struct Packed(BTreeMap<(String, String), (String, String)>);

impl Includes for Packed {
    fn include(&self, path: &str, from: Option<&str>) -> Result<Option<(String, String)>, String> {
        let key = (path.to_owned(), from.unwrap_or_default().to_owned());
        Ok(self.0.get(&key).cloned())
    }
}

/// Includes from another source, recorded.
struct Recorded<'a> {
    inner: &'a (dyn Includes + Sync),
    files: Mutex<Vec<File>>,
}

impl Includes for Recorded<'_> {
    fn include(&self, path: &str, from: Option<&str>) -> Result<Option<(String, String)>, String> {
        let Some((name, text)) = self.inner.include(path, from)? else {
            return Ok(None);
        };
        let file = File {
            path: path.to_owned(),
            from: from.unwrap_or_default().to_owned(),
            name: name.clone(),
            text: text.clone(),
        };
        let mut files = self.files.lock().unwrap_or_else(|e| e.into_inner());
        let known = |f: &File| (&f.path, &f.from) == (&file.path, &file.from);
        if !files.iter().any(known) {
            files.push(file);
        }
        Ok(Some((name, text)))
    }
}

impl Package {
    /// Creates a package of one text.
    pub fn source(text: &str) -> Package {
        Package {
            name: "p4_device_config".to_owned(),
            text: text.to_owned(),
            ..Package::default()
        }
    }

    fn options(&self) -> Result<Options, ProgramError> {
        let defines = self.defines.iter().map(|d| match d.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (d.clone(), "1".to_owned()),
        });
        let architecture = match self.architecture.as_str() {
            "" => Architecture::Auto,
            name => name.parse()?,
        };
        Ok(Options {
            defines: defines.collect(),
            architecture,
            ..Options::default()
        })
    }

    fn compile(
        &self,
        includes: &(dyn Includes + Sync),
        options: Options,
    ) -> Result<(Program, Compiled), ProgramError> {
        let mut compiled = compile(&self.name, &self.text, includes, &options);
        match compiled.program.take() {
            Some(program) => Ok((program, compiled)),
            None if compiled.diagnostics.has_errors() => {
                let said = compiled.diagnostics.render(&compiled.sources);
                Err(ProgramError::Source(said))
            }
            None => Err(ProgramError::NoMain),
        }
    }

    /// Compiles the program. Its warnings are logged.
    pub fn program(&self) -> Result<Program, ProgramError> {
        self.program_unless(&Cancel::default())
    }

    /// Compiles the program unless cancelled, which is reported as an error of the source.
    pub fn program_unless(&self, cancel: &Cancel) -> Result<Program, ProgramError> {
        let files = self.files.iter().map(|f| {
            let key = (f.path.clone(), f.from.clone());
            (key, (f.name.clone(), f.text.clone()))
        });
        let options = Options {
            cancel: cancel.clone(),
            ..self.options()?
        };
        let (program, compiled) = self.compile(&Packed(files.collect()), options)?;
        let mut warnings = compiled.diagnostics.warnings();
        for warning in warnings.by_ref().take(MAX_LOGGED) {
            tracing::warn!("{}", warning.line(&compiled.sources));
        }
        match warnings.count() {
            0 => {}
            more => tracing::warn!("{}: {more} more warnings", self.name),
        }
        Ok(program)
    }

    /// Compiles the program with includes from another source, which are added to the package. Also
    /// returns the warnings, rendered for users.
    pub fn gather(
        &mut self,
        includes: &(dyn Includes + Sync),
        warnings: &Actions,
    ) -> Result<(Program, String), ProgramError> {
        let recorded = Recorded {
            inner: includes,
            files: Mutex::default(),
        };
        let options = Options {
            warnings: warnings.clone(),
            ..self.options()?
        };
        let (program, compiled) = self.compile(&recorded, options)?;
        let warned = compiled.diagnostics.render(&compiled.sources);
        self.files = recorded
            .files
            .into_inner()
            .unwrap_or_else(|e| e.into_inner());
        Ok((program, warned))
    }

    /// Encodes the package for `p4_device_config`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.encode_to_vec());
        bytes
    }

    /// Decodes the contents of `p4_device_config`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Package, ProgramError> {
        if bytes.len() > MAX_BYTES {
            return Err(ProgramError::Size(bytes.len()));
        }
        match bytes.strip_prefix(&MAGIC[..7]) {
            Some([version, rest @ ..]) if *version == MAGIC[7] => {
                Package::decode(rest).map_err(|e| ProgramError::Form(e.to_string()))
            }
            Some([version, ..]) => Err(ProgramError::Version(*version)),
            Some([]) => Err(ProgramError::Form("it ends after the magic number".into())),
            None => std::str::from_utf8(bytes)
                .map(Package::source)
                .map_err(|e| ProgramError::Form(e.to_string())),
        }
    }
}
