// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The reasons to reject a message, and the errno of each.

use thiserror::Error;

use crate::feature::MAX_LOG_RANGES;
use crate::header::Command;
use crate::migration::MigrationState;
use crate::{Errno, MAX_MSG_FDS, PAGE_SIZE};

/// The error in a message. The client receives [`errno`](Self::errno); the text is for the log.
#[derive(Debug, Error)]
#[allow(missing_docs)] // The messages describe the fields.
pub enum ProtocolError {
    #[error("message size {size} is outside 16..={max}; what follows cannot be trusted")]
    Size { size: u32, max: usize },
    #[error("message type {0} is neither command (0) nor reply (1)")]
    Type(u32),
    #[error("command {0} is not in the specification")]
    UnknownCommand(u16),
    #[error("{0:?} is not supported")]
    Unsupported(Command),
    #[error("{0:?} came before a version was agreed on")]
    NotNegotiated(Command),
    #[error("a version was agreed on already")]
    VersionAgain,
    #[error("major version {0}, expected 0")]
    Major(u16),
    #[error("version data: {0}")]
    VersionData(String),
    #[error("{command:?} with a payload of {len} bytes, expected {expected}")]
    Length {
        command: Command,
        len: usize,
        expected: usize,
    },
    #[error("{command:?} with argsz {argsz}, expected at least {min}")]
    Argsz {
        command: Command,
        argsz: u32,
        min: usize,
    },
    #[error("{command:?} with flags {flags:#x}")]
    Flags { command: Command, flags: u32 },
    #[error("{command:?} with {got} file descriptors, expected {expected}")]
    FdCount {
        command: Command,
        got: usize,
        expected: usize,
    },
    #[error("more than {MAX_MSG_FDS} file descriptors in one message")]
    TooManyFds,
    #[error("file descriptor {0} of the message is not an eventfd")]
    NotEventfd(usize),
    #[error("region {region} does not exist, the device has {regions}")]
    NoRegion { region: u32, regions: usize },
    #[error("{count} bytes at {offset:#x} of region {region} are outside its {size:#x} bytes")]
    RegionRange {
        region: u32,
        offset: u64,
        count: u32,
        size: u64,
    },
    #[error("region {region} does not allow this access")]
    RegionAccess { region: u32 },
    #[error("transfer of {count} bytes, expected 1..={max}")]
    TransferSize { count: u32, max: u32 },
    #[error("interrupt type {index} does not exist, the device has {irqs}")]
    NoIrq { index: u32, irqs: usize },
    #[error("interrupts {start} + {count} of type {index} are outside its {available}")]
    IrqRange {
        index: u32,
        start: u32,
        count: u32,
        available: u32,
    },
    #[error("DMA window {iova:#x} + {size:#x} is empty, wraps, or is not in units of {PAGE_SIZE}")]
    DmaRange { iova: u64, size: u64 },
    #[error("DMA window {iova:#x} + {size:#x} overlaps one that exists")]
    DmaOverlap { iova: u64, size: u64 },
    #[error("unmapping {iova:#x} + {size:#x} would cut a DMA window in two")]
    DmaSplit { iova: u64, size: u64 },
    #[error("{0} DMA windows are the limit")]
    DmaFull(usize),
    #[error("DMA window at {offset:#x} + {size:#x} lies outside its file of {file:#x} bytes")]
    DmaFile { offset: u64, size: u64, file: u64 },
    #[error("feature {0} is not supported")]
    Feature(u16),
    #[error("feature {feature} with flags {flags:#x}; it supports {supported:#x}")]
    FeatureMethod {
        feature: u16,
        flags: u32,
        supported: u32,
    },
    #[error("migration state {to}: no way from {from:?} leads there")]
    MigrationState { from: MigrationState, to: u32 },
    #[error("{command:?} in migration state {state:?}")]
    MigrationData {
        command: Command,
        state: MigrationState,
    },
    #[error("a log of DMA writes exists already")]
    LogExists,
    #[error("no log of DMA writes was started")]
    NoLog,
    #[error("page size {0:#x} is not a power of two of at least {PAGE_SIZE}")]
    LogPageSize(u64),
    #[error(
        "{iova:#x} + {len:#x} is empty, wraps, overlaps another range to log, or is not in pages"
    )]
    LogRange { iova: u64, len: u64 },
    #[error("{0} ranges to log, {MAX_LOG_RANGES} are the limit")]
    LogRanges(u32),
    #[error("dirty bitmap of {len} bytes, {max} are the limit")]
    Bitmap { len: u64, max: u64 },
    #[error("refused by the device: {0}")]
    Device(Errno),
}

/// The reasons for rejection that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// A size with which the next message cannot be located.
    Framing,
    /// A type that is neither command nor reply.
    Type,
    /// An unknown or unsupported command.
    Unsupported,
    /// A missing, repeated or failed version negotiation.
    Version,
    /// A payload, argsz or transfer of the wrong length.
    Length,
    /// Undefined flags are set.
    Flags,
    /// Too many, too few or invalid file descriptors.
    Fds,
    /// An access outside a region, or one that it does not permit.
    Region,
    /// An interrupt outside its type's range.
    Irq,
    /// An invalid DMA window.
    Dma,
    /// A feature, a migration state or a log of DMA writes that is not supported or not possible at
    /// the time.
    Migration,
    /// The device itself returned an error.
    Device,
}

impl Reason {
    /// All reasons with the names under which they are reported.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Framing, "framing"),
        (Self::Type, "type"),
        (Self::Unsupported, "unsupported"),
        (Self::Version, "version"),
        (Self::Length, "length"),
        (Self::Flags, "flags"),
        (Self::Fds, "fds"),
        (Self::Region, "region"),
        (Self::Irq, "irq"),
        (Self::Dma, "dma"),
        (Self::Migration, "migration"),
        (Self::Device, "device"),
    ];
}

impl ProtocolError {
    /// Returns the errno for the client.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::UnknownCommand(_) | Self::Unsupported(_) => Errno::NOTSUP,
            Self::Major(_) => Errno::PROTONOSUPPORT,
            Self::Size { .. } => Errno::MSGSIZE,
            Self::RegionAccess { .. } => Errno::PERM,
            Self::DmaOverlap { .. } => Errno::EXIST,
            Self::DmaFull(_) => Errno::NOSPC,
            // The kernel's answer to an unknown feature, which clients of VFIO look for.
            Self::Feature(_) => Errno::NOTTY,
            Self::LogRanges(_) | Self::Bitmap { .. } => Errno::TOOBIG,
            Self::LogExists => Errno::BUSY,
            Self::Device(errno) => *errno,
            _ => Errno::INVAL,
        }
    }

    /// Returns the reason under which the error is counted.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Size { .. } => Reason::Framing,
            Self::Type(_) => Reason::Type,
            Self::UnknownCommand(_) | Self::Unsupported(_) => Reason::Unsupported,
            Self::NotNegotiated(_) | Self::VersionAgain | Self::Major(_) | Self::VersionData(_) => {
                Reason::Version
            }
            Self::Length { .. } | Self::Argsz { .. } | Self::TransferSize { .. } => Reason::Length,
            Self::Flags { .. } => Reason::Flags,
            Self::FdCount { .. } | Self::TooManyFds | Self::NotEventfd(_) => Reason::Fds,
            Self::NoRegion { .. } | Self::RegionRange { .. } | Self::RegionAccess { .. } => {
                Reason::Region
            }
            Self::NoIrq { .. } | Self::IrqRange { .. } => Reason::Irq,
            Self::DmaRange { .. }
            | Self::DmaOverlap { .. }
            | Self::DmaSplit { .. }
            | Self::DmaFull(_)
            | Self::DmaFile { .. } => Reason::Dma,
            Self::Feature(_)
            | Self::FeatureMethod { .. }
            | Self::MigrationState { .. }
            | Self::MigrationData { .. }
            | Self::LogExists
            | Self::NoLog
            | Self::LogPageSize(_)
            | Self::LogRange { .. }
            | Self::LogRanges(_)
            | Self::Bitmap { .. } => Reason::Migration,
            Self::Device(_) => Reason::Device,
        }
    }
}
