// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Migration of a device by its client (VFIO migration v2).
//!
//! The ADIs of a NIC in this process log the pages that they write (`composition/written.rs`). Over VFIO the
//! NIC keeps the log of an ADI (`vfio/log.rs`). If one cannot, every page that the device can write is
//! reported as written each time: a client copies all of them once the device is stopped. The same is true of
//! ADIs over VFIO whose log was started before an update of the daemon.
//!
//! The client of a predecessor of this process may have started a log there, whose marks are not here. The
//! first log that it has here begins with all pages marked, so that none is missing.

use adit_function::logging::warn_throttled;
use adit_vfio_user::migration::{
    DirtyBitmap, DirtyLog, IovaRange, Migration, MigrationState, MigrationSupport, TransitionError,
};
use adit_vfio_user::Errno;

use super::front::Front;
use crate::snapshot::{self, StateError, MAX_LEN};

/// The maximum number of characters of an error in the log: it may quote what the client wrote.
const MAX_LOGGED: usize = 512;

/// A migration that a client has begun.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// The saved state, and the number of bytes of it that were read.
    saved: Option<(Vec<u8>, usize)>,
    /// The bytes of the state to be loaded.
    loaded: Vec<u8>,
}

impl Front {
    /// Loads the state that was written.
    fn load(&mut self) -> Result<(), TransitionError> {
        let loaded = std::mem::take(&mut self.transfer.loaded);
        let kept = |error: StateError| {
            let text = logged(&error);
            warn_throttled!("the state is not restored: {text}");
            TransitionError::Kept(error.errno())
        };
        let state = snapshot::parse(&loaded).map_err(kept)?;
        self.vdev.check_state(&state).map_err(kept)?;
        self.vdev.restore(&state).map_err(|error| {
            let text = logged(&error);
            warn_throttled!("the state is not restored: {text}");
            TransitionError::Lost(error.errno())
        })
    }
}

/// The start of an error's text.
fn logged(error: &StateError) -> String {
    error.to_string().chars().take(MAX_LOGGED).collect()
}

/// The failure of an arc after which the device is in the state before.
fn kept(error: StateError) -> TransitionError {
    warn_throttled!("migration: {error}");
    TransitionError::Kept(error.errno())
}

impl Migration for Front {
    fn support(&self) -> MigrationSupport {
        MigrationSupport::default()
    }

    fn transition(
        &mut self,
        from: MigrationState,
        to: MigrationState,
    ) -> Result<(), TransitionError> {
        use MigrationState::{Resuming, Running, Stop, StopCopy};
        match (from, to) {
            (Running, Stop) => {
                self.vdev.suspend().map_err(kept)?;
                self.vdev.stopped_by_client();
                Ok(())
            }
            (Stop, Running) => self.vdev.resume().map_err(kept),
            (Stop, StopCopy) => {
                let state = self.vdev.save().map_err(kept)?;
                self.transfer.saved = Some((state.bytes().map_err(kept)?, 0));
                Ok(())
            }
            (StopCopy, Stop) => {
                self.transfer.saved = None;
                Ok(())
            }
            (Stop, Resuming) => {
                self.transfer.loaded.clear();
                Ok(())
            }
            (Resuming, Stop) => {
                self.load()?;
                self.vdev.stopped_by_client();
                Ok(())
            }
            // The server follows the arcs of the states that the device supports.
            _ => Err(TransitionError::Kept(Errno::INVAL)),
        }
    }

    fn read_data(&mut self, data: &mut [u8]) -> Result<usize, Errno> {
        let (bytes, read) = self.transfer.saved.as_mut().ok_or(Errno::INVAL)?;
        let rest = bytes.get(*read..).unwrap_or_default();
        let n = rest.len().min(data.len());
        data[..n].copy_from_slice(&rest[..n]);
        *read += n;
        Ok(n)
    }

    fn write_data(&mut self, data: &[u8]) -> Result<(), Errno> {
        let loaded = &mut self.transfer.loaded;
        if data.len() > MAX_LEN - loaded.len().min(MAX_LEN) {
            return Err(Errno::FBIG);
        }
        loaded.extend_from_slice(data);
        Ok(())
    }

    fn data_size(&self) -> Result<u64, Errno> {
        if let Some((bytes, read)) = &self.transfer.saved {
            return Ok(bytes.len().saturating_sub(*read) as u64);
        }
        self.vdev.state_size().map_err(|error| error.errno())
    }
}

impl DirtyLog for Front {
    fn start(&mut self, page_size: u64, ranges: &[IovaRange]) -> Result<u64, Errno> {
        let started = self.vdev.lock().composition.start_log(page_size, ranges);
        started.map_err(|error| {
            warn_throttled!("DMA writes are not logged: {error}");
            Errno::NOMEM
        })
    }

    fn stop(&mut self) {
        self.vdev.lock().composition.stop_log();
    }

    fn report(&mut self, bitmap: &mut DirtyBitmap<'_>) -> Result<(), Errno> {
        self.vdev.lock().composition.report_written(bitmap);
        Ok(())
    }
}
