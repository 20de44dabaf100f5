// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A user-space driver for one ADI.
//!
//! An ADI (Assignable Device Interface) is a slice of a NIC: a few queues, vectors and doorbell
//! pages, and an address space of its own behind the IOMMU. This crate opens it as a VFIO device,
//! and sends and receives frames in bursts without system calls; when idle it sleeps on an eventfd.
//!
//! ```no_run
//! use adit_adi::{Adi, Config};
//!
//! let adi = Adi::open("adit.adi.1")?;
//! let mut pairs = adi.start(&Config::default())?;
//! let pair = &mut pairs[0];
//! let mut frames = Vec::with_capacity(32);
//! loop {
//!     pair.rx.receive(&mut frames, 32)?;
//!     if frames.is_empty() {
//!         pair.wait(None)?;
//!     }
//!     // Every frame is sent back to its source.
//!     pair.tx.send(&mut frames.drain(..))?;
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), adit_adi::Error>(())
//! ```
//!
//! *No buffer is shared with the device while it can be borrowed.* A [`Buffer`] is passed to the
//! device by value; the device is its only owner until it is returned as a received frame, or until
//! its transmission completes and it returns to its [`Pool`].
//!
//! - [`Adi`], [`Config`]: open and start
//! - [`QueuePair`], [`TxQueue`], [`RxQueue`]: the fast path
//! - [`Pool`], [`Buffer`]: the memory of frames
//! - [`Pages`], [`Page`]: doorbells for another process, which can access nothing else
//! - [`Member`]: an ADI that becomes one with others
//! - [`Device`], [`VfioDevice`]: the interface through which an ADI is accessed
//! - [`start_log`], [`read_log`]: the pages that an ADI writes, for the migration of its owner
//! - [`Descriptors`]: an open ADI, with which another process continues

mod adi;
mod device;
mod doorbell;
mod error;
mod group;
mod interrupt;
mod irqs;
mod log;
mod memory;
mod messages;
mod open;
mod pages;
mod pair;
mod pool;
mod ring;
mod rx;
mod space;
mod tx;
mod vfio;

pub use adi::{Adi, Config, MemorySource};
pub use device::{Descriptors, Device, Message};
pub use error::Error;
pub use group::Member;
pub use interrupt::Wakeup;
pub use log::{read_log, start_log, stop_log};
pub use memory::Memory;
pub use pages::{Page, Pages};
pub use pair::QueuePair;
pub use pool::{Buffer, Checksum, Pool, RxInfo};
pub use rx::{RxQueue, RxStats};
pub use tx::{TxQueue, TxStats};
pub use vfio::{find, list, VfioDevice};
