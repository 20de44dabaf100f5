// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The SCTP header and its chunks (RFC 9260).

/// The types of chunks that change an association's state.
pub(crate) mod chunk {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const INIT: u8 = 1;
    pub(crate) const INIT_ACK: u8 = 2;
    pub(crate) const HEARTBEAT: u8 = 4;
    pub(crate) const HEARTBEAT_ACK: u8 = 5;
    pub(crate) const ABORT: u8 = 6;
    pub(crate) const SHUTDOWN: u8 = 7;
    pub(crate) const SHUTDOWN_ACK: u8 = 8;
    pub(crate) const ERROR: u8 = 9;
    pub(crate) const COOKIE_ECHO: u8 = 10;
    pub(crate) const COOKIE_ACK: u8 = 11;
    pub(crate) const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The length of the common header.
pub(crate) const HEADER: usize = 12;

/// A chunk; its value may be truncated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The length field, at least 1.
    length: u16,
    value: &'a [u8],
}

impl Chunk<'_> {
    /// The flag of ABORT and SHUTDOWN COMPLETE: the tag is the sender's.
    pub(crate) fn has_reflected_tag(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The initiate tag of an INIT or INIT ACK. Absent if the fixed part is truncated.
    pub(crate) fn init_tag(&self) -> Option<u32> {
        let fixed = self.value.get(..16)?;
        Some(u32::from_be_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]))
    }
}

/// The verification tag of a packet. Absent if the header is truncated.
pub(crate) fn tag(message: &[u8]) -> Option<u32> {
    let header = message.get(..HEADER)?;
    Some(u32::from_be_bytes([
        header[4], header[5], header[6], header[7],
    ]))
}

/// The chunks of a packet. The iterator ends before a chunk whose header is truncated, and after one
/// with length 0.
pub(crate) struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    /// The chunks of a message: a common header and what follows.
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Chunks(message.get(HEADER..).unwrap_or_default())
    }
}

impl<'a> Iterator for Chunks<'a> {
    /// Absent for a chunk with length 0.
    type Item = Option<Chunk<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let &[kind, flags, high, low, ref value @ ..] = self.0 else {
            return None;
        };
        let length = u16::from_be_bytes([high, low]);
        if length == 0 {
            self.0 = &[];
            return Some(None);
        }
        let padded = usize::from(length).next_multiple_of(4);
        self.0 = self.0.get(padded..).unwrap_or_default();
        Some(Some(Chunk {
            kind,
            flags,
            length,
            value,
        }))
    }
}

/// The set of the types of a packet's chunks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kinds([u64; 4]);

impl Kinds {
    fn insert(&mut self, kind: u8) {
        self.0[usize::from(kind >> 6)] |= 1 << (kind & 63);
    }

    /// Reports whether a chunk of the type is in the packet.
    pub(crate) fn contains(&self, kind: u8) -> bool {
        self.0[usize::from(kind >> 6)] & 1 << (kind & 63) != 0
    }

    /// Reports whether a chunk of one of the types is in the packet.
    pub(crate) fn contains_any(&self, kinds: &[u8]) -> bool {
        kinds.iter().any(|&kind| self.contains(kind))
    }
}

/// The types of a packet's chunks. Absent if there are none, if one has length 0, or if chunks are
/// bundled that must not be (`do_basic_checks` in `nf_conntrack_proto_sctp.c`).
pub(crate) fn checked_kinds(message: &[u8]) -> Option<Kinds> {
    let mut kinds = Kinds::default();
    let mut alone = false;
    let mut count = 0;
    for chunk in Chunks::new(message) {
        let chunk = chunk?;
        debug_assert_ne!(chunk.length, 0);
        alone |= matches!(
            chunk.kind,
            chunk::INIT | chunk::INIT_ACK | chunk::SHUTDOWN_COMPLETE
        );
        let first = matches!(chunk.kind, chunk::COOKIE_ACK | chunk::COOKIE_ECHO);
        if (first || alone) && count != 0 {
            return None;
        }
        kinds.insert(chunk.kind);
        count += 1;
    }
    (count != 0).then_some(kinds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(chunks: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0, 1, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0];
        for chunk in chunks {
            message.extend(*chunk);
        }
        message
    }

    #[test]
    fn bundles_are_checked() {
        let data: &[u8] = &[chunk::DATA, 0, 0, 5, 1, 0, 0, 0];
        let echo: &[u8] = &[chunk::COOKIE_ECHO, 0, 0, 4];
        let init: &[u8] = &[chunk::INIT, 0, 0, 4];
        assert!(checked_kinds(&message(&[echo, data])).is_some());
        assert!(checked_kinds(&message(&[data, echo])).is_none());
        assert!(checked_kinds(&message(&[init])).is_some());
        assert!(checked_kinds(&message(&[init, data])).is_none());
        assert!(checked_kinds(&message(&[data, init])).is_none());
        assert!(checked_kinds(&message(&[])).is_none());
        assert!(checked_kinds(&message(&[data, &[0, 0, 0, 0]])).is_none());
        // A truncated chunk header ends the list.
        assert!(checked_kinds(&message(&[data, &[0, 0, 0]])).is_some());
    }

    proptest! {
        #[test]
        fn no_octets_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (tag(&bytes), checked_kinds(&bytes));
            for chunk in Chunks::new(&bytes).flatten() {
                let _ = chunk.init_tag();
            }
        }
    }
}
