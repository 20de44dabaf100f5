// SPDX-License-Identifier: GPL-2.0

//! Interrupts: eventfds for the ADI's vectors, for the request to close it and for faults.

use adit_bindings as bindings;
use adit_uapi::vfio::{
    irq,
    NUM_IRQS, //
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::{
    error::to_result,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use super::state::State;
use crate::{
    adi::Trigger,
    eventfd::EventFd,
    ids::AdiVector, //
};

/// Returns the number of interrupts of an index.
fn count(state: &State, index: u32) -> Result<u32> {
    match index {
        irq::VECTORS => Ok(state.ids.layout.vectors().into()),
        irq::REQUEST | irq::FAULT => Ok(1),
        _ => Err(EINVAL),
    }
}

/// Handles VFIO_DEVICE_GET_IRQ_INFO.
pub(super) fn get_info(state: &State, arg: UserPtr) -> Result {
    const LEN: usize = size_of::<bindings::vfio_irq_info>();
    let mut reader = UserSlice::new(arg, LEN).reader();
    let argsz: u32 = reader.read()?;
    let _flags: u32 = reader.read()?;
    let index: u32 = reader.read()?;
    if (argsz as usize) < LEN {
        return Err(EINVAL);
    }
    let flags = bindings::VFIO_IRQ_INFO_EVENTFD;
    let mut writer = UserSlice::new(arg, LEN).writer();
    for word in [LEN as u32, flags, index, count(state, index)?] {
        writer.write(&word)?;
    }
    Ok(())
}

/// Handles VFIO_DEVICE_SET_IRQS.
pub(super) fn set(state: &State, arg: UserPtr) -> Result {
    /// Length of the header; the data is after its last field.
    const HEADER: usize = offset_of!(bindings::vfio_irq_set, data);
    let mut reader = UserSlice::new(arg, HEADER).reader();
    let mut words = [0_u32; 5];
    for word in &mut words {
        *word = reader.read()?;
    }
    let [argsz, flags, index, start, many] = words;
    let mut header = bindings::vfio_irq_set {
        argsz,
        flags,
        index,
        start,
        count: many,
        ..Default::default()
    };
    let all = count(state, index)?;
    let mut data_len = 0_usize;
    // SAFETY: Both pointers are to variables of this function.
    to_result(unsafe {
        bindings::vfio_set_irqs_validate_and_prepare(
            &mut header,
            // CAST: at most as many as an ADI has.
            all as c_int,
            NUM_IRQS as c_int,
            &mut data_len,
        )
    })?;
    if flags & bindings::VFIO_IRQ_SET_ACTION_TYPE_MASK != bindings::VFIO_IRQ_SET_ACTION_TRIGGER {
        return Err(EINVAL);
    }
    state.check_alive()?;
    let mut data = UserSlice::new(arg.wrapping_byte_add(HEADER), data_len).reader();
    match flags & bindings::VFIO_IRQ_SET_DATA_TYPE_MASK {
        bindings::VFIO_IRQ_SET_DATA_EVENTFD => {
            for n in start..start + many {
                let event = match data.read::<i32>()? {
                    -1 => None,
                    fd => Some(EventFd::from_fd(fd)?),
                };
                install(state, index, n, event);
            }
            Ok(())
        }
        // No data and no interrupts: all eventfds of the index are removed.
        bindings::VFIO_IRQ_SET_DATA_NONE if many == 0 && start == 0 => {
            (0..all).for_each(|n| install(state, index, n, None));
            Ok(())
        }
        // Triggering by the user is for devices with loopback testing; this one does not support
        // it.
        _ => Err(EINVAL),
    }
}

/// Removes all eventfds.
pub(super) fn clear(state: &State) {
    for index in 0..NUM_IRQS {
        for n in 0..count(state, index).unwrap_or(0) {
            install(state, index, n, None);
        }
    }
}

fn install(state: &State, index: u32, n: u32, event: Option<EventFd>) {
    let trigger = match index {
        // CAST: below the number of vectors.
        irq::VECTORS => Trigger::Vector(AdiVector(n as u16)),
        irq::REQUEST => Trigger::Request,
        _ => Trigger::Fault,
    };
    // Fails only for a vector that does not exist.
    let _ = state.adi.set_trigger(trigger, event);
}
