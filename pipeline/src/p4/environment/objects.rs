// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of calls of counters, meters and registers.

use super::Environment;
use crate::p4::externs::{Colors, CounterCall, MeterCall, Operand, RegisterCall};
use crate::p4::objects::{Color, Object};

impl Environment<'_> {
    /// Executes a call of a counter.
    pub(super) fn count(&mut self, call: &CounterCall, frame: &mut [u64]) {
        match call {
            CounterCall::Count {
                object,
                index,
                bytes,
            } => {
                let bytes = bytes.as_ref().map(|b| b.get(frame));
                self.count_at(*object, index.get(frame), bytes);
            }
            CounterCall::CountDirect { object, bytes } => {
                let bytes = bytes.as_ref().map(|b| b.get(frame));
                self.count_direct(*object, bytes);
            }
        }
    }

    /// Counts a packet in a counter's element, with `bytes` or the packet's length as received.
    #[inline]
    pub(in crate::p4) fn count_at(&mut self, object: usize, index: u64, bytes: Option<u64>) {
        if let Some(Object::Counter(counter)) = self.state.objects.get(object) {
            counter.add(self.local.worker, index, self.local.weight(bytes));
        }
    }

    /// Executes a call of a meter.
    pub(super) fn meter(&mut self, call: &MeterCall, frame: &mut [u64]) {
        match call {
            MeterCall::Mark {
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
            MeterCall::MarkDirect {
                object,
                color,
                bytes,
                result,
                colors,
            } => {
                let color = color_of(color.as_ref(), colors, frame);
                let bytes = bytes.as_ref().map(|b| b.get(frame));
                let weight = self.local.weight(bytes);
                let marked = match (self.state.objects.get(*object), self.local.applied.get()) {
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
        }
    }

    /// Executes a call of a register.
    pub(super) fn register(&mut self, call: &RegisterCall, frame: &mut [u64]) {
        match call {
            RegisterCall::Read {
                object,
                result,
                index,
            } => {
                let at = index.get(frame);
                let to = result.value_mut(frame);
                if let Some(Object::Register(register)) = self.state.objects.get(*object) {
                    register.read(at, to);
                }
            }
            RegisterCall::Write {
                object,
                index,
                value,
            } => {
                let from = value.value(frame);
                if let Some(Object::Register(register)) = self.state.objects.get(*object) {
                    register.write(index.get(frame), from);
                }
            }
        }
    }

    /// Counts a packet for the entry that was hit last, if it has this counter, with `bytes` or the
    /// packet's length as received.
    #[inline]
    pub(in crate::p4) fn count_direct(&mut self, object: usize, bytes: Option<u64>) {
        if let Some((table, Some(entry))) = self.local.applied.get() {
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
