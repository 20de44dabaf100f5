// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vfio-user protocol, and a server for untrusted clients.
//!
//! vfio-user transports the VFIO device interface (`linux/vfio.h`) over a UNIX socket, so that a
//! device can be implemented in a process beside the virtual machine. The protocol is specified in
//! QEMU's `docs/interop/vfio-user.rst`; the main client is QEMU's `vfio-user-pci`.
//!
//! A device implements [`Device`]; [`Server::bind`] binds the socket and [`Server::run`] serves one
//! client at a time until its [`StopHandle`] is used:
//!
//! ```no_run
//! # fn serve(mut device: impl adit_vfio_user::Device) -> Result<(), adit_vfio_user::ServerError> {
//! use adit_vfio_user::{Config, Server, StopHandle};
//!
//! let stop = StopHandle::new()?;
//! let server = Server::bind("nic.sock", Config::default())?;
//! server.run(&mut device, &stop)?; // returns after stop.stop() elsewhere
//! # Ok(())
//! # }
//! ```
//!
//! Data from a client never causes a panic, an allocation of a size that the client chooses, or an
//! unbounded wait: see [`ProtocolError`] for the messages that are rejected, and [`Stats`] for
//! their counters.
//!
//! # Migration
//! A device that returns a [`Migration`](migration::Migration) from
//! [`Device::migration`] can be moved to another host (VFIO migration v2: the features `MIGRATION`,
//! `MIG_DEVICE_STATE` and `MIG_DATA_SIZE`, `VFIO_USER_MIG_DATA_READ` and `_WRITE`); one that returns
//! a [`DirtyLog`](migration::DirtyLog) reports the pages that it has written (`DMA_LOGGING_*`). The
//! server executes the state machine and checks ranges, lengths and states; the capability
//! `migration` is negotiated. QEMU 11.1 does not send these commands yet. Any other device rejects
//! them with `ENOTSUP`.
//!
//! # Live update
//! A connected client can be handed over to another process, between two of its messages and without
//! its notice: see [`handover`]. A client stays connected while its server dies and starts again, or
//! is replaced, if a [`relay`] stands between them.
//!
//! # Not supported
//! Rejected with `ENOTSUP`: region I/O descriptors, DMA by messages (a window without a file
//! descriptor is passed to the device as such), twin sockets.

mod checks;
pub mod device;
mod dma;
mod error;
pub mod feature;
#[cfg(feature = "testing")]
pub mod fuzzing;
pub mod handover;
pub mod header;
pub mod irq;
mod listener;
pub mod migration;
pub mod relay;
mod reply;
pub mod request;
mod server;
mod session;
mod stats;
mod stop;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
pub mod version;
mod window_files;
pub mod wire;

pub use device::{Device, DeviceInfo, DmaMap, DmaProt, MmapArea, Region, RegionMmap};
pub use error::{ProtocolError, Reason};
pub use irq::{EventFd, IrqAction, IrqInfo, IrqRequest, IrqTargets};
pub use listener::{BindError, Listener, Permissions};
/// The error numbers that devices return.
pub use rustix::io::Errno;
pub use server::{Config, Server, ServerError};
pub use stats::Stats;
pub use stop::StopHandle;

/// The smallest page size, and the granularity of DMA windows (`pgsizes`).
pub const PAGE_SIZE: u64 = 4096;

/// The maximum number of file descriptors in one message. QEMU accepts no higher limit.
pub const MAX_MSG_FDS: usize = 16;
