// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Opaque data that control planes store with entries. Few entries have any, and packets never see
//! it.

use std::collections::HashMap;

/// Maximum number of bytes for an entry.
pub const MAX_OPAQUE: usize = 1 << 10;
/// Maximum number of bytes for all entries of a table.
pub const MAX_OPAQUE_TOTAL: usize = 64 << 20;

/// The bytes of the entries that have some.
#[derive(Default)]
pub(super) struct Opaque {
    of: HashMap<u32, Box<[u8]>>,
    total: usize,
}

impl Opaque {
    /// Maximum number of bytes that an entry may be given.
    pub(super) fn room(&self, id: Option<u32>) -> usize {
        let others = self.total - id.map_or(0, |id| self.get(id).len());
        MAX_OPAQUE.min(MAX_OPAQUE_TOTAL - others)
    }

    pub(super) fn get(&self, id: u32) -> &[u8] {
        self.of.get(&id).map_or(&[], |bytes| bytes)
    }

    /// Sets the bytes of an entry; the caller has checked [`Opaque::room`].
    pub(super) fn set(&mut self, id: u32, bytes: &[u8]) {
        let old = match bytes.is_empty() {
            true => self.of.remove(&id),
            false => self.of.insert(id, bytes.into()),
        };
        self.total = self.total + bytes.len() - old.map_or(0, |old| old.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_limit_to_an_entry_and_to_all() {
        let mut opaque = Opaque::default();
        assert_eq!(opaque.room(None), MAX_OPAQUE);
        let count = (MAX_OPAQUE_TOTAL / MAX_OPAQUE) as u32;
        for id in 0..count {
            assert_eq!(opaque.room(None), MAX_OPAQUE);
            opaque.set(id, &[7; MAX_OPAQUE]);
        }
        assert_eq!(opaque.room(None), 0);
        assert_eq!(opaque.room(Some(3)), MAX_OPAQUE);
        opaque.set(3, &[1; 10]);
        assert_eq!((opaque.room(None), opaque.get(3)), (1014, &[1; 10][..]));
        opaque.set(3, &[]);
        opaque.set(3, &[]);
        assert_eq!((opaque.room(None), opaque.get(3)), (MAX_OPAQUE, &[][..]));
    }
}
