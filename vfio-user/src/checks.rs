// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks that the regions, interrupts and files named by a request exist and permit it.

use std::os::fd::OwnedFd;

use rustix::fs::{fstat, FileType};

use crate::device::{Device, Region};
use crate::error::ProtocolError;
use crate::irq::{EventFd, IrqAction, IrqInfo, IrqRequest, IrqTargets};
use crate::request::{IrqData, SetIrqs};
use crate::{wire, Config, PAGE_SIZE};

/// Checks that the access has a valid size and is within a region that permits it.
pub(crate) fn access<D: Device + ?Sized>(
    device: &D,
    config: &Config,
    access: &wire::RegionAccess,
    allowed: impl Fn(&Region) -> bool,
) -> Result<(), ProtocolError> {
    let &wire::RegionAccess {
        offset,
        region: index,
        count,
    } = access;
    let max = config.max_data_xfer_size;
    if count == 0 || count > max {
        return Err(ProtocolError::TransferSize { count, max });
    }
    let regions = device.regions();
    let region = regions.get(index as usize).ok_or(ProtocolError::NoRegion {
        region: index,
        regions: regions.len(),
    })?;
    if offset
        .checked_add(count.into())
        .is_none_or(|end| end > region.size)
    {
        let size = region.size;
        return Err(ProtocolError::RegionRange {
            region: index,
            offset,
            count,
            size,
        });
    }
    if !allowed(region) {
        return Err(ProtocolError::RegionAccess { region: index });
    }
    Ok(())
}

/// Returns the interrupt type, if it exists.
pub(crate) fn irq<D: Device + ?Sized>(device: &D, index: u32) -> Result<&IrqInfo, ProtocolError> {
    let irqs = device.irqs();
    irqs.get(index as usize).ok_or(ProtocolError::NoIrq {
        index,
        irqs: irqs.len(),
    })
}

/// Checks that the interrupts exist and that the descriptors are eventfds.
pub(crate) fn irq_request<D: Device + ?Sized>(
    device: &D,
    set: SetIrqs<'_>,
) -> Result<IrqRequest, ProtocolError> {
    let SetIrqs {
        index,
        start,
        count,
        action,
        data,
    } = set;
    let available = irq(device, index)?.count;
    if let (IrqData::None, IrqAction::Trigger, 0, 0) = (&data, action, start, count) {
        return Ok(IrqRequest::DisableAll { index });
    }
    if count == 0 || start.checked_add(count).is_none_or(|end| end > available) {
        return Err(ProtocolError::IrqRange {
            index,
            start,
            count,
            available,
        });
    }
    let act = |chosen| IrqRequest::Act {
        index,
        action,
        targets: IrqTargets {
            start,
            count,
            chosen,
        },
    };
    Ok(match data {
        IrqData::None => act(None),
        IrqData::Bool(chosen) => act(Some(chosen.to_vec())),
        IrqData::EventFd(fds) if fds.is_empty() => IrqRequest::Deassign {
            index,
            start,
            count,
            action,
        },
        IrqData::EventFd(fds) => {
            let eventfds = fds
                .into_iter()
                .enumerate()
                .map(|(n, fd)| EventFd::from_client(fd).map_err(|_| ProtocolError::NotEventfd(n)))
                .collect::<Result<_, _>>()?;
            IrqRequest::Assign {
                index,
                start,
                action,
                eventfds,
            }
        }
    })
}

/// Checks that the window consists of whole pages within its file. Devices such as DAX have no size
/// to check.
pub(crate) fn backing(fd: &OwnedFd, offset: u64, size: u64) -> Result<(), ProtocolError> {
    let stat = fstat(fd).map_err(ProtocolError::Device)?;
    let is_file = FileType::from_raw_mode(stat.st_mode).is_file();
    let file = u64::try_from(stat.st_size).unwrap_or(0);
    let end = offset.checked_add(size);
    let aligned = offset % PAGE_SIZE == 0;
    if !aligned || end.is_none_or(|end| end > i64::MAX as u64 || (is_file && end > file)) {
        return Err(ProtocolError::DmaFile { offset, size, file });
    }
    Ok(())
}
