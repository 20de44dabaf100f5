// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface of a device that can be migrated (VFIO migration v2, `linux/vfio.h`).
//!
//! The server executes the state machine: a client's request becomes a path of direct arcs
//! ([`MigrationState::next`]), and the device sees only these.

mod dirty;
mod state;

use crate::Errno;

pub use dirty::{DirtyBitmap, DirtyLog, IovaRange};
pub use state::{MigrationState, MigrationSupport};

/// A device whose state can be saved and loaded.
///
/// The device starts in [`MigrationState::Running`], and is there again after a reset and after the
/// client has disconnected; a data transfer in progress ends with either.
pub trait Migration {
    /// Returns the optional states of the device. Must not change while a client is connected.
    fn support(&self) -> MigrationSupport;

    /// Executes one direct arc; on return the device is in the state `to`. The arcs, from left to
    /// right; those of states that [`support`](Migration::support) does not name never occur:
    ///
    /// | from | to | action |
    /// |---|---|---|
    /// | `Running`, `RunningP2p` | `Stop` | stop DMA and interrupts; the state no longer changes |
    /// | `Stop` | `Running`, `RunningP2p` | start again |
    /// | `Stop` | `StopCopy` | begin to save: the state can be read |
    /// | `StopCopy` | `Stop` | end of saving, complete or not |
    /// | `Stop` | `Resuming` | begin to load: the state is written |
    /// | `Resuming` | `Stop` | check what was written and take it over; an error if it is invalid |
    /// | `Running` | `PreCopy` | begin to save while running |
    /// | `PreCopy` | `Running` | end of saving |
    /// | `PreCopy`, `PreCopyP2p` | `StopCopy` | stop, and go on with the same stream |
    /// | `Running` | `RunningP2p` | stop DMA to other devices |
    /// | `RunningP2p` | `Running` | permit it again |
    /// | `RunningP2p` | `PreCopyP2p` | begin to save while running |
    /// | `PreCopyP2p` | `RunningP2p` | end of saving |
    /// | `PreCopy` | `PreCopyP2p` | stop DMA to other devices |
    /// | `PreCopyP2p` | `PreCopy` | permit it again |
    fn transition(
        &mut self,
        from: MigrationState,
        to: MigrationState,
    ) -> Result<(), TransitionError>;

    /// Reads the next part of the saved state; returns its length, which is 0 only at the end of
    /// the stream, or in a pre-copy state if there is nothing to transfer at present. `data` is not
    /// empty. Called in the states that [save](MigrationState::is_saving).
    fn read_data(&mut self, data: &mut [u8]) -> Result<usize, Errno>;

    /// Writes the next part of the state to load, cut anywhere. `data` is not empty. Called in the
    /// state `Resuming` only. The device must bound what it stores: the data may be of any length
    /// and content.
    fn write_data(&mut self, data: &[u8]) -> Result<(), Errno>;

    /// Estimates the number of bytes that remain to be read once the device is stopped
    /// (`VFIO_DEVICE_FEATURE_MIG_DATA_SIZE`).
    fn data_size(&self) -> Result<u64, Errno>;
}

/// The failure of an arc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransitionError {
    /// The device has remained in the state that it was in.
    Kept(Errno),
    /// The device is in no valid state: [`MigrationState::Error`], which ends with a reset.
    Lost(Errno),
}

impl TransitionError {
    /// Returns the errno for the client.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Kept(errno) | Self::Lost(errno) => errno,
        }
    }
}
