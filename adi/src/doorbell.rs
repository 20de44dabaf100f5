// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Doorbells: registers on pages that the device polls (tails, interrupt control), and the page
//! that wakes it.

use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;

use memmap2::MmapRaw;

use crate::memory::half;

/// What wakes queues of an ADI that are asleep.
pub(crate) struct Kick {
    pub(crate) page: MmapRaw,
    /// Of the word to write, in bytes.
    pub(crate) offset: usize,
    /// Of the asleep word in a doorbell's page, in bytes.
    pub(crate) asleep_offset: usize,
}

/// One such register.
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

    /// Tells the device that all entries before `tail` are written.
    pub(crate) fn ring(&mut self, tail: u16) {
        self.write(tail.into());
    }

    /// Writes the register at the start of the page.
    pub(crate) fn write(&mut self, value: u32) {
        half(&self.page, 0).store(value.to_le(), Ordering::Release);
        // The device, before it sleeps, sets the word and then looks at the register once more.
        // With the fence either it sees this value, or we see the word. It also keeps whatever is
        // read from rings after this from being read before.
        fence(Ordering::SeqCst);
        let asleep = half(&self.page, self.kick.asleep_offset).load(Ordering::Relaxed);
        if asleep != 0 {
            half(&self.kick.page, self.kick.offset).store(1_u32.to_le(), Ordering::Release);
            self.kicks += 1;
        }
    }

    /// Times that the device had to be woken.
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
