// SPDX-License-Identifier: GPL-2.0

//! `devlink health`: faults of ADIs, and an unresponsive control plane.
//!
//! Both are detected in contexts that must not wait for devlink's lock, which is held while users
//! of an ADI are waited for. So they are recorded, and reported by a work item.

use adit_bindings as bindings;
use adit_uapi::virtchnl2::{
    adi::{
        fault_flags,
        fault_reason, //
    },
    queue_type, //
};
use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        from_result, //
    },
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    }, //
};

use super::{
    bound,
    Extack, //
};
use crate::{
    adi::{
        Adi,
        Creator, //
    },
    ids::QueueId,
    listener::Listener,
    pf::Pf, //
};

/// Grace period in milliseconds: a second report of the same kind within it triggers no automatic
/// recovery.
const GRACE_MS: u64 = 500;

/// Operations of a reporter.
#[repr(transparent)]
struct Ops(bindings::devlink_health_reporter_ops);

// SAFETY: Constants; devlink does not write to the name, which lacks `const` only for historical
// reasons.
unsafe impl Sync for Ops {}

static FAULTS: Ops = Ops(bindings::devlink_health_reporter_ops {
    name: kernel::str::as_char_ptr_in_const_context(c"adi_faults").cast_mut(),
    recover: Some(recover_faults),
    dump: Some(dump_faults),
    diagnose: Some(diagnose_faults),
    test: None,
    default_graceful_period: GRACE_MS,
    default_burst_period: 0,
});

static CONTROL: Ops = Ops(bindings::devlink_health_reporter_ops {
    name: kernel::str::as_char_ptr_in_const_context(c"control_plane").cast_mut(),
    recover: Some(recover_control),
    dump: None,
    diagnose: Some(diagnose_control),
    test: None,
    default_graceful_period: GRACE_MS,
    default_burst_period: 0,
});

/// devlink's handles of the reporters.
#[derive(Clone, Copy)]
struct Reporters {
    faults: NonNull<bindings::devlink_health_reporter>,
    control: NonNull<bindings::devlink_health_reporter>,
}

// SAFETY: Handles of reporters, for which devlink does its own locking.
unsafe impl Send for Reporters {}

/// The health of a function.
#[pin_data]
pub(super) struct Health {
    pf: Arc<Pf>,
    /// Set for a fault that is recorded but not yet reported.
    fault: Atomic<u32>,
    lost: Atomic<u32>,
    #[pin]
    reporters: Mutex<Option<Reporters>>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Health { self.work }
}

impl Health {
    pub(super) fn new(pf: Arc<Pf>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                pf,
                fault: Atomic::new(0),
                lost: Atomic::new(0),
                reporters <- new_mutex!(None),
                work <- new_work!("adit_health"),
            }),
            GFP_KERNEL,
        )
    }

    /// Creates the reporters. The instance lock is held, `devlink` is not registered yet.
    pub(super) fn register(self: &Arc<Self>, devlink: *mut bindings::devlink) -> Result {
        let private = Arc::as_ptr(self).cast_mut().cast();
        let create = |ops: &'static Ops| -> Result<_> {
            // SAFETY: The instance is valid and its lock is held; the operations are static, and
            // `self` lives until `unregister()`.
            let reporter = from_err_ptr(unsafe {
                bindings::devl_health_reporter_create(devlink, &ops.0, private)
            })?;
            NonNull::new(reporter).ok_or(ENOMEM)
        };
        let faults = create(&FAULTS)?;
        let control = create(&CONTROL).inspect_err(|_| {
            // SAFETY: Created above, and the lock is held.
            unsafe { bindings::devl_health_reporter_destroy(faults.as_ptr()) }
        })?;
        *self.reporters.lock() = Some(Reporters { faults, control });
        let listener = Arc::new(HealthListener(self.clone()), GFP_KERNEL);
        self.pf.adis().set_listener(Some(listener?));
        Ok(())
    }

    /// Stops reporting. The instance lock is not held, since a report in progress takes it.
    pub(super) fn quiesce(self: &Arc<Self>) {
        self.pf.adis().set_listener(None);
        // SAFETY: The work is initialised, and it is no longer enqueued by anyone.
        let pending = unsafe { bindings::cancel_work_sync(Work::raw_get(&self.work)) };
        if pending {
            // SAFETY: Enqueueing turned a reference into the pointer, and the cancelled work item
            // does not reclaim it.
            drop(unsafe { Arc::from_raw(Arc::as_ptr(self)) });
        }
    }

    /// Destroys the reporters. The instance lock is held.
    pub(super) fn unregister(&self) {
        let Some(reporters) = self.reporters.lock().take() else {
            return;
        };
        // SAFETY: `register()` created them; the lock is held.
        unsafe {
            bindings::devl_health_reporter_destroy(reporters.control.as_ptr());
            bindings::devl_health_reporter_destroy(reporters.faults.as_ptr());
        }
    }

    /// # Safety
    ///
    /// `reporter` is one of ours, and is not destroyed before `'a` ends.
    unsafe fn of<'a>(reporter: *mut bindings::devlink_health_reporter) -> &'a Self {
        // SAFETY: By the function's requirement.
        unsafe { &*bindings::devlink_health_reporter_priv(reporter).cast() }
    }

    /// Calls `visit` for each ADI with faults that have not been recovered from.
    fn for_each_faulty(&self, mut visit: impl FnMut(&Arc<Adi>)) {
        self.pf.adis().for_each(|adi| {
            if adi.new_faults() != 0 {
                visit(adi);
            }
        });
    }
}

impl WorkItem for Health {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let Some(reporters) = *this.reporters.lock() else {
            return;
        };
        // SAFETY: The reporters are destroyed after `quiesce()`, which waits for this.
        unsafe {
            if this.fault.xchg(0, Full) != 0 {
                bindings::devlink_health_report(
                    reporters.faults.as_ptr(),
                    c"DMA fault stopped queues of an ADI".as_char_ptr(),
                    core::ptr::null_mut(),
                );
            }
            if this.lost.xchg(0, Full) != 0 {
                bindings::devlink_health_report(
                    reporters.control.as_ptr(),
                    c"control plane stopped responding".as_char_ptr(),
                    core::ptr::null_mut(),
                );
            }
        }
    }
}

/// Records failures for the work item.
struct HealthListener(Arc<Health>);

impl Listener for HealthListener {
    fn fault(&self) {
        self.0.fault.store(1, Relaxed);
        // It is fine if the work is queued already.
        let _ = workqueue::system_long().enqueue(self.0.clone());
    }

    fn lost(&self) {
        self.0.lost.store(1, Relaxed);
        let _ = workqueue::system_long().enqueue(self.0.clone());
    }
}

/// A formatted message of devlink's.
struct Message(*mut bindings::devlink_fmsg);

impl Message {
    fn number(&self, name: &CStr, value: impl Into<u64>) {
        // SAFETY: devlink's message is valid while the callback runs, the name is copied.
        unsafe {
            bindings::devlink_fmsg_u64_pair_put(self.0, name.as_char_ptr(), value.into());
        }
    }

    fn text(&self, name: &CStr, value: &str) -> Result {
        let value = CString::try_from_fmt(fmt!("{value}"))?;
        // SAFETY: As above; the value is copied, too.
        unsafe {
            bindings::devlink_fmsg_string_pair_put(self.0, name.as_char_ptr(), value.as_char_ptr());
        }
        Ok(())
    }

    /// Adds a list, whose items `f` adds.
    fn list(&self, name: &CStr, f: impl FnOnce()) {
        // SAFETY: As above.
        unsafe { bindings::devlink_fmsg_arr_pair_nest_start(self.0, name.as_char_ptr()) };
        f();
        // SAFETY: As above; it was started.
        unsafe { bindings::devlink_fmsg_arr_pair_nest_end(self.0) };
    }

    /// Adds an item of a list.
    fn item(&self, f: impl FnOnce() -> Result) -> Result {
        // SAFETY: As above.
        unsafe { bindings::devlink_fmsg_obj_nest_start(self.0) };
        let result = f();
        // SAFETY: As above; it was started.
        unsafe { bindings::devlink_fmsg_obj_nest_end(self.0) };
        result
    }
}

fn describe(message: &Message, adi: &Adi) -> Result {
    let fault = adi.fault_record(0)?;
    message.number(c"id", adi.id().0);
    match &adi.spec().creator {
        Creator::Port(sfnum) => message.number(c"sfnum", sfnum.0),
        Creator::Mediated(uuid) => {
            message.text(c"mdev", core::str::from_utf8(uuid).unwrap_or("unknown"))?;
        }
    }
    message.number(c"pasid", adi.pasid().0);
    message.number(c"count", fault.count.get());
    let reason = fault_reason::name(fault.reason.get()).unwrap_or("unknown");
    message.text(c"reason", reason)?;
    let (kind, queue) = (fault.queue_type.get(), fault.queue_id.get());
    message.text(c"queue_type", queue_type::name(kind).unwrap_or("unknown"))?;
    let relative = adi
        .layout()
        .queues(kind)
        .and_then(|it| it.relative(QueueId(queue)));
    message.number(c"queue", relative.unwrap_or(queue));
    message.number(c"address", fault.address.get());
    message.number(c"length", fault.len.get());
    let write = fault.flags.get() & fault_flags::WRITE != 0;
    message.text(c"access", if write { "write" } else { "read" })
}

/// # Safety
///
/// Called by devlink for a reporter of ours, with a message under construction.
unsafe extern "C" fn dump_faults(
    reporter: *mut bindings::devlink_health_reporter,
    fmsg: *mut bindings::devlink_fmsg,
    _context: *mut c_void,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: By the function's requirement.
    let (health, message) = unsafe { (Health::of(reporter), Message(fmsg)) };
    let mut result = Ok(());
    message.list(c"adis", || {
        health.for_each_faulty(|adi| {
            if result.is_ok() {
                result = message.item(|| describe(&message, adi));
            }
        });
    });
    from_result(|| result.map(|()| 0))
}

/// # Safety
///
/// Called by devlink for a reporter of ours, with a message under construction.
unsafe extern "C" fn diagnose_faults(
    reporter: *mut bindings::devlink_health_reporter,
    fmsg: *mut bindings::devlink_fmsg,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: By the function's requirement.
    let (health, message) = unsafe { (Health::of(reporter), Message(fmsg)) };
    let (mut adis, mut faults) = (0u64, 0);
    health.for_each_faulty(|adi| {
        adis += 1;
        faults += adi.new_faults();
    });
    message.number(c"adis", adis);
    message.number(c"faults", faults);
    0
}

/// Clears the fault records, so that the next fault is recorded. The records of an ADI in use are
/// for its user to read and clear, and its queues are for the user to restart.
///
/// # Safety
///
/// Called by devlink for a reporter of ours.
unsafe extern "C" fn recover_faults(
    reporter: *mut bindings::devlink_health_reporter,
    _context: *mut c_void,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: By the function's requirement.
    let health = unsafe { Health::of(reporter) };
    let mut result = Ok(());
    health.for_each_faulty(|adi| {
        adi.acknowledge_faults();
        if !adi.is_used() {
            result = result.and(adi.fault_record(fault_flags::CLEAR).map(|_| ()));
        }
    });
    from_result(|| result.map(|()| 0))
}

/// # Safety
///
/// Called by devlink for a reporter of ours, with a message under construction.
unsafe extern "C" fn diagnose_control(
    reporter: *mut bindings::devlink_health_reporter,
    fmsg: *mut bindings::devlink_fmsg,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: By the function's requirement.
    let (health, message) = unsafe { (Health::of(reporter), Message(fmsg)) };
    message.number(c"stray_causes", health.pf.stray_causes());
    let (formed, refused, ended) = health.pf.adis().groups().counts();
    message.number(c"groups_formed", formed);
    message.number(c"groups_refused", refused);
    message.number(c"groups_ended", ended);
    0
}

/// Resets the function.
///
/// # Safety
///
/// Called by devlink for a reporter of ours.
unsafe extern "C" fn recover_control(
    reporter: *mut bindings::devlink_health_reporter,
    _context: *mut c_void,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: By the function's requirement.
    let (health, extack) = unsafe { (Health::of(reporter), Extack::new(extack)) };
    from_result(|| {
        // SAFETY: A devlink callback: the instance is registered, so that the function is bound.
        let pdev = unsafe { bound(&health.pf) };
        health
            .pf
            .restart(pdev.as_ref())
            .map_err(|error| extack.refuse(error, fmt!("function reset failed")))?;
        Ok(0)
    })
}
