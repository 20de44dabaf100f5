// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A device of vfio-ioctls that can be closed after its driver has released it.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::sync::Arc;

use vfio_ioctls::{VfioContainer, VfioDevice, VfioError, VfioOps};

/// A VFIO device and its address space.
///
/// With a container, vfio-ioctls closes a device and then looks up its group in sysfs, to remove it
/// from the container, and panics if the group does not exist. But a driver that is being unbound
/// waits for exactly this close and removes the group at once; when the whole device is being
/// removed, its link on the bus is removed even earlier. So such a device is closed here. The
/// kernel removes the group from the container when both are closed, as they are with the address
/// space.
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
            // SAFETY: this is the only place where it is dropped, and it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.device) };
            return;
        }
        // SAFETY: the descriptor is the device's own, which is never used again nor dropped, so
        // that it is closed only here.
        drop(unsafe { File::from_raw_fd(self.device.as_raw_fd()) });
        // SAFETY: the device holds a reference to this very address space, made by `open`, and will
        // never release it by itself; `self` holds another one, so this is not the last. The other
        // memory that the device owns, the list of its regions and interrupts, is leaked: about a
        // kilobyte.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.address_space)) };
    }
}
