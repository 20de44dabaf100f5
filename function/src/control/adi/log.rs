// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The logs of the pages that ADIs write.

use std::sync::Arc;

use adit_uapi::virtchnl2::adi::{
    AdiLogRange, AdiLogWord, ReadAdiLog, StartAdiLog, StopAdiLog, MAX_LOG_RANGES, MAX_LOG_WORDS,
    MIN_LOG_PAGE,
};
use adit_vfio_user::migration::IovaRange;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::IntoBytes;

use super::super::{wire, Control, Refusal};
use super::{Adi, Adis};
use crate::dataplane::DataPlane;
use crate::ids::AdiId;
use crate::memory::WriteLog;

/// The maximum number of pages of the log of an ADI: 16 GiB with pages of 4 KiB, in 512 KiB of the
/// device's memory. A larger log has larger pages.
pub const MAX_ADI_LOG_PAGES: u64 = 1 << 22;
/// The maximum number of pages of all logs, in 32 MiB: owners are untrusted, and there are many ADIs.
const MAX_PAGES: u64 = 1 << 28;

impl Control {
    pub(in super::super) fn start_adi_log(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<StartAdiLog>(payload)?;
        let count = header.num_ranges.get();
        if count > MAX_LOG_RANGES {
            return Err(Refusal::OutOfRange);
        }
        let page_size = header.page_size.get();
        let ranges = ranges(wire::elements(rest, count)?, page_size)?;
        let in_use = self.adis.logged_pages();
        let adi = self.logged_adi(header.adi_id)?;
        if adi.log.is_some() {
            return Err(Refusal::Logging);
        }
        if in_use > MAX_PAGES - MAX_ADI_LOG_PAGES {
            return Err(Refusal::NoRoom);
        }
        let log = WriteLog::bounded(page_size, &ranges, MAX_ADI_LOG_PAGES);
        let log = Arc::new(log.map_err(|_| Refusal::NoRoom)?);
        if !dp.log_writes(adi.config.vport, Some(log.clone())) {
            return Err(Refusal::NotOffered);
        }
        let started = StartAdiLog {
            num_ranges: U16::ZERO,
            page_size: U64::new(log.page_size()),
            ..*header
        };
        adi.log = Some(log);
        reply.extend_from_slice(started.as_bytes());
        Ok(())
    }

    pub(in super::super) fn stop_adi_log(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (header, _) = wire::header::<StopAdiLog>(payload)?;
        let adi = self.logged_adi(header.adi_id)?;
        if adi.log.take().is_some() {
            dp.log_writes(adi.config.vport, None);
        }
        Ok(())
    }

    /// No frame moves while a message is executed, so the writes whose marks are taken are complete.
    pub(in super::super) fn read_adi_log(
        &mut self,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (header, _) = wire::header::<ReadAdiLog>(payload)?;
        let range = IovaRange::new(header.iova.get(), header.len.get());
        let range = range.ok_or(Refusal::BadField)?;
        let adi = self.logged_adi(header.adi_id)?;
        let log = adi.log.as_ref().ok_or(Refusal::NoLog)?;
        let mut words = Vec::new();
        let rest = log.take_words(range, MAX_LOG_WORDS.into(), |iova, written| {
            words.push(AdiLogWord {
                iova: U64::new(iova),
                written: U64::new(written),
            });
        });
        let (iova, len) = rest.map_or((range.end(), 0), |rest| (rest.iova, rest.len));
        let read = ReadAdiLog {
            num_words: U16::new(words.len() as u16), // at most MAX_LOG_WORDS
            page_shift: U32::new(log.page_size().trailing_zeros()),
            iova: U64::new(iova),
            len: U64::new(len),
            ..*header
        };
        reply.extend_from_slice(read.as_bytes());
        reply.extend_from_slice(words.as_bytes());
        Ok(())
    }

    fn logged_adi(&mut self, id: U16) -> Result<&mut Adi, Refusal> {
        let adi = self.adis.get_mut(AdiId(id.get()));
        adi.ok_or(Refusal::NoSuchVport)
    }
}

impl Adis {
    /// The number of pages of all logs.
    fn logged_pages(&self) -> u64 {
        let adis = self.slots.iter().flatten();
        let logs = adis.filter_map(|adi| adi.log.as_deref());
        logs.map(WriteLog::pages).sum()
    }
}

/// The ranges of a message, which are multiples of the page size, in ascending order and without
/// overlap.
fn ranges(sent: &[AdiLogRange], page_size: u64) -> Result<Vec<IovaRange>, Refusal> {
    if !page_size.is_power_of_two() || page_size < MIN_LOG_PAGE {
        return Err(Refusal::BadField);
    }
    let mut end = 0;
    let checked = sent.iter().map(|range| {
        let (iova, len) = (range.iova.get(), range.len.get());
        let range = IovaRange::new(iova, len);
        let range = range.filter(|_| (iova | len) % page_size == 0 && iova >= end);
        let range = range.ok_or(Refusal::BadField)?;
        end = range.end();
        Ok(range)
    });
    checked.collect()
}
