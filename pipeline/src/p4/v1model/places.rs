// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parameters common to all blocks, and how they are passed between blocks.

use adit_p4_frontend::ir::{Block, FunctionId, Layout};

use super::standard::Standard;
use super::{Blocks, Packet};
use crate::p4::load_error::MainError;
use crate::p4::metadata::Field;

/// The slots of a block's common parameters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    pub(super) function: FunctionId,
    pub(super) headers: u32,
    pub(super) metadata: Option<u32>,
    pub(super) standard: Option<u32>,
}

pub(super) fn layout_of(block: &Block, parameter: usize) -> Result<&Layout, MainError> {
    let found = block.parameters.get(parameter).map(|p| &p.layout);
    found.ok_or_else(|| MainError::Block(block.name.clone()))
}

pub(super) fn places(block: &Block) -> Result<Places, MainError> {
    layout_of(block, 0)?;
    let slot = |n: usize| block.parameters.get(n).map(|p| p.slot);
    Ok(Places {
        function: block.function,
        headers: block.parameters[0].slot,
        metadata: slot(1),
        standard: slot(2),
    })
}

impl Blocks {
    /// Returns slot and number of limbs of a block's headers, metadata and standard metadata.
    fn parts(&self, of: Places) -> [(Option<u32>, u32); 3] {
        [
            (Some(of.headers), self.headers_limbs),
            (of.metadata, self.metadata_limbs),
            (of.standard, self.standard.limbs),
        ]
    }
}

impl Packet<'_, '_> {
    pub(super) fn set(&mut self, at: Places, field: impl Fn(&Standard) -> &Field, value: u64) {
        if let Some(base) = at.standard {
            let frame = &mut self.scratch.machine.frame;
            field(&self.blocks.standard).set(frame, base, value);
        }
    }

    pub(super) fn get(&self, at: Places, field: impl Fn(&Standard) -> &Field) -> u64 {
        match at.standard {
            Some(base) => field(&self.blocks.standard).get(&self.scratch.machine.frame, base),
            None => 0,
        }
    }

    /// A block's metadata.
    pub(super) fn metadata(&mut self, of: Places) -> &mut [u64] {
        let limbs = self.blocks.metadata_limbs as usize;
        let slot = of.metadata.map(|slot| slot as usize);
        let found = slot.and_then(|slot| self.scratch.machine.frame.get_mut(slot..slot + limbs));
        found.unwrap_or_default()
    }

    /// Saves headers, metadata and standard metadata of a block that has all three, concatenated.
    pub(super) fn save(&self, from: Places, values: &mut Vec<u64>) {
        let frame = &self.scratch.machine.frame;
        for (slot, limbs) in self.blocks.parts(from) {
            if let Some(slot) = slot {
                values.extend_from_slice(&frame[slot as usize..][..limbs as usize]);
            }
        }
    }

    pub(super) fn restore(&mut self, values: &[u64], to: Places) {
        let frame = &mut self.scratch.machine.frame;
        let mut rest = values;
        for (slot, limbs) in self.blocks.parts(to) {
            if let Some(slot) = slot {
                let (part, after) = rest.split_at(limbs as usize);
                frame[slot as usize..][..limbs as usize].copy_from_slice(part);
                rest = after;
            }
        }
    }

    /// The metadata within saved values.
    pub(super) fn saved_metadata<'v>(&self, values: &'v [u64]) -> &'v [u64] {
        let from = self.blocks.headers_limbs as usize;
        &values[from..from + self.blocks.metadata_limbs as usize]
    }

    pub(super) fn clear(&mut self, at: Places) {
        for (slot, limbs) in self.blocks.parts(at) {
            if let Some(slot) = slot {
                self.scratch.machine.frame[slot as usize..][..limbs as usize].fill(0);
            }
        }
    }

    /// Copies headers and metadata from one block to the next, as far as both have them.
    pub(super) fn hand_over(&mut self, from: Places, to: Places) {
        let parts = self.blocks.parts(from).into_iter();
        for ((from, limbs), (to, _)) in parts.zip(self.blocks.parts(to)).take(2) {
            self.copy(from, to, limbs);
        }
    }

    pub(super) fn copy_standard(&mut self, from: Places, to: Places) {
        self.copy(from.standard, to.standard, self.blocks.standard.limbs);
    }

    fn copy(&mut self, from: Option<u32>, to: Option<u32>, limbs: u32) {
        if let (Some(from), Some(to)) = (from, to) {
            let (from, limbs) = (from as usize, limbs as usize);
            let frame = &mut self.scratch.machine.frame;
            frame.copy_within(from..from + limbs, to as usize);
        }
    }
}
