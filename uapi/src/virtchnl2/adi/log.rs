// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The log of the pages that an ADI writes by DMA, for the migration of its owner.
//!
//! A log has a bit for each page of some ranges of the ADI's address space, which is set before the
//! page is written. Software copies the memory of the owner while the ADI runs, then reads which pages
//! have been written since, and copies these again.

use zerocopy::little_endian::{U16, U32, U64};

/// Maximum number of ranges of a log: those that fit in a message.
pub const MAX_LOG_RANGES: u16 = 255;
/// Maximum number of [`AdiLogWord`]s in a reply: those that fit in a message.
pub const MAX_LOG_WORDS: u16 = 254;
/// Smallest size of a page of a log in bytes.
pub const MIN_LOG_PAGE: u64 = 0x1000;

wire! {
    /// Starts the log of what an ADI writes, followed by `num_ranges` × [`AdiLogRange`]: in ascending
    /// order, without overlap. The log ends with STOP_ADI_LOG, a reset of the ADI, and the ADI. The
    /// reply has no ranges, and has the page size of the log, which is larger than requested if there
    /// would be more pages than the device has bits for. [`super::op::START_ADI_LOG`].
    ///
    /// Statuses besides the usual: EBUSY when the ADI has a log, ERANGE for more than
    /// [`MAX_LOG_RANGES`], ENOSPC when the device has no memory for it besides the logs of other ADIs, ESRCH when it cannot log.
    pub struct StartAdiLog [16] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// Number of ranges, at least 1; 0 in the reply.
        2 => num_ranges: U16,
        /// Padding.
        4 => pad: [u8; 4],
        /// Size of a page in bytes, a power of two of at least [`MIN_LOG_PAGE`].
        8 => page_size: U64,
    }

    /// A range that is logged.
    pub struct AdiLogRange [16] {
        /// First IOVA; a multiple of the requested page size.
        0 => iova: U64,
        /// Length in bytes; a multiple of the requested page size, not 0. The range does not wrap.
        8 => len: U64,
    }

    /// Ends the log of an ADI; no error if it has none. [`super::op::STOP_ADI_LOG`].
    pub struct StopAdiLog [4] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// Padding.
        2 => pad: [u8; 2],
    }

    /// Reads and clears a part of an ADI's log: the pages within a range that were written since the
    /// start of the log or since they were last read. All of their writes are complete with the reply,
    /// in which `num_words` × [`AdiLogWord`] follow. If there are more than fit, `iova` and `len` are
    /// the rest of the range, for the next request; else `len` is 0. A page of which only a part is
    /// within the range is returned and not cleared. Pages that are not logged are ignored. When a reply
    /// is lost, so is what it has: all pages have to be considered as written.
    /// [`super::op::READ_ADI_LOG`].
    ///
    /// Statuses besides the usual: ENXIO when the ADI has no log.
    pub struct ReadAdiLog [24] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// Number of words (reply).
        2 => num_words: U16,
        /// Logarithm of the size of the log's pages in bytes (reply).
        4 => page_shift: U32,
        /// First IOVA.
        8 => iova: U64,
        /// Length in bytes, not 0. The range does not wrap.
        16 => len: U64,
    }

    /// The pages that were written, of 64 consecutive ones.
    pub struct AdiLogWord [16] {
        /// IOVA of the first page, a multiple of the log's page size.
        0 => iova: U64,
        /// A bit for each page, that of the first is bit 0.
        8 => written: U64,
    }
}
