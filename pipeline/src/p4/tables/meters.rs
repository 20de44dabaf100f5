// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The direct meters of a table's entries, allocated in runs when an entry of the run gets rates: a
//! table may have capacity for millions of entries, and allocating and freeing that many cells
//! takes seconds.

use std::sync::OnceLock;

use crate::p4::objects::MeterCell;

/// Number of cells allocated together.
const RUN: usize = 1024;

/// The meters, indexed by entry id.
#[derive(Default)]
pub(super) struct Meters(Box<[OnceLock<Box<[MeterCell]>>]>);

impl Meters {
    pub(super) fn new(room: usize) -> Meters {
        let runs = room.div_ceil(RUN);
        Meters((0..runs).map(|_| OnceLock::new()).collect())
    }

    /// The meter of an entry, if it is allocated.
    pub(super) fn get(&self, id: u32) -> Option<&MeterCell> {
        let id = id as usize;
        self.0.get(id / RUN)?.get()?.get(id % RUN)
    }

    /// Allocates the meter of an entry. Returns `None` if the id is out of range.
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
