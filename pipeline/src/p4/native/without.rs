// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stub for builds without machine code: all programs are interpreted.

use adit_p4_frontend::ir::{FunctionId, Program, Slot};

use super::{Begin, Borders, Leave, Ran, Untranslated};
use crate::p4::environment::Environment;
use crate::p4::machine::{Machine, Packet};

/// An uninhabited type.
pub(in crate::p4) enum Native {}

impl Native {
    pub(in crate::p4) fn new(_: &Program, _: &Borders) -> Result<Native, Untranslated> {
        Err(Untranslated::NotBuilt)
    }

    pub(in crate::p4) fn reserve(_: &mut Program) -> Slot {
        0
    }

    pub(in crate::p4) fn tracks_once(&self) -> bool {
        match *self {}
    }

    pub(in crate::p4) fn run(
        &self,
        _: FunctionId,
        _: &mut Machine,
        _: &mut Environment<'_>,
        _: &mut Packet<'_, '_>,
        _: Begin,
        _: Leave,
    ) -> Option<Ran> {
        match *self {}
    }
}
