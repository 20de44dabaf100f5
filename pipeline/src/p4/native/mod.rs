// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machine code for a program's blocks, made with Cranelift when the program is loaded.
//!
//! A block becomes one function, with all code that it calls in place ([`inline`]). The frame is
//! the same as the interpreter's, and what is not worth code of its own is a call to what the
//! interpreter does ([`helpers`]). Values are in registers from one end of a basic block to the
//! other, and are stored if anything reads them later ([`graph`]).

#[cfg(feature = "jit")]
mod calls;
#[cfg(feature = "jit")]
mod context;
#[cfg(feature = "jit")]
mod emit;
#[cfg(feature = "jit")]
mod externs;
#[cfg(feature = "jit")]
mod graph;
#[cfg(feature = "jit")]
mod helpers;
#[cfg(feature = "jit")]
mod inline;
#[cfg(feature = "jit")]
mod module;
#[cfg(feature = "jit")]
mod packet;
#[cfg(feature = "jit")]
mod wide;
#[cfg(not(feature = "jit"))]
mod without;

#[cfg(feature = "jit")]
pub(super) use module::Native;
#[cfg(not(feature = "jit"))]
pub(super) use without::Native;

use adit_p4_frontend::ir::FunctionId;

use super::effects::Run;
use super::machine::{Applied, End};

/// Where code is entered, and what of the frame is touched from outside of it.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
pub(super) struct Borders {
    /// The functions that are run.
    pub(super) entries: Vec<FunctionId>,
    /// What others write before they run.
    pub(super) given: Vec<Run>,
    /// What others read after they have run.
    pub(super) taken: Vec<Run>,
}

/// Why a program is interpreted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untranslated {
    /// It was asked for.
    #[error("the interpreter was asked for")]
    AskedFor,
    /// Built without code generation.
    #[error("built without the feature `jit`")]
    NotBuilt,
    /// Calls are put in place; that makes it longer than this.
    #[error("a block has more than {0} instructions with everything that it calls")]
    TooLong(usize),
    /// Cranelift, or the system that is asked for memory to run code from, does not want to.
    #[error("no machine code: {0}")]
    Refused(String),
}

/// Where code has stopped for a lookup.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) table: u32,
    end: u64,
    steps: u64,
    resume: u64,
}

/// How code is run.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
pub(super) enum Begin {
    /// From its beginning, lookups included.
    ToTheEnd,
    /// From its beginning; it may wait for lookups.
    Waiting,
    /// From where it has waited, with what the lookup came to.
    Again(Waiting, Applied),
}

/// How running came to an end.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
pub(super) enum Ran {
    Ended(End),
    Waits(Waiting),
}
