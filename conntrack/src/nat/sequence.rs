// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The adjustment of TCP sequence numbers after a helper has changed the length of a payload
//! (`nf_conntrack_seqadj.c`).

use super::rewrite::{replace_word, update_checksum, word};
use crate::checksum::Sum;
use crate::packet::tcp::{is_after, is_before};
use crate::tuple::Direction;

const HEADER: usize = 20;
const SEQ: usize = 4;
const ACK: usize = 8;
const DATA_OFFSET: usize = 12;
const CHECKSUM: usize = 16;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const SACK: u8 = 5;
/// The length of a block of selective acknowledgements: two sequence numbers.
const BLOCK: usize = 8;

/// The amounts that are added to the sequence numbers of one direction (`struct nf_ct_seqadj`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceAdjustment {
    /// The sequence number of the segment whose length was changed last.
    pub position: u32,
    /// The amount up to this segment.
    pub before: i32,
    /// The amount after it.
    pub after: i32,
}

impl SequenceAdjustment {
    /// `nf_ct_seq_offset`.
    fn offset(&self, seq: u32) -> i32 {
        if is_after(seq, self.position) {
            self.after
        } else {
            self.before
        }
    }

    /// The sequence number that the sender has given what its receiver knows as `seq`.
    fn undo(&self, seq: u32) -> u32 {
        let offset = self.offset(seq.wrapping_sub(self.before as u32));
        seq.wrapping_sub(offset as u32)
    }
}

/// The adjustments of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adjustments([SequenceAdjustment; 2]);

impl From<[SequenceAdjustment; 2]> for Adjustments {
    fn from(both: [SequenceAdjustment; 2]) -> Self {
        Adjustments(both)
    }
}

impl Adjustments {
    /// The original direction's first.
    pub(crate) fn both(&self) -> [SequenceAdjustment; 2] {
        self.0
    }

    /// Notes that the segment with this sequence number has become longer by `length`. A segment that
    /// comes again changes nothing (`nf_ct_seqadj_set`).
    pub(crate) fn add(&mut self, direction: Direction, seq: u32, length: i32) {
        let this = &mut self.0[direction as usize];
        if this.before == this.after || is_before(this.position, seq) {
            this.position = seq;
            this.before = this.after;
            this.after = this.after.wrapping_add(length);
        }
    }

    /// The amount that was added to the data that a segment in `direction` acknowledges; zero if the
    /// header is truncated.
    pub(crate) fn ack_offset(&self, direction: Direction, message: &[u8]) -> i32 {
        let Some(&[a, b, c, d]) = message.get(ACK..ACK + 4) else {
            return 0;
        };
        let ack = u32::from_be_bytes([a, b, c, d]);
        self.0[direction.opposite() as usize].offset(ack.wrapping_sub(1))
    }

    /// Adjusts a segment in `direction`: its sequence number, and what it acknowledges. Returns false
    /// if its options are malformed (`nf_ct_seq_adjust`).
    pub(super) fn apply(&self, direction: Direction, message: &mut [u8]) -> bool {
        if message.len() < HEADER {
            return false;
        }
        let (this, other) = (
            &self.0[direction as usize],
            &self.0[direction.opposite() as usize],
        );
        let seq = number(message, SEQ);
        let seq = seq.wrapping_add(this.offset(seq) as u32);
        let ack = other.undo(number(message, ACK));
        let mut delta = replace(message, SEQ, seq).plus(replace(message, ACK, ack));
        let end = usize::from(message[DATA_OFFSET] >> 4) * 4;
        let is_valid = match message.get_mut(..end) {
            Some(header) => adjust_blocks(header, other, &mut delta),
            None => false,
        };
        update_checksum(message, CHECKSUM, delta);
        is_valid
    }
}

fn number(message: &[u8], at: usize) -> u32 {
    u32::from(word(message, at)) << 16 | u32::from(word(message, at + 2))
}

/// Replaces a sequence number and returns what that adds to a sum over it.
fn replace(message: &mut [u8], at: usize, value: u32) -> Sum {
    let high = replace_word(message, at, (value >> 16) as u16);
    high.plus(replace_word(message, at + 2, value as u16))
}

/// Adjusts the edges of selective acknowledgements in a header (`nf_ct_sack_adjust`).
fn adjust_blocks(header: &mut [u8], other: &SequenceAdjustment, delta: &mut Sum) -> bool {
    let mut at = HEADER;
    while at < header.len() {
        match header[at] {
            END_OF_OPTIONS => return true,
            NO_OPERATION => at += 1,
            kind => {
                let length = header.get(at + 1).map_or(0, |&length| usize::from(length));
                if length < 2 || at + length > header.len() {
                    return false;
                }
                let blocks = length - 2;
                // An option at an odd offset sums up with its bytes exchanged.
                if kind == SACK && blocks >= BLOCK && blocks % BLOCK == 0 {
                    for edge in (at + 2..at + length).step_by(4) {
                        let new = other.undo(number(header, edge));
                        let edge_delta = replace(header, edge, new);
                        *delta = delta.plus(match edge % 2 {
                            0 => edge_delta,
                            _ => edge_delta.with_swapped_octets(),
                        });
                    }
                }
                at += length;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::Headers;
    use crate::testing::{fill_checksums, Tcp, V4};

    #[test]
    fn offsets_begin_behind_the_changed_segment() {
        let mut all = Adjustments::default();
        let direction = Direction::Original;
        all.add(direction, 100, 3);
        // A repetition.
        all.add(direction, 100, 3);
        let this = all.0[0];
        assert_eq!([99, 100, 101].map(|seq| this.offset(seq)), [0, 0, 3]);
        all.add(direction, 200, -5);
        let this = all.0[0];
        assert_eq!([150, 200, 201].map(|seq| this.offset(seq)), [3, 3, -2]);
        // What the receiver knows as 204 was 201 before; as 199, 201 + 0.
        assert_eq!(this.undo(203), 200);
        assert_eq!(this.undo(300), 302);
    }

    proptest! {
        /// The adjustment of one direction's numbers is undone in the other's acknowledgements, and
        /// the checksum stays right.
        #[test]
        fn acknowledgements_are_those_of_the_sender(
            change in (any::<u32>(), -200i32..200),
            after in 1u32..10_000,
            edges in proptest::collection::vec(1u32..10_000, 0..3),
            pad in 0usize..4,
        ) {
            let (position, length) = change;
            let mut all = Adjustments::default();
            all.add(Direction::Original, position, length);
            let moved = |seq: u32| seq.wrapping_add(length as u32);
            // Behind the changed segment, which is longer than what is cut off.
            let seq = position.wrapping_add(after + 500);
            let packet = V4.tcp(0x10, seq, 7, b"data");
            let at = Headers::parse(&packet).unwrap().transport;
            let mut message = packet[at..].to_vec();
            prop_assert!(all.apply(Direction::Original, &mut message));
            prop_assert_eq!(number(&message, SEQ), moved(seq));

            let mut options = vec![NO_OPERATION; pad];
            if !edges.is_empty() {
                options.extend([SACK, (2 + edges.len() * 8) as u8]);
                for edge in &edges {
                    options.extend(moved(position.wrapping_add(edge + 500)).to_be_bytes());
                    options.extend(moved(position.wrapping_add(edge + 501)).to_be_bytes());
                }
            }
            options.resize(options.len().next_multiple_of(4), 0);
            prop_assume!(options.len() <= 40);
            let answer = Tcp {
                flags: 0x10,
                seq: 7,
                ack: moved(seq),
                window: 9,
                options: &options,
                payload: b"",
            };
            let mut packet = answer.packet(V4.reverse());
            prop_assert!(all.apply(Direction::Reply, &mut packet[at..]));
            prop_assert_eq!(number(&packet, at + ACK), seq);
            for (index, edge) in edges.iter().enumerate() {
                let block = at + HEADER + pad + 2 + index * 8;
                prop_assert_eq!(number(&packet, block), position.wrapping_add(edge + 500));
            }
            let mut again = packet.clone();
            fill_checksums(&mut again);
            prop_assert_eq!(again, packet);
        }

        #[test]
        fn no_octets_panic(mut message in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut all = Adjustments::default();
            all.add(Direction::Reply, 5, 5);
            let _ = all.ack_offset(Direction::Original, &message);
            let _ = all.apply(Direction::Original, &mut message);
        }
    }
}
