// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The migration of the scratch device: its state is the memory of BAR0.

use std::collections::BTreeSet;

use super::ScratchDevice;
use crate::migration::{
    DirtyBitmap, DirtyLog, IovaRange, Migration, MigrationState, MigrationSupport, TransitionError,
};
use crate::{Errno, PAGE_SIZE};

/// The first byte of a state that the device does not accept and stays with `Resuming`.
pub const BROKEN_STATE: u8 = 0xbb;
/// The first byte of a state with which the device fails until it is reset.
pub const LOST_STATE: u8 = 0xcc;

/// The most that the device reads at a time, so that its server has to ask again.
const READ: usize = 1000;

/// The state of a migration.
#[derive(Debug)]
pub struct MigrationModel {
    support: MigrationSupport,
    /// The state that the device is in.
    pub state: MigrationState,
    /// The arcs that it has executed.
    pub arcs: Vec<(MigrationState, MigrationState)>,
    /// The number of bytes read of the current stream.
    read: usize,
    /// The bytes written of the state to load.
    written: Vec<u8>,
    /// The log of DMA writes, if there is one.
    pub log: Option<PageLog>,
}

/// A log of DMA writes.
#[derive(Debug)]
pub struct PageLog {
    page_size: u64,
    ranges: Vec<IovaRange>,
    pages: BTreeSet<u64>,
}

impl MigrationModel {
    pub(super) fn new(support: MigrationSupport) -> Self {
        Self {
            support,
            state: MigrationState::Running,
            arcs: Vec::new(),
            read: 0,
            written: Vec::new(),
            log: None,
        }
    }

    pub(super) fn enter(&mut self, state: MigrationState) {
        let is_one_stream = self.state.is_saving() && state.is_saving();
        if !is_one_stream {
            self.read = 0;
        }
        self.written.clear();
        self.state = state;
    }

    /// Logs a DMA write of at most 1 MiB, as far as it is in the ranges.
    pub(super) fn dma_written(&mut self, iova: u64, len: u64) {
        let Some(log) = &mut self.log else { return };
        let end = iova.saturating_add(len.min(1 << 20));
        for page in iova / log.page_size..end.div_ceil(log.page_size) {
            let page = page * log.page_size;
            let is_in = |range: &IovaRange| (range.iova..range.end()).contains(&page);
            if log.ranges.is_empty() || log.ranges.iter().any(is_in) {
                log.pages.insert(page);
            }
        }
    }
}

impl Migration for ScratchDevice {
    fn support(&self) -> MigrationSupport {
        self.migration
            .as_ref()
            .map(|model| model.support)
            .unwrap_or_default()
    }

    fn transition(
        &mut self,
        from: MigrationState,
        to: MigrationState,
    ) -> Result<(), TransitionError> {
        assert!(self.connected, "migration without a client");
        let model = self.migration.as_mut().expect("a device that migrates");
        assert_eq!(model.state, from, "the server is in another state");
        assert_eq!(from.next(to, model.support), Some(to), "not a direct arc");
        assert_ne!(from, to);
        if from == MigrationState::Resuming {
            match model.written.first() {
                Some(&BROKEN_STATE) => return Err(TransitionError::Kept(Errno::ILSEQ)),
                Some(&LOST_STATE) => {
                    model.enter(MigrationState::Error);
                    return Err(TransitionError::Lost(Errno::IO));
                }
                _ if model.written.len() != self.bar0.len() => {
                    return Err(TransitionError::Kept(Errno::INVAL));
                }
                _ => self.bar0.copy_from_slice(&model.written),
            }
        }
        model.enter(to);
        model.arcs.push((from, to));
        Ok(())
    }

    fn read_data(&mut self, data: &mut [u8]) -> Result<usize, Errno> {
        let model = self.migration.as_mut().expect("a device that migrates");
        assert!(model.state.is_saving() && !data.is_empty());
        let rest = &self.bar0[model.read..];
        // In a pre-copy state, half of it is known.
        let known = match model.state {
            MigrationState::StopCopy => rest.len(),
            _ => (self.bar0.len() / 2).saturating_sub(model.read),
        };
        let n = known.min(data.len()).min(READ);
        data[..n].copy_from_slice(&rest[..n]);
        model.read += n;
        Ok(n)
    }

    fn write_data(&mut self, data: &[u8]) -> Result<(), Errno> {
        let model = self.migration.as_mut().expect("a device that migrates");
        assert!(model.state == MigrationState::Resuming && !data.is_empty());
        if model.written.len() + data.len() > self.bar0.len() {
            return Err(Errno::NOSPC);
        }
        model.written.extend_from_slice(data);
        Ok(())
    }

    fn data_size(&self) -> Result<u64, Errno> {
        Ok(self.bar0.len() as u64)
    }
}

impl DirtyLog for MigrationModel {
    fn start(&mut self, page_size: u64, ranges: &[IovaRange]) -> Result<u64, Errno> {
        assert!(self.log.is_none() && page_size.is_power_of_two() && page_size >= PAGE_SIZE);
        assert!(ranges.windows(2).all(|pair| pair[0].end() <= pair[1].iova));
        // The largest pages that the device can log.
        let page_size = page_size.min(4 * PAGE_SIZE);
        self.log = Some(PageLog {
            page_size,
            ranges: ranges.to_vec(),
            pages: BTreeSet::new(),
        });
        Ok(page_size)
    }

    fn stop(&mut self) {
        assert!(self.log.take().is_some(), "stopped twice");
    }

    fn report(&mut self, bitmap: &mut DirtyBitmap<'_>) -> Result<(), Errno> {
        let log = self.log.as_mut().expect("a log");
        let range = bitmap.range();
        let first = range.iova / log.page_size * log.page_size;
        let pages: Vec<u64> = log.pages.range(first..range.end()).copied().collect();
        for page in pages {
            bitmap.mark(page, log.page_size);
            log.pages.remove(&page);
        }
        Ok(())
    }
}
