// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The record of the latest events of a device.

use std::collections::VecDeque;
use std::time::Instant;

use adit_uapi::virtchnl2::adi::op as adi_op;
use adit_uapi::virtchnl2::op;

use crate::protocol::{TraceEntry, TraceEvent};

/// The number of entries that are kept.
const TRACE_LEN: usize = 256;

/// A bounded record: new entries replace the oldest.
#[derive(Debug)]
pub(crate) struct Trace {
    start: Instant,
    last: u64,
    entries: VecDeque<TraceEntry>,
}

impl Trace {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            last: 0,
            entries: VecDeque::new(),
        }
    }

    /// Records an event.
    pub(crate) fn record(&mut self, event: TraceEvent) {
        if self.entries.len() == TRACE_LEN {
            self.entries.pop_front();
        }
        self.last += 1;
        self.entries.push_back(TraceEntry {
            seq: self.last,
            time_us: self.start.elapsed().as_micros() as u64,
            event,
        });
    }

    /// The entries after the number `after`, at most `max`, the oldest first.
    pub(crate) fn after(&self, after: u64, max: usize) -> Vec<TraceEntry> {
        let later = self.entries.iter().filter(|entry| entry.seq > after);
        later.take(max).cloned().collect()
    }
}

/// The name of an opcode; empty if it is unknown.
pub(crate) fn opcode_name(opcode: u32) -> &'static str {
    op::name(opcode).or(adi_op::name(opcode)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_entries_are_kept_and_numbered() {
        let mut trace = Trace::new(Instant::now());
        for _ in 0..TRACE_LEN + 10 {
            trace.record(TraceEvent::Connected);
        }
        let all = trace.after(0, usize::MAX);
        assert_eq!((all.len(), all[0].seq), (TRACE_LEN, 11));
        let last = TRACE_LEN as u64 + 10;
        assert!(trace.after(last, 9).is_empty());
        let part = trace.after(last - 5, 2);
        assert_eq!((part[0].seq, part.len()), (last - 4, 2));
    }
}
