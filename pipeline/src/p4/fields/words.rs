// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Word-wise access to headers of whole bytes, 64 bits of the packet at a time: the positions of
//! each field's bits are computed when a program is loaded.

use super::Leaf;
use crate::p4::bits::mask;

/// Bits of a field that are contiguous both in a limb and in a word of the packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::p4) struct Piece {
    /// The limb's index in the value.
    pub(in crate::p4) limb: u32,
    /// The bit offset in the limb.
    pub(in crate::p4) in_limb: u8,
    /// The bit offset in the word.
    pub(in crate::p4) in_word: u8,
    /// Mask of the piece's width.
    pub(in crate::p4) mask: u64,
    /// Set if the limb has no bits above the piece.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) is_top: bool,
    /// Mask for the limb's other bits on a read: zero for the limb's first piece.
    keep: u64,
}

/// A header's 64-bit words; the packet's first bit is the most significant one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::p4) struct Words {
    bytes: usize,
    /// The end of each word's pieces.
    ends: Vec<u32>,
    pieces: Vec<Piece>,
}

impl Words {
    /// Creates the words of a header with these fields. Returns `None` if it does not consist of
    /// whole bytes, or has a variable length.
    pub(super) fn new(leaves: &[Leaf], bits: u32) -> Option<Words> {
        let is_plain = |l: &Leaf| !l.is_varbit && l.width > 0 && l.header == Some(0);
        if bits == 0 || bits % 8 != 0 || !leaves.iter().all(is_plain) {
            return None;
        }
        let mut at = 0;
        let mut pieces = Vec::new();
        for leaf in leaves {
            at += leaf.width;
            let mut done = 0;
            while done < leaf.width {
                let last = at - 1 - done;
                let (in_limb, in_word) = (done % 64, 63 - last % 64);
                let count = (leaf.width - done).min(64 - in_limb).min(64 - in_word);
                let piece = Piece {
                    limb: leaf.offset + done / 64,
                    in_limb: in_limb as u8,
                    in_word: in_word as u8,
                    mask: mask(count),
                    is_top: done + count == leaf.width || in_limb + count == 64,
                    keep: u64::MAX,
                };
                pieces.push((last / 64, piece));
                done += count;
            }
        }
        pieces.sort_by_key(|(word, _)| *word);
        let words = bits.div_ceil(64);
        let end = |word| pieces.partition_point(|(w, _)| *w <= word) as u32;
        let ends = (0..words).map(end).collect();
        let mut pieces: Vec<_> = pieces.into_iter().map(|(_, piece)| piece).collect();
        for n in 0..pieces.len() {
            if !pieces[..n].iter().any(|p| p.limb == pieces[n].limb) {
                pieces[n].keep = 0;
            }
        }
        Some(Words {
            bytes: bits as usize / 8,
            ends,
            pieces,
        })
    }

    /// The length in bytes.
    pub(in crate::p4) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All pieces, with the indices of their words.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) fn pieces(&self) -> impl Iterator<Item = (usize, &Piece)> {
        let numbered = self.pieces.iter().enumerate();
        numbered.map(|(n, piece)| {
            let word = self.ends.partition_point(|end| *end as usize <= n);
            (word, piece)
        })
    }

    /// Reads all fields. `data` may extend beyond the header; missing bytes are 0.
    #[inline]
    pub(super) fn read(&self, mut data: &[u8], value: &mut [u64]) {
        let mut from = 0;
        for end in &self.ends {
            let word = match data.split_first_chunk::<8>() {
                Some((eight, rest)) => {
                    data = rest;
                    u64::from_be_bytes(*eight)
                }
                None => {
                    let mut eight = [0; 8];
                    eight[..data.len()].copy_from_slice(data);
                    data = &[];
                    u64::from_be_bytes(eight)
                }
            };
            for piece in &self.pieces[from..*end as usize] {
                let limb = &mut value[piece.limb as usize];
                *limb = *limb & piece.keep | (word >> piece.in_word & piece.mask) << piece.in_limb;
            }
            from = *end as usize;
        }
    }

    /// Appends all fields.
    #[inline]
    pub(super) fn write(&self, data: &mut Vec<u8>, value: &[u64]) {
        let start = data.len();
        data.reserve(self.bytes + 8);
        let mut from = 0;
        for end in &self.ends {
            let mut word = 0;
            for piece in &self.pieces[from..*end as usize] {
                let bits = value[piece.limb as usize] >> piece.in_limb & piece.mask;
                word |= bits << piece.in_word;
            }
            data.extend_from_slice(&word.to_be_bytes());
            from = *end as usize;
        }
        data.truncate(start + self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use adit_p4_frontend::ir::{Field, Fields, Layout};
    use proptest::prelude::*;

    use super::super::Flat;
    use crate::p4::packet::{Reader, Writer};

    fn header(widths: &[u32]) -> Flat {
        let (mut limbs, mut fields) = (1, Vec::new());
        for width in widths {
            let layout = Layout::Bits(*width, false);
            let (name, offset) = (String::new(), limbs);
            limbs += layout.limbs();
            fields.push(Field {
                name,
                offset,
                layout,
                field_lists: Vec::new(),
            });
        }
        let name = String::new();
        Flat::new(&Layout::Header(Arc::new(Fields {
            name,
            fields,
            limbs,
        })))
    }

    proptest! {
        /// Word-wise and field-wise access are equivalent, for any end of the packet.
        #[test]
        fn words_are_as_fields(
            mut widths in prop::collection::vec(1u32..200, 1..12),
            data in prop::collection::vec(any::<u8>(), 300),
            more in 0usize..10,
            old in any::<u64>(),
        ) {
            let bits: u32 = widths.iter().sum();
            widths.push(8 - bits % 8);
            let flat = header(&widths);
            let fields = Flat { words: None, ..flat.clone() };
            prop_assert!(flat.words.is_some());
            let data = &data[..(flat.bits as usize / 8 + more).min(300)];
            let mut values = [vec![old; flat.limbs as usize], vec![old; flat.limbs as usize]];
            let mut readers = [Reader::new(data), Reader::new(data)];
            flat.read(&mut readers[0], &mut values[0], 0);
            fields.read(&mut readers[1], &mut values[1], 0);
            prop_assert_eq!(&values[0], &values[1]);
            prop_assert_eq!(readers[0].rest(), readers[1].rest());
            values[0][0] = 1;
            let mut writers = [Writer::default(), Writer::default()];
            flat.write(&mut writers[0], &values[0]);
            fields.write(&mut writers[1], &values[0]);
            prop_assert_eq!(writers[0].bytes(), writers[1].bytes());
            prop_assert_eq!(writers[0].bytes(), &data[..flat.bits as usize / 8]);
        }
    }
}
