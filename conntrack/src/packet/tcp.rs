// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The TCP header (RFC 9293) and the options that the tracker uses (RFC 7323, RFC 2018).

/// The flags of a TCP header, as in its byte 13.
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
    pub(crate) const URG: u8 = 0x20;
    pub(crate) const ECE: u8 = 0x40;
    pub(crate) const CWR: u8 = 0x80;
}

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
/// The largest shift count (`TCP_MAX_WSCALE`).
pub(crate) const MAX_SCALE: u8 = 14;

/// The combinations of flags that are valid: bit `n` for the flags `n`, which are below 64.
const VALID_FLAGS: u64 = {
    use flag::{ACK, FIN, RST, SYN, URG};
    1 << SYN
        | 1 << (SYN | URG)
        | 1 << (SYN | ACK)
        | 1 << RST
        | 1 << (RST | ACK)
        | 1 << (FIN | ACK)
        | 1 << (FIN | ACK | URG)
        | 1 << ACK
        | 1 << (ACK | URG)
};

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// The window as sent, not scaled.
    pub(crate) window: u16,
    /// The sequence number after the segment: SYN and FIN count.
    pub(crate) end: u32,
    options: &'a [u8],
}

/// The options of a SYN that the tracker uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SynOptions {
    /// The shift count of the sender's windows, at most 14.
    pub(crate) scale: Option<u8>,
    pub(crate) sack_permitted: bool,
}

impl<'a> Segment<'a> {
    /// Parses a message: a TCP header with its payload. Absent if the header is truncated.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let header = message.get(..20)?;
        let payload = usize::from(header[12] >> 4) * 4;
        let options = message.get(20..payload)?;
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (seq, flags) = (word(4), header[13]);
        let length = (message.len() - payload) as u32
            + u32::from(flags & flag::SYN != 0)
            + u32::from(flags & flag::FIN != 0);
        Some(Segment {
            flags,
            seq,
            ack: word(8),
            window: u16::from_be_bytes([header[14], header[15]]),
            end: seq.wrapping_add(length),
            options,
        })
    }

    /// Reports whether a flag is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Reports whether the combination of flags is one that TCP sends; PSH, ECE and CWR are free
    /// (`tcp_valid_flags`).
    pub(crate) fn has_valid_flags(&self) -> bool {
        use flag::{CWR, ECE, PSH};
        VALID_FLAGS >> (self.flags & !(PSH | ECE | CWR)) & 1 != 0
    }

    /// The options of a SYN (`tcp_options`). What follows a malformed option is not seen.
    pub(crate) fn syn_options(&self) -> SynOptions {
        let mut found = SynOptions::default();
        for (kind, value) in Options(self.options) {
            match (kind, value) {
                (SACK_PERMITTED, []) => found.sack_permitted = true,
                (WINDOW_SCALE, &[scale]) => found.scale = Some(scale.min(MAX_SCALE)),
                // Others, and these with another length, are not used.
                _ => {}
            }
        }
        found
    }

    /// Reports whether the header has options.
    pub(crate) fn has_options(&self) -> bool {
        !self.options.is_empty()
    }

    /// The highest right edge of the first SACK option's blocks, or the acknowledgement number if
    /// that is higher (`tcp_sack`).
    pub(crate) fn highest_sack(&self) -> u32 {
        let mut highest = self.ack;
        for (kind, value) in Options(self.options) {
            if kind == SACK && !value.is_empty() && value.len() % 8 == 0 {
                for block in value.chunks_exact(8) {
                    let right = u32::from_be_bytes([block[4], block[5], block[6], block[7]]);
                    if is_after(right, highest) {
                        highest = right;
                    }
                }
                break;
            }
        }
        highest
    }
}

/// The kinds and values of a header's options, up to the first malformed one.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.0 {
                [] | [END_OF_OPTIONS, ..] => return None,
                [NO_OPERATION, ref rest @ ..] => self.0 = rest,
                [_] => return None,
                [kind, length, ..] => {
                    let length = usize::from(length);
                    if length < 2 || length > self.0.len() {
                        return None;
                    }
                    let (option, rest) = self.0.split_at(length);
                    self.0 = rest;
                    return Some((kind, &option[2..]));
                }
            }
        }
    }
}

/// Reports whether sequence number `a` is after `b`.
pub(crate) fn is_after(a: u32, b: u32) -> bool {
    is_before(b, a)
}

/// Reports whether sequence number `a` is before `b`.
pub(crate) fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 80, 0, 81, 0, 0, 0, 10, 0, 0, 0, 20];
        message.extend([
            ((20 + options.len()) / 4 * 16) as u8,
            flags,
            1,
            0,
            0,
            0,
            0,
            0,
        ]);
        message.extend(options);
        message.extend(payload);
        message
    }

    #[test]
    fn syn_and_fin_count() {
        let end = |flags| Segment::parse(&message(flags, &[], b"abc")).unwrap().end;
        assert_eq!(end(flag::ACK), 13);
        assert_eq!(end(flag::SYN), 14);
        assert_eq!(end(flag::SYN | flag::FIN), 15);
    }

    #[test]
    fn options_of_a_syn() {
        let options = [NO_OPERATION, SACK_PERMITTED, 2, WINDOW_SCALE, 3, 15, 0, 9];
        let message = message(flag::SYN, &options, &[]);
        let found = Segment::parse(&message).unwrap().syn_options();
        assert_eq!(
            found,
            SynOptions {
                scale: Some(14),
                sack_permitted: true
            }
        );
    }

    #[test]
    fn malformed_options_end_the_list() {
        for bad in [
            [WINDOW_SCALE, 1, 0, 0],
            [8, 5, SACK_PERMITTED, 2],
            [8, 0, 0, 0],
            [1, 1, 1, 8],
        ] {
            let message = message(flag::SYN, &bad, &[]);
            assert_eq!(
                Segment::parse(&message).unwrap().syn_options(),
                SynOptions::default()
            );
        }
    }

    #[test]
    fn the_highest_block_counts() {
        let mut options = vec![1, 1, SACK, 18];
        options.extend([0, 0, 0, 90, 0, 0, 0, 100, 0, 0, 0, 30, 0, 0, 0, 40]);
        let message = message(flag::ACK, &options, &[]);
        assert_eq!(Segment::parse(&message).unwrap().highest_sack(), 100);
    }

    #[test]
    fn headers_may_be_truncated() {
        let whole = message(flag::ACK, &[1, 1, 1, 1], &[]);
        assert!(Segment::parse(&whole).is_some());
        assert!(Segment::parse(&whole[..23]).is_none());
        let mut short = message(flag::ACK, &[], &[]);
        short[12] = 0x40;
        assert!(Segment::parse(&short).is_none());
    }

    proptest! {
        #[test]
        fn no_octets_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some(segment) = Segment::parse(&bytes) {
                let _ = (segment.syn_options(), segment.highest_sack(), segment.has_valid_flags());
            }
        }
    }
}
