// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Accesses of any size to registers of 32 bits.

use std::ops::Range;

/// The aligned 32-bit registers that an access of any size touches: the offset of each, the bytes
/// to skip in it, and the range of the data that belongs to it. PCI lets software access parts of
/// registers.
fn registers(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= len {
            return None;
        }
        let byte = offset + at as u64;
        let (register, skip) = (byte & !3, (byte & 3) as usize);
        let n = (4 - skip).min(len - at);
        let range = at..at + n;
        at += n;
        Some((register, skip, range))
    })
}

/// Reads the registers of an access, each whole by `read`.
pub fn read_registers(offset: u64, data: &mut [u8], mut read: impl FnMut(u64) -> u32) {
    for (register, skip, range) in registers(offset, data.len()) {
        let value = read(register).to_le_bytes();
        let n = range.len();
        data[range].copy_from_slice(&value[skip..skip + n]);
    }
}

/// Writes the registers that an access covers whole, by `write`. A narrower write would have to make
/// up the rest: it has no effect.
pub fn write_registers(offset: u64, data: &[u8], mut write: impl FnMut(u64, u32)) {
    for (register, _, range) in registers(offset, data.len()) {
        if let Ok(bytes) = data[range].try_into() {
            write(register, u32::from_le_bytes(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_is_cut_at_registers() {
        let cut: Vec<_> = registers(6, 7).collect();
        assert_eq!(cut, [(4, 2, 0..2), (8, 0, 2..6), (12, 0, 6..7)]);
        assert_eq!(registers(3, 0).count(), 0);
    }
}
