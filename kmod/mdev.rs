// SPDX-License-Identifier: GPL-2.0

//! ADIs as mediated devices: the interface that mdevctl and libvirt use. The ADIs are the same as
//! those of devlink ports, except that they have no auxiliary device: the VFIO device is a child of
//! the mediated one.
//!
//! C header: [`include/linux/mdev.h`](srctree/include/linux/mdev.h)

use adit_bindings as bindings;
use core::cell::UnsafeCell;
use kernel::{
    device::{
        Bound,
        Device, //
    },
    error::{
        from_result,
        to_result, //
    },
    pci,
    prelude::*,
    str::CString,
    sync::Arc,
    types::Opaque, //
};

use crate::{
    adi::{
        AdiSpec,
        Creator, //
    },
    devlink::Devlink,
    ids::PortIndex,
    instance::InstanceId,
    mediated::Mediated,
    pf::Pf,
    port_link::PortLink,
    raw::Raw,
    sysfs,
    vfio, //
};

/// The types on offer: queue pairs, name, and human-readable name.
const KINDS: [(u16, &CStr, &CStr); 4] = [
    (1, c"1q", c"ADI with 1 queue pair"),
    (2, c"2q", c"ADI with 2 queue pairs"),
    (4, c"4q", c"ADI with 4 queue pairs"),
    (8, c"8q", c"ADI with 8 queue pairs"),
];

/// The driver that the mdev core binds to the devices it creates for one of our parents.
struct MdevDriver(UnsafeCell<bindings::mdev_driver>);

// SAFETY: It is written to before it is registered, and from then on belongs to the driver core.
unsafe impl Sync for MdevDriver {}

static DRIVER: MdevDriver = MdevDriver(UnsafeCell::new(bindings::mdev_driver {
    device_api: kernel::str::as_char_ptr_in_const_context(c"vfio-platform"),
    max_instances: 0,
    probe: Some(probe),
    remove: Some(remove),
    get_available: Some(available),
    show_description: Some(describe),
    // SAFETY: The driver core expects all zeros in the fields that it fills in.
    driver: unsafe { core::mem::zeroed() },
}));

/// The registration of the driver, for as long as the module is loaded.
pub(crate) struct DriverRegistration(());

impl DriverRegistration {
    /// Registers the driver. Called once while the module is loaded.
    pub(crate) fn new(module: &'static ThisModule) -> Result<Self> {
        let driver = DRIVER.0.get();
        // SAFETY: The driver is not registered yet, so nothing else accesses it; strings and module
        // outlive it.
        unsafe {
            (*driver).driver.name = c"adit_mdev".as_char_ptr();
            (*driver).driver.mod_name = crate::MODULE_NAME.as_char_ptr();
            (*driver).driver.owner = module.as_ptr();
            (*driver).driver.dev_groups = sysfs::mediated_groups();
        }
        // SAFETY: The driver is complete, and static.
        to_result(unsafe { bindings::mdev_register_driver(driver) })?;
        Ok(Self(()))
    }
}

impl Drop for DriverRegistration {
    fn drop(&mut self) {
        // SAFETY: `new()` registered it.
        unsafe { bindings::mdev_unregister_driver(DRIVER.0.get()) };
    }
}

/// A type of mediated device.
#[repr(C)]
struct Kind {
    raw: Opaque<bindings::mdev_type>,
    queue_pairs: u16,
}

/// A function whose ADIs can be mediated devices.
#[pin_data]
pub(crate) struct Parent {
    #[pin]
    raw: Opaque<bindings::mdev_parent>,
    #[pin]
    kinds: [Kind; KINDS.len()],
    /// Pointers to those of `kinds` that the device can create.
    list: UnsafeCell<[*mut bindings::mdev_type; KINDS.len()]>,
    pf: Arc<Pf>,
    devlink: Arc<Devlink>,
}

// SAFETY: Everything that is not constant belongs to the mdev core, which does its own locking.
unsafe impl Send for Parent {}
// SAFETY: As above.
unsafe impl Sync for Parent {}

impl Parent {
    /// Offers the types of ADIs; [`Self::unregister()`] withdraws them.
    pub(crate) fn new(
        pdev: &pci::Device<Bound>,
        pf: Arc<Pf>,
        devlink: Arc<Devlink>,
    ) -> Result<Pin<KBox<Self>>> {
        let most = pf.control().caps().max_queue_pairs_per_adi.get();
        let kind = |(queue_pairs, name, pretty): (u16, &CStr, &CStr)| Kind {
            raw: Opaque::new(bindings::mdev_type {
                sysfs_name: name.as_char_ptr(),
                pretty_name: pretty.as_char_ptr(),
                ..bindings::mdev_type::default()
            }),
            queue_pairs,
        };
        let parent = KBox::pin(
            Self {
                raw: Opaque::zeroed(),
                kinds: KINDS.map(kind),
                list: UnsafeCell::new([core::ptr::null_mut(); KINDS.len()]),
                pf,
                devlink,
            },
            GFP_KERNEL,
        )?;
        let list = parent.list.get().cast::<*mut bindings::mdev_type>();
        let mut count = 0;
        for kind in parent.kinds.iter().filter(|kind| kind.queue_pairs <= most) {
            // SAFETY: There is an entry for each kind, and nothing else reads them yet.
            unsafe { list.add(count).write(kind.raw.get()) };
            count += 1;
        }
        // SAFETY: Everything is pinned, and lives until `unregister()`, which the driver calls
        // before the function is unbound.
        to_result(unsafe {
            bindings::mdev_register_parent(
                parent.raw.get(),
                pdev.as_ref().raw(),
                DRIVER.0.get(),
                list,
                // CAST: a small number.
                count as u32,
            )
        })?;
        Ok(parent)
    }

    /// Removes all mediated devices of the function, which waits for their users. Called once. The
    /// instance lock of devlink is not held.
    pub(crate) fn unregister(&self) {
        // SAFETY: `new()` registered it.
        unsafe { bindings::mdev_unregister_parent(self.raw.get()) };
    }

    /// Returns the number of further ADIs with `queue_pairs` queue pairs that can be created.
    fn available(&self, queue_pairs: u16) -> u64 {
        let caps = self.pf.control().caps();
        let (adis, pairs) = self.pf.adis().usage();
        let adis = u64::from(caps.max_adis.get()).saturating_sub(adis);
        let pairs = u64::from(caps.max_queue_pairs.get()).saturating_sub(pairs);
        // Checked: a type has queue pairs, and the kernel must not panic over this.
        adis.min(pairs.checked_div(queue_pairs.into()).unwrap_or(0))
    }

    /// Returns the type and its parent.
    ///
    /// # Safety
    ///
    /// `raw` is a type of a registered parent of this driver, and is so until `'a` ends.
    unsafe fn of<'a>(raw: *mut bindings::mdev_type) -> (&'a Kind, &'a Self) {
        // SAFETY: By the function's requirement both are fields of our structures.
        unsafe {
            let parent = (*raw).parent;
            (
                &*kernel::container_of!(Opaque::cast_from(raw), Kind, raw),
                &*kernel::container_of!(Opaque::cast_from(parent), Self, raw),
            )
        }
    }
}

/// Interfaces that represent a mediated device's ADI; dropped in this order.
struct Interfaces {
    _vfio: vfio::Registration,
    _link: PortLink,
    _port: MediatedPort,
}

/// The devlink port that shows a mediated device's ADI.
struct MediatedPort {
    devlink: Arc<Devlink>,
    index: PortIndex,
}

impl Drop for MediatedPort {
    fn drop(&mut self) {
        self.devlink.remove_mediated(self.index);
    }
}

/// # Safety
///
/// Called by the mdev core with a device of one of our parents, which stays registered meanwhile.
unsafe extern "C" fn probe(mdev: *mut bindings::mdev_device) -> c_int {
    from_result(|| {
        // SAFETY: By the function's requirement.
        let (kind, parent) = unsafe { Parent::of((*mdev).type_) };
        // SAFETY: The function is bound for as long as its parent is registered. The wrapper is
        // transparent.
        let pdev: &pci::Device<Bound> =
            unsafe { &*core::ptr::from_ref(parent.pf.control().pdev()).cast() };
        // SAFETY: The device is valid, and is being bound to this driver. The wrapper is
        // transparent.
        let dev: &Device<Bound> = unsafe { &*(&raw const (*mdev).dev).cast() };
        let uuid = CString::try_from_fmt(fmt!("{}", dev.name()))?;
        let spec = AdiSpec {
            // The sfnum of its devlink port is the driver's choice.
            creator: Creator::Mediated(uuid.to_bytes().try_into().map_err(|_| EINVAL)?),
            queue_pairs: kind.queue_pairs,
            mac: [0; 6],
            instance: InstanceId::new(),
        };
        let owned = parent.pf.create_adi(pdev, spec)?;
        let devlink = parent.devlink.clone();
        let index = devlink.add_mediated(owned.adi().clone(), uuid)?;
        let port = MediatedPort { devlink, index };
        let link = PortLink::new(pdev.as_ref(), dev, index)?;
        let vfio = vfio::Registration::new(dev, owned.adi().clone())?;
        let interfaces = KBox::new(
            Interfaces {
                _vfio: vfio,
                _link: link,
                _port: port,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The device is being bound to this driver; `remove()` takes the data.
        unsafe { Mediated::set(dev.raw(), owned, interfaces) }.map(|()| 0)
    })
}

/// # Safety
///
/// Called by the mdev core with a device that [`probe()`] has succeeded for, once.
unsafe extern "C" fn remove(mdev: *mut bindings::mdev_device) {
    // SAFETY: By the function's requirement `probe()` has stored the data.
    drop(unsafe { Mediated::take(&raw mut (*mdev).dev) });
}

/// # Safety
///
/// Called by the mdev core with a type of one of our parents, which stays registered meanwhile.
unsafe extern "C" fn available(kind: *mut bindings::mdev_type) -> c_uint {
    // SAFETY: By the function's requirement.
    let (kind, parent) = unsafe { Parent::of(kind) };
    parent
        .available(kind.queue_pairs)
        .try_into()
        .unwrap_or(c_uint::MAX)
}

/// # Safety
///
/// Called by the mdev core with a type of one of our parents, which stays registered meanwhile,
/// and a page.
unsafe extern "C" fn describe(kind: *mut bindings::mdev_type, buf: *mut c_char) -> isize {
    from_result(|| {
        // SAFETY: By the function's requirement.
        let (kind, _) = unsafe { Parent::of(kind) };
        let pairs = kind.queue_pairs;
        let text = CString::try_from_fmt(fmt!(
            "queue pairs: {pairs}\nvectors: {pairs}\naddress: assigned by the device\n"
        ))?;
        // SAFETY: `buf` is sysfs's page; the format takes one string, and gets one.
        let len = unsafe { bindings::sysfs_emit(buf, c"%s".as_char_ptr(), text.as_char_ptr()) };
        // CAST: to a wider type.
        Ok(len as isize)
    })
}
