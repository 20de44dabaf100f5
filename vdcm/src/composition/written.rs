// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log of what a device writes to its client's memory: the queues of its ADIs, and its mailbox.

use std::sync::Arc;

use adit_function::memory::{LogTooLarge, WriteLog};
use adit_vfio_user::migration::{DirtyBitmap, IovaRange};

use super::Composition;

impl Composition {
    /// Logs what is written within ranges, which are in ascending order and do not overlap, from now on;
    /// returns the page size of the log. Without ranges, or if an ADI does not know what it writes,
    /// there is no log: all that may be written is reported as written.
    ///
    /// # Errors
    /// Fails when the system has no memory for the log.
    pub fn start_log(&mut self, page_size: u64, ranges: &[IovaRange]) -> Result<u64, LogTooLarge> {
        self.stop_log();
        if ranges.is_empty() {
            return Ok(page_size);
        }
        let log = Arc::new(WriteLog::new(page_size, ranges)?);
        let all = (0..self.ports.len()).all(|at| self.log_port(at, &log));
        if !all {
            self.stop_log();
            return Ok(page_size);
        }
        self.memory.set_log(Some(log.clone()));
        if std::mem::take(&mut self.unreported) {
            log.mark_all();
        }
        let page_size = log.page_size();
        self.log = Some(log);
        Ok(page_size)
    }

    /// Has the next log begin with all pages marked: its client may have had another one, in a predecessor
    /// of this process, whose marks are lost.
    pub(crate) fn expect_unreported(&mut self) {
        self.unreported = true;
    }

    /// Ends the log of a client that has left, and all that was to be reported to it.
    pub(crate) fn forget_written(&mut self) {
        self.stop_log();
        self.unreported = false;
    }

    /// Logs what the ADI of a port writes. Returns false if it does not know that. One that is gone
    /// writes nothing.
    fn log_port(&mut self, at: usize, log: &Arc<WriteLog>) -> bool {
        let adi = self.ports[at].adi();
        adi.map_or(true, |adi| adi.log_writes(Some(log.clone())))
    }

    /// Ends the log.
    pub fn stop_log(&mut self) {
        self.log = None;
        self.memory.set_log(None);
        for port in &mut self.ports {
            if let Ok(adi) = port.adi() {
                adi.log_writes(None);
            }
        }
    }

    /// Logs what an ADI writes that has replaced another. If it does not know that, there is no log from
    /// now on.
    pub(super) fn log_replacement(&mut self, at: usize) {
        if let Some(log) = self.log.clone() {
            if !self.log_port(at, &log) {
                self.stop_log();
            }
        }
    }

    /// Marks what was written since the start of the log or the previous report, and has been before
    /// this returns. Without a log, that is all that may be written.
    pub fn report_written(&self, bitmap: &mut DirtyBitmap<'_>) {
        let Some(log) = &self.log else {
            self.writable()
                .for_each(|(iova, len)| bitmap.mark(iova, len));
            return;
        };
        // The mailbox is not served meanwhile: the caller has the device.
        let adis = || self.ports.iter().filter_map(|port| port.borrow());
        adis().for_each(|adi| adi.collect_writes(bitmap.range()));
        log.take(bitmap.range(), |iova, len| bitmap.mark(iova, len));
        adis().for_each(|adi| adi.settle_writes());
    }
}
