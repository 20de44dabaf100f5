// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machine code for a program's blocks, generated with Cranelift when the program is loaded.
//!
//! A block becomes one function, with all code that it calls inlined ([`inline`]). The frame is the
//! same as the interpreter's, and operations that do not merit their own code are calls to the
//! interpreter's implementation ([`helpers`]). Values are kept in registers until ways meet on
//! which they differ, and are stored at the end of a basic block if they are live ([`liveness`]).

#[cfg(feature = "jit")]
mod calls;
#[cfg(feature = "jit")]
mod context;
#[cfg(feature = "jit")]
mod counts;
#[cfg(feature = "jit")]
mod emit;
#[cfg(feature = "jit")]
mod ends;
#[cfg(feature = "jit")]
mod externs;
#[cfg(feature = "jit")]
mod graph;
#[cfg(feature = "jit")]
mod helpers;
#[cfg(feature = "jit")]
mod inline;
#[cfg(feature = "jit")]
mod liveness;
#[cfg(feature = "jit")]
mod lookup;
#[cfg(feature = "jit")]
mod module;
#[cfg(feature = "jit")]
mod packet;
#[cfg(feature = "jit")]
mod source;
#[cfg(feature = "jit")]
mod verbatim;
#[cfg(feature = "jit")]
mod wide;
#[cfg(not(feature = "jit"))]
mod without;

#[cfg(feature = "jit")]
pub(super) use module::Native;
#[cfg(not(feature = "jit"))]
pub(super) use without::Native;

use adit_p4_frontend::ir::{FunctionId, Slot};

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
    /// The first of the slots that [`Native::reserve`] has added, if a function handles a packet from its
    /// parser to its deparser.
    pub(super) places: Option<Slot>,
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

/// The cause for which code is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// A lookup in this table, which was begun.
    Lookup(u32),
    /// The packet's turn to look up in this table, which packets change.
    Table(u32),
    /// The packet's turn to execute this call.
    Call(u32),
}

/// The point at which code is suspended.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) what: WaitsFor,
    end: u64,
    steps: u64,
    resume: u64,
}

/// The permission to do what depends on the packets' order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The packets before it are complete.
    Has,
    /// For the call that the code was suspended for, and no further one.
    Once,
    No,
}

/// The causes for which a run does not suspend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    /// Set if slow lookups suspend.
    pub(super) may_wait: bool,
    pub(super) turn: Turn,
}

impl Leave {
    /// The run ends before others go on.
    pub(super) const TO_THE_END: Leave = Leave {
        may_wait: false,
        turn: Turn::Has,
    };

    /// Lookups suspend, and what depends on the packets' order if it is not the packet's turn.
    pub(super) fn overlapping(has_turn: bool) -> Leave {
        Leave {
            may_wait: true,
            turn: if has_turn { Turn::Has } else { Turn::No },
        }
    }
}

/// The entry point of a run.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
pub(super) enum Begin {
    Start,
    /// The point of suspension, with the result of the lookup that it was suspended for.
    Again(Waiting, Option<Applied>),
}

/// The outcome of a run.
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
pub(super) enum Ran {
    Ended(End),
    Waits(Waiting),
}
