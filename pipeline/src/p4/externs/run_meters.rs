// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of calls of meters and direct counters.

use super::meter::Color;
use super::objects::Object;
use super::op::{Colors, Op, Operand};
use super::Run;

impl Run<'_> {
    pub(super) fn run_meters(&mut self, op: &Op, frame: &mut [u64]) {
        match op {
            Op::Meter {
                object,
                index,
                color,
                bytes,
                result,
                colors,
            } => {
                let color = color_of(color.as_ref(), colors, frame);
                let bytes = bytes.as_ref().map(|b| b.get(frame));
                let weight = self.local.weight(bytes);
                let marked = match self.state.objects.get(*object) {
                    Some(Object::Meter(meter)) => {
                        let now = self.local.now_ns;
                        meter.mark(index.get(frame), now, weight, color)
                    }
                    _ => color,
                };
                result.set(frame, colors[marked as usize]);
            }
            Op::DirectMeter {
                object,
                color,
                bytes,
                result,
                colors,
            } => {
                let color = color_of(color.as_ref(), colors, frame);
                let bytes = bytes.as_ref().map(|b| b.get(frame));
                let weight = self.local.weight(bytes);
                let marked = match (self.state.objects.get(*object), self.local.applied) {
                    (Some(Object::DirectMeter(unit)), Some((table, Some(entry)))) => {
                        let table = &self.state.tables[table];
                        let (now, amount) = (self.local.now_ns, unit.amount(weight));
                        let own = table.direct_meter() == Some(*object as u32);
                        match own {
                            true => table.mark(entry, now, amount, color),
                            false => color,
                        }
                    }
                    _ => color,
                };
                result.set(frame, colors[marked as usize]);
            }
            Op::CountDirect { object, bytes } => {
                let bytes = bytes.as_ref().map(|b| b.get(frame));
                self.count_direct(*object, bytes);
            }
            // All other calls are handled by the callers.
            _ => {}
        }
    }
}

impl Run<'_> {
    /// Counts a packet for the entry that was hit last, if it has this counter, with `bytes` or the
    /// packet's length as received.
    #[inline]
    pub(in crate::p4) fn count_direct(&mut self, object: usize, bytes: Option<u64>) {
        if let Some((table, Some(entry))) = self.local.applied {
            let table = &self.state.tables[table];
            if table.direct_counter() == Some(object as u32) {
                table.count(self.local.worker, entry, self.local.weight(bytes));
            }
        }
    }
}

/// The packet's color before metering.
fn color_of(color: Option<&Operand>, colors: &Colors, frame: &[u64]) -> Color {
    let Some(color) = color else {
        return Color::Green;
    };
    let color = color.get(frame);
    match colors.iter().position(|c| *c == color) {
        Some(0) => Color::Green,
        Some(1) => Color::Yellow,
        // An invalid color must not be treated as green.
        _ => Color::Red,
    }
}
