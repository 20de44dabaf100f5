// SPDX-License-Identifier: GPL-2.0

//! Attributes of an ADI, in the sysfs directory of its auxiliary or mediated device.

use adit_bindings as bindings;
use adit_uapi::virtchnl2::{
    op,
    VportStats, //
};
use core::ptr::NonNull;
use kernel::{
    auxiliary,
    device::{
        Bound,
        Device, //
    },
    error::to_result,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::ForLt, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    adi::{
        Adi,
        Creator, //
    },
    ids::AuxId,
    mediated::Mediated,
    raw::Raw, //
};

/// An attribute with its value.
trait Show {
    const NAME: &'static CStr;

    fn show(adi: &Adi) -> Result<CString>;

    /// The attribute of an auxiliary device.
    const AUXILIARY: &'static Constant<bindings::device_attribute>;
    /// The attribute of a mediated device.
    const MEDIATED: &'static Constant<bindings::device_attribute>;
}

/// A kind of device that represents an ADI.
trait Source {
    /// Returns the ADI.
    ///
    /// # Safety
    ///
    /// `dev` is a device of this kind with attributes of this file, which stay while this runs.
    unsafe fn adi(dev: *mut bindings::device) -> Result<Arc<Adi>>;
}

/// An auxiliary device: [`add_attributes()`].
struct Auxiliary;

impl Source for Auxiliary {
    unsafe fn adi(dev: *mut bindings::device) -> Result<Arc<Adi>> {
        // SAFETY: By the function's requirement `dev` is in an auxiliary device, whose wrapper is
        // transparent. Only the registration's data is read. Bound or not, it is valid for as long
        // as the device is registered, and removing the device waits for this function.
        let adev = unsafe {
            &*kernel::container_of!(dev, bindings::auxiliary_device, dev)
                .cast::<auxiliary::Device<Bound>>()
        };
        let adi = adev.registration_data::<ForLt!(Arc<Adi>)>()?;
        Ok(Arc::clone(&adi))
    }
}

/// A mediated device: [`mediated_groups()`].
impl Source for Mediated {
    unsafe fn adi(dev: *mut bindings::device) -> Result<Arc<Adi>> {
        // SAFETY: By the function's requirement the device has the attributes of its driver, which
        // it has only while it is bound.
        Ok(unsafe { Mediated::adi(dev) })
    }
}

/// A C structure of constants.
#[repr(transparent)]
struct Constant<T>(T);

// SAFETY: The constants in this file are never written to: the pointers to them that C takes lack
// `const` only for historical reasons.
unsafe impl<T> Sync for Constant<T> {}

/// Defines read-only attributes, and a group of them: each with a type, a name and a value.
macro_rules! attributes {
    ($auxiliary:ident, $mediated:ident, $folder:expr;
     $($(#[$doc:meta])* $static:ident $name:literal => |$adi:ident| $value:expr;)*) => {
        $(
            $(#[$doc])*
            struct $static;

            impl Show for $static {
                const NAME: &'static CStr = $name;
                const AUXILIARY: &'static Constant<bindings::device_attribute> =
                    &read_only::<Self, Auxiliary>();
                const MEDIATED: &'static Constant<bindings::device_attribute> =
                    &read_only::<Self, Mediated>();

                fn show($adi: &Adi) -> Result<CString> {
                    CString::try_from_fmt(fmt!("{}\n", $value))
                }
            }
        )*

        static $auxiliary: Constant<bindings::attribute_group> = {
            static ATTRIBUTES: Constant<[*const bindings::attribute; COUNT + 1]> =
                Constant([$(&raw const $static::AUXILIARY.0.attr,)* core::ptr::null()]);
            const COUNT: usize = [$($name),*].len();
            group($folder, &raw const ATTRIBUTES.0)
        };

        static $mediated: Constant<bindings::attribute_group> = {
            static ATTRIBUTES: Constant<[*const bindings::attribute; COUNT + 1]> =
                Constant([$(&raw const $static::MEDIATED.0.attr,)* core::ptr::null()]);
            const COUNT: usize = [$($name),*].len();
            group($folder, &raw const ATTRIBUTES.0)
        };
    };
}

const fn read_only<T: Show, S: Source>() -> Constant<bindings::device_attribute> {
    Constant(bindings::device_attribute {
        attr: bindings::attribute {
            name: kernel::str::as_char_ptr_in_const_context(T::NAME),
            mode: 0o444,
            // SAFETY: The fields for lockdep, on a kernel that has it, start as 0.
            ..unsafe { core::mem::zeroed() }
        },
        __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 {
            show: Some(show::<T, S>),
        },
        __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 { store: None },
    })
}

/// Returns a group of attributes, in a subdirectory unless `folder` is null.
const fn group<const N: usize>(
    folder: *const c_char,
    attributes: *const [*const bindings::attribute; N],
) -> Constant<bindings::attribute_group> {
    Constant(bindings::attribute_group {
        name: folder,
        __bindgen_anon_1: bindings::attribute_group__bindgen_ty_1 { is_visible: None },
        is_bin_visible: None,
        bin_size: None,
        __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
            attrs_const: attributes.cast(),
        },
        bin_attrs: core::ptr::null(),
    })
}

attributes! {
    AUXILIARY, MEDIATED, core::ptr::null();
    /// The number given by its creator, devlink's `sfnum`.
    SfNum c"sfnum" => |adi| match adi.spec().creator {
        Creator::Port(sfnum) => sfnum.0,
        Creator::Mediated(_) => return Err(ENOENT),
    };
    /// Its devlink port: `pci/0000:00:05.0/3`.
    Port c"port" => |adi| PortHandle(adi);
    /// Its instance, a UUID that no other ADI has or had.
    Instance c"instance" => |adi| adi.spec().instance;
    /// Its id in messages to the device; not the `N` of `adit.adi.N`.
    Id c"id" => |adi| adi.id().0;
    /// The id of its virtual port, by which P4 programs and flow rules of the device name it.
    Vport c"vport" => |adi| adi.layout().vport_id.0;
    /// The PASID of its DMA.
    Pasid c"pasid" => |adi| adi.pasid().0;
    /// Its queue pairs.
    Queues c"queues" => |adi| adi.layout().queue_pairs;
    /// Its vectors, one for each queue pair.
    Vectors c"vectors" => |adi| adi.layout().queue_pairs;
    /// Its MAC address.
    Mac c"mac" => |adi| MacAddress(adi.layout().mac);
    /// Its state: dead while the function is reset, and if the device does not recreate it
    /// afterwards.
    State c"state" => |adi| if adi.is_alive() { "active" } else { "dead" };
    /// Number of faults that have stopped one of its queues.
    Faults c"faults" => |adi| adi.faults();
}

attributes! {
    AUXILIARY_STATISTICS, MEDIATED_STATISTICS, kernel::str::as_char_ptr_in_const_context(c"statistics");
    /// Packets received.
    RxPackets c"rx_packets" => |adi| packets(&stats(adi)?, Direction::In);
    /// Bytes received.
    RxBytes c"rx_bytes" => |adi| stats(adi)?.rx_bytes.get();
    /// Multicast and broadcast packets received.
    RxGroup c"rx_multicast" => |adi| {
        let stats = stats(adi)?;
        stats.rx_multicast.get().saturating_add(stats.rx_broadcast.get())
    };
    /// Packets dropped on reception, including those that found no buffer.
    RxDropped c"rx_dropped" => |adi| stats(adi)?.rx_discards.get();
    /// Packets dropped on reception because no buffer was available.
    RxNoBuffer c"rx_no_buffer" => |adi| stats(adi)?.rx_overflow_drop.get();
    /// Packets received with errors.
    RxErrors c"rx_errors" => |adi| stats(adi)?.rx_errors.get();
    /// Packets sent.
    TxPackets c"tx_packets" => |adi| packets(&stats(adi)?, Direction::Out);
    /// Bytes sent.
    TxBytes c"tx_bytes" => |adi| stats(adi)?.tx_bytes.get();
    /// Packets dropped on transmission.
    TxDropped c"tx_dropped" => |adi| stats(adi)?.tx_discards.get();
    /// Packets that could not be sent because of errors.
    TxErrors c"tx_errors" => |adi| stats(adi)?.tx_errors.get();
}

enum Direction {
    In,
    Out,
}

fn packets(stats: &VportStats, direction: Direction) -> u64 {
    let kinds = match direction {
        Direction::In => [stats.rx_unicast, stats.rx_multicast, stats.rx_broadcast],
        Direction::Out => [stats.tx_unicast, stats.tx_multicast, stats.tx_broadcast],
    };
    kinds
        .iter()
        .fold(0, |sum, kind| sum.saturating_add(kind.get()))
}

/// Reads the statistics of the ADI from the device.
fn stats(adi: &Adi) -> Result<VportStats> {
    let request = VportStats {
        vport_id: adi.layout().vport_id.0.into(),
        ..VportStats::default()
    };
    let reply = adi.request(op::GET_STATS, request.as_bytes())?;
    let (stats, _) = VportStats::read_from_prefix(&reply).map_err(|_| EIO)?;
    Ok(stats)
}

/// A devlink port in the notation of devlink(8).
struct PortHandle<'a>(&'a Adi);

impl kernel::fmt::Display for PortHandle<'_> {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        let pdev: &Device = self.0.control().pdev().as_ref();
        f.write_fmt(fmt!("pci/{}/{}", pdev.name(), self.0.port().0))
    }
}

/// An Ethernet address in the usual notation.
struct MacAddress([u8; 6]);

impl kernel::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A list of groups for the driver core.
type Groups<const N: usize> = Constant<[*const bindings::attribute_group; N]>;

static GROUPS: Groups<3> = Constant([
    &raw const MEDIATED.0,
    &raw const MEDIATED_STATISTICS.0,
    core::ptr::null(),
]);

/// Returns the attributes of mediated devices, which the driver core adds to those that are bound.
pub(crate) fn mediated_groups() -> *mut *const bindings::attribute_group {
    // The driver core only reads them.
    (&raw const GROUPS.0).cast_mut().cast()
}

/// Adds the attributes to the auxiliary device `adit.adi.N` of `parent`, and returns the device.
pub(crate) fn add_attributes(parent: &Device<Bound>, id: AuxId) -> Result<ARef<Device>> {
    let name = CString::try_from_fmt(fmt!("adit.adi.{}", id.0))?;
    // SAFETY: `parent` is valid, and so is the string for as long as the call takes.
    let dev = unsafe {
        bindings::device_find_child(
            parent.raw(),
            name.as_char_ptr().cast(),
            Some(bindings::device_match_name),
        )
    };
    let device = NonNull::new(dev.cast::<Device>()).ok_or(ENODEV)?;
    // SAFETY: `device_find_child()` returned a reference, which is ours. The wrapper is
    // transparent.
    let device = unsafe { ARef::from_raw(device) };
    for group in [&AUXILIARY, &AUXILIARY_STATISTICS] {
        // SAFETY: The device is registered. The groups are static. They are removed with its
        // directory.
        to_result(unsafe { bindings::sysfs_create_group(&mut (*device.raw()).kobj, &group.0) })?;
    }
    Ok(device)
}

/// # Safety
///
/// Called by sysfs for an attribute of a device of kind `S`; `buf` is a page.
unsafe extern "C" fn show<T: Show, S: Source>(
    dev: *mut bindings::device,
    _attr: *mut bindings::device_attribute,
    buf: *mut c_char,
) -> isize {
    kernel::error::from_result(|| {
        // SAFETY: By the function's requirement.
        let adi = unsafe { S::adi(dev) }?;
        let text = T::show(&adi)?;
        // SAFETY: `buf` is sysfs's page; the format takes one string, and gets one.
        let len = unsafe { bindings::sysfs_emit(buf, c"%s".as_char_ptr(), text.as_char_ptr()) };
        // CAST: to a wider type.
        Ok(len as isize)
    })
}
