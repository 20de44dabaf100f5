// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `p4_device_config` holds: a program's source in one piece, or a package of it with all
//! that it includes, behind a magic number and a version. A package is compiled again where it is
//! loaded, so that it can be trusted as little as any source.

use std::collections::BTreeMap;
use std::sync::Mutex;

use adit_p4_frontend::architectures::{Architecture, UnknownArchitecture};
use adit_p4_frontend::cancel::Cancel;
use adit_p4_frontend::source::Includes;
use adit_p4_frontend::warnings::Actions;
use adit_p4_frontend::{compile, ir::Program, Compiled, Options};
use prost::Message;

/// What a package begins with; the last byte is the version.
const MAGIC: [u8; 8] = *b"ADIT-P4\x01";
/// The most warnings of a program that are logged: a client writes them.
const MAX_LOGGED: usize = 10;
/// The largest package or source.
pub const MAX_BYTES: usize = 16 << 20;

/// A configuration that is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Too large.
    #[error("a program of {0} bytes: {MAX_BYTES} are the most")]
    Size(usize),
    /// A package of another version.
    #[error("a package of version {0}: this program reads version 1")]
    Version(u8),
    /// Neither a package nor text.
    #[error(
        "p4_device_config is neither P4 source (UTF-8) nor a package of `adit p4 compile`: {0}"
    )]
    Form(String),
    /// Source that has errors.
    #[error("{0}")]
    Source(String),
    /// An architecture that there is not.
    #[error(transparent)]
    Architecture(#[from] UnknownArchitecture),
    /// Source without `main`.
    #[error("the program has no `main`")]
    NoMain,
}

/// A package: a program's source and what it includes.
#[derive(Clone, PartialEq, Message)]
pub struct Package {
    /// What diagnostics call the file.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The text.
    #[prost(string, tag = "2")]
    pub text: String,
    /// Included files.
    #[prost(message, repeated, tag = "3")]
    pub files: Vec<File>,
    /// Macros that are defined before it begins, as `NAME=VALUE`.
    #[prost(string, repeated, tag = "4")]
    pub defines: Vec<String>,
    /// The architecture that it is for ([`Architecture::NAMED`]); empty: that of its `main`.
    #[prost(string, tag = "6")]
    pub architecture: String,
}

/// An included file.
#[derive(Clone, PartialEq, Message)]
pub struct File {
    /// What was asked for.
    #[prost(string, tag = "1")]
    pub path: String,
    /// The file that asked for it in quotes, or nothing.
    #[prost(string, tag = "2")]
    pub from: String,
    /// What diagnostics call it.
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

/// Includes from somewhere else, remembered.
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
    /// A package of one text.
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

    /// The program. What it is warned of goes to the log.
    pub fn program(&self) -> Result<Program, ProgramError> {
        self.program_unless(&Cancel::default())
    }

    /// The program, unless the compilation is cancelled: an error of the source then.
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

    /// The program, whose includes come from elsewhere, and what it is warned of, as a person is
    /// shown it; the includes are put into the package.
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

    /// The bytes that `p4_device_config` takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.encode_to_vec());
        bytes
    }

    /// Reads what `p4_device_config` holds.
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
