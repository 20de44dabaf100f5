// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of ADIs.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use adit_uapi::vfio;
use adit_uapi::virtchnl2;
use thiserror::Error;

/// The reason that an operation failed.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no such ADI.
    #[error("no ADI {name:?}: {} does not exist (see `adit adi list`)", path.display())]
    NoSuchAdi {
        /// The name that was requested.
        name: String,
        /// Its expected path.
        path: PathBuf,
    },
    /// VFIO could not open the device.
    #[error("the VFIO device {name} cannot be opened: {cause}")]
    Open {
        /// The device's name.
        name: String,
        /// The error of VFIO, whose text is included: as a `source` it would be printed twice.
        cause: vfio_ioctls::VfioError,
    },
    /// The process lacks permission to open a node of the device.
    #[error(
        "the VFIO device {name} cannot be opened: {} belongs to user {uid} and group {gid}, with mode \
         {mode:04o} (the udev rule 60-adit.rules gives ADIs' nodes to the group `adit`)",
        node.display()
    )]
    Denied {
        /// The device's name.
        name: String,
        /// The node's path.
        node: PathBuf,
        /// The node's owner.
        uid: u32,
        /// The node's group.
        gid: u32,
        /// The node's permission bits.
        mode: u32,
    },
    /// A system call failed.
    #[error("{}{what}", gone_prefix(source))]
    Io {
        /// The operation.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The device is a VFIO device, but not an ADI, or an ADI of another version.
    #[error("{name} is no ADI that this library supports: {reason}")]
    NotAnAdi {
        /// The device's name.
        name: String,
        /// The difference.
        reason: String,
    },
    /// A message was rejected.
    #[error("{}{} was refused", gone_prefix(source), opcode_name(*opcode))]
    Refused {
        /// The message's opcode.
        opcode: u32,
        /// The reason.
        source: io::Error,
    },
    /// A reply has an unexpected length.
    #[error("the reply to {} has {got} bytes instead of {want}", opcode_name(*opcode))]
    Reply {
        /// The message's opcode.
        opcode: u32,
        /// The length of the reply in bytes.
        got: usize,
        /// The expected length in bytes.
        want: usize,
    },
    /// A reply contradicts its request or itself.
    #[error("the reply to {} is impossible: {reason}", opcode_name(*opcode))]
    Impossible {
        /// The message's opcode.
        opcode: u32,
        /// The contradiction.
        reason: &'static str,
    },
    /// The ADI does not support the [`Config`](crate::Config).
    #[error("{what} is {value}: this ADI takes {range}")]
    Config {
        /// The setting.
        what: &'static str,
        /// Its value.
        value: u64,
        /// Its supported range.
        range: String,
    },
    /// The queues were started twice.
    #[error("the ADI's queues have been started already")]
    Started,
    /// The buffer is in another ADI's memory.
    #[error("the buffer belongs to another ADI, whose memory this one cannot reach")]
    ForeignBuffer,
    /// The device violated the rules of its rings.
    #[error("the device has written nonsense to {ring} entry {entry}: {reason}")]
    Ring {
        /// The ring.
        ring: &'static str,
        /// The entry.
        entry: u16,
        /// The violation.
        reason: &'static str,
    },
}

/// Returns the node that the process may not open, if that is the cause.
fn denied(folder: &Path, cause: &vfio_ioctls::VfioError) -> Option<(PathBuf, Metadata)> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(cause);
    loop {
        let error = source?;
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied) {
            break;
        }
        source = error.source();
    }
    let group = fs::read_link(folder.join("iommu_group")).ok()?;
    let group = Path::new("/dev/vfio").join(group.file_name()?);
    // By default every user may open the container's node.
    let nodes = [PathBuf::from("/dev/vfio/vfio"), group];
    let may_not = |node: &PathBuf| {
        let opened = fs::OpenOptions::new().read(true).write(true).open(node);
        opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let node = nodes.into_iter().find(may_not)?;
    let metadata = fs::metadata(&node).ok()?;
    Some((node, metadata))
}

/// Returns whether the kernel module reports with this error that the ADI, its driver or its device
/// was removed. An owner receives it from any call, also while it is still setting up its queues.
fn reports_removal(error: &io::Error) -> bool {
    let gone = [rustix::io::Errno::IO, rustix::io::Errno::NODEV];
    error
        .raw_os_error()
        .is_some_and(|e| gone.iter().any(|g| g.raw_os_error() == e))
}

fn gone_prefix(error: &io::Error) -> &'static str {
    match reports_removal(error) {
        true => "the ADI is taken away: ",
        false => "",
    }
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

    /// The error for a device in this folder of sysfs that VFIO could not open.
    pub(crate) fn open(name: &str, folder: &Path, cause: vfio_ioctls::VfioError) -> Self {
        let name = name.to_owned();
        let Some((node, metadata)) = denied(folder, &cause) else {
            return Self::Open { name, cause };
        };
        Self::Denied {
            name,
            node,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        }
    }

    /// Returns whether the ADI is gone permanently: its driver or its device was removed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Refused { source, .. } | Self::Io { source, .. } => reports_removal(source),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vfio_ioctls::VfioError;

    #[test]
    fn a_cause_is_in_the_text_or_behind_it() {
        let cause = || io::Error::from_raw_os_error(13);
        let text = cause().to_string();
        let errors = [
            Error::open(
                "web",
                Path::new("/"),
                VfioError::OpenGroup(cause(), "7".into()),
            ),
            Error::io("reading what the ADI is")(cause()),
            Error::Refused {
                opcode: 505,
                source: cause(),
            },
        ];
        for error in errors {
            let mut chain = error.to_string();
            let mut next = std::error::Error::source(&error);
            while let Some(source) = next {
                chain = format!("{chain}: {source}");
                next = source.source();
            }
            assert_eq!(chain.matches(&text).count(), 1, "{chain}");
        }
    }

    #[test]
    fn removal_is_named_by_every_call() {
        for (errno, gone) in [(5, true), (19, true), (22, false), (110, false)] {
            let cause = || io::Error::from_raw_os_error(errno);
            let errors = [
                Error::io("mapping a page of registers")(cause()),
                Error::Refused {
                    opcode: vfio::op::REGISTER_MEMORY,
                    source: cause(),
                },
            ];
            for error in errors {
                assert_eq!(error.is_gone(), gone, "{error:?}");
                let text = error.to_string();
                assert_eq!(text.starts_with("the ADI is taken away: "), gone, "{text}");
            }
        }
    }

    #[test]
    fn who_may_open_a_node_is_said() {
        let denied = Error::Denied {
            name: "adit.adi.0".into(),
            node: "/dev/vfio/7".into(),
            uid: 0,
            gid: 104,
            mode: 0o660,
        };
        let text = denied.to_string();
        assert!(
            text.contains("/dev/vfio/7 belongs to user 0 and group 104, with mode 0660"),
            "{text}"
        );
    }
}
