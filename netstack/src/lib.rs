// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TCP servers on the queue pairs of an ADI, in user space.
//!
//! Each thread has one queue pair ([`Port`]) and one [`Stack`]: the receive-side scaling of the device
//! divides the connections, so threads share no lock and no table. The protocols are smoltcp's. A
//! server implements [`Service`].
//!
//! *A frame costs the same at any number of connections.* smoltcp offers a frame to each socket of a
//! set in turn. Here each connection is a set of its own; the stack finds it by the frame's addresses
//! and ports in a hash table and passes that set alone. Timers are in a heap.
//!
//! *Memory is bounded.* A connection has a receive and a send buffer of fixed size, which are reused;
//! [`Limits`] bounds the number of connections, in total, per client and half-open. Nothing is
//! allocated per frame.
//!
//! - [`Stack`], [`Config`], [`Limits`]: the stack of one thread
//! - [`Service`], [`Socket`], [`Next`]: the server on top of it
//! - [`Port`], [`Frame`], [`AdiPort`]: the device below it
//! - [`Mesh`]: the exchange of neighbours between the stacks of an ADI
//! - [`Counters`]: connections, frames, and refusals by reason

mod address;
mod adi;
mod config;
mod connection;
mod counters;
mod error;
mod mesh;
mod phy;
mod port;
mod service;
mod stack;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod timers;
mod tuple;

pub use address::{Address, AddressError};
pub use adi::{join_solicited, AdiPort};
pub use config::{Config, Limits};
pub use counters::{Counter, Counters, Snapshot};
pub use error::Error;
pub use mesh::Mesh;
pub use port::{Frame, Port};
pub use service::{Next, Service, Socket};
pub use stack::Stack;
