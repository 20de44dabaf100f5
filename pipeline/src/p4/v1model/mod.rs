// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The v1model architecture: parser, checksum verification, ingress, egress, checksum computation,
//! deparser; cloning, replication, resubmission, recirculation.
//!
//! Implementation choices where the architecture leaves them open: in each pass every value is
//! initially 0 and every header invalid; a parser error does not drop the packet, and the data not
//! extracted is payload; `egress_spec` 511 drops, and a later assignment undoes that. The order at
//! the end of ingress is: clone, resubmission, replication, drop, unicast. Each packet derived from
//! another is processed completely before the next one is created: this bounds the values and bytes
//! that are saved at a time, in the worker's buffers.

mod places;
mod run;
mod standard;

use adit_p4_frontend::ir::Program;

use super::lane::{At, Scratch};
use super::load_error::MainError;
use super::metadata::FieldLists;
use super::packets::{Input, Output};
use super::replication::MAX_COPIES;
use super::round::Round;
use places::{layout_of, places, Places};
use standard::Standard;

/// Maximum number of successive passes through ingress and egress in a chain of derived packets.
const MAX_DEPTH: u32 = 64;
/// Maximum number of passes through ingress and egress of all packets derived from one: enough for
/// the members of the largest group, when each recirculates once.
const MAX_PASSES: u32 = 4 * MAX_COPIES as u32;

/// Values of `instance_type`.
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

/// A packet that enters the parser.
#[derive(Clone, Copy)]
struct Entering<'d> {
    data: &'d [u8],
    round: Round,
    port: u64,
    instance: u64,
    /// Metadata, of which the fields of the given list are preserved.
    kept: Option<(&'d [u64], u32)>,
    depth: u32,
}

/// The input of egress, for any number of copies.
#[derive(Clone, Copy)]
struct Passing<'d> {
    data: &'d [u8],
    round: Round,
    /// The offset of the payload in the data.
    payload: usize,
    instance: u64,
    original_length: u64,
    truncate: Option<usize>,
    depth: u32,
}

/// The state of a packet's processing.
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

    /// Processes a packet, and all packets derived from it.
    pub(super) fn process(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        input: &Input<'_>,
        emit: &mut dyn FnMut(Output<'_>),
    ) {
        scratch.local.set_attributes(input);
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
