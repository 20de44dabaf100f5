// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a message is refused, and with which errno.

use thiserror::Error;

use crate::header::Command;
use crate::{Errno, MAX_MSG_FDS, PAGE_SIZE};

/// What is wrong with a message. The client gets [`errno`](Self::errno); the
/// text is for the log.
#[derive(Debug, Error)]
#[allow(missing_docs)] // The messages say what each field is.
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
    #[error("refused by the device: {0}")]
    Device(Errno),
}

/// The kinds of refusal that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// A size that leaves no way to find the next message.
    Framing,
    /// Neither command nor reply.
    Type,
    /// Unknown or unsupported command.
    Unsupported,
    /// Negotiation: missing, repeated or failed.
    Version,
    /// A payload, argsz or transfer of the wrong length.
    Length,
    /// Undefined flags.
    Flags,
    /// Too many, too few or the wrong file descriptors.
    Fds,
    /// An access outside a region.
    Region,
    /// An interrupt outside its type.
    Irq,
    /// A DMA window that cannot be.
    Dma,
    /// The device itself said no.
    Device,
}

impl Reason {
    /// All reasons with the name they are reported under.
    pub const ALL: [(Self, &'static str); 11] = [
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
        (Self::Device, "device"),
    ];
}

impl ProtocolError {
    /// What the client is told.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::UnknownCommand(_) | Self::Unsupported(_) => Errno::NOTSUP,
            Self::Major(_) => Errno::PROTONOSUPPORT,
            Self::Size { .. } => Errno::MSGSIZE,
            Self::RegionAccess { .. } => Errno::PERM,
            Self::DmaOverlap { .. } => Errno::EXIST,
            Self::DmaFull(_) => Errno::NOSPC,
            Self::Device(errno) => *errno,
            _ => Errno::INVAL,
        }
    }

    /// Under what it is counted.
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
            Self::Device(_) => Reason::Device,
        }
    }
}
