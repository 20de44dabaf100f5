// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machine code for a program's blocks, generated with Cranelift when the program is loaded.
//!
//! A block becomes one function, with all code that it calls inlined ([`inline`]). The frame is the
//! same as the interpreter's, and operations that do not merit their own code are calls to the
//! interpreter's implementation ([`helpers`]). Values are kept in registers within a basic block,
//! and are stored at its end if they are live ([`graph`]).

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

use super::effects::SlotRange;
use super::machine::{Applied, End};

/// The entry points of the code, and the frame slots accessed from outside of it.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
pub(super) struct Borders {
    /// The functions that are run.
    pub(super) entries: Vec<FunctionId>,
    /// Slots that callers write before running a function.
    pub(super) given: Vec<SlotRange>,
    /// Slots that callers read after running a function.
    pub(super) taken: Vec<SlotRange>,
}

/// Reasons why a program is interpreted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untranslated {
    /// The caller requested the interpreter.
    #[error("the interpreter was requested")]
    Requested,
    /// Built without code generation.
    #[error("built without the feature `jit`")]
    NotBuilt,
    /// With all calls inlined, a block exceeds this number of instructions.
    #[error("a block has more than {0} instructions with everything that it calls")]
    TooLong(usize),
    /// The sets of live slots of a block's basic blocks exceed this number of words.
    #[error("a block has {blocks} basic blocks and {slots} slots: their liveness takes {words} words, of {max} at most")]
    TooManySlots {
        /// The number of basic blocks.
        blocks: usize,
        /// The number of slots of the program's frame.
        slots: usize,
        /// The number of words of the sets of live slots.
        words: usize,
        /// The maximum number.
        max: usize,
    },
    /// Cranelift reported an error, or the system refused executable memory.
    #[error("no machine code: {0}")]
    Refused(String),
}

/// The point at which code is suspended for a lookup.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) table: u32,
    end: u64,
    steps: u64,
    resume: u64,
}

/// The entry point of a run.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
pub(super) enum Begin {
    /// The beginning; lookups do not suspend.
    ToTheEnd,
    /// The beginning; lookups may suspend.
    Waiting,
    /// The point of suspension, with the lookup's result.
    Again(Waiting, Applied),
}

/// The outcome of a run.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
pub(super) enum Ran {
    Ended(End),
    Waits(Waiting),
}
