// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory of connections that are not in the table yet: each thread keeps that of the last one, so that
//! a new connection takes none from the allocator.

use std::cell::Cell;

use super::Pending;

thread_local! {
    static SPARE: Cell<Option<Box<Pending>>> = const { Cell::new(None) };
}

/// Memory for a connection; `new` makes its content.
#[inline]
pub(super) fn boxed(new: impl FnOnce() -> Pending) -> Box<Pending> {
    match SPARE.try_with(Cell::take) {
        Ok(Some(mut spare)) => {
            *spare = new();
            spare
        }
        // The thread ends, or has none.
        _ => Box::new(new()),
    }
}

/// Keeps the memory of a connection that has been inserted, or will not be.
#[inline]
pub(super) fn keep(mut pending: Box<Pending>) {
    pending.data.extension = None;
    let _ = SPARE.try_with(|spare| spare.set(Some(pending)));
}
