// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tail registers by queue number, independent of the place of their pages, and the words that
//! report to the driver that the device does not poll them.

use std::sync::atomic::{fence, AtomicU32, Ordering};
use std::sync::Arc;

use adit_uapi::regs::adi::ASLEEP_OFFSET;

use super::Window;

/// The value for a queue without a page.
const NOWHERE: u32 = u32::MAX;

/// The tails of one kind of queue: the function's own, by number, followed by those of ADIs.
pub struct Tails {
    own: Window,
    frames: Option<Arc<Window>>,
    /// Pages of frames, indexed by queue number minus the number of the function's own queues.
    pages: Vec<u32>,
}

impl Tails {
    pub(super) fn new(own: Window) -> Self {
        Self {
            own,
            frames: None,
            pages: Vec::new(),
        }
    }

    pub(super) fn own(&self) -> &Window {
        &self.own
    }

    pub(super) fn extend(&mut self, frames: &Arc<Window>) {
        self.frames = Some(frames.clone());
    }

    /// Sets the page of the frames that has the tail of an ADI's queue; `None` removes it.
    pub fn place(&mut self, queue: u32, page: Option<u32>) {
        let Some(at) = queue.checked_sub(self.own.count()) else {
            return;
        };
        let at = at as usize;
        if at >= self.pages.len() {
            self.pages.resize(at + 1, NOWHERE);
        }
        self.pages[at] = page.unwrap_or(NOWHERE);
    }

    /// The place of a queue's tail.
    fn at(&self, queue: u32) -> Option<(&Window, u32)> {
        match queue.checked_sub(self.own.count()) {
            None => Some((&self.own, queue)),
            Some(at) => Some((self.frames.as_deref()?, *self.pages.get(at as usize)?)),
        }
    }

    /// A queue's tail; 0 if there is no such queue.
    #[must_use]
    pub fn load(&self, queue: u32) -> u32 {
        self.at(queue).map_or(0, |(window, page)| window.load(page))
    }

    /// Sets a queue's tail.
    pub fn store(&self, queue: u32, value: u32) {
        if let Some((window, page)) = self.at(queue) {
            window.store(page, value);
        }
    }

    /// The word that reports to the driver whether the device polls the tail of an ADI's queue.
    #[must_use]
    pub fn asleep(&self, queue: u32) -> Option<Asleep<'_>> {
        queue.checked_sub(self.own.count())?;
        let (window, page) = self.at(queue)?;
        Asleep::at(window, page)
    }
}

/// The word of a page that reports to the driver whether the device polls it.
#[derive(Clone, Copy)]
pub struct Asleep<'a>(&'a AtomicU32);

impl<'a> Asleep<'a> {
    /// The word of a page.
    #[must_use]
    pub fn at(window: &'a Window, page: u32) -> Option<Self> {
        window.register(page, ASLEEP_OFFSET).map(Self)
    }

    /// Returns whether the word is set.
    #[must_use]
    pub fn get(self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Writes the word. After `true` the caller must poll a last time: that sees every register
    /// write made before, and a driver that writes later sees the word.
    pub fn set(self, asleep: bool) {
        self.0.store(u32::from(asleep).to_le(), Ordering::Release);
        fence(Ordering::SeqCst);
    }
}
