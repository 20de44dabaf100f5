// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The places of the doorbell pages of a composed device.
//!
//! The pages of all its ADIs are contiguous in BAR0, in the order in which the file has them that a
//! client maps: of each ADI the tails of the TX queues, those of the buffer queues, and the vectors.
//! The registers of a vector that no ADI has follow, a page for each virtual port; they trap.

use adit_uapi::regs::siov;

use crate::dataplane::QueueKind;

/// The distance from one doorbell to the next in bytes.
pub(super) const PAGE: u32 = 0x1000;
/// The offset of the first page in BAR0: that of the TX tails of a composed device of Intel's.
const FIRST: u32 = siov::QTX_TAIL.base;
/// The end of the space for pages: the registers of the mailbox's vector in Intel's layout.
const END: u32 = siov::INT_DYN_CTL_MAILBOX;

/// The ADIs of a composed device, all of them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frames {
    /// The number of ADIs, and so of virtual ports.
    pub adis: u16,
    /// The number of RX queues of each virtual port: at most `pairs`.
    pub rx_queues: u16,
    /// The number of queue pairs of each ADI.
    pub pairs: u16,
    /// The number of vectors of each ADI.
    pub vectors: u16,
}

impl Frames {
    /// The number of pages of one ADI.
    #[must_use]
    pub const fn pages(self) -> u32 {
        3 * self.pairs as u32 + self.vectors as u32
    }

    /// The number of pages of all ADIs.
    #[must_use]
    pub const fn total_pages(self) -> u32 {
        self.adis as u32 * self.pages()
    }

    /// The offsets in BAR0 of the pages of all ADIs.
    #[must_use]
    pub const fn range(self) -> std::ops::Range<u32> {
        FIRST..FIRST + self.total_pages() * PAGE
    }

    /// Returns whether all pages fit in BAR0.
    #[must_use]
    pub const fn fit(self) -> bool {
        self.total_pages() + self.adis as u32 <= (END - FIRST) / PAGE
    }

    /// The number of vectors of each virtual port: those of the ADI, and one for queues that are
    /// polled.
    #[must_use]
    pub const fn vectors_per_port(self) -> u16 {
        self.vectors + 1
    }

    /// The ADI of a device-wide vector, and its number there; `None` for the mailbox's, the ones of
    /// polled queues, and those that do not exist.
    #[must_use]
    pub const fn vector(self, vector: u32) -> Option<(u16, u16)> {
        match self.place(vector) {
            Some((adi, Some(own))) => Some((adi, own)),
            _ => None,
        }
    }

    /// The virtual port of a device-wide vector, and the number in its ADI if it has one.
    const fn place(self, vector: u32) -> Option<(u16, Option<u16>)> {
        let per_port = self.vectors_per_port() as u32;
        let Some(at) = vector.checked_sub(1) else {
            return None;
        };
        if at / per_port >= self.adis as u32 {
            return None;
        }
        let (adi, own) = ((at / per_port) as u16, (at % per_port) as u16);
        Some((adi, if own < self.vectors { Some(own) } else { None }))
    }

    /// The offset of a vector's page, except the mailbox's.
    pub(super) const fn vector_page(self, vector: u32) -> Option<u32> {
        match self.place(vector) {
            Some((adi, Some(own))) => {
                let page = adi as u32 * self.pages() + 3 * self.pairs as u32 + own as u32;
                Some(FIRST + page * PAGE)
            }
            Some((adi, None)) => Some(FIRST + (self.total_pages() + adi as u32) * PAGE),
            None => None,
        }
    }

    /// Returns whether a register is one of a vector that no ADI has.
    pub(super) const fn is_polled_vector(self, offset: u32) -> bool {
        let end = self.range().end;
        offset >= end && offset < end + self.adis as u32 * PAGE && offset % PAGE < 0x10
    }

    /// The offset of the tail of a queue, by its device-wide number. Completion queues have none,
    /// nor do RX queues.
    pub(super) const fn tail(self, kind: QueueKind, index: u32) -> Option<u32> {
        let (each, first) = match kind {
            QueueKind::Tx => (self.pairs as u32, 0),
            QueueKind::RxBuffer => (2 * self.rx_queues as u32, self.pairs as u32),
            QueueKind::Rx | QueueKind::TxCompletion => return None,
        };
        if each == 0 || index / each >= self.adis as u32 {
            return None;
        }
        let page = index / each * self.pages() + first + index % each;
        Some(FIRST + page * PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Frames = Frames {
        adis: 2,
        rx_queues: 2,
        pairs: 4,
        vectors: 4,
    };

    #[test]
    fn pages_are_in_the_order_of_the_file() {
        let at = |page| Some(FIRST + page * PAGE);
        assert_eq!(TWO.pages(), 16);
        assert_eq!(TWO.tail(QueueKind::Tx, 3), at(3));
        assert_eq!(TWO.tail(QueueKind::RxBuffer, 3), at(4 + 3));
        assert_eq!(TWO.vector_page(1), at(12));
        assert_eq!(TWO.tail(QueueKind::Tx, 4), at(16));
        assert_eq!(TWO.tail(QueueKind::RxBuffer, 4), at(16 + 4));
        assert_eq!(TWO.vector_page(6), at(16 + 12));
        for (kind, end) in [(QueueKind::Tx, 8), (QueueKind::RxBuffer, 8)] {
            assert_eq!(TWO.tail(kind, end), None);
        }
        assert_eq!(TWO.tail(QueueKind::Rx, 0), None);
        assert_eq!(TWO.range(), FIRST..FIRST + 32 * PAGE);
    }

    #[test]
    fn a_vector_is_an_adis_or_one_of_polled_queues() {
        assert_eq!((TWO.vector(0), TWO.vector(1)), (None, Some((0, 0))));
        assert_eq!((TWO.vector(4), TWO.vector(5)), (Some((0, 3)), None));
        assert_eq!((TWO.vector(6), TWO.vector(10)), (Some((1, 0)), None));
        assert_eq!(TWO.vector(11), None);
        assert_eq!(TWO.vector_page(5), Some(TWO.range().end));
        assert_eq!(TWO.vector_page(10), Some(TWO.range().end + PAGE));
        assert_eq!((TWO.vector_page(0), TWO.vector_page(11)), (None, None));
        let polled = |at| TWO.is_polled_vector(TWO.range().end + at);
        assert!(polled(0) && polled(PAGE + 0xC));
        assert!(!polled(0x10) && !polled(2 * PAGE));
    }

    #[test]
    fn the_space_ends_before_the_mailboxs_vector() {
        let many = |adis, pairs| Frames {
            adis,
            rx_queues: pairs,
            pairs,
            vectors: pairs,
        };
        assert!(many(1, 128).fit() && many(7, 128).fit() && many(16, 32).fit());
        assert!(!many(8, 128).fit(), "no page is left for the last vectors");
    }
}
