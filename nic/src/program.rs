// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4 program that processes frames: its loading, and its ports.
//!
//! `p4/include/adit.p4` documents the guarantees for programs.

mod log;
mod offload;
mod switch;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use adit_p4_frontend::files::{self, Folders};
use adit_p4_frontend::{compile, ir, Options};
use adit_p4runtime::loaded;
use adit_pipeline::fragment::Fragmentation;
use adit_pipeline::p4::{Engine, LoadError, Worker};
use thiserror::Error;

use crate::ids::P4Port;

pub(crate) use log::ProgramLog;
pub(crate) use offload::amend;

/// The size in bytes of the headers that a deparser may emit without a reallocation.
const HEADERS: usize = 1024;

const DEFAULT: &str = include_str!("../../p4/default.p4");

/// An error of loading a program.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// The path of the file.
        path: String,
        /// The error.
        error: std::io::Error,
    },
    /// It does not compile; the text is the diagnostics.
    #[error("{0}")]
    Source(String),
    /// It has no `main`.
    #[error("{0} has no `main`")]
    NoMain(String),
    /// The engine cannot run it.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A running program, with its per-core state.
pub struct Program {
    pub(crate) worker: Worker,
    /// The headers that the deparser emitted for the current frame.
    pub(crate) headers: Vec<u8>,
    /// Set once it has added or removed headers of a GSO frame: these are segmented first from then
    /// on.
    pub(crate) reshapes: bool,
    /// The fragments in which the current frame is to leave, until that is done.
    pub(crate) fragments: Option<Fragmentation>,
    /// Set if the current frame was inside of the one that came, whose fragments are not its own.
    pub(crate) is_inner: bool,
    is_switch: bool,
}

impl Program {
    /// Prepares an engine's program for frames.
    #[must_use]
    pub fn new(engine: &Arc<Engine>) -> Self {
        engine.set_cpu_port(Some(P4Port::CPU.0));
        Self {
            worker: Engine::worker(engine),
            headers: Vec::with_capacity(HEADERS),
            reshapes: false,
            fragments: None,
            is_inner: false,
            is_switch: switch::is_switch(engine),
        }
    }

    /// Compiles and loads a file. Included files are searched for in its folder.
    ///
    /// # Errors
    /// When it cannot be read, compiled or loaded.
    pub fn load(path: &Path, options: &Options) -> Result<Self, ProgramError> {
        Ok(Self::new(&Self::engine_of_file(path, options)?))
    }

    /// Compiles a file as [`load`](Self::load) does, into an engine without workers yet.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn engine_of_file(path: &Path, options: &Options) -> Result<Arc<Engine>, ProgramError> {
        let name = path.display().to_string();
        let text = files::read(path).map_err(|error| ProgramError::File {
            path: name.clone(),
            error,
        })?;
        compile_engine(&name, &text, options)
    }

    /// Compiles and loads a text, which can include only the files of the front end.
    ///
    /// # Errors
    /// When it cannot be compiled or loaded.
    pub fn from_text(name: &str, text: &str) -> Result<Self, ProgramError> {
        let engine = compile_engine(name, text, &Options::default())?;
        Ok(Self::new(&engine))
    }

    /// The default program.
    ///
    /// # Errors
    /// Never: a test loads it.
    pub fn standard() -> Result<Self, ProgramError> {
        Ok(Self::new(&Self::standard_engine()?))
    }

    /// The engine of the standard program.
    ///
    /// # Errors
    /// Never, unless the program of this crate is wrong.
    pub fn standard_engine() -> Result<Arc<Engine>, ProgramError> {
        compile_engine("default.p4", DEFAULT, &Options::default())
    }

    /// The engine, with the program's tables.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        self.worker.engine()
    }

    /// Returns whether the program only passes every frame to the layer 2 stage unchanged.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.is_switch
    }
}

fn compile_engine(name: &str, text: &str, options: &Options) -> Result<Arc<Engine>, ProgramError> {
    let began = Instant::now();
    let compiled = compile(name, text, &Folders::default(), options);
    let diagnostics = compiled.diagnostics.render(&compiled.sources);
    for warning in compiled.diagnostics.warnings() {
        tracing::warn!("{}", warning.line(&compiled.sources));
    }
    let program: ir::Program = match compiled.program {
        Some(program) => program,
        None if compiled.diagnostics.has_errors() => {
            return Err(ProgramError::Source(diagnostics));
        }
        None => return Err(ProgramError::NoMain(name.to_owned())),
    };
    let engine = Engine::load(program)?;
    loaded::log(name, &engine, began.elapsed());
    Ok(Arc::new(engine))
}
