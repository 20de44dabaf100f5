// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device of vfio-ioctls that can be closed after its driver has let go of it.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::sync::Arc;

use vfio_ioctls::{VfioContainer, VfioDevice, VfioError, VfioOps};

/// A VFIO device and the address space that it is in.
///
/// In a container vfio-ioctls closes a device and then looks its group up in sysfs, to take it out
/// of the container, and panics if it is not there. But a driver that is being unbound waits for
/// just this close and removes the group at once; when the whole device is being removed, its link
/// on the bus has gone even before. So such a device is closed here. The kernel takes the group out
/// of the container when both are closed, as they are with the address space.
pub(crate) struct Held {
    device: ManuallyDrop<VfioDevice>,
    address_space: Arc<dyn VfioOps>,
}

impl Held {
    /// Opens the device in this folder of sysfs.
    pub(crate) fn open(path: &Path, address_space: Arc<dyn VfioOps>) -> Result<Self, VfioError> {
        let device = VfioDevice::new(path, Arc::clone(&address_space), true)?;
        Ok(Self {
            device: ManuallyDrop::new(device),
            address_space,
        })
    }

    pub(crate) fn address_space(&self) -> &dyn VfioOps {
        &*self.address_space
    }
}

impl Deref for Held {
    type Target = VfioDevice;

    fn deref(&self) -> &VfioDevice {
        &self.device
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.address_space.as_any().is::<VfioContainer>() {
            // SAFETY: this is the only place where it is dropped, and nobody uses it after this.
            unsafe { ManuallyDrop::drop(&mut self.device) };
            return;
        }
        // SAFETY: the descriptor is the device's own, which is never used again nor dropped, so
        // that nobody else closes it.
        drop(unsafe { File::from_raw_fd(self.device.as_raw_fd()) });
        // SAFETY: the device holds a reference to this very address space, made by `open`, and
        // will never give it back by itself; `self` holds another one, so this is not the last.
        // What else the device owns, the list of its regions and interrupts, is left behind: about
        // a kilobyte.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.address_space)) };
    }
}
