// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The direct meters of a table's entries. They are there once one of their neighbours has rates: a
//! table may have room for millions of entries, and making and dropping so many cells takes seconds.

use std::sync::OnceLock;

use crate::p4::externs::MeterCell;

/// How many are made at once.
const RUN: usize = 1024;

/// The meters, by the entries' ids.
#[derive(Default)]
pub(super) struct Meters(Box<[OnceLock<Box<[MeterCell]>>]>);

impl Meters {
    pub(super) fn new(room: usize) -> Meters {
        let runs = room.div_ceil(RUN);
        Meters((0..runs).map(|_| OnceLock::new()).collect())
    }

    /// An entry's meter, if it may have rates.
    pub(super) fn get(&self, id: u32) -> Option<&MeterCell> {
        let id = id as usize;
        self.0.get(id / RUN)?.get()?.get(id % RUN)
    }

    /// An entry's meter, to be given rates; `None` if there is no room for such an entry.
    pub(super) fn make(&self, id: u32) -> Option<&MeterCell> {
        let run = self.0.get(id as usize / RUN)?;
        run.get_or_init(|| (0..RUN).map(|_| MeterCell::default()).collect());
        self.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_when_they_are_needed() {
        let meters = Meters::new(4 << 20);
        assert!(meters.get(5).is_none());
        assert!(meters.make(5).is_some());
        assert!(meters.get(5).is_some() && meters.get(6).is_some());
        assert!(meters.get(2048).is_none() && meters.make(4 << 20).is_none());
        assert!(Meters::default().make(0).is_none());
    }
}
