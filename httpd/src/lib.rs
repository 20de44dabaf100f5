// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An HTTP/1.1 server (RFC 9110, RFC 9112) for files and a JSON echo.
//!
//! The server is a state machine for each connection ([`Session`]) between bytes received and space to
//! send ([`Stream`]). Two transports drive it: [`adi`], TCP in user space on the queue pairs of an ADI
//! without a system call on the path of a request, and [`kernel`], sockets of the kernel, to compare
//! with and for hosts without an ADI.
//!
//! Files are read into memory when the server starts, up to a bound ([`Site`]); a request looks its path
//! up among them, so no path leads out of the folder.

pub mod adi;
mod counters;
mod date;
pub mod kernel;
mod limits;
mod path;
mod report;
mod request;
mod response;
mod session;
mod shared;
mod site;

pub use counters::{Counters, Snapshot};
pub use limits::Limits;
pub use report::{Report, Worker, Workers};
pub use session::{Session, Stream};
pub use shared::Shared;
pub use site::{Site, SiteError, SiteSize};

/// The event that a session waits for.
pub use adit_netstack::Next;
