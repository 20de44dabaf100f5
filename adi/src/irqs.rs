// SPDX-License-Identifier: Apache-2.0 OR MIT
//! VFIO_DEVICE_SET_IRQS with plain eventfds and with the kernel's errors. (vfio-ioctls requires its
//! own type of eventfds and does not return the kernel's error.)

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::ioctl::{ioctl, opcode, Setter};
use vfio_bindings::bindings::vfio::{
    vfio_irq_set, VFIO_BASE, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_TYPE,
};

use crate::Error;

/// The request number: `_IO(VFIO_TYPE, VFIO_BASE + 10)`
const SET_IRQS: rustix::ioctl::Opcode = opcode::none(VFIO_TYPE, VFIO_BASE as u8 + 10);
/// The maximum number of vectors that fit into the message below.
const MAX_VECTORS: usize = 256;

/// A `struct vfio_irq_set` followed by its file descriptors.
#[repr(C)]
struct SetIrqs {
    header: vfio_irq_set,
    fds: [i32; MAX_VECTORS],
}

/// Sets the eventfds of an interrupt index, from vector `first` on; `None` removes one.
pub(crate) fn set(
    device: &File,
    index: u32,
    first: u32,
    eventfds: &[Option<BorrowedFd<'_>>],
) -> Result<(), Error> {
    let what = "setting up interrupts";
    if eventfds.len() > MAX_VECTORS {
        return Err(Error::Config {
            what: "the number of vectors",
            value: eventfds.len() as u64,
            range: format!("at most {MAX_VECTORS}"),
        });
    }
    let argsz = size_of::<vfio_irq_set>() + eventfds.len() * size_of::<i32>();
    let mut message = SetIrqs {
        header: vfio_irq_set {
            argsz: argsz as u32,
            flags: VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
            index,
            start: first,
            count: eventfds.len() as u32,
            ..vfio_irq_set::default()
        },
        fds: [-1; MAX_VECTORS],
    };
    for (slot, fd) in message.fds.iter_mut().zip(eventfds) {
        *slot = fd.map_or(-1, |fd| fd.as_raw_fd());
    }
    // SAFETY: the ioctl reads `argsz` bytes of the message, which contains them, and keeps no
    // pointer.
    unsafe { ioctl(device, Setter::<SET_IRQS, SetIrqs>::new(message)) }
        .map_err(Error::errno(what))?;
    Ok(())
}
