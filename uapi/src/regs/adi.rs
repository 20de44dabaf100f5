// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Registers of ADIs in a PF's BAR0: the frames with their doorbells, and the kick pages.
//!
//! The standard's layout ends below 256 MiB and has space for 8,192 buffer-queue tails, too few for
//! ten thousand ADIs. These registers lie above it and are an extension specific to Adit; software
//! learns the offsets from the reply to [`NON_FLEX_CREATE_ADI`](crate::virtchnl2::op) and need not
//! compute them.
//!
//! *Frames.* All pages of an ADI are contiguous and form its frame: [`PAGES_PER_PAIR`] for each of
//! its `n` queue pairs. First come the tails of its `n` transmit queues, a page each, then those of
//! its `2 n` buffer queues, then the interrupt control registers of its `n` vectors (DYN_CTL at the
//! start of the page, followed by the ITR registers, as in [`super::pf::GLINT_DYN_CTL`]). Frames
//! are mapped memory: writes to them never trap.
//!
//! *Sleep.* The device polls the pages of an ADI while the ADI is active and for a short time
//! afterwards. Then it stops polling, after setting the word at [`ASLEEP_OFFSET`] of the page. So
//! after writing a tail or a DYN_CTL register, software executes a full fence, reads that word of
//! the same page, and if it is not 0 writes any 32-bit value to [`KICK_OFFSET`] of the ADI's kick
//! page; the device then clears the word. A vector that was armed without this check may not
//! signal. The words are 0 in a fresh frame: the device starts to poll a tail when its queue is
//! enabled, and DYN_CTL when a queue is mapped to the vector.
//!
//! The words of an ADI that is configured not to be kicked stay 0
//! ([`CONFIG_ADI_DOORBELLS`](crate::virtchnl2::adi::op)).
//!
//! *Kick pages* trap. There is one for each ADI, by its id.

use super::RegArray;

/// Pages of all frames, [`PAGES_PER_PAIR`] for each queue pair that an ADI can have.
pub const FRAMES: RegArray = RegArray {
    base: 0x1000_0000,
    stride: 0x1000,
    count: MAX_QUEUE_PAIRS * PAGES_PER_PAIR,
};

/// Kick pages, by ADI id.
pub const KICK: RegArray = RegArray {
    base: 0x3000_0000,
    stride: 0x1000,
    count: MAX_ADIS,
};

/// Maximum number of ADIs of a function.
pub const MAX_ADIS: u32 = 0x4000;
/// Maximum number of queue pairs of all ADIs of a function together.
pub const MAX_QUEUE_PAIRS: u32 = 0x4000;
/// Pages of a frame for each queue pair: the tail of its transmit queue, those of its two buffer
/// queues, and a vector's control registers.
pub const PAGES_PER_PAIR: u32 = 4;

/// Offset in a page of a frame of the word that is nonzero while the device does not poll the page.
/// It has its own cache line.
pub const ASLEEP_OFFSET: u32 = 0x40;
/// Offset in a kick page of the word to write.
pub const KICK_OFFSET: u32 = 0;

const _: () = {
    assert!(FRAMES.end() <= KICK.base as u64);
    assert!(KICK.end() <= 1 << 30);
};
