// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A worker's own counters, by their addresses in memory, for machine code that counts without a call.

use std::sync::atomic::AtomicU64;

use crate::p4::objects::Object;
use crate::p4::state::State;
use crate::p4::tables::Table;

/// The worker's counts of one object: packets and bytes of each in turn.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
#[repr(C)]
pub(in crate::p4) struct OwnCounts {
    start: *const AtomicU64,
    /// The number of counts; 0 for another object, and if the worker has none of its own.
    count: usize,
}

// SAFETY: it gives access to nothing but atomic words, which may be shared, and only to unsafe code,
// which has to know that they exist still.
unsafe impl Send for OwnCounts {}
// SAFETY: as above.
unsafe impl Sync for OwnCounts {}

impl OwnCounts {
    #[cfg(feature = "jit")]
    pub(in crate::p4) const START: i32 = std::mem::offset_of!(OwnCounts, start) as i32;
    #[cfg(feature = "jit")]
    pub(in crate::p4) const COUNT: i32 = std::mem::offset_of!(OwnCounts, count) as i32;

    fn of(words: &[AtomicU64]) -> OwnCounts {
        OwnCounts {
            start: words.as_ptr(),
            count: words.len() / 2,
        }
    }

    /// The counts of a worker that has joined, for each object of the program: a counter's, or those of
    /// the entries of the table that has a direct counter. They stay where they are while the state
    /// exists.
    pub(in crate::p4) fn all(state: &State, worker: usize) -> Box<[OwnCounts]> {
        let each = state.objects.iter().enumerate().map(|(n, object)| {
            let words = match object {
                Object::Counter(counter) => counter.own(worker),
                Object::DirectCounter => {
                    let counts = |table: &&Table| table.direct_counter() == Some(n as u32);
                    let table = state.tables.iter().find(counts);
                    table.map_or(&[][..], |table| table.own_counts(worker))
                }
                _ => &[],
            };
            OwnCounts::of(words)
        });
        each.collect()
    }
}
