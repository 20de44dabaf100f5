// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong with an ADI.

use std::io;
use std::path::PathBuf;

use adit_uapi::vfio;
use adit_uapi::virtchnl2;
use thiserror::Error;

/// Why something was not done.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no such ADI.
    #[error("no ADI {name:?}: {} does not exist (see `adit adi list`)", path.display())]
    NoSuchAdi {
        /// What was asked for.
        name: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// VFIO did not give the device.
    #[error("the VFIO device {name} cannot be opened: {source}")]
    Open {
        /// The device.
        name: String,
        /// What VFIO said.
        source: vfio_ioctls::VfioError,
    },
    /// VFIO refused to map memory or to set up interrupts.
    #[error("VFIO refused {what}: {source}")]
    Vfio {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        source: vfio_ioctls::VfioError,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is a VFIO device, but not an ADI, or one of another time.
    #[error("{name} is no ADI that this program knows: {reason}")]
    NotAnAdi {
        /// The device.
        name: String,
        /// What is different.
        reason: String,
    },
    /// A message was refused.
    #[error("{} was refused: {source}", opcode_name(*opcode))]
    Refused {
        /// The message.
        opcode: u32,
        /// Why.
        source: io::Error,
    },
    /// A reply is not what was asked for.
    #[error("the reply to {} has {got} bytes instead of {want}", opcode_name(*opcode))]
    Reply {
        /// The message.
        opcode: u32,
        /// Bytes of the reply.
        got: usize,
        /// Bytes of a right reply.
        want: usize,
    },
    /// What [`Config`](crate::Config) asks for does not fit the ADI.
    #[error("{what} is {value}: this ADI takes {range}")]
    Config {
        /// Which setting.
        what: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        range: String,
    },
    /// The queue was started twice.
    #[error("the ADI's queues have been started already")]
    Started,
    /// A buffer of another ADI's memory.
    #[error("the buffer belongs to another ADI, whose memory this one cannot reach")]
    ForeignBuffer,
    /// The device broke the rules of its rings.
    #[error("the device has written nonsense to {ring} entry {entry}: {reason}")]
    Ring {
        /// Which ring.
        ring: &'static str,
        /// Which entry.
        entry: u16,
        /// What is wrong.
        reason: &'static str,
    },
}

fn opcode_name(opcode: u32) -> String {
    vfio::op::name(opcode)
        .or_else(|| virtchnl2::op::name(opcode))
        .or_else(|| virtchnl2::adi::op::name(opcode))
        .map_or_else(|| format!("message {opcode:#x}"), str::to_owned)
}

impl Error {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub(crate) fn errno(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io {
            what,
            source: errno.into(),
        }
    }

    /// Whether the ADI is gone for good: its driver or its device went away.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let (Self::Refused { source, .. } | Self::Io { source, .. }) = self else {
            return false;
        };
        let gone = [rustix::io::Errno::IO, rustix::io::Errno::NODEV];
        source
            .raw_os_error()
            .is_some_and(|e| gone.iter().any(|g| g.raw_os_error() == e))
    }
}
