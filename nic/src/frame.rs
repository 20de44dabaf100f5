// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A frame with headroom: headers are added and removed without moving the bytes that follow them.

use std::ops::{Deref, DerefMut};

use crate::wire::MAX_FRAME_LEN;

/// The headroom of a received frame in bytes: the most that its headers may grow by.
pub const HEADROOM: usize = 256;

/// A buffer for one frame.
pub struct Frame {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            bytes: vec![0; HEADROOM + MAX_FRAME_LEN].into(),
            start: HEADROOM,
            end: HEADROOM,
        }
    }
}

impl Frame {
    /// Discards the frame and restores the full headroom.
    pub fn clear(&mut self) {
        (self.start, self.end) = (HEADROOM, HEADROOM);
    }

    /// The buffer for a frame of any length; then [`set_len`](Self::set_len) sets its length.
    pub fn space(&mut self) -> &mut [u8] {
        self.clear();
        &mut self.bytes[HEADROOM..]
    }

    /// Sets the length of the frame in [`space`](Self::space).
    pub fn set_len(&mut self, len: usize) {
        self.end = (self.start + len).min(self.bytes.len());
    }

    /// Adds bytes at the end, for the caller to fill in; `None` if the frame would be too long.
    pub fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.end.checked_add(len)?;
        let added = self.bytes.get_mut(self.end..end)?;
        self.end = end;
        Some(added)
    }

    /// Copies another frame into this one; returns false if it is too long.
    pub fn copy_from(&mut self, frame: &[u8]) -> bool {
        self.clear();
        self.append(frame.len())
            .map(|to| to.copy_from_slice(frame))
            .is_some()
    }

    /// Truncates it to at most `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.start + self.len().min(len);
    }

    /// Replaces the first `old` bytes by `new`; returns false, with nothing changed, if the
    /// headroom is too small.
    pub fn replace_front(&mut self, old: usize, new: &[u8]) -> bool {
        let Some(behind) = self.start.checked_add(old).filter(|&b| b <= self.end) else {
            return false;
        };
        let Some(start) = behind.checked_sub(new.len()) else {
            return false;
        };
        if self.end - start > MAX_FRAME_LEN {
            return false;
        }
        self.bytes[start..behind].copy_from_slice(new);
        self.start = start;
        true
    }

    /// Inserts bytes at `at`, by moving the bytes before them; returns false, with nothing changed,
    /// if the headroom is too small or the frame is shorter.
    pub fn insert(&mut self, at: usize, bytes: &[u8]) -> bool {
        let fits = at <= self.len() && self.len() + bytes.len() <= MAX_FRAME_LEN;
        let Some(start) = self.start.checked_sub(bytes.len()).filter(|_| fits) else {
            return false;
        };
        self.bytes.copy_within(self.start..self.start + at, start);
        self.bytes[start + at..start + at + bytes.len()].copy_from_slice(bytes);
        self.start = start;
        true
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }
}

impl From<&[u8]> for Frame {
    /// A copy, truncated to the maximum length of a frame.
    fn from(frame: &[u8]) -> Self {
        let mut new = Self::default();
        new.copy_from(&frame[..frame.len().min(MAX_FRAME_LEN)]);
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn there_is_an_end_to_growing() {
        let mut frame = Frame::from(&[1, 2, 3][..]);
        assert!(frame.replace_front(0, &[9; HEADROOM]));
        assert!(!frame.replace_front(0, &[9]));
        assert!(!frame.insert(0, &[9]));
        assert!(!frame.replace_front(HEADROOM + 4, &[]));
        assert_eq!(frame.len(), HEADROOM + 3);
        frame.clear();
        assert!(frame.append(MAX_FRAME_LEN).is_some());
        assert!(frame.append(1).is_none());
        assert!(!frame.insert(12, &[1]));
        assert!(!frame.replace_front(1, &[1, 2]));
    }

    proptest! {
        #[test]
        fn it_changes_as_a_vector_does(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            new in prop::collection::vec(any::<u8>(), 0..100),
            at in 0usize..300, is_insert: bool,
        ) {
            let (mut frame, mut vector) = (Frame::from(&bytes[..]), bytes.clone());
            let done = if is_insert { frame.insert(at, &new) } else { frame.replace_front(at, &new) };
            prop_assert_eq!(done, at <= bytes.len());
            if done {
                vector.splice(if is_insert { at..at } else { 0..at }, new);
            }
            prop_assert_eq!(&frame[..], &vector[..]);
        }
    }
}
