// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Words of headers that leave as they came: where no code writes a header's fields but the parser, the
//! deparser copies its words from the packet, and fields that nothing else reads are not extracted.

use std::collections::BTreeMap;

use adit_p4_frontend::ir::{Inst, Program, Slot};

use super::graph::{effects, Graph, Slots};
use super::inline::{Inlined, Node};
use super::liveness::{constant, Headers};
use crate::p4::effects::SlotRange;
use crate::p4::fields::Flat;

/// A header of which some words are copied.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    /// The slot in which its extraction stores its place in the packet, in bytes.
    pub(super) place: Slot,
    pub(super) layout: u32,
    /// Set for the words that are copied, by their index.
    pub(super) words: Vec<bool>,
    /// The slots of fields in the other words, which emitting the header reads.
    pub(super) read: Vec<SlotRange>,
}

/// The headers of which some words are copied, by the slots of their validity.
#[derive(Debug, Default)]
pub(super) struct Verbatim(BTreeMap<Slot, Copied>);

/// The layouts with which a header is extracted and emitted.
fn layouts_of<'n>(
    nodes: &'n [Node<'n>],
    header: SlotRange,
) -> impl Iterator<Item = Option<u32>> + 'n {
    nodes.iter().filter_map(move |node| match node {
        Node::Plain(inst) | Node::Parse { inst, .. } => match inst {
            Inst::Extract {
                layout,
                dst,
                length,
            } if *dst == header.0 => Some(length.is_none().then_some(*layout)),
            Inst::Emit { layout, src } if *src == header.0 => Some(Some(*layout)),
            _ => None,
        },
        _ => None,
    })
}

/// Returns whether each header that is emitted has whole bytes. A varbit always has.
fn emits_bytes(nodes: &[Node<'_>], layouts: &[Flat]) -> bool {
    nodes.iter().all(|node| match node {
        Node::Plain(Inst::Emit { layout, .. }) => layouts[*layout as usize].bits % 8 == 0,
        _ => true,
    })
}

impl Verbatim {
    /// The slots that the places of headers take in the frame.
    pub(super) fn slots(headers: &Headers) -> usize {
        headers.runs().len()
    }

    /// Finds the headers of a function that parses a packet and emits it. `places` is the first of as many
    /// slots as [`Verbatim::slots`] says, which nothing else uses.
    pub(super) fn new(
        code: &Inlined<'_>,
        graph: &Graph,
        program: &Program,
        headers: &Headers,
        layouts: &[Flat],
        constants: &Slots,
        places: Slot,
    ) -> Verbatim {
        let mut found = Verbatim::default();
        if cfg!(target_endian = "big") || !emits_bytes(&code.nodes, layouts) {
            return found;
        }
        let touched: Vec<(&Node<'_>, SlotRange)> = code
            .nodes
            .iter()
            .flat_map(|node| {
                let all = effects(node, program);
                let runs = all.writes.into_iter().chain(all.touches);
                runs.map(move |run| (node, run))
            })
            .collect();
        // All headers are invalid at first: only an extraction in the same run makes one of these valid.
        let first = &code.nodes[graph.blocks[0].nodes.clone()];
        let is_cleared = |header: SlotRange| {
            first.iter().any(|node| match node {
                Node::Plain(Inst::Zero { dst, limbs }) => covers((*dst, *limbs), header),
                _ => false,
            })
        };
        for (header, place) in headers.runs().iter().zip(places..) {
            let mut used = layouts_of(&code.nodes, *header);
            let Some(Some(layout)) = used.next() else {
                continue;
            };
            let Some(words) = layouts[layout as usize].words() else {
                continue;
            };
            if used.any(|other| other != Some(layout)) || !is_cleared(*header) {
                continue;
            }
            let Some(written) = written(&touched, *header, program, constants) else {
                continue;
            };
            let mut copied = vec![true; words.bytes().div_ceil(8)];
            for (word, piece) in words.pieces() {
                copied[word] &= !written.contains(&(header.0 + piece.limb));
            }
            if !copied.contains(&true) {
                continue;
            }
            let others = words.pieces().filter(|(word, _)| !copied[*word]);
            let read = others
                .map(|(_, piece)| (header.0 + piece.limb, 1))
                .collect();
            let copied = Copied {
                place,
                layout,
                words: copied,
                read,
            };
            found.0.insert(header.0, copied);
        }
        found
    }

    /// The slot for the place of a header, if words of it are copied.
    pub(super) fn place_of(&self, validity: Slot) -> Option<Slot> {
        self.0.get(&validity).map(|copied| copied.place)
    }

    /// The header with that slot of its validity, if it has that layout.
    pub(super) fn get(&self, validity: Slot, layout: u32) -> Option<&Copied> {
        self.0
            .get(&validity)
            .filter(|copied| copied.layout == layout)
    }
}

fn covers(run: SlotRange, other: SlotRange) -> bool {
    run.0 <= other.0 && other.0 + other.1 <= run.0 + run.1
}

/// The slots of a header's fields that code writes besides extracting and clearing it; `None` if code
/// makes it valid without extracting it.
fn written(
    touched: &[(&Node<'_>, SlotRange)],
    header: SlotRange,
    program: &Program,
    constants: &Slots,
) -> Option<Vec<Slot>> {
    let mut written = Vec::new();
    for (node, run) in touched {
        let (first, end) = (
            run.0.max(header.0),
            (run.0 + run.1).min(header.0 + header.1),
        );
        if first >= end {
            continue;
        }
        let inst = match node {
            Node::Plain(inst) | Node::Parse { inst, .. } => Some(*inst),
            _ => None,
        };
        match inst {
            Some(Inst::Extract { dst, .. }) if *dst == header.0 && *run == header => continue,
            Some(Inst::Zero { .. }) if covers(*run, header) => continue,
            _ => {}
        }
        if first == header.0 {
            let value = inst.and_then(|inst| match inst {
                Inst::Zero { .. } | Inst::Move { .. } => {
                    constant(inst, header.0, program, constants)
                }
                _ => None,
            });
            if value != Some(0) {
                return None;
            }
        }
        written.extend(first.max(header.0 + 1)..end);
    }
    Some(written)
}
