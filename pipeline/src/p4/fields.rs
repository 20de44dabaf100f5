// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Serialised form of composite values: their scalar fields, concatenated.

mod words;

use adit_p4_frontend::ir::Layout;

pub(super) use words::Words;

use super::packet::{Reader, Writer};

/// A scalar field of a layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Leaf {
    /// The offset of its first limb.
    pub(super) offset: u32,
    /// The width in bits; a varbit's maximum.
    pub(super) width: u32,
    pub(super) is_varbit: bool,
    /// The offset of the enclosing header's validity.
    pub(super) header: Option<u32>,
}

/// A flattened layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Flat {
    pub(super) leaves: Vec<Leaf>,
    /// The total width in bits, with empty varbits.
    pub(super) bits: u32,
    pub(super) limbs: u32,
    pub(super) is_header: bool,
    /// The word-wise form, used for byte-aligned access.
    words: Option<Words>,
}

impl Flat {
    pub(super) fn new(layout: &Layout) -> Flat {
        let mut flat = Flat {
            limbs: layout.limbs(),
            is_header: matches!(layout, Layout::Header(_)),
            ..Flat::default()
        };
        flat.collect(layout, 0, None);
        let fixed = flat.leaves.iter().filter(|l| !l.is_varbit);
        flat.bits = fixed.map(|l| l.width).sum();
        if flat.is_header {
            flat.words = Words::new(&flat.leaves, flat.bits);
        }
        flat
    }

    /// The words of a header of whole bytes without varbits.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn words(&self) -> Option<&Words> {
        self.words.as_ref()
    }

    fn collect(&mut self, layout: &Layout, offset: u32, header: Option<u32>) {
        match layout {
            Layout::Struct(fields) | Layout::Union(fields) => {
                for field in &fields.fields {
                    self.collect(&field.layout, offset + field.offset, header);
                }
            }
            Layout::Header(fields) => {
                for field in &fields.fields {
                    self.collect(&field.layout, offset + field.offset, Some(offset));
                }
            }
            Layout::Stack(element, count) => {
                for n in 0..*count {
                    self.collect(element, offset + 1 + n * element.limbs(), header);
                }
            }
            Layout::Varbit(width) => self.leaves.push(Leaf {
                offset,
                width: *width,
                is_varbit: true,
                header,
            }),
            _ => self.leaves.push(Leaf {
                offset,
                width: layout.bits(),
                is_varbit: false,
                header,
            }),
        }
    }

    /// Reads all fields; a varbit gets `length` bits.
    #[inline]
    pub(super) fn read(&self, reader: &mut Reader<'_>, value: &mut [u64], length: u32) {
        match &self.words {
            Some(words) if reader.is_aligned() => {
                words.read(reader.rest(), value);
                reader.skip(words.bytes() * 8);
            }
            _ => self.read_leaves(reader, value, length),
        }
    }

    fn read_leaves(&self, reader: &mut Reader<'_>, value: &mut [u64], length: u32) {
        for leaf in &self.leaves {
            let at = leaf.offset as usize;
            let limbs = limbs_of(leaf.width);
            if leaf.is_varbit {
                value[at] = length.into();
                value[at + 1..at + 1 + limbs].fill(0);
                reader.read(&mut value[at + 1..at + 1 + limbs], length.min(leaf.width));
            } else {
                reader.read(&mut value[at..at + limbs], leaf.width);
            }
        }
    }

    /// Writes all fields, except those of invalid headers.
    #[inline]
    pub(super) fn write(&self, writer: &mut Writer, value: &[u64]) {
        if self.is_header && value[0] == 0 {
            return;
        }
        match (&self.words, writer.aligned()) {
            (Some(words), Some(data)) => words.write(data, value),
            _ => self.write_leaves(writer, value),
        }
    }

    fn write_leaves(&self, writer: &mut Writer, value: &[u64]) {
        for leaf in &self.leaves {
            if leaf.header.is_some_and(|h| value[h as usize] == 0) {
                continue;
            }
            let at = leaf.offset as usize;
            let limbs = limbs_of(leaf.width);
            if leaf.is_varbit {
                let length = (value[at] as u32).min(leaf.width);
                writer.write(&value[at + 1..at + 1 + limbs], length);
            } else {
                writer.write(&value[at..at + limbs], leaf.width);
            }
        }
    }
}

fn limbs_of(width: u32) -> usize {
    adit_p4_frontend::ir::limbs_of(width) as usize
}
