// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Buffers: pieces of memory with one owner at a time.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::Memory;

/// The result of the device's checksum validation of a received frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The device did not validate the checksums.
    #[default]
    Unchecked,
    /// The checksums that the device supports are correct.
    Good,
    /// The checksum of the IPv4 header is wrong.
    BadIp,
    /// The checksum of the transport layer is wrong.
    BadTransport,
}

/// The device's metadata of a received frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxInfo {
    /// The packet type: an index into the table of GET_PTYPE_INFO.
    pub ptype: u16,
    /// The hash, if there is one: of RSS, or the one that the NIC's program has set (`set_hash`).
    pub hash: Option<u32>,
    /// The flow's mark, if the NIC's program has set one (`set_flow_id`).
    pub mark: Option<u32>,
    /// The result of checksum validation.
    pub checksum: Checksum,
}

/// Buffers of one size, all in one [`Memory`]. A clone is another handle of the same pool.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    memory: Arc<Memory>,
    /// The offset of the first buffer, in bytes from the start of the memory.
    base: u64,
    capacity: u32,
    free: ArrayQueue<u32>,
}

impl Pool {
    /// A pool of `count` buffers of `capacity` bytes from byte `base` of the memory on.
    ///
    /// # Panics
    /// Panics when they are not inside of the memory, which the caller has laid out.
    ///
    /// # Safety
    /// This part of the memory belongs to the pool alone: nothing else in this process accesses it,
    /// and the device accesses only the parts that were passed to it as buffers.
    pub(crate) unsafe fn new(memory: Arc<Memory>, base: u64, count: u32, capacity: u32) -> Self {
        let end = base + u64::from(count) * u64::from(capacity);
        assert!(end <= memory.len() && count > 0);
        let free = ArrayQueue::new(count as usize);
        for index in 0..count {
            // Cannot fail: the queue has space for all buffers.
            let _ = free.push(index);
        }
        Self(Arc::new(Inner {
            memory,
            base,
            capacity,
            free,
        }))
    }

    /// Returns a buffer with an empty frame, if one is free. Its bytes are unspecified.
    #[must_use]
    pub fn alloc(&self) -> Option<Buffer> {
        let index = self.0.free.pop()?;
        Some(Buffer {
            pool: Self(Arc::clone(&self.0)),
            index,
            len: 0,
            info: RxInfo::default(),
            completes_checksum: false,
        })
    }

    /// Returns a buffer with a copy of a frame; `None` when no buffer is free, or the frame is too
    /// long.
    #[must_use]
    pub fn copy(&self, frame: &[u8]) -> Option<Buffer> {
        if frame.len() > self.capacity() {
            return None;
        }
        let mut buffer = self.alloc()?;
        buffer.set_len(frame.len());
        buffer.copy_from_slice(frame);
        Some(buffer)
    }

    /// Returns the length of each buffer in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity as usize
    }

    /// Returns the number of free buffers.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.free.len()
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.0.memory
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("capacity", &self.capacity())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

/// A buffer and its frame, as bytes. It is returned to its pool when it is dropped.
pub struct Buffer {
    pool: Pool,
    index: u32,
    len: u32,
    info: RxInfo,
    completes_checksum: bool,
}

impl Buffer {
    /// Returns the buffer's capacity in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.pool.capacity()
    }

    /// Sets the frame's length, up to [`capacity`](Self::capacity). Bytes that are added to the
    /// frame are unspecified.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity()) as u32; // fits, as `capacity` does
    }

    /// Returns the device's metadata, if the frame was received.
    #[must_use]
    pub fn info(&self) -> RxInfo {
        self.info
    }

    /// Has the device complete the checksums of the frame when it is sent: that of a TCP, UDP or SCTP
    /// header, and that of the IPv4 header. The field of TCP or UDP contains the sum of the pseudo
    /// header (IDPF_TX_FLEX_DESC_CMD_CS_EN). A frame without such headers is dropped by the device.
    pub fn request_checksum(&mut self) {
        self.completes_checksum = true;
    }

    pub(crate) fn completes_checksum(&self) -> bool {
        self.completes_checksum
    }

    pub(crate) fn received(&mut self, len: usize, info: RxInfo) {
        self.set_len(len);
        self.info = info;
    }

    /// Returns the buffer's device address.
    pub(crate) fn iova(&self) -> u64 {
        self.pool.memory().iova() + self.offset()
    }

    /// Returns whether the buffer is in `memory`, and so accessible to that memory's device.
    pub(crate) fn is_in(&self, memory: &Arc<Memory>) -> bool {
        Arc::ptr_eq(self.pool.memory(), memory)
    }

    fn offset(&self) -> u64 {
        self.pool.0.base + u64::from(self.index) * u64::from(self.pool.0.capacity)
    }

    fn start(&self) -> *mut u8 {
        let memory = self.pool.memory().as_mut_ptr();
        // SAFETY: `Pool::new` has checked that all buffers are inside of the memory.
        unsafe { memory.add(self.offset() as usize) }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the buffer is inside of the memory, which the pool keeps mapped. Its index was
        // taken from the free list and is returned only on drop, so this is its one owner in the
        // process; and a buffer is moved into a queue for as long as the device owns it. All bytes
        // were initialised when the memory was mapped.
        unsafe { std::slice::from_raw_parts(self.start(), self.len as usize) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed for as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len as usize) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Cannot fail: the queue has space for all buffers.
        let _ = self.pool.0.free.push(self.index);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("index", &self.index)
            .field("len", &self.len)
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        let memory = Arc::new(Memory::new(0x3000, 0x10_0000).unwrap());
        // SAFETY: nothing else uses this memory.
        unsafe { Pool::new(memory, 0x1000, 4, 2048) }
    }

    #[test]
    fn buffers_do_not_overlap_and_come_back() {
        let pool = pool();
        let mut all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
        assert_eq!((all.len(), pool.available()), (4, 0));
        for (n, buffer) in all.iter_mut().enumerate() {
            buffer.set_len(usize::MAX);
            assert_eq!(buffer.len(), 2048);
            buffer.fill(n as u8);
        }
        let mut iovas: Vec<_> = all.iter().map(Buffer::iova).collect();
        iovas.sort_unstable();
        assert_eq!(iovas, [0x10_1000, 0x10_1800, 0x10_2000, 0x10_2800]);
        for (n, buffer) in all.iter().enumerate() {
            assert!(buffer.iter().all(|b| *b == n as u8));
        }
        drop(all);
        assert_eq!(pool.available(), 4);
    }

    #[test]
    fn a_frame_too_long_is_not_copied_and_takes_no_buffer() {
        let pool = pool();
        assert!(pool.copy(&[0; 2049]).is_none());
        assert_eq!(pool.available(), 4);
        assert_eq!(&pool.copy(b"frame").unwrap()[..], b"frame");
    }
}
