// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The process that keeps a device's clients, sockets and descriptors while the process of the device
//! dies and starts again, or is replaced by a new version.
//!
//! The *keeper* ([`Keeper`]) starts the *worker*, the process of the device, and holds for it what
//! must outlive it:
//!
//! - the listening sockets and the connections of clients, by a
//!   [`Relay`](adit_vfio_user::relay::Relay) for each socket;
//! - named descriptors, as a service manager's descriptor store (`sd_pid_notify_with_fds(3)`,
//!   `FDSTORE=1`): files of doorbell pages, TAP devices, sockets;
//! - named notes, short texts, for what a worker must know of its predecessor after a crash.
//!
//! *A worker that dies*, however it does, is started again. Once it has ended the relays answer as functions
//! in reset do, and the new worker's devices begin with the state after power-on: a driver sees a
//! reset of the device. Restarts are delayed if workers die soon. A device that does not end with the worker
//! would access memory that the driver takes back meanwhile; so a descriptor can be kept with bytes that the
//! keeper writes to it when a worker has died ([`AtDeath`]), such as a message by which the device stops; before that
//! no relay says that the device is in reset.
//!
//! *An update* ([`SIGHUP`](self#signals)) starts the same command again, whose file may have been
//! replaced. The new worker prepares itself next to the old one, and gets a copy of what may be large of its
//! state; then the relays pause, the old worker freezes and describes its state, or what has changed since, the
//! new one restores it, and the relays go on with the new one, which is told to go on. A pause that would last
//! for more than 4.2 s ends the update. If any of that fails, the old worker goes on; one that has died meanwhile, or
//! has not answered a client, is followed by another one, as at any other time. If what is kept has changed since the
//! new worker was started, another one is.
//!
//! Devices without a state that can be handed over ([`Unfit::reset`]), and all with
//! [`Keeper::resetting_on_update`], are reset: the old worker is killed as soon as the new one is
//! prepared, so the reset does not last for its preparation. If the old one has changed meanwhile what is
//! kept, the new one has not seen that: another one is started in its place.
//!
//! The worker's side is [`Worker`].
//!
//! # Signals
//! `SIGHUP` updates. `SIGTERM` and `SIGINT` terminate the worker (by `SIGTERM`) and the keeper. The
//! worker exits with the keeper.
//!
//! # Protocol
//! Over the worker's standard input, a socket, in both directions: transmissions of
//! [`adit_vfio_user::handover`], with a value of `ToWorker` or `ToKeeper` as JSON. Both processes
//! belong to one operator and trust each other.
//!
//! | from | message | meaning |
//! |---|---|---|
//! | keeper | `start {version, update, kept, notes}` | the first message; with the descriptors that are kept |
//! | worker | `keep {name, fd, at_death}`, `forget {name}` | a descriptor for the store, or none any more; `at_death {offset, bytes}` is written to it when a worker dies |
//! | worker | `note {name, text}` | a note; without a text it ends |
//! | worker | `serve {name, listener, source}` | a socket to be served; `listener` for a new one. Those that it does not serve when it is ready are closed |
//! | worker | `unserve {name}` | the socket and its client are closed |
//! | worker | `prepared` | the worker can take over |
//! | keeper | `precopy` | the worker in use must copy what may be large of its state, and goes on |
//! | worker | `precopied {state}` | the copy, if there is one |
//! | keeper | `preload {state}` | that copy comes to the worker that will take over |
//! | worker | `preloaded` | it has it |
//! | keeper | `freeze` | the worker must stop its devices and describe them |
//! | worker | `frozen {state}` | with descriptors that only the state needs |
//! | worker | `not_frozen {text, resets}` | that is not possible now, or not at all; the devices go on |
//! | keeper | `introduce` | the clients come to the worker, and then a state |
//! | keeper | `go {state}` | the worker must start, with that state if there is one |
//! | worker | `ready` | it has; with a state, its devices are frozen |
//! | keeper | `go_on` | the frozen worker must continue, or the one that has taken over |
//! | keeper | `leave` | the frozen worker must end and leave everything as it is |

mod keeper;
mod process;
mod protocol;
mod relays;
mod state;
mod store;
mod worker;

pub use keeper::{Keeper, KeeperError, END};
pub use protocol::{AtDeath, VERSION};
pub use state::{file_of, frozen, read_file};
pub use store::Store;
pub use worker::{
    Begin, Frozen, ServeError, Start, Stateless, Unfit, Worker, WorkerError, Workload,
};
