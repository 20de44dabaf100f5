// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The v1model architecture: parser, checksum verification, ingress, egress, checksum computation,
//! deparser; cloning, replication, resubmission, recirculation.
//!
//! What the architecture leaves open, here: every value begins as 0 and every header as invalid, in
//! each pass; a parser's error does not drop, and what was not extracted is payload; `egress_spec`
//! 511 drops, and a later assignment undoes that. At the end of ingress come, in this order: clone,
//! resubmission, replication, dropping, one port. What is made of a packet goes all its way before
//! the next thing is made: so few values and bytes wait at a time, in buffers of the worker's.

mod places;
mod run;
mod standard;

use adit_p4_frontend::ir::Program;

use super::engine::{At, MainError, Scratch};
use super::metadata::FieldLists;
use super::packets::{Input, Output};
use super::replication::MAX_COPIES;
use super::round::Round;
use places::{layout_of, places, Places};
use standard::Standard;

/// How often a packet, or what is made of it and what is made of that, may go through ingress and
/// egress one after the other.
const MAX_DEPTH: u32 = 64;
/// How often all that is made of a packet may go through ingress and egress: often enough for the
/// members of the largest group, when each goes round once.
const MAX_PASSES: u32 = 4 * MAX_COPIES as u32;

/// What `instance_type` says.
mod instance {
    pub(super) const NORMAL: u64 = 0;
    pub(super) const INGRESS_CLONE: u64 = 1;
    pub(super) const EGRESS_CLONE: u64 = 2;
    pub(super) const RECIRCULATED: u64 = 4;
    pub(super) const REPLICATED: u64 = 5;
    pub(super) const RESUBMITTED: u64 = 6;
}

/// A program's blocks.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    parser: Places,
    verify: Places,
    ingress: Places,
    egress: Places,
    compute: Places,
    deparser: Places,
    headers_limbs: u32,
    metadata_limbs: u32,
    lists: FieldLists,
    standard: Standard,
}

/// A packet that goes to a parser.
#[derive(Clone, Copy)]
struct Entering<'d> {
    data: &'d [u8],
    round: Round,
    port: u64,
    instance: u64,
    /// Metadata of which the fields of that list are kept.
    kept: Option<(&'d [u64], u32)>,
    depth: u32,
}

/// What goes to egress, as often as there are copies of it.
#[derive(Clone, Copy)]
struct Passing<'d> {
    data: &'d [u8],
    round: Round,
    /// Where in the data the payload begins.
    payload: usize,
    instance: u64,
    original_length: u64,
    truncate: Option<usize>,
    depth: u32,
}

/// A packet at work.
struct Packet<'a, 'b> {
    at: At<'a>,
    scratch: &'a mut Scratch,
    input: &'a Input<'a>,
    emit: &'a mut dyn FnMut(Output<'_>),
    blocks: &'b Blocks,
    passes: u32,
}

impl Blocks {
    pub(super) fn new(program: &Program) -> Result<Blocks, MainError> {
        let [parser, verify, ingress, egress, compute, deparser] = &program.blocks[..] else {
            return Err(MainError::Blocks {
                package: program.package.clone(),
                given: program.blocks.len(),
                wanted: "6",
            });
        };
        let standard = Standard::new(layout_of(parser, 2)?)
            .ok_or_else(|| MainError::Block("standard_metadata".to_owned()))?;
        Ok(Blocks {
            headers_limbs: layout_of(parser, 0)?.limbs(),
            metadata_limbs: layout_of(parser, 1)?.limbs(),
            lists: FieldLists::new(layout_of(parser, 1)?),
            standard,
            parser: places(parser)?,
            verify: places(verify)?,
            ingress: places(ingress)?,
            egress: places(egress)?,
            compute: places(compute)?,
            deparser: places(deparser)?,
        })
    }

    /// Sends a packet through, and what is made of it.
    pub(super) fn process(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        input: &Input<'_>,
        emit: &mut dyn FnMut(Output<'_>),
    ) {
        scratch.local.set_weight(input);
        let mut packet = Packet {
            at,
            scratch,
            input,
            emit,
            blocks: self,
            passes: 0,
        };
        packet.enter(&Entering {
            data: input.data,
            round: Round::first(input),
            port: input.port.into(),
            instance: instance::NORMAL,
            kept: None,
            depth: 0,
        });
    }
}

#[cfg(test)]
mod tests;
