// SPDX-License-Identifier: GPL-2.0

//! Numbers of auxiliary devices: their names are the whole system's, while ids of ADIs are one
//! function's.

use kernel::{
    id_pool::IdPool,
    prelude::*, //
};

kernel::sync::global_lock! {
    // SAFETY: `init()` is called by the module before anything of it can take the lock.
    unsafe(uninit) static IDS: Mutex<Option<IdPool>> = None;
}

/// Makes the lock ready. Numbers can be had as long as the result lives.
///
/// # Safety
///
/// Called once, before any [`UniqueId`] is made.
pub(crate) unsafe fn init() -> Pool {
    // SAFETY: By the function's requirement.
    unsafe { IDS.init() };
    Pool
}

/// Gives the pool's memory back when it is dropped: statics are not. The last field of the module,
/// so that it goes when nobody has a number any more.
pub(crate) struct Pool;

impl Drop for Pool {
    fn drop(&mut self) {
        *IDS.lock() = None;
    }
}

/// The lowest number that nobody else has.
pub(crate) struct UniqueId(u32);

impl UniqueId {
    /// Takes one.
    pub(crate) fn new() -> Result<Self> {
        let mut pool = IDS.lock();
        let pool = pool.get_or_insert_with(IdPool::new);
        if pool.find_unused_id(0).is_none() {
            let resizer = pool.grow_request().ok_or(ENOSPC)?.realloc(GFP_KERNEL)?;
            pool.grow(resizer);
        }
        let id = pool.find_unused_id(0).ok_or(ENOSPC)?.acquire();
        Ok(Self(u32::try_from(id)?))
    }

    /// The number.
    pub(crate) fn get(&self) -> u32 {
        self.0
    }
}

impl Drop for UniqueId {
    fn drop(&mut self) {
        if let Some(pool) = &mut *IDS.lock() {
            // CAST: it came from an index.
            pool.release_id(self.0 as usize);
        }
    }
}
