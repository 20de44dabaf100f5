// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4 program that frames go through: how it is loaded, and what its ports are.
//!
//! What programs may rely on is in `p4/include/adit.p4`.

mod log;
mod offload;
mod switch;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use adit_p4_frontend::files::{self, Folders};
use adit_p4_frontend::{compile, ir, Options};
use adit_p4runtime::loaded;
use adit_pipeline::p4::{Direction, Engine, LoadError, Worker};
use thiserror::Error;

pub(crate) use log::ProgramLog;
pub(crate) use offload::amend;

pub use adit_pipeline::p4::FIRST_HOST_PORT;

/// The port of the device's own layer 2 stage.
pub const SWITCH_PORT: u32 = 0xFFF0;
/// The port of the control plane.
pub const CPU_PORT: u32 = 0xFFFF_FFFD;

/// Headers that a deparser may make before memory is asked for again.
const HEADERS: usize = 1024;

const DEFAULT: &str = include_str!("../../p4/default.p4");

/// Why there is no program.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is not right; the text shows where.
    #[error("{0}")]
    Source(String),
    /// It has no `main`.
    #[error("{0} has no `main`")]
    NoMain(String),
    /// The engine does not run it.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A program at work, and what one core needs for it.
pub struct Program {
    pub(crate) worker: Worker,
    /// What the deparser made of the frame at hand.
    pub(crate) headers: Vec<u8>,
    /// It has changed which headers a frame has that stood for many: those are cut before.
    pub(crate) reshapes: bool,
    is_switch: bool,
}

impl Program {
    /// Makes an engine's program ready for frames.
    #[must_use]
    pub fn new(engine: &Arc<Engine>) -> Self {
        engine.set_cpu_port(Some(CPU_PORT));
        Self {
            worker: Engine::worker(engine),
            headers: Vec::with_capacity(HEADERS),
            reshapes: false,
            is_switch: switch::is_switch(engine),
        }
    }

    /// Compiles and loads what is in a file. Included files are looked for beside it.
    ///
    /// # Errors
    /// When it cannot be read, compiled or loaded.
    pub fn load(path: &Path, options: &Options) -> Result<Self, ProgramError> {
        let name = path.display().to_string();
        let text = files::read(path).map_err(|error| ProgramError::File {
            path: name.clone(),
            error,
        })?;
        Self::from_source(&name, &text, options)
    }

    /// Compiles and loads a text, which includes nothing but what comes with the front end.
    ///
    /// # Errors
    /// When it cannot be compiled or loaded.
    pub fn from_text(name: &str, text: &str) -> Result<Self, ProgramError> {
        Self::from_source(name, text, &Options::default())
    }

    /// The program that runs if nothing else is said.
    ///
    /// # Errors
    /// Never: a test loads it.
    pub fn standard() -> Result<Self, ProgramError> {
        Self::from_text("default.p4", DEFAULT)
    }

    fn from_source(name: &str, text: &str, options: &Options) -> Result<Self, ProgramError> {
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
        Ok(Self::new(&Arc::new(engine)))
    }

    /// The engine, with the program's tables.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        self.worker.engine()
    }

    /// Whether all that it does is to hand every frame to the layer 2 stage as it is.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.is_switch
    }
}

/// From which side a frame comes.
pub(crate) fn direction(port: u32) -> Direction {
    match port < FIRST_HOST_PORT {
        true => Direction::NetToHost,
        false => Direction::HostToNet,
    }
}
