// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The v1model architecture: parser, checksum verification, ingress, egress, checksum computation,
//! deparser; cloning, replication, resubmission, recirculation.
//!
//! What the architecture leaves open, here: every value begins as 0 and every header as invalid, in
//! each pass; a parser's error does not drop, and what was not extracted is payload; `egress_spec`
//! 511 drops, and a later assignment undoes that. At the end of ingress come, in this order: clone,
//! resubmission, replication, dropping, one port.

mod places;
mod run;
mod standard;

use std::collections::VecDeque;
use std::rc::Rc;

use adit_p4_frontend::ir::{Layout, Program};

use super::engine::{At, LoadError, Scratch};
use super::packets::{DropReason, Input, Output};
use places::{layout_of, places, Places};
use standard::Standard;

/// How often a packet and what is made of it may go through the pipeline.
const MAX_PASSES: u32 = 64;

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
    metadata_layout: Layout,
    standard: Standard,
}

/// The bytes of a packet: the input's, or others if it has gone round.
#[derive(Clone, Debug)]
enum Data {
    Input,
    Made(Rc<[u8]>),
}

/// A packet between ingress and egress, or on its way round.
enum Work {
    Ingress {
        data: Data,
        port: u64,
        instance: u64,
        /// Metadata of which the fields of that list are kept.
        kept: Option<(Vec<u64>, u32)>,
    },
    Egress(Egress),
}

/// A packet that goes to egress.
#[derive(Clone)]
struct Egress {
    values: Vec<u64>,
    data: Data,
    /// Where in the data the payload begins.
    payload: usize,
    port: u64,
    rid: u64,
    instance: u64,
    original_length: u64,
    truncate: Option<usize>,
}

/// A packet at work.
struct Packet<'a, 'b> {
    at: At<'a>,
    scratch: &'a mut Scratch,
    input: &'a Input<'a>,
    work: VecDeque<Work>,
    emit: &'a mut dyn FnMut(Output<'_>),
    blocks: &'b Blocks,
}

impl Blocks {
    pub(super) fn new(program: &Program) -> Result<Blocks, LoadError> {
        let [parser, verify, ingress, egress, compute, deparser] = &program.blocks[..] else {
            let text = format!("{} of 6", program.blocks.len());
            return Err(LoadError::Block(text));
        };
        let standard = Standard::new(layout_of(parser, 2)?)
            .ok_or_else(|| LoadError::Block("standard_metadata".to_owned()))?;
        Ok(Blocks {
            headers_limbs: layout_of(parser, 0)?.limbs(),
            metadata_layout: layout_of(parser, 1)?.clone(),
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
        let mut packet = Packet {
            at,
            scratch,
            input,
            work: VecDeque::from([Work::Ingress {
                data: Data::Input,
                port: input.port.into(),
                instance: instance::NORMAL,
                kept: None,
            }]),
            emit,
            blocks: self,
        };
        let mut passes = 0;
        while let Some(next) = packet.work.pop_front() {
            passes += 1;
            if passes > MAX_PASSES {
                for _ in 0..=packet.work.len() {
                    (packet.emit)(Output::Dropped(DropReason::TooManyPasses));
                }
                return;
            }
            let result = match next {
                Work::Ingress {
                    data,
                    port,
                    instance,
                    kept,
                } => packet.ingress(data, port, instance, kept),
                Work::Egress(egress) => packet.egress(egress),
            };
            if let Err(reason) = result {
                (packet.emit)(Output::Dropped(reason));
            }
        }
    }

    fn standard_offset(&self) -> u32 {
        self.headers_limbs + self.metadata_layout.limbs()
    }
}

#[cfg(test)]
mod tests;
