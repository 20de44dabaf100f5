// SPDX-License-Identifier: GPL-2.0

//! The function's devlink instance: the administrator's interface for creating ADIs.
//!
//! `devlink port add pci/BDF flavour pcisf pfnum 0 sfnum N`, then `devlink port function set`, as
//! for sub-functions of other drivers.
//!
//! C header: [`include/net/devlink.h`](srctree/include/net/devlink.h)

mod extack;
mod health;
mod info;
mod port;
mod reload;
mod resources;

use adit_bindings as bindings;
use core::ptr::NonNull;
use kernel::{
    device::Bound,
    new_mutex,
    pci,
    prelude::*,
    rbtree::RBTree,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

use self::{
    extack::Extack,
    health::Health,
    port::Port, //
};
use crate::{
    adi::Adi,
    ids::PortIndex,
    pf::Pf,
    raw::Raw, //
};

const OPS: bindings::devlink_ops = bindings::devlink_ops {
    port_new: Some(port::new),
    info_get: Some(info::get),
    reload_actions: reload::ACTIONS,
    reload_down: Some(reload::down),
    reload_up: Some(reload::up),
    // SAFETY: All zeros is a value of this structure: no operations, no flags.
    ..unsafe { core::mem::zeroed() }
};
static DEVLINK_OPS: bindings::devlink_ops = OPS;

/// State that the callbacks work on. The instance lock (`devl_lock()`), which devlink holds while
/// it calls them, is taken before any lock in here.
#[pin_data]
struct Instance {
    pf: Arc<Pf>,
    /// Ports, by index.
    #[pin]
    ports: Mutex<RBTree<PortIndex, Pin<KBox<Port>>>>,
}

impl Instance {
    /// Returns the instance of a `struct devlink`.
    ///
    /// # Safety
    ///
    /// `devlink` was allocated by [`Devlink::new()`], and is not freed before `'a` ends.
    unsafe fn of<'a>(devlink: *mut bindings::devlink) -> &'a Self {
        // SAFETY: By the function's requirement the private data is a pointer to an instance, which
        // the `Devlink` holds a reference to.
        unsafe { &**bindings::devlink_priv(devlink).cast::<*const Self>() }
    }

    /// Removes a port from the table, if there is any; it is still registered.
    fn take_port(&self) -> Option<Pin<KBox<Port>>> {
        let mut ports = self.ports.lock();
        let first = ports.keys().next().copied();
        first.and_then(|index| ports.remove(&index))
    }
}

/// Returns the function as a bound device, for a devlink callback: devlink calls only while the
/// instance is registered, and the function is bound for all of that time.
///
/// # Safety
///
/// Called from a devlink callback.
unsafe fn bound(pf: &Pf) -> &pci::Device<Bound> {
    // SAFETY: `Devlink::unregister()` is called before the function is unbound, and devlink makes
    // no calls after that, so it is bound now. The wrapper is transparent.
    unsafe { &*core::ptr::from_ref(pf.control().pdev()).cast() }
}

/// A registered devlink instance. [`Self::unregister()`] must be called before the function is
/// unbound.
pub(crate) struct Devlink {
    raw: NonNull<bindings::devlink>,
    instance: Arc<Instance>,
    health: Arc<Health>,
    registered: Atomic<u32>,
}

// SAFETY: devlink does its own locking.
unsafe impl Send for Devlink {}
// SAFETY: As above.
unsafe impl Sync for Devlink {}

impl Devlink {
    /// Registers the function.
    pub(crate) fn new(pdev: &pci::Device<Bound>, pf: Arc<Pf>) -> Result<Self> {
        let health = Health::new(pf.clone())?;
        let instance = Arc::pin_init(
            pin_init!(Instance {
                pf,
                ports <- new_mutex!(RBTree::new()),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The operations are static, the network namespace is the initial one, which always
        // exists, and the device is bound.
        let raw = unsafe {
            bindings::devlink_alloc_ns(
                &DEVLINK_OPS,
                size_of::<*const Instance>(),
                &raw mut bindings::init_net,
                pdev.as_ref().raw(),
            )
        };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        // SAFETY: The private data is large enough for the pointer and aligned for it.
        unsafe {
            bindings::devlink_priv(raw.as_ptr())
                .cast::<*const Instance>()
                .write(Arc::as_ptr(&instance))
        };
        let devlink = Self {
            raw,
            instance,
            health,
            registered: Atomic::new(0),
        };
        devlink.locked(|raw| {
            resources::register(raw, &devlink.instance)?;
            devlink.health.register(raw)?;
            // SAFETY: The instance is complete and its lock is held.
            kernel::error::to_result(unsafe { bindings::devl_register(raw) })?;
            devlink.registered.store(1, Relaxed);
            Ok::<_, Error>(())
        })?;
        Ok(devlink)
    }

    /// Removes the ports and their ADIs. Waits until their users have released them.
    pub(crate) fn unregister(&self) {
        self.health.quiesce();
        if self.registered.xchg(0, Full) == 0 {
            return;
        }
        // SAFETY: `new()` registered it, and this is reached once.
        self.locked(|raw| unsafe { bindings::devl_unregister(raw) });
        while let Some(port) = self.instance.take_port() {
            port.deactivate();
            self.locked(|_| port.unregister());
        }
    }

    /// Adds a port for the ADI of a mediated device, which owns it; returns the port's index.
    pub(crate) fn add_mediated(&self, adi: Arc<Adi>, uuid: CString) -> Result<PortIndex> {
        self.locked(|raw| port::add_mediated(raw, &self.instance, adi, uuid))
    }

    /// Removes a port of [`Self::add_mediated()`], if it still exists.
    pub(crate) fn remove_mediated(&self, index: PortIndex) {
        self.locked(|_| {
            let port = self.instance.ports.lock().remove(&index);
            if let Some(port) = port {
                port.unregister();
            }
        });
    }

    fn locked<R>(&self, f: impl FnOnce(*mut bindings::devlink) -> R) -> R {
        let raw = self.raw.as_ptr();
        // SAFETY: The instance exists until `drop()`.
        unsafe { bindings::devl_lock(raw) };
        let result = f(raw);
        // SAFETY: Locked above.
        unsafe { bindings::devl_unlock(raw) };
        result
    }
}

impl Drop for Devlink {
    fn drop(&mut self) {
        // In case the caller failed before it did so.
        self.unregister();
        self.locked(|raw| {
            self.health.unregister();
            resources::unregister(raw);
        });
        // SAFETY: `new()` allocated it, and it is no longer registered.
        unsafe { bindings::devlink_free(self.raw.as_ptr()) };
    }
}
