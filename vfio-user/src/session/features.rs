// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of a client's requests for features and migration data.

use zerocopy::IntoBytes;

use super::{refused, Session};
use crate::device::Device;
use crate::error::ProtocolError;
use crate::feature::{Feature, FeatureId, Operation};
use crate::header::Command;
use crate::migration::{
    DirtyBitmap, DirtyLog, IovaRange, Migration, MigrationState, TransitionError,
};
use crate::transport::Transport;
use crate::wire;

impl<T: Transport, D: Device + ?Sized> Session<'_, T, D> {
    /// Returns whether the device can execute commands of this kind at all: one that cannot migrate
    /// answers as servers without such commands do.
    pub(super) fn device_supports(&mut self, command: Command) -> bool {
        match command {
            Command::MigDataRead | Command::MigDataWrite => self.device.migration().is_some(),
            Command::DeviceFeature => {
                self.device.migration().is_some() || self.device.dirty_log().is_some()
            }
            _ => true,
        }
    }

    /// Executes a request for a feature and prepares the reply. `payload` is the whole request.
    pub(super) fn feature(
        &mut self,
        feature: Feature,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let Feature {
            id,
            argsz,
            operation,
        } = feature;
        let supported = if id.is_log() {
            self.device.dirty_log().is_some()
        } else {
            self.device.migration().is_some()
        };
        if !supported {
            return Err(ProtocolError::Feature(id as u16));
        }
        let reply_data = match &operation {
            Operation::Probe
            | Operation::SetState(_)
            | Operation::StartLog { .. }
            | Operation::StopLog => payload.len() - wire::DeviceFeature::SIZE,
            Operation::GetMigration => wire::FeatureMigration::SIZE,
            Operation::GetState => wire::FeatureMigState::SIZE,
            Operation::GetDataSize => wire::FeatureMigDataSize::SIZE,
            Operation::Report { range, page_size } => {
                let len = DirtyBitmap::len(*range, *page_size);
                let max = self.max_bitmap();
                if len > max {
                    return Err(ProtocolError::Bitmap { len, max });
                }
                // Bounded by the line above.
                wire::LoggingReport::SIZE + len as usize
            }
        };
        let len = wire::DeviceFeature::SIZE + reply_data;
        // Checked before the device is asked: a report clears the log.
        crate::request::argsz(Command::DeviceFeature, argsz, len)?;
        match operation {
            Operation::Probe => self.reply.push(payload),
            Operation::SetState(to) => {
                self.set_state(to)?;
                self.reply.push(payload);
            }
            Operation::StopLog => {
                if std::mem::take(&mut self.state.logging) {
                    self.log(id)?.stop();
                }
                self.reply.push(payload);
            }
            Operation::StartLog { page_size, ranges } => {
                if self.state.logging {
                    return Err(ProtocolError::LogExists);
                }
                let used = self.log(id)?.start(page_size, &ranges).map_err(refused)?;
                self.state.logging = true;
                const PAGE_SIZE_AT: usize = wire::DeviceFeature::SIZE;
                self.reply.push(&payload[..PAGE_SIZE_AT]);
                self.reply.push(&used);
                self.reply
                    .push(&payload[PAGE_SIZE_AT + size_of_val(&used)..]);
            }
            Operation::GetMigration => {
                let flags = self.migrating(id)?.support().flags();
                self.push_feature(len, payload, &wire::FeatureMigration { flags });
            }
            Operation::GetState => {
                let state = wire::FeatureMigState {
                    device_state: self.state.migration as u32,
                    // The kernel's -1: no descriptor.
                    data_fd: u32::MAX,
                };
                self.push_feature(len, payload, &state);
            }
            Operation::GetDataSize => {
                let stop_copy_length = self.migrating(id)?.data_size().map_err(refused)?;
                self.push_feature(len, payload, &wire::FeatureMigDataSize { stop_copy_length });
            }
            Operation::Report { range, page_size } => {
                if !self.state.logging {
                    return Err(ProtocolError::NoLog);
                }
                let IovaRange { iova, len: length } = range;
                let head = wire::LoggingReport {
                    iova,
                    length,
                    page_size,
                };
                self.push_feature(len, payload, &head);
                let bytes = self
                    .reply
                    .push_zeroed(reply_data - wire::LoggingReport::SIZE);
                let mut bitmap = DirtyBitmap::new(range, page_size, bytes);
                let log = self.device.dirty_log();
                let log = log.ok_or(ProtocolError::Feature(id as u16))?;
                log.report(&mut bitmap).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Appends the reply to a GET: the request's flags, the length of the whole, and data.
    fn push_feature(
        &mut self,
        len: usize,
        payload: &[u8],
        data: &(impl IntoBytes + zerocopy::Immutable),
    ) {
        // Bounded by the request's argsz, which is 32 bits wide.
        self.reply.push(&(len as u32));
        const FLAGS_AT: usize = size_of::<u32>();
        self.reply
            .push(&payload[FLAGS_AT..wire::DeviceFeature::SIZE]);
        self.reply.push(data);
    }

    /// Leads the device into another state, arc by arc.
    fn set_state(&mut self, to: u32) -> Result<(), ProtocolError> {
        let from = self.state.migration;
        let no_way = ProtocolError::MigrationState { from, to };
        let Some(to) = MigrationState::from_number(to) else {
            return Err(no_way);
        };
        let migration = self.device.migration();
        let migration =
            migration.ok_or(ProtocolError::Feature(FeatureId::MigDeviceState as u16))?;
        let support = migration.support();
        loop {
            let at = self.state.migration;
            let next = match at.next(to, support) {
                Some(next) if next == at => return Ok(()),
                Some(next) => next,
                None => return Err(no_way),
            };
            tracing::debug!(from = ?at, to = ?next, "migration");
            match migration.transition(at, next) {
                Ok(()) => self.state.migration = next,
                Err(error) => {
                    if let TransitionError::Lost(_) = error {
                        self.state.migration = MigrationState::Error;
                    }
                    return Err(refused(error.errno()));
                }
            }
        }
    }

    /// Reads from the saved state, as much as requested unless it ends before.
    pub(super) fn mig_data_read(&mut self, size: u32) -> Result<(), ProtocolError> {
        let command = Command::MigDataRead;
        self.check_transfer(size)?;
        let state = self.state.migration;
        if !state.is_saving() {
            return Err(ProtocolError::MigrationData { command, state });
        }
        let migration = self.device.migration();
        let migration = migration.ok_or(ProtocolError::Unsupported(command))?;
        self.reply.push_zeroed(wire::MigData::SIZE);
        let data = self.reply.push_zeroed(size as usize);
        let mut filled = 0;
        while filled < data.len() {
            match migration.read_data(&mut data[filled..]).map_err(refused)? {
                0 => break,
                // A device cannot have read more than it was given space for.
                n => filled = filled.saturating_add(n).min(data.len()),
            }
        }
        let head = wire::MigData {
            argsz: (wire::MigData::SIZE + filled) as u32,
            size: filled as u32,
        };
        self.reply.replace_start(&head);
        self.reply.truncate(wire::MigData::SIZE + filled);
        Ok(())
    }

    /// Writes to the state that is loaded.
    pub(super) fn mig_data_write(&mut self, data: &[u8]) -> Result<(), ProtocolError> {
        let command = Command::MigDataWrite;
        self.check_transfer(u32::try_from(data.len()).unwrap_or(u32::MAX))?;
        let state = self.state.migration;
        if state != MigrationState::Resuming {
            return Err(ProtocolError::MigrationData { command, state });
        }
        let migration = self.device.migration();
        let migration = migration.ok_or(ProtocolError::Unsupported(command))?;
        migration.write_data(data).map_err(refused)
    }

    fn check_transfer(&self, count: u32) -> Result<(), ProtocolError> {
        let max = self.config.max_data_xfer_size;
        if count == 0 || count > max {
            return Err(ProtocolError::TransferSize { count, max });
        }
        Ok(())
    }

    /// Returns the maximum length of a dirty bitmap in bytes.
    fn max_bitmap(&self) -> u64 {
        let agreed = self.state.agreed.as_ref();
        let theirs = agreed
            .and_then(|agreed| agreed.capabilities.migration.as_ref())
            .and_then(|migration| migration.max_bitmap_size);
        self.config.max_bitmap().min(theirs.unwrap_or(u64::MAX))
    }

    fn migrating(&mut self, id: FeatureId) -> Result<&mut dyn Migration, ProtocolError> {
        let migration = self.device.migration();
        migration.ok_or(ProtocolError::Feature(id as u16))
    }

    fn log(&mut self, id: FeatureId) -> Result<&mut dyn DirtyLog, ProtocolError> {
        let log = self.device.dirty_log();
        log.ok_or(ProtocolError::Feature(id as u16))
    }
}
