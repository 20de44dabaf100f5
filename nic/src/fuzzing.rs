// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bodies of the fuzz targets for the device as a whole, so that a plain test can run them too.
//! Those of single modules are in these modules.

mod adis;
mod corpus;
mod registers;
mod rings;

pub use adis::adis;
pub use corpus::{registers_corpus, rings_corpus};
#[cfg(test)]
pub(crate) use registers::loaded;
pub use registers::registers;
pub use rings::{accounts, rings};

/// The driver's choices: bytes of the input, zeros after its end.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn more(&self) -> bool {
        !self.0.is_empty()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let n = N.min(self.0.len());
        bytes[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        bytes
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.bytes())
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    /// At most `len` bytes.
    fn slice(&mut self, len: usize) -> &[u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}
