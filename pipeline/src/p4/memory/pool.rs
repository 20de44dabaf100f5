// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reusable buffers.

/// Unused buffers: as many as were ever in use at the same time, each with its largest capacity so
/// far.
#[derive(Debug)]
pub(in crate::p4) struct Pool<T>(Vec<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool(Vec::new())
    }
}

impl<T> Pool<T> {
    /// Takes an empty buffer, to be returned with `give`.
    pub(in crate::p4) fn take(&mut self) -> Vec<T> {
        self.0.pop().unwrap_or_default()
    }

    pub(in crate::p4) fn give(&mut self, mut buffer: Vec<T>) {
        buffer.clear();
        self.0.push(buffer);
    }
}
