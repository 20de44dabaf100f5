// SPDX-License-Identifier: GPL-2.0

//! MSI-X vectors, each with a handler that may continue in a thread.
//!
//! [`kernel::irq`] requires an `IrqVector`, which [`kernel::pci`] provides for the first and the
//! last vector only; this module is for those between.

use adit_bindings as bindings;
use kernel::{
    device::Bound,
    error::to_result,
    irq::ThreadedIrqReturn,
    pci,
    prelude::*,
    sync::Arc, //
};

use crate::{
    ids::MsixVector,
    raw::Raw, //
};

/// Allocates up to `max` MSI-X vectors and returns their number. They are freed when the device is
/// unbound, after the driver's data was dropped.
pub(crate) fn alloc_vectors(pdev: &pci::Device<Bound>, max: u32) -> Result<u32> {
    let types = pci::IrqTypes::default().with(pci::IrqType::MsiX);
    pdev.alloc_irq_vectors(1, max, types)?;
    // SAFETY: `pdev` is valid; an index without a vector gives an error.
    let exists = |index: &u32| unsafe { bindings::pci_irq_vector(pdev.raw(), *index) } >= 0;
    // CAST: at most `max`.
    Ok((0..max).take_while(exists).count() as u32)
}

/// Handler of a vector.
pub(crate) trait IrqHandler: Send + Sync + 'static {
    /// Handles an interrupt, in interrupt context, as far as that must not sleep. The default leaves
    /// everything to the thread. With PREEMPT_RT, where spinlocks sleep, or `threadirqs`, the kernel calls it
    /// in a thread, too, another one than [`Self::run()`]'s.
    fn handle(&self) -> ThreadedIrqReturn {
        ThreadedIrqReturn::WakeThread
    }

    /// Runs in its own thread, once for one or more interrupts that have woken it.
    fn run(&self);
}

/// A vector and its handler. Dropping it waits until the handler has returned; that must be before
/// the device is unbound, which frees the vectors.
pub(crate) struct ThreadedIrq<T: IrqHandler> {
    irq: u32,
    handler: Arc<T>,
}

impl<T: IrqHandler> ThreadedIrq<T> {
    /// Requests the interrupt of `vector` of `pdev`, with `handler`.
    pub(crate) fn new(
        pdev: &pci::Device<Bound>,
        vector: MsixVector,
        name: &'static CStr,
        handler: Arc<T>,
    ) -> Result<Self> {
        // SAFETY: `pdev` is valid; an index without a vector gives an error.
        let irq = unsafe { bindings::pci_irq_vector(pdev.raw(), vector.0.into()) };
        to_result(irq)?;
        // CAST: not negative, checked above.
        let irq = irq as u32;
        // SAFETY: Both functions get the cookie, a pointer to the handler, which `handler` keeps
        // alive until `drop()` has freed the interrupt. The name is static.
        to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                Some(primary::<T>),
                Some(thread::<T>),
                0,
                name.as_char_ptr(),
                Arc::as_ptr(&handler).cast_mut().cast(),
            )
        })?;
        Ok(Self { irq, handler })
    }
}

impl<T: IrqHandler> Drop for ThreadedIrq<T> {
    fn drop(&mut self) {
        // SAFETY: `new()` requested this interrupt with this cookie. Once this returns, the handler
        // is not running and will not run again.
        unsafe { bindings::free_irq(self.irq, Arc::as_ptr(&self.handler).cast_mut().cast()) };
    }
}

/// # Safety
///
/// `handler` is the cookie of `ThreadedIrq::<T>::new()`.
unsafe extern "C" fn primary<T: IrqHandler>(
    _irq: c_int,
    handler: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: By the function's requirement, and the handler lives until the interrupt is freed.
    // CAST: the values of `enum irqreturn`.
    unsafe { &*handler.cast::<T>() }.handle() as bindings::irqreturn_t
}

/// # Safety
///
/// `handler` is the cookie of `ThreadedIrq::<T>::new()`.
unsafe extern "C" fn thread<T: IrqHandler>(
    _irq: c_int,
    handler: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: By the function's requirement, and the handler lives until the interrupt is freed.
    unsafe { &*handler.cast::<T>() }.run();
    bindings::irqreturn_IRQ_HANDLED
}
