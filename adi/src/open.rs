// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Opening of VFIO devices, by vfio-ioctls; what remains of its types are descriptors.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use iommufd_ioctls::IommuFd;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioError, VfioIommufd};

use crate::space::AddressSpace;

/// Opens the device in this folder of sysfs, with an address space of its own. Devices in
/// `/dev/vfio/devices` are preferred to groups if both exist.
///
/// The types of vfio-ioctls are not dropped: that of a device in a container looks up its group in sysfs
/// then, and panics if a driver that is being unbound has removed it; those of an iommufd detach the device
/// and destroy its IOAS, with which another process may continue. So their descriptors are taken out of
/// them, and their other memory is leaked: about a kilobyte. The kernel does the same when the descriptors
/// are closed: a device keeps its group open, and the group its container.
pub(crate) fn open(path: &Path) -> Result<(File, AddressSpace), VfioError> {
    if Path::new("/dev/iommu").exists() && path.join("vfio-dev").is_dir() {
        let iommufd = IommuFd::new().map_err(VfioError::NewVfioIommufd)?;
        let iommufd = Arc::new(iommufd);
        let space = Arc::new(VfioIommufd::new(Arc::clone(&iommufd), None, None)?);
        let id = space.ioas().id();
        let device = take(VfioDevice::new(path, space, true)?);
        // SAFETY: the descriptor is that of `iommufd`, which the address space refers to. The device that
        // was taken apart holds that forever, so that it is never used nor closed again but here.
        let file = unsafe { OwnedFd::from_raw_fd(iommufd.as_raw_fd()) };
        std::mem::forget(iommufd);
        return Ok((device, AddressSpace::new(file, Some(id))));
    }
    let container = Arc::new(VfioContainer::new(None)?);
    // SAFETY: the container keeps its descriptor open while it is borrowed here.
    let file = unsafe { BorrowedFd::borrow_raw(container.as_raw_fd()) };
    let file = file
        .try_clone_to_owned()
        .map_err(VfioError::OpenContainer)?;
    let device = take(VfioDevice::new(path, container.clone(), true)?);
    // SAFETY: the device that was taken apart holds a reference to this very container, and never releases
    // it; `container` is another one, so this is not the last. Dropping that closes the descriptors of the
    // container and of the group, and does nothing else.
    unsafe { Arc::decrement_strong_count(Arc::as_ptr(&container)) };
    Ok((device, AddressSpace::new(file, None)))
}

/// Takes the descriptor out of a device, which is leaked.
fn take(device: VfioDevice) -> File {
    // SAFETY: the descriptor is the device's own, which is never used again nor dropped, so that it is
    // closed by this file only.
    let file = unsafe { File::from_raw_fd(device.as_raw_fd()) };
    std::mem::forget(device);
    file
}
