// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parsing of `VFIO_USER_DEVICE_FEATURE`: the features that migration uses. Pure.

use vfio_bindings::bindings::vfio;
use zerocopy::FromBytes;

use crate::error::ProtocolError;
use crate::header::Command;
use crate::migration::IovaRange;
use crate::request::{argsz, length, split};
use crate::{wire, PAGE_SIZE};

/// The maximum number of ranges in a request to log DMA writes: as many as the kernel guarantees.
pub const MAX_LOG_RANGES: u32 = (PAGE_SIZE as usize / wire::LoggingRange::SIZE) as u32;

/// The maximum length of the payload of a request.
pub(crate) const MAX_PAYLOAD: usize = wire::DeviceFeature::SIZE
    + wire::LoggingControl::SIZE
    + MAX_LOG_RANGES as usize * wire::LoggingRange::SIZE;

const GET: u32 = vfio::VFIO_DEVICE_FEATURE_GET;
const SET: u32 = vfio::VFIO_DEVICE_FEATURE_SET;
const PROBE: u32 = vfio::VFIO_DEVICE_FEATURE_PROBE;

/// A feature that the server knows (`VFIO_DEVICE_FEATURE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs)] // The names are the specification's.
pub enum FeatureId {
    Migration = 1,
    MigDeviceState = 2,
    DmaLoggingStart = 6,
    DmaLoggingStop = 7,
    DmaLoggingReport = 8,
    MigDataSize = 9,
}

impl FeatureId {
    const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Migration,
            2 => Self::MigDeviceState,
            6 => Self::DmaLoggingStart,
            7 => Self::DmaLoggingStop,
            8 => Self::DmaLoggingReport,
            9 => Self::MigDataSize,
            _ => return None,
        })
    }

    /// Returns whether the feature is part of the log of DMA writes, not of the migration.
    pub const fn is_log(self) -> bool {
        matches!(
            self,
            Self::DmaLoggingStart | Self::DmaLoggingStop | Self::DmaLoggingReport
        )
    }

    /// Returns its methods: GET, SET or both.
    const fn methods(self) -> u32 {
        match self {
            Self::Migration | Self::MigDataSize | Self::DmaLoggingReport => GET,
            Self::DmaLoggingStart | Self::DmaLoggingStop => SET,
            Self::MigDeviceState => GET | SET,
        }
    }
}

/// A well-formed request for a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// The feature.
    pub id: FeatureId,
    /// The maximum length of the reply's payload in bytes.
    pub argsz: u32,
    /// The operation.
    pub operation: Operation,
}

/// An operation on a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Checks that the feature and the methods of the request exist.
    Probe,
    /// Gets the optional states.
    GetMigration,
    /// Gets the current state.
    GetState,
    /// Changes the state, to a value that is not checked.
    SetState(u32),
    /// Gets the estimated length of the saved state.
    GetDataSize,
    /// Starts to log DMA writes.
    StartLog {
        /// The client's wish for the page size.
        page_size: u64,
        /// The ranges, sorted and without overlap; none stands for all memory.
        ranges: Vec<IovaRange>,
    },
    /// Ends the log.
    StopLog,
    /// Gets and clears the log of a range.
    Report {
        /// The range.
        range: IovaRange,
        /// The page size of the bitmap.
        page_size: u64,
    },
}

/// Parses the payload of a `VFIO_USER_DEVICE_FEATURE`.
pub(crate) fn parse(payload: &[u8]) -> Result<Feature, ProtocolError> {
    const COMMAND: Command = Command::DeviceFeature;
    let (head, data) = split::<wire::DeviceFeature>(COMMAND, payload)?;
    argsz(COMMAND, head.argsz, wire::DeviceFeature::SIZE)?;
    let flags = head.flags;
    let methods = flags & (GET | SET);
    let is_probe = flags & PROBE != 0;
    let known = flags & !(vfio::VFIO_DEVICE_FEATURE_MASK | GET | SET | PROBE) == 0;
    if !known || (!is_probe && methods.count_ones() != 1) {
        return Err(ProtocolError::Flags {
            command: COMMAND,
            flags,
        });
    }
    let number = (flags & vfio::VFIO_DEVICE_FEATURE_MASK) as u16;
    let id = FeatureId::from_number(number).ok_or(ProtocolError::Feature(number))?;
    let supported = id.methods();
    if methods & !supported != 0 {
        return Err(ProtocolError::FeatureMethod {
            feature: number,
            flags,
            supported,
        });
    }
    let operation = if is_probe {
        Operation::Probe
    } else {
        operation(id, methods == SET, payload, data)?
    };
    Ok(Feature {
        id,
        argsz: head.argsz,
        operation,
    })
}

fn operation(
    id: FeatureId,
    is_set: bool,
    payload: &[u8],
    data: &[u8],
) -> Result<Operation, ProtocolError> {
    Ok(match id {
        // Clients that share code with VFIO's send the space for the reply along.
        FeatureId::Migration => Operation::GetMigration,
        FeatureId::MigDataSize => Operation::GetDataSize,
        FeatureId::MigDeviceState if is_set => {
            let state: wire::FeatureMigState = only(payload, data)?;
            Operation::SetState(state.device_state)
        }
        FeatureId::MigDeviceState => Operation::GetState,
        FeatureId::DmaLoggingStart => start_log(payload, data)?,
        FeatureId::DmaLoggingStop => Operation::StopLog,
        FeatureId::DmaLoggingReport => {
            let report = first::<wire::LoggingReport>(payload, data)?.0;
            let (iova, len) = (report.iova, report.length);
            let range = IovaRange::new(iova, len).ok_or(ProtocolError::LogRange { iova, len })?;
            Operation::Report {
                range,
                page_size: page_size(report.page_size)?,
            }
        }
    })
}

fn start_log(payload: &[u8], data: &[u8]) -> Result<Operation, ProtocolError> {
    let (control, rest) = first::<wire::LoggingControl>(payload, data)?;
    if control.num_ranges > MAX_LOG_RANGES {
        return Err(ProtocolError::LogRanges(control.num_ranges));
    }
    let page_size = page_size(control.page_size)?;
    length(
        Command::DeviceFeature,
        payload,
        payload.len() - rest.len(),
        control.num_ranges.into(),
        wire::LoggingRange::SIZE as u64,
    )?;
    let mut ranges = Vec::with_capacity(control.num_ranges as usize);
    for bytes in rest.chunks_exact(wire::LoggingRange::SIZE) {
        let (wire::LoggingRange { iova, length: len }, _) = first(payload, bytes)?;
        let range = IovaRange::new(iova, len).filter(|_| (iova | len) % page_size == 0);
        ranges.push(range.ok_or(ProtocolError::LogRange { iova, len })?);
    }
    ranges.sort_unstable();
    if let Some(pair) = ranges.windows(2).find(|pair| pair[0].end() > pair[1].iova) {
        let IovaRange { iova, len } = pair[1];
        return Err(ProtocolError::LogRange { iova, len });
    }
    Ok(Operation::StartLog { page_size, ranges })
}

fn page_size(size: u64) -> Result<u64, ProtocolError> {
    if !size.is_power_of_two() || size < PAGE_SIZE {
        return Err(ProtocolError::LogPageSize(size));
    }
    Ok(size)
}

/// Splits the feature's data into its fixed part and the rest.
fn first<'a, T: FromBytes>(payload: &[u8], data: &'a [u8]) -> Result<(T, &'a [u8]), ProtocolError> {
    T::read_from_prefix(data).map_err(|_| wrong_length::<T>(payload))
}

/// Returns the feature's data, after which nothing may follow.
fn only<T: FromBytes>(payload: &[u8], data: &[u8]) -> Result<T, ProtocolError> {
    T::read_from_bytes(data).map_err(|_| wrong_length::<T>(payload))
}

fn wrong_length<T>(payload: &[u8]) -> ProtocolError {
    ProtocolError::Length {
        command: Command::DeviceFeature,
        len: payload.len(),
        expected: wire::DeviceFeature::SIZE + size_of::<T>(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;
    use crate::Errno;

    fn request(flags: u32, data: &[u8]) -> Result<Operation, ProtocolError> {
        let head = wire::DeviceFeature { argsz: 64, flags };
        parse(&[head.as_bytes(), data].concat()).map(|feature| feature.operation)
    }

    fn log(page_size: u64, ranges: &[(u64, u64)]) -> Result<Operation, ProtocolError> {
        let control = wire::LoggingControl {
            page_size,
            num_ranges: ranges.len() as u32,
            reserved: 0,
        };
        let ranges: Vec<_> = ranges
            .iter()
            .map(|&(iova, length)| wire::LoggingRange { iova, length })
            .collect();
        request(SET | 6, &[control.as_bytes(), ranges.as_bytes()].concat())
    }

    #[test]
    fn methods_are_those_of_the_feature() {
        for number in 0..=0xffff {
            let methods = match number {
                1 | 8 | 9 => GET,
                6 | 7 => SET,
                2 => GET | SET,
                _ => {
                    let refused = request(PROBE | number, &[]).unwrap_err();
                    assert_eq!(refused.errno(), Errno::NOTTY, "{number}");
                    continue;
                }
            };
            for asked in [0, GET, SET, GET | SET] {
                let probed = request(PROBE | asked | number, &[]);
                assert_eq!(probed.is_ok(), asked & !methods == 0, "{number} {asked:#x}");
            }
            for wrong in [0, GET | SET, 1 << 19, GET | 1 << 31] {
                assert!(
                    request(wrong | number, &[0; 24]).is_err(),
                    "{number} {wrong:#x}"
                );
            }
        }
    }

    #[test]
    fn ranges_to_log_are_sorted_and_checked() {
        let Ok(Operation::StartLog { page_size, ranges }) =
            log(1 << 14, &[(1 << 20, 1 << 14), (0, 1 << 20)])
        else {
            panic!()
        };
        assert_eq!(page_size, 1 << 14);
        let range = |iova, len| IovaRange { iova, len };
        assert_eq!(ranges, [range(0, 1 << 20), range(1 << 20, 1 << 14)]);
        for (page_size, bad) in [
            (4096, &[(0, 0)][..]),
            (4096, &[(1, 4096)]),
            (8192, &[(0, 4096)]),
            (4096, &[(0, 8192), (4096, 4096)]),
            (4096, &[(0, 4096), (0, 4096)]),
            (4096, &[(u64::MAX - 4095, 4096)]),
            (0, &[]),
            (2048, &[]),
            (12288, &[]),
        ] {
            assert!(log(page_size, bad).is_err(), "{page_size} {bad:?}");
        }
        assert!(log(1 << 63, &[]).is_ok());
        let many: Vec<_> = (0..257).map(|n| (n << 12, 4096)).collect();
        assert!(log(4096, &many[..256]).is_ok());
        assert_eq!(log(4096, &many).unwrap_err().errno(), Errno::TOOBIG);
    }

    #[test]
    fn data_of_the_wrong_length_is_refused() {
        assert_eq!(
            request(SET | 2, &[3, 0, 0, 0, 9, 9, 9, 9]).unwrap(),
            Operation::SetState(3)
        );
        for len in [0, 7, 9] {
            assert!(request(SET | 2, &vec![0; len]).is_err());
        }
        let mut control = [0; 16 + 16];
        control[..8].copy_from_slice(&4096u64.to_ne_bytes());
        for len in [0, 15, 17, 32] {
            assert!(request(SET | 6, &control[..len]).is_err(), "{len}");
        }
        assert!(request(SET | 6, &control[..16]).is_ok());
        assert!(request(GET | 8, &[0; 23]).is_err());
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(
            flags in prop_oneof![any::<u32>(), (0u32..16, 0u32..8).prop_map(|(f, m)| f | m << 16)],
            data in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(Operation::StartLog { ranges, .. }) = request(flags, &data) {
                prop_assert!(ranges.windows(2).all(|p| p[0].end() <= p[1].iova));
            }
        }
    }
}
