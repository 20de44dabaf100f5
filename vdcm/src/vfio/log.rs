// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log of what an ADI over VFIO writes. The NIC keeps one of its own, which is read into the
//! device's log before that is reported.

use std::ops::Range;
use std::sync::Arc;

use adit_adi::{read_log, start_log, stop_log, Device, Error};
use adit_function::memory::WriteLog;
use adit_uapi::virtchnl2::adi::{op as adi_op, SuspendAdi};
use adit_vfio_user::migration::IovaRange;
use zerocopy::IntoBytes;

/// The log of an ADI, which the NIC has started.
pub(super) struct AdiLog {
    /// The device's log.
    written: Arc<WriteLog>,
    /// The parts of it that the ADI can access.
    ranges: Vec<Range<u64>>,
}

impl AdiLog {
    /// Starts the NIC's log, of the part of the device's that consists of these addresses; one that a
    /// predecessor of this process may have left is ended.
    ///
    /// # Errors
    /// Fails when the NIC does not have a log.
    pub(super) fn start(
        device: &dyn Device,
        written: Arc<WriteLog>,
        possible: Range<u64>,
    ) -> Result<Self, Error> {
        let ranges = written.ranges().map(|range| {
            let (start, end) = (range.iova, range.end());
            start.max(possible.start)..end.min(possible.end)
        });
        let ranges = ranges.filter(|range| !range.is_empty()).collect();
        let log = Self { written, ranges };
        log.start_again(device)?;
        Ok(log)
    }

    fn start_again(&self, device: &dyn Device) -> Result<(), Error> {
        stop_log(device)?;
        if !self.ranges.is_empty() {
            start_log(device, self.written.page_size(), &self.ranges)?;
        }
        Ok(())
    }

    /// Marks in the device's log what the ADI has written within a range since the last time, whose
    /// writes are complete. If the NIC does not tell that, all may be written, and its log begins anew.
    pub(super) fn collect(&self, device: &dyn Device, range: IovaRange) {
        let Err(error) = self.read(device, range.iova..range.end()) else {
            return;
        };
        tracing::debug!(%error, "all pages are considered as written");
        if !error.is_gone() {
            if let Err(error) = self.start_again(device) {
                tracing::debug!(%error, "an ADI has no log");
            }
        }
        self.mark_all();
    }

    fn read(&self, device: &dyn Device, range: Range<u64>) -> Result<(), Error> {
        for logged in &self.ranges {
            let part = logged.start.max(range.start)..logged.end.min(range.end);
            read_log(device, part, |iova, len| {
                self.written.mark(iova, len as usize);
            })?;
        }
        Ok(())
    }

    /// Marks all that the ADI may have written.
    pub(super) fn mark_all(&self) {
        for range in &self.ranges {
            self.written
                .mark(range.start, (range.end - range.start) as usize);
        }
    }

    /// Collects all that the ADI has written, and suspends it, before a reset that ends the NIC's log.
    pub(super) fn before_reset(&self, device: &dyn Device) {
        let message = SuspendAdi::default();
        let suspended = device.request(adi_op::SUSPEND_ADI, message.as_bytes());
        let read = suspended.and_then(|_| self.read(device, 0..u64::MAX));
        if let Err(error) = read {
            tracing::debug!(%error, "all pages are considered as written");
            self.mark_all();
        }
    }

    /// Starts the NIC's log again after a reset. Without it, the next report is of all pages.
    pub(super) fn after_reset(&self, device: &dyn Device) {
        if let Err(error) = self.start_again(device) {
            tracing::debug!(%error, "an ADI has no log");
        }
    }
}
