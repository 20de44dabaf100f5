// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages between keeper and worker.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use adit_vfio_user::handover::{
    receive, send, HandoverError, InheritedFds, Limits, SavedServer, SentFds,
};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the protocol between keeper and worker.
pub const VERSION: u32 = 4;
/// The versions of keepers that a worker can serve: it may be of a newer release. That of version 2 sends no
/// `precopy`, and so no `preload`; those before version 4 ignore `at_death`.
pub(crate) const VERSIONS: RangeInclusive<u32> = 2..=VERSION;

/// The time within which a message must be transmitted, after its first byte.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The limits of what is received: a state of 64 MiB, descriptors of a large NIC.
const LIMITS: Limits = Limits {
    len: 64 << 20,
    fds: 70_000,
};

/// A message to the worker. Descriptors are numbers in the transmission.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToWorker {
    Start {
        version: u32,
        update: bool,
        kept: BTreeMap<String, u32>,
        notes: BTreeMap<String, String>,
        served: Vec<String>,
    },
    Precopy,
    Preload {
        state: serde_json::Value,
    },
    Introduce,
    Go {
        state: Option<serde_json::Value>,
    },
    Freeze,
    GoOn,
    Leave,
}

/// Bytes that the keeper writes to a descriptor when the worker dies, before another one starts: a message
/// that has a device stop, for which no process is there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtDeath {
    /// The offset in the file.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A message to the keeper. Descriptors are numbers in the transmission.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToKeeper {
    Keep {
        name: String,
        fd: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_death: Option<AtDeath>,
    },
    Forget {
        name: String,
    },
    Note {
        name: String,
        text: Option<String>,
    },
    Serve {
        name: String,
        listener: Option<SavedServer>,
        source: u32,
    },
    Unserve {
        name: String,
    },
    Prepared,
    Precopied {
        state: Option<serde_json::Value>,
    },
    Preloaded,
    Frozen {
        state: serde_json::Value,
    },
    NotFrozen {
        text: String,
        resets: bool,
    },
    Ready,
}

impl ToKeeper {
    /// Returns whether it changes what the next worker starts with.
    pub(crate) fn is_change(&self) -> bool {
        match self {
            Self::Keep { .. }
            | Self::Forget { .. }
            | Self::Note { .. }
            | Self::Serve { .. }
            | Self::Unserve { .. } => true,
            Self::Prepared
            | Self::Precopied { .. }
            | Self::Preloaded
            | Self::Frozen { .. }
            | Self::NotFrozen { .. }
            | Self::Ready => false,
        }
    }
}

/// Sends a message.
pub(crate) fn tell(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &SentFds<'_>,
) -> Result<(), HandoverError> {
    let json = serde_json::to_vec(message)
        .map_err(|error| HandoverError::Protocol(format!("message not written: {error}")))?;
    send(socket, &json, fds, TIMEOUT)
}

/// Waits for a message, however long it takes.
pub(crate) fn listen<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> Result<(T, InheritedFds), HandoverError> {
    loop {
        match poll(&mut [PollFd::new(&socket.as_fd(), PollFlags::IN)], None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => {
                let call = "poll";
                return Err(HandoverError::Io { call, errno });
            }
        }
    }
    let (json, fds) = receive(socket, LIMITS, TIMEOUT)?;
    let message = serde_json::from_slice(&json)
        .map_err(|error| HandoverError::Protocol(format!("message not understood: {error}")))?;
    Ok((message, fds))
}
