// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Buffers that are used again.

/// The buffers that are not in use: as many as were in use at once, each as large as it has been.
#[derive(Debug)]
pub(in crate::p4) struct Pool<T>(Vec<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool(Vec::new())
    }
}

impl<T> Pool<T> {
    /// An empty buffer; to be given back.
    pub(in crate::p4) fn take(&mut self) -> Vec<T> {
        self.0.pop().unwrap_or_default()
    }

    pub(in crate::p4) fn give(&mut self, mut buffer: Vec<T>) {
        buffer.clear();
        self.0.push(buffer);
    }
}
