// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets as bits: where a parser reads, what a deparser writes.

use super::bits::mask;

/// A packet that is read bit by bit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reader<'a> {
    data: &'a [u8],
    /// The next bit.
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Reader<'a> {
        Reader { data, at: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// How many bits are left.
    pub(super) fn left(&self) -> usize {
        self.data.len() * 8 - self.at
    }

    /// Moves on; the caller has made sure that there are so many bits.
    pub(super) fn skip(&mut self, bits: usize) {
        self.at = (self.at + bits).min(self.data.len() * 8);
    }

    /// The bytes that have not been read; a byte that has been read in part is one of them.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.data[self.at / 8..]
    }

    /// Reads a value and moves on. Bits that are not there are 0.
    pub(super) fn read(&mut self, out: &mut [u64], width: u32) {
        out.fill(0);
        let mut left = width;
        while left > 0 {
            // From the top: the first bit in the packet is the most significant one.
            let byte = self.data.get(self.at / 8).copied().unwrap_or(0);
            let inside = 8 - (self.at % 8) as u32;
            let take = inside.min(left);
            let value = u64::from(byte) >> (inside - take) & mask(take);
            left -= take;
            self.at += take as usize;
            let (limb, shift) = (left as usize / 64, left % 64);
            out[limb] |= value << shift;
            if shift + take > 64 {
                out[limb + 1] |= value >> (64 - shift);
            }
        }
    }
}

/// Bits one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer {
    data: Vec<u8>,
    /// Bits of the last byte that are used, if not all are.
    partial: u32,
}

impl Writer {
    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.partial = 0;
    }

    /// What was written, the last byte filled up with zeros.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Appends whole bytes, after what was filled up to whole bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.partial = 0;
        self.data.extend_from_slice(bytes);
    }

    pub(super) fn write(&mut self, value: &[u64], width: u32) {
        let mut left = width;
        while left > 0 {
            let take = (8 - self.partial).min(left);
            left -= take;
            let (limb, shift) = (left as usize / 64, left % 64);
            let mut bits = value.get(limb).copied().unwrap_or(0) >> shift;
            if shift + take > 64 {
                bits |= value.get(limb + 1).copied().unwrap_or(0) << (64 - shift);
            }
            let bits = (bits & mask(take)) as u8;
            if self.partial == 0 {
                self.data.push(0);
            }
            self.partial += take;
            if let Some(last) = self.data.last_mut() {
                *last |= bits << (8 - self.partial);
            }
            self.partial %= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(values in prop::collection::vec((any::<u128>(), 0u32..=128), 0..20)) {
            let mut writer = Writer::default();
            for (value, width) in &values {
                writer.write(&[*value as u64, (*value >> 64) as u64], *width);
            }
            let mut reader = Reader::new(writer.bytes());
            for (value, width) in &values {
                let mut out = [0; 2];
                prop_assert!(reader.left() >= *width as usize);
                reader.read(&mut out, *width);
                let expected = value.checked_shl(128 - width).unwrap_or(0);
                let expected = expected.checked_shr(128 - width).unwrap_or(0);
                prop_assert_eq!(u128::from(out[0]) | u128::from(out[1]) << 64, expected);
            }
            prop_assert!(reader.left() < 8);
        }
    }
}
