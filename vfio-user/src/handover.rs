// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Handing a connected client over to another process, as for an update of the server under a
//! running virtual machine.
//!
//! The predecessor, with [`Config::handover`](crate::Config::handover) set:
//!
//! 1. [`StopHandle::hand_over`](crate::StopHandle::hand_over) has
//!    [`Server::serve`](crate::Server::serve) return its [`Client`] between two messages. Messages
//!    that the client sends from then on wait in its socket. A client that stalls within a message
//!    delays this by no more than the message timeout.
//! 2. [`Client::save`] and [`Server::save`](crate::Server::save) describe the client and the
//!    listening socket, with their descriptors in a [`SentFds`]; the process adds what its device
//!    needs: its state, and the eventfds of interrupts, which are the device's.
//! 3. [`send`] transmits the description and the descriptors. Once the successor has confirmed (its
//!    own matter), [`Server::leave`](crate::Server::leave) ends the server without removing the
//!    socket file. If the successor fails, the predecessor goes on: `serve` with the same client.
//!
//! The successor: [`receive`], [`SavedServer`] to [`Server::restore`](crate::Server::restore),
//! [`SavedClient::restore`], and `serve` with that client: the device sees
//! [`connected`](crate::Device::connected), a [`dma_map`](crate::Device::dma_map) for each window,
//! and [`resumed`](crate::Device::resumed). No message is lost or answered twice.
//!
//! # Format
//! [`SavedClient`] and [`SavedServer`] are values of `serde`, to be embedded in the description of
//! the process (as JSON, for example). Both have a field `format`, which is [`FORMAT`]; a successor
//! rejects any other. Descriptors are numbers, counted from 0 in the order of the transmission.
//!
//! | field of a client | value |
//! |---|---|
//! | `format` | 1 |
//! | `socket` | the descriptor of its connection |
//! | `agreed` | `null` before its version message, else `{minor, capabilities}`: the negotiated minor version, and capabilities in the form of version data |
//! | `migration` | the migration state, a value of `enum vfio_device_mig_state` |
//! | `logging` | whether DMA writes are logged |
//! | `windows` | a list of `{iova, size, offset, prot, file}`; `prot` is `"read"`, `"write"` or `"read_write"`; `file` is a descriptor, which windows may share, or `null` |
//!
//! | field of a server | value |
//! |---|---|
//! | `format` | 1 |
//! | `socket` | the descriptor of the listening socket |
//! | `path` | the path of its file |
//! | `file` | device and inode of that file, which is removed with the server; `null` to keep it |

mod channel;
mod client;
mod fds;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Errno;

pub use channel::{receive, send, Limits, CHANNEL_VERSION, MAX_FDS_PER_MESSAGE};
pub use client::{Client, SavedClient};
pub use fds::{InheritedFds, SentFds};

/// The version of [`SavedClient`] and [`SavedServer`].
pub const FORMAT: u32 = 1;

/// The description of a listening socket for a successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedServer {
    pub(crate) format: u32,
    pub(crate) socket: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: Option<(u64, u64)>,
}

/// The reason that a handover fails.
#[derive(Debug, Error)]
#[allow(missing_docs)] // The messages describe the fields.
pub enum HandoverError {
    #[error("the description has format {0}, this process reads {FORMAT}")]
    Format(u32),
    #[error("descriptor {index} is not among the {count} received, or was taken before")]
    NoFd { index: u32, count: usize },
    #[error("descriptor {0} is in use by something else as well")]
    SharedFd(u32),
    #[error("migration state {0} does not exist")]
    MigrationState(u32),
    #[error("{what} of the client is {value}, this process permits {max}")]
    Limit {
        what: &'static str,
        value: u64,
        max: u64,
    },
    #[error("window {iova:#x}")]
    Window {
        iova: u64,
        source: Box<crate::ProtocolError>,
    },
    #[error("the other process speaks another protocol or version: {0}")]
    Protocol(String),
    #[error("the other process closed the connection")]
    Closed,
    #[error("the other process did not {0} in time")]
    Timeout(&'static str),
    #[error("{call}: {errno}")]
    Io { call: &'static str, errno: Errno },
}

/// Checks that a description has the format that this process reads.
pub(crate) fn check_format(format: u32) -> Result<(), HandoverError> {
    if format == FORMAT {
        Ok(())
    } else {
        Err(HandoverError::Format(format))
    }
}
