// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parsing of bytes and file descriptors into a request. Pure: it accesses no socket and no device,
//! and owns the descriptors only to pass them on or close them.

use std::os::fd::OwnedFd;

use vfio_bindings::bindings::vfio;
use zerocopy::FromBytes;

use crate::device::{DmaMap, DmaProt};
use crate::error::ProtocolError;
use crate::feature::{self, Feature};
use crate::header::Command;
use crate::irq::IrqAction;
use crate::version::{Capabilities, MAX_VERSION_DATA};
use crate::wire;

/// A well-formed message. The regions, interrupts and windows that it names need not exist.
#[derive(Debug)]
#[allow(missing_docs)] // The fields are the specification's.
pub enum Request<'a> {
    Version {
        major: u16,
        minor: u16,
        capabilities: Capabilities,
    },
    DmaMap(DmaMap),
    DmaUnmap(DmaUnmap),
    DeviceGetInfo,
    GetRegionInfo {
        argsz: u32,
        index: u32,
    },
    GetIrqInfo {
        index: u32,
    },
    SetIrqs(SetIrqs<'a>),
    RegionRead(wire::RegionAccess),
    RegionWrite {
        access: wire::RegionAccess,
        data: &'a [u8],
    },
    RegionWriteMulti(&'a [wire::WriteOne]),
    DeviceReset,
    Feature(Feature),
    MigDataRead {
        size: u32,
    },
    MigDataWrite(&'a [u8]),
}

/// The DMA windows to unmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaUnmap {
    /// The windows within a range.
    Range {
        /// The start of the range.
        iova: u64,
        /// The length of the range in bytes.
        size: u64,
    },
    /// All windows (`VFIO_DMA_UNMAP_FLAG_ALL`).
    All,
}

/// An unvalidated `VFIO_USER_DEVICE_SET_IRQS`.
#[derive(Debug)]
#[allow(missing_docs)] // The fields are the specification's.
pub struct SetIrqs<'a> {
    pub index: u32,
    pub start: u32,
    pub count: u32,
    pub action: IrqAction,
    pub data: IrqData<'a>,
}

/// The data of a request (`VFIO_IRQ_SET_DATA_*`).
#[derive(Debug)]
pub enum IrqData<'a> {
    /// No data: the action is performed on the whole range.
    None,
    /// One byte for each interrupt: the action is performed where the byte is not 0.
    Bool(&'a [u8]),
    /// Descriptors to signal, none or one for each interrupt.
    EventFd(Vec<OwnedFd>),
}

/// The maximum length of a payload of `command` that is read.
pub(crate) const fn max_payload(command: Command, max_data: u32) -> usize {
    match command {
        Command::Version => wire::Version::SIZE + MAX_VERSION_DATA,
        Command::DmaMap => wire::DmaMap::SIZE,
        Command::DmaUnmap => wire::DmaUnmap::SIZE,
        Command::DeviceGetInfo => wire::DeviceInfo::SIZE,
        Command::DeviceGetRegionInfo => wire::RegionInfo::SIZE,
        Command::DeviceGetIrqInfo => wire::IrqInfo::SIZE,
        Command::RegionRead => wire::RegionAccess::SIZE,
        Command::DeviceSetIrqs => wire::IrqSet::SIZE + max_data as usize,
        Command::RegionWrite => wire::RegionAccess::SIZE + max_data as usize,
        Command::RegionWriteMulti => wire::WriteMulti::SIZE + max_data as usize,
        Command::DeviceFeature => feature::MAX_PAYLOAD,
        Command::MigDataRead => wire::MigData::SIZE,
        Command::MigDataWrite => wire::MigData::SIZE + max_data as usize,
        _ => 0,
    }
}

/// Parses the payload of a supported command. Descriptors that the request does not keep are
/// closed.
pub fn parse<'a>(
    command: Command,
    payload: &'a [u8],
    fds: Vec<OwnedFd>,
) -> Result<Request<'a>, ProtocolError> {
    let may_carry_fds = matches!(command, Command::DmaMap | Command::DeviceSetIrqs);
    if !may_carry_fds && !fds.is_empty() {
        return Err(ProtocolError::FdCount {
            command,
            got: fds.len(),
            expected: 0,
        });
    }
    match command {
        Command::Version => {
            let (version, data) = split::<wire::Version>(command, payload)?;
            let capabilities = match version.major {
                crate::version::MAJOR => Capabilities::from_version_data(data)?,
                // The data of another major version may have any meaning.
                _ => Capabilities::default(),
            };
            Ok(Request::Version {
                major: version.major,
                minor: version.minor,
                capabilities,
            })
        }
        Command::DmaMap => dma_map(payload, fds).map(Request::DmaMap),
        Command::DmaUnmap => dma_unmap(payload).map(Request::DmaUnmap),
        Command::DeviceGetInfo => {
            let info: wire::DeviceInfo = exact(command, payload)?;
            argsz(command, info.argsz, wire::DeviceInfo::SIZE)?;
            Ok(Request::DeviceGetInfo)
        }
        Command::DeviceGetRegionInfo => {
            let info: wire::RegionInfo = exact(command, payload)?;
            argsz(command, info.argsz, wire::RegionInfo::SIZE)?;
            Ok(Request::GetRegionInfo {
                argsz: info.argsz,
                index: info.index,
            })
        }
        Command::DeviceGetIrqInfo => {
            let info: wire::IrqInfo = exact(command, payload)?;
            argsz(command, info.argsz, wire::IrqInfo::SIZE)?;
            Ok(Request::GetIrqInfo { index: info.index })
        }
        Command::DeviceSetIrqs => set_irqs(payload, fds).map(Request::SetIrqs),
        Command::RegionRead => exact(command, payload).map(Request::RegionRead),
        Command::RegionWrite => {
            let (access, data) = split::<wire::RegionAccess>(command, payload)?;
            length(
                command,
                payload,
                wire::RegionAccess::SIZE,
                u64::from(access.count),
                1,
            )?;
            Ok(Request::RegionWrite { access, data })
        }
        Command::RegionWriteMulti => {
            let (multi, rest) = split::<wire::WriteMulti>(command, payload)?;
            let each = wire::WriteOne::SIZE as u64;
            length(command, payload, wire::WriteMulti::SIZE, multi.wr_cnt, each)?;
            let writes =
                <[wire::WriteOne]>::ref_from_bytes(rest).map_err(|_| ProtocolError::Length {
                    command,
                    len: payload.len(),
                    expected: 0,
                })?;
            Ok(Request::RegionWriteMulti(writes))
        }
        Command::DeviceReset => {
            length(command, payload, 0, 0, 0)?;
            Ok(Request::DeviceReset)
        }
        Command::DeviceFeature => feature::parse(payload).map(Request::Feature),
        Command::MigDataRead => {
            let data: wire::MigData = exact(command, payload)?;
            let reply = wire::MigData::SIZE.saturating_add(data.size as usize);
            argsz(command, data.argsz, reply)?;
            Ok(Request::MigDataRead { size: data.size })
        }
        Command::MigDataWrite => {
            let (head, data) = split::<wire::MigData>(command, payload)?;
            argsz(command, head.argsz, wire::MigData::SIZE)?;
            length(command, payload, wire::MigData::SIZE, head.size.into(), 1)?;
            Ok(Request::MigDataWrite(data))
        }
        Command::DeviceGetRegionIoFds
        | Command::DmaRead
        | Command::DmaWrite
        | Command::DirtyPages => Err(ProtocolError::Unsupported(command)),
    }
}

fn dma_map(payload: &[u8], mut fds: Vec<OwnedFd>) -> Result<DmaMap, ProtocolError> {
    let command = Command::DmaMap;
    let map: wire::DmaMap = exact(command, payload)?;
    argsz(command, map.argsz, wire::DmaMap::SIZE)?;
    const RW: u32 = vfio::VFIO_DMA_MAP_FLAG_READ | vfio::VFIO_DMA_MAP_FLAG_WRITE;
    let prot = match map.flags {
        RW => DmaProt::ReadWrite,
        vfio::VFIO_DMA_MAP_FLAG_READ => DmaProt::Read,
        vfio::VFIO_DMA_MAP_FLAG_WRITE => DmaProt::Write,
        flags => return Err(ProtocolError::Flags { command, flags }),
    };
    if fds.len() > 1 {
        return Err(ProtocolError::FdCount {
            command,
            got: fds.len(),
            expected: 1,
        });
    }
    let (iova, size, offset) = (map.address, map.size, map.offset);
    Ok(DmaMap {
        iova,
        size,
        offset,
        prot,
        fd: fds.pop(),
    })
}

fn dma_unmap(payload: &[u8]) -> Result<DmaUnmap, ProtocolError> {
    let command = Command::DmaUnmap;
    let unmap: wire::DmaUnmap = exact(command, payload)?;
    argsz(command, unmap.argsz, wire::DmaUnmap::SIZE)?;
    let (iova, size) = (unmap.address, unmap.size);
    match unmap.flags {
        0 => Ok(DmaUnmap::Range { iova, size }),
        vfio::VFIO_DMA_UNMAP_FLAG_ALL if (iova, size) == (0, 0) => Ok(DmaUnmap::All),
        vfio::VFIO_DMA_UNMAP_FLAG_ALL => Err(ProtocolError::DmaRange { iova, size }),
        flags => Err(ProtocolError::Flags { command, flags }),
    }
}

fn set_irqs(payload: &[u8], fds: Vec<OwnedFd>) -> Result<SetIrqs<'_>, ProtocolError> {
    let command = Command::DeviceSetIrqs;
    let (set, bytes) = split::<wire::IrqSet>(command, payload)?;
    argsz(command, set.argsz, wire::IrqSet::SIZE)?;
    let bad_flags = ProtocolError::Flags {
        command,
        flags: set.flags,
    };
    let action = match set.flags & vfio::VFIO_IRQ_SET_ACTION_TYPE_MASK {
        vfio::VFIO_IRQ_SET_ACTION_MASK => IrqAction::Mask,
        vfio::VFIO_IRQ_SET_ACTION_UNMASK => IrqAction::Unmask,
        vfio::VFIO_IRQ_SET_ACTION_TRIGGER => IrqAction::Trigger,
        _ => return Err(bad_flags),
    };
    let wanted_bytes = match set.flags & !vfio::VFIO_IRQ_SET_ACTION_TYPE_MASK {
        vfio::VFIO_IRQ_SET_DATA_BOOL => set.count,
        vfio::VFIO_IRQ_SET_DATA_NONE | vfio::VFIO_IRQ_SET_DATA_EVENTFD => 0,
        _ => return Err(bad_flags),
    };
    length(command, payload, wire::IrqSet::SIZE, wanted_bytes.into(), 1)?;
    let is_eventfd = set.flags & vfio::VFIO_IRQ_SET_DATA_EVENTFD != 0;
    let expected = if is_eventfd { set.count as usize } else { 0 };
    if !fds.is_empty() && fds.len() != expected {
        return Err(ProtocolError::FdCount {
            command,
            got: fds.len(),
            expected,
        });
    }
    let data = match set.flags & vfio::VFIO_IRQ_SET_DATA_TYPE_MASK {
        vfio::VFIO_IRQ_SET_DATA_EVENTFD => IrqData::EventFd(fds),
        vfio::VFIO_IRQ_SET_DATA_BOOL => IrqData::Bool(bytes),
        _ => IrqData::None,
    };
    Ok(SetIrqs {
        index: set.index,
        start: set.start,
        count: set.count,
        action,
        data,
    })
}

/// Checks that the length of the payload is exactly `fixed` bytes plus `count` times `each`.
pub(crate) fn length(
    command: Command,
    payload: &[u8],
    fixed: usize,
    count: u64,
    each: u64,
) -> Result<(), ProtocolError> {
    let expected = (fixed as u64).saturating_add(count.saturating_mul(each));
    if payload.len() as u64 == expected {
        return Ok(());
    }
    let expected = usize::try_from(expected).unwrap_or(usize::MAX);
    Err(ProtocolError::Length {
        command,
        len: payload.len(),
        expected,
    })
}

/// Splits the payload into the fixed part and the rest. The fixed part is copied, because the
/// payload need not be aligned.
pub(crate) fn split<T: FromBytes>(
    command: Command,
    payload: &[u8],
) -> Result<(T, &[u8]), ProtocolError> {
    T::read_from_prefix(payload).map_err(|_| ProtocolError::Length {
        command,
        len: payload.len(),
        expected: size_of::<T>(),
    })
}

/// Returns the fixed part, after which nothing may follow.
pub(crate) fn exact<T: FromBytes>(command: Command, payload: &[u8]) -> Result<T, ProtocolError> {
    length(command, payload, size_of::<T>(), 0, 0)?;
    split(command, payload).map(|(value, _)| value)
}

pub(crate) fn argsz(command: Command, argsz: u32, min: usize) -> Result<(), ProtocolError> {
    if (argsz as usize) < min {
        return Err(ProtocolError::Argsz {
            command,
            argsz,
            min,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;

    fn command() -> impl Strategy<Value = Command> {
        (1u16..=18).prop_map(|n| Command::from_number(n).expect("a command"))
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(command in command(), payload: Vec<u8>) {
            // Also with a valid argsz, with which most messages begin.
            let mut sized = payload.clone();
            sized.splice(..sized.len().min(4), 64u32.to_ne_bytes());
            for payload in [payload, sized] {
                let _ = parse(command, &payload, Vec::new());
            }
        }

        #[test]
        fn windows_are_read_as_written(
            address: u64, size: u64, offset: u64, flags in 1u32..=3
        ) {
            let map = wire::DmaMap { argsz: 32, flags, offset, address, size };
            let Request::DmaMap(read) = parse(Command::DmaMap, map.as_bytes(), vec![]).unwrap()
            else { panic!() };
            prop_assert_eq!((read.iova, read.size, read.offset), (address, size, offset));
            prop_assert_eq!(read.prot.readable(), flags & 1 != 0);
            prop_assert_eq!(read.prot.writable(), flags & 2 != 0);
        }

        #[test]
        fn writes_are_read_as_written(offset: u64, region: u32, bytes: Vec<u8>, lie in 1u32..9) {
            let count = bytes.len() as u32;
            let write = |count| {
                [wire::RegionAccess { offset, region, count }.as_bytes(), &bytes].concat()
            };
            let payload = write(count);
            let Request::RegionWrite { access, data } =
                parse(Command::RegionWrite, &payload, vec![]).unwrap() else { panic!() };
            prop_assert_eq!((access.offset, access.region, data), (offset, region, &bytes[..]));
            prop_assert!(parse(Command::RegionWrite, &write(count + lie), vec![]).is_err());
        }

        /// Checks payloads at any alignment in memory.
        #[test]
        fn multiple_writes_need_no_alignment(shift in 0usize..8, n in 0usize..5) {
            let one = wire::WriteOne { offset: 5.into(), count: 3.into(), ..Default::default() };
            let mut payload = vec![0; shift];
            payload.extend_from_slice((n as u64).as_bytes());
            payload.extend_from_slice(one.as_bytes().repeat(n).as_slice());
            let Request::RegionWriteMulti(writes) =
                parse(Command::RegionWriteMulti, &payload[shift..], vec![]).unwrap()
            else { panic!() };
            prop_assert_eq!(writes, vec![one; n]);
        }

        #[test]
        fn interrupt_flags_are_one_of_each(flags in 0u32..128) {
            let set = wire::IrqSet { argsz: 20, flags, count: 0, ..Default::default() };
            let good = flags < 64 && (flags & 7).count_ones() == 1 && (flags >> 3).count_ones() == 1;
            let read = parse(Command::DeviceSetIrqs, set.as_bytes(), vec![]);
            prop_assert_eq!(read.is_ok(), good);
        }
    }
}
