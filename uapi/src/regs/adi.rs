// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! What ADIs have in a PF's BAR0: the frames with their doorbells, and the kick pages.
//!
//! The standard's layout ends below 256 MiB and has room for 8,192 buffer-queue tails, too few
//! for ten thousand ADIs. What is here lies above it and is an extension of Adit's own; software
//! learns the offsets from the reply to [`NON_FLEX_CREATE_ADI`](crate::virtchnl2::op) and need not
//! compute them.
//!
//! *Frames.* All pages of an ADI are in one run, its frame: [`PAGES_PER_PAIR`] for each of its
//! `n` queue pairs. First come the tails of its `n` transmit queues, a page each, then those of
//! its `2 n` buffer queues, then the interrupt control registers of its `n` vectors (DYN_CTL at
//! the start of the page and ITR registers behind it, as [`super::pf::GLINT_DYN_CTL`]). Frames are
//! mapped memory: writing there never traps.
//!
//! *Sleep.* The device polls the pages of an ADI while it uses them and for a moment longer. Then
//! it stops, having set the word at [`ASLEEP_OFFSET`] of the page. So whoever writes a tail or a
//! DYN_CTL register does a full fence afterwards, reads that word of the same page, and if it is
//! not 0 writes any 32-bit value to [`KICK_OFFSET`] of the ADI's kick page; the device clears the
//! word then. A vector that was armed without asking may not signal. The words are 0 in a fresh
//! frame: the device begins to poll a tail when its queue is enabled, and DYN_CTL when a queue is
//! mapped to the vector.
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

/// ADIs of a function, at most.
pub const MAX_ADIS: u32 = 0x4000;
/// Queue pairs of all ADIs of a function together, at most.
pub const MAX_QUEUE_PAIRS: u32 = 0x4000;
/// Pages of a frame for each queue pair: the tail of its transmit queue, those of its two buffer
/// queues, and a vector's control registers.
pub const PAGES_PER_PAIR: u32 = 4;

/// Offset in a page of a frame of the word that says that the device does not look: 0 if it does.
/// It has a cache line of its own.
pub const ASLEEP_OFFSET: u32 = 0x40;
/// Offset in a kick page of the word to write.
pub const KICK_OFFSET: u32 = 0;

const _: () = {
    assert!(FRAMES.end() <= KICK.base as u64);
    assert!(KICK.end() <= 1 << 30);
};
