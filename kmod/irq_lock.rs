// SPDX-License-Identifier: GPL-2.0

//! Spinlocks that interrupt handlers take, too.
//!
//! [`kernel::sync::SpinLock`] leaves interrupts enabled, so that a handler on the same CPU would wait for
//! ever.

use adit_bindings as bindings;
use core::mem::MaybeUninit;
use kernel::{
    prelude::*,
    sync::lock::{
        spinlock::SpinLockBackend,
        Backend,
        Lock, //
    }, //
};

/// A spinlock that disables interrupts on the local CPU while it is held, and restores them. Of two that
/// one thread holds, the one that was acquired last is released first: the other order would enable
/// interrupts early.
///
/// C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)
pub(crate) type IrqLock<T> = Lock<T, IrqSave>;

/// The backend of an [`IrqLock`].
pub(crate) struct IrqSave;

/// The lock of [`SpinLockBackend`].
type State = <SpinLockBackend as Backend>::State;

// SAFETY: A `spinlock_t` has one owner at a time, whether or not interrupts are disabled while it is held.
// `relock()` is the default, which calls `lock()`.
unsafe impl Backend for IrqSave {
    type State = State;
    /// The interrupt flags from before.
    type GuardState = c_ulong;

    unsafe fn init(ptr: *mut State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: By the requirements of this function, which are the same.
        unsafe { SpinLockBackend::init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut State) -> c_ulong {
        // SAFETY: The lock was initialised, by the requirement of this function.
        unsafe { bindings::adit_spin_lock_irqsave(ptr) }
    }

    unsafe fn try_lock(ptr: *mut State) -> Option<c_ulong> {
        let mut flags = MaybeUninit::uninit();
        // SAFETY: The lock was initialised, by the requirement of this function; the flags are ours.
        let locked = unsafe { bindings::adit_spin_trylock_irqsave(ptr, flags.as_mut_ptr()) };
        // SAFETY: The function has written the flags if it has acquired the lock.
        locked.then(|| unsafe { flags.assume_init() })
    }

    unsafe fn unlock(ptr: *mut State, flags: &c_ulong) {
        // SAFETY: The caller owns the lock, and the flags are those of its acquisition.
        unsafe { bindings::adit_spin_unlock_irqrestore(ptr, *flags) }
    }

    unsafe fn assert_is_held(ptr: *mut State) {
        // SAFETY: By the requirement of this function, which is the same.
        unsafe { SpinLockBackend::assert_is_held(ptr) }
    }
}

/// Creates an initialiser of an [`IrqLock`], which has a lock class of its own.
macro_rules! new_irq_lock {
    ($inner:expr $(,)?) => {
        $crate::irq_lock::IrqLock::new(
            $inner,
            ::kernel::optional_name!(),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_irq_lock;
