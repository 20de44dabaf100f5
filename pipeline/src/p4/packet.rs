// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets as bit streams: the parser's input and the deparser's output.

use super::bits::mask;

/// A bit-wise reader of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reader<'a> {
    data: &'a [u8],
    /// The position of the next bit.
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Reader<'a> {
        Reader { data, at: 0 }
    }

    /// Resumes reading at a bit position; past the end there is nothing to read.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn resume(data: &'a [u8], at: usize) -> Reader<'a> {
        let at = at.min(data.len() * 8);
        Reader { data, at }
    }

    /// The packet.
    pub(super) fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The position of the next bit.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The number of bits left.
    pub(super) fn left(&self) -> usize {
        self.data.len() * 8 - self.at
    }

    /// Returns whether the next bit is the first of a byte.
    pub(super) fn is_aligned(&self) -> bool {
        self.at % 8 == 0
    }

    /// Advances; the caller has checked that enough bits are left.
    pub(super) fn skip(&mut self, bits: usize) {
        self.at = (self.at + bits).min(self.data.len() * 8);
    }

    /// The bytes not read yet, including a partially read byte.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.data[self.at / 8..]
    }

    /// Reads a value and advances. Bits past the end are 0.
    pub(super) fn read(&mut self, out: &mut [u64], width: u32) {
        if width <= 64 {
            if let Some(first) = out.first_mut() {
                *first = self.read_limb(width);
            }
            return;
        }
        out.fill(0);
        // From the top: the first bit in the packet is the most significant one.
        let mut left = width;
        while left > 0 {
            let take = match left % 64 {
                0 => 64,
                part => part,
            };
            left -= take;
            let limb = self.read_limb(take);
            if let Some(place) = out.get_mut(left as usize / 64) {
                *place = limb;
            }
        }
    }

    /// Reads up to 64 bits and advances.
    #[inline]
    pub(super) fn read_limb(&mut self, width: u32) -> u64 {
        let (byte, shift) = (self.at / 8, (self.at % 8) as u32);
        self.at += width as usize;
        if width == 0 {
            return 0;
        }
        let rest = self.data.get(byte..).unwrap_or_default();
        let Some((eight, more)) = rest.split_first_chunk::<8>() else {
            let mut eight = [0; 8];
            eight[..rest.len()].copy_from_slice(rest);
            return u64::from_be_bytes(eight) << shift >> (64 - width);
        };
        let high = u64::from_be_bytes(*eight) << shift;
        let value = match shift + width > 64 {
            // The value extends into a ninth byte.
            true => high | u64::from(more.first().copied().unwrap_or(0)) >> (8 - shift),
            false => high,
        };
        value >> (64 - width)
    }
}

/// A bit-wise writer.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer {
    data: Vec<u8>,
    /// Number of bits used in the last byte, or 0 if it is full.
    partial: u32,
}

impl Writer {
    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.partial = 0;
    }

    /// The bytes written; the last one is padded with zeros.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Appends whole bytes, after padding to a byte boundary.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.partial = 0;
        self.data.extend_from_slice(bytes);
    }

    /// The buffer for appending, if it ends at a byte boundary.
    #[inline]
    pub(super) fn aligned(&mut self) -> Option<&mut Vec<u8>> {
        (self.partial == 0).then_some(&mut self.data)
    }

    /// Reserves capacity for more bytes.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.data.reserve(bytes);
    }

    /// Returns the buffer's address, the number of bytes written, and the capacity: 0 if the last
    /// byte is partial.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn space(&mut self) -> (*mut u8, usize, usize) {
        let data = &mut self.data;
        let room = if self.partial == 0 {
            data.capacity()
        } else {
            0
        };
        (data.as_mut_ptr(), data.len(), room)
    }

    /// Sets the number of bytes, after some were written to [`Writer::space`].
    ///
    /// # Safety
    /// The bytes must be within the capacity and initialised.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) unsafe fn set_written(&mut self, bytes: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.data.set_len(bytes) };
    }

    pub(super) fn write(&mut self, value: &[u64], width: u32) {
        let mut left = width;
        while left > 0 {
            let take = match left % 64 {
                0 => 64,
                part => part,
            };
            left -= take;
            let limb = value.get(left as usize / 64).copied().unwrap_or(0);
            self.write_limb(limb, take);
        }
    }

    /// Writes 1 to 64 bits.
    #[inline]
    pub(super) fn write_limb(&mut self, value: u64, width: u32) {
        if self.partial == 0 {
            let bytes = (value << (64 - width)).to_be_bytes();
            self.data
                .extend_from_slice(&bytes[..width.div_ceil(8) as usize]);
        } else {
            let last = self.data.pop().unwrap_or(0);
            // The bits of the last byte, followed by the value's.
            let wide = u128::from(value & mask(width)) << (128 - width - self.partial);
            let bytes = (wide | u128::from(last) << 120).to_be_bytes();
            let count = (width + self.partial).div_ceil(8) as usize;
            self.data.extend_from_slice(&bytes[..count]);
        }
        self.partial = (self.partial + width) % 8;
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
