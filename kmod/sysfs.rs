// SPDX-License-Identifier: GPL-2.0

//! What a person reads about an ADI in its auxiliary device's folder.

use adit_bindings as bindings;
use kernel::{
    auxiliary,
    device::{
        Bound,
        Device, //
    },
    error::to_result,
    prelude::*,
    str::CString,
    sync::Arc,
    types::ForLt, //
};

use crate::{
    adi::Adi,
    raw::Raw, //
};

/// An attribute: what it says.
trait Show {
    fn show(adi: &Adi) -> Result<CString>;
}

/// A C structure of constants.
#[repr(transparent)]
struct Constant<T>(T);

// SAFETY: Nobody writes to the constants in this file: the pointers to them that C takes are not
// `const` by tradition only.
unsafe impl<T> Sync for Constant<T> {}

macro_rules! attributes {
    ($($(#[$doc:meta])* $static:ident $name:literal => |$adi:ident| $value:expr;)*) => {
        $(
            $(#[$doc])*
            struct $static;

            impl Show for $static {
                fn show($adi: &Adi) -> Result<CString> {
                    CString::try_from_fmt(fmt!("{}\n", $value))
                }
            }

            impl $static {
                const ATTRIBUTE: &'static Constant<bindings::device_attribute> =
                    &Constant(bindings::device_attribute {
                        attr: bindings::attribute {
                            name: kernel::str::as_char_ptr_in_const_context($name),
                            mode: 0o444,
                        },
                        __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 {
                            show: Some(show::<$static>),
                        },
                        __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 {
                            store: None,
                        },
                    });
            }
        )*

        static ATTRIBUTES: Constant<[*const bindings::attribute; ATTRIBUTE_COUNT + 1]> =
            Constant([$(&raw const $static::ATTRIBUTE.0.attr,)* core::ptr::null()]);
        const ATTRIBUTE_COUNT: usize = [$($name),*].len();
    };
}

attributes! {
    /// The number that its maker gave it, devlink's `sfnum`.
    SfNum c"sfnum" => |adi| adi.spec().number;
    /// The device's number for it.
    Id c"id" => |adi| adi.id();
    /// The PASID of its DMA.
    Pasid c"pasid" => |adi| adi.pasid();
    /// Its queue pairs.
    Queues c"queues" => |adi| adi.layout().queue_pairs;
    /// Its vectors, one for each queue pair.
    Vectors c"vectors" => |adi| adi.layout().queue_pairs;
    /// Its address.
    Mac c"mac" => |adi| MacAddress(adi.layout().mac);
    /// Whether it works: a reset of the function ends it.
    State c"state" => |adi| if adi.is_alive() { "active" } else { "dead" };
    /// How often a fault has stopped one of its queues.
    Faults c"faults" => |adi| adi.faults();
}

static GROUP: Constant<bindings::attribute_group> = Constant(bindings::attribute_group {
    name: core::ptr::null(),
    __bindgen_anon_1: bindings::attribute_group__bindgen_ty_1 { is_visible: None },
    is_bin_visible: None,
    bin_size: None,
    __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
        attrs_const: (&raw const ATTRIBUTES.0).cast(),
    },
    bin_attrs: core::ptr::null(),
});

/// An Ethernet address as people write it.
struct MacAddress([u8; 6]);

impl kernel::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Gives the auxiliary device `adit.adi.ID` of `parent` its attributes.
pub(crate) fn add_attributes(parent: &Device<Bound>, id: u32) -> Result {
    let name = CString::try_from_fmt(fmt!("adit.adi.{id}"))?;
    // SAFETY: `parent` is valid, and so is the string for as long as the call takes.
    let dev = unsafe {
        bindings::device_find_child(
            parent.raw(),
            name.as_char_ptr().cast(),
            Some(bindings::device_match_name),
        )
    };
    if dev.is_null() {
        return Err(ENODEV);
    }
    // SAFETY: `device_find_child()` gave a reference to a registered device. The group is static.
    // It goes with the device's folder.
    let result = to_result(unsafe { bindings::sysfs_create_group(&mut (*dev).kobj, &GROUP.0) });
    // SAFETY: The reference is ours.
    unsafe { bindings::put_device(dev) };
    result
}

/// # Safety
///
/// Called by sysfs for an attribute of a device that [`add_attributes()`] was called for; `buf` is
/// a page.
unsafe extern "C" fn show<T: Show>(
    dev: *mut bindings::device,
    _attr: *mut bindings::device_attribute,
    buf: *mut c_char,
) -> isize {
    kernel::error::from_result(|| {
        // SAFETY: By the function's requirement `dev` is in an auxiliary device, whose wrapper is
        // transparent. Only the registration's data is asked of it. Bound or not, that is there
        // for as long as the device is registered, and removing it waits for this function.
        let adev = unsafe {
            &*kernel::container_of!(dev, bindings::auxiliary_device, dev)
                .cast::<auxiliary::Device<Bound>>()
        };
        let adi = adev.registration_data::<ForLt!(Arc<Adi>)>()?;
        let text = T::show(&adi)?;
        // SAFETY: `buf` is sysfs's page; the format takes one string, which is one.
        let len = unsafe { bindings::sysfs_emit(buf, c"%s".as_char_ptr(), text.as_char_ptr()) };
        // CAST: to a wider type.
        Ok(len as isize)
    })
}
