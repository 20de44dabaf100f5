// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Doorbells: registers on pages that the device polls (tails, interrupt control), and the kick
//! page, which wakes the device.

use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;

use memmap2::MmapRaw;

use crate::memory::half;

/// The kick page, which wakes an ADI's queues that are asleep.
pub(crate) struct Kick {
    pub(crate) page: MmapRaw,
    /// The offset of the word to write, in bytes.
    pub(crate) offset: usize,
    /// The offset of the asleep word in a doorbell's page, in bytes.
    pub(crate) asleep_offset: usize,
}

/// A doorbell register.
pub(crate) struct Doorbell {
    page: MmapRaw,
    kick: Arc<Kick>,
    kicks: u64,
}

impl Doorbell {
    pub(crate) fn new(page: MmapRaw, kick: Arc<Kick>) -> Self {
        Self {
            page,
            kick,
            kicks: 0,
        }
    }

    /// Notifies the device that all entries before `tail` are written.
    pub(crate) fn ring(&mut self, tail: u16) {
        self.write(tail.into());
    }

    /// Writes the register at the start of the page.
    pub(crate) fn write(&mut self, value: u32) {
        half(&self.page, 0).store(value.to_le(), Ordering::Release);
        // Before it sleeps, the device sets the word and then reads the register once more. Because
        // of the fence either it sees this value, or we see the word. The fence also prevents later
        // reads of rings from being reordered before it.
        fence(Ordering::SeqCst);
        let asleep = half(&self.page, self.kick.asleep_offset).load(Ordering::Relaxed);
        if asleep != 0 {
            half(&self.kick.page, self.kick.offset).store(1_u32.to_le(), Ordering::Release);
            self.kicks += 1;
        }
    }

    /// Returns how often the device had to be woken.
    pub(crate) fn kicks(&self) -> u64 {
        self.kicks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memmap2::MmapOptions;

    fn page() -> MmapRaw {
        MmapRaw::from(MmapOptions::new().len(0x1000).map_anon().unwrap())
    }

    #[test]
    fn only_a_queue_that_is_asleep_is_kicked() {
        let kick = Arc::new(Kick {
            page: page(),
            offset: 8,
            asleep_offset: 0x40,
        });
        let mut doorbell = Doorbell::new(page(), Arc::clone(&kick));
        let kicked = || half(&kick.page, 8).swap(0, Ordering::Relaxed);
        doorbell.ring(5);
        assert_eq!(half(&doorbell.page, 0).load(Ordering::Relaxed), 5);
        assert_eq!((kicked(), doorbell.kicks()), (0, 0));
        half(&doorbell.page, 0x40).store(1, Ordering::Relaxed);
        doorbell.ring(6);
        assert_eq!((kicked(), doorbell.kicks()), (1, 1));
        half(&doorbell.page, 0x40).store(0, Ordering::Relaxed);
        doorbell.ring(7);
        assert_eq!((kicked(), doorbell.kicks()), (0, 1));
    }
}
