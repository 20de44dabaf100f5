// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recirculated packets: the output of a deparser, followed by the unparsed part of the input,
//! which is not copied when the packet is sent, regardless of the number of passes.

use super::packet::Writer;
use super::packets::{Input, Receive, Sent, SentKind};

/// The bytes that a parser reads: `made` bytes of a deparser's output, then the input's from
/// `offset` to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    made: usize,
    offset: usize,
    /// The end as in [`Input::length`], which may exceed the data available.
    end: usize,
}

impl Round {
    /// Creates the state of a packet as received.
    pub(super) fn first(input: &Input<'_>) -> Round {
        Round {
            made: 0,
            offset: 0,
            end: input.length,
        }
    }

    /// Creates the state of a packet of that many bytes that takes the place of the input.
    pub(super) fn instead(length: usize, input: &Input<'_>) -> Round {
        Round {
            made: length,
            offset: input.length,
            end: input.length,
        }
    }

    /// The packet's length, including data that is not available.
    pub(super) fn length(&self) -> usize {
        self.made + self.end.saturating_sub(self.offset)
    }

    /// The packet to be sent, without a port yet: the deparser's output, and after it the part of
    /// an earlier deparser's output that the parser, which consumed `taken` bytes of `data`, did
    /// not read.
    #[inline]
    pub(super) fn leave<'w>(
        &self,
        input: &Input<'_>,
        data: &[u8],
        taken: usize,
        writer: &'w mut Writer,
    ) -> Sent<'w> {
        if taken < self.made {
            writer.append(&data[taken..self.made]);
        }
        let payload_offset = self.offset + taken.saturating_sub(self.made);
        let headers = writer.bytes();
        let is_cut = self.end < input.length;
        Sent {
            port: 0,
            kind: SentKind::Packet,
            headers,
            payload_offset,
            truncate: is_cut.then(|| headers.len() + self.end.saturating_sub(payload_offset)),
            receive: Receive::default(),
            is_rewritten: false,
            is_inner: false,
            fragments: None,
        }
    }

    /// Prepares a packet for another pass; `data` becomes the parser's input.
    pub(super) fn again(sent: &Sent<'_>, input: &Input<'_>, data: &mut Vec<u8>) -> Round {
        let length = sent.truncate.unwrap_or(usize::MAX);
        let offset = sent.payload_offset;
        let made = sent.headers.len().min(length);
        let end = offset.saturating_add(length - made).min(input.length);
        data.clear();
        data.extend_from_slice(&sent.headers[..made]);
        let there = end.min(input.data.len());
        data.extend_from_slice(input.data.get(offset..there).unwrap_or_default());
        Round { made, offset, end }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// After any number of passes, the packet sent is the deparser's output and the unparsed
        /// data.
        #[test]
        fn nothing_is_lost(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            hidden in 0usize..10,
            rounds in prop::collection::vec(
                (0usize..50, prop::collection::vec(any::<u8>(), 0..10), prop::option::of(0usize..60)),
                1..6,
            ),
        ) {
            let mut input = Input::new(0, &bytes);
            input.length += hidden;
            let mut round = Round::first(&input);
            let (mut data, mut spare) = (bytes.clone(), Vec::new());
            let (mut model, mut missing) = (bytes.clone(), hidden);
            for (taken, headers, truncate) in rounds {
                prop_assert_eq!((&data, round.length()), (&model, model.len() + missing));
                let taken = taken.min(data.len());
                let mut writer = Writer::default();
                writer.append(&headers);
                let mut sent = round.leave(&input, &data, taken, &mut writer);
                if let Some(length) = truncate {
                    sent.truncate = Some(sent.truncate.map_or(length, |before| before.min(length)));
                    missing = missing.min(length.saturating_sub(headers.len() + model.len() - taken));
                }
                model = [&headers[..], &model[taken..]].concat();
                model.truncate(truncate.unwrap_or(usize::MAX));
                let mut out = Vec::new();
                sent.copy_to(&bytes, &mut out);
                prop_assert_eq!(&out, &model);
                round = Round::again(&sent, &input, &mut spare);
                std::mem::swap(&mut data, &mut spare);
            }
        }
    }
}
