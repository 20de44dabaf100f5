// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The accesses that a queue makes to memory, independent of the translation of its addresses.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use vm_memory::{VolatileMemory, VolatileSlice};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{DmaFault, FaultCause, GuestMemory};

/// An access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The IOVA at which it begins. It continues at 0 after the last address.
    pub iova: u64,
    /// Its length in bytes.
    pub len: usize,
    /// `true` for a write.
    pub write: bool,
}

impl Request {
    /// A read.
    #[inline]
    #[must_use]
    pub fn read(iova: u64, len: usize) -> Self {
        Self {
            iova,
            len,
            write: false,
        }
    }

    /// A write.
    #[inline]
    #[must_use]
    pub fn write(iova: u64, len: usize) -> Self {
        Self {
            iova,
            len,
            write: true,
        }
    }

    /// The access that follows the first `done` bytes of this one.
    #[inline]
    #[must_use]
    pub fn after(self, done: usize) -> Self {
        Self {
            iova: self.iova.wrapping_add(done as u64),
            len: self.len - done,
            ..self
        }
    }

    /// A fault of this access.
    #[must_use]
    pub fn fault(self, cause: FaultCause) -> DmaFault {
        let Self { iova, len, write } = self;
        DmaFault {
            iova,
            len,
            write,
            cause,
        }
    }
}

/// Memory as seen by a queue.
pub trait Dma {
    /// Calls `f` with the longest piece at the start of an access that is contiguous in this
    /// process. The access has at least one byte, and so does the piece.
    ///
    /// # Errors
    /// Fails when the first byte cannot be accessed.
    fn with_piece<'a, R>(
        &'a self,
        request: Request,
        f: impl FnOnce(VolatileSlice<'a>) -> R,
    ) -> Result<R, FaultCause>;

    /// The fault of an access that failed after `done` bytes.
    #[cold]
    fn fault(&self, request: Request, done: usize, cause: FaultCause) -> DmaFault {
        let _ = done;
        request.fault(cause)
    }

    /// Checks a write before its first byte is written.
    ///
    /// # Errors
    /// Fails when the write must not be performed in part, and a byte of it cannot be written.
    #[inline]
    fn check(&self, request: Request) -> Result<(), DmaFault> {
        let _ = request;
        Ok(())
    }

    /// Checks the address of a word before it is stored.
    ///
    /// # Errors
    /// Fails when the word cannot be stored there.
    #[inline]
    fn check_word(&self, request: Request) -> Result<(), DmaFault> {
        let _ = request;
        Ok(())
    }

    /// Copies from memory.
    ///
    /// # Errors
    /// Fails when a byte of it cannot be read; the buffer's content is then unspecified.
    #[inline]
    fn read(&self, iova: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        let request = Request::read(iova, buf.len());
        let mut done = 0;
        while done < request.len {
            let rest = &mut buf[done..];
            match self.with_piece(request.after(done), |piece| piece.copy_to(rest)) {
                Ok(copied) => done += copied,
                Err(cause) => return Err(self.fault(request, done, cause)),
            }
        }
        Ok(())
    }

    /// Copies to memory.
    ///
    /// # Errors
    /// Fails when a byte of it cannot be written.
    #[inline]
    fn write(&self, iova: u64, buf: &[u8]) -> Result<(), DmaFault> {
        let request = Request::write(iova, buf.len());
        self.check(request)?;
        let mut done = 0;
        while done < request.len {
            let copy = |piece: VolatileSlice<'_>| {
                piece.copy_from(&buf[done..]);
                piece.len()
            };
            match self.with_piece(request.after(done), copy) {
                Ok(copied) => done += copied,
                Err(cause) => return Err(self.fault(request, done, cause)),
            }
        }
        Ok(())
    }

    /// Stores eight bytes atomically and little-endian, after all earlier writes: publishes a
    /// descriptor with a generation bit.
    ///
    /// # Errors
    /// Fails when they cannot be written, or the address is not a multiple of 8.
    #[inline]
    fn publish_u64(&self, iova: u64, value: u64) -> Result<(), DmaFault> {
        store(self, Request::write(iova, 8), |word| {
            let word = word.get_atomic_ref::<AtomicU64>(0).ok()?;
            word.store(value.to_le(), Ordering::Release);
            Some(())
        })
    }

    /// Stores four bytes like [`publish_u64`](Self::publish_u64).
    ///
    /// # Errors
    /// Fails when they cannot be written, or the address is not a multiple of 4.
    #[inline]
    fn publish_u32(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        store(self, Request::write(iova, 4), |word| {
            let word = word.get_atomic_ref::<AtomicU32>(0).ok()?;
            word.store(value.to_le(), Ordering::Release);
            Some(())
        })
    }

    /// Reads a plain value.
    ///
    /// # Errors
    /// Fails like [`read`](Self::read).
    #[inline]
    fn read_obj<T: FromBytes + IntoBytes>(&self, iova: u64) -> Result<T, DmaFault> {
        let mut value = T::new_zeroed();
        self.read(iova, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a plain value.
    ///
    /// # Errors
    /// Fails like [`write`](Self::write).
    #[inline]
    fn write_obj<T: IntoBytes + Immutable>(&self, iova: u64, value: &T) -> Result<(), DmaFault> {
        self.write(iova, value.as_bytes())
    }
}

/// Stores a word that is one piece with `f`, which returns `None` if the word is not aligned.
#[inline]
fn store<'a, D: Dma + ?Sized>(
    dma: &'a D,
    request: Request,
    f: impl FnOnce(VolatileSlice<'a>) -> Option<()>,
) -> Result<(), DmaFault> {
    dma.check_word(request)?;
    let stored = dma.with_piece(request, |piece| match piece.len() == request.len {
        true => f(piece).ok_or(FaultCause::Misaligned),
        false => Err(FaultCause::Unmapped),
    });
    stored
        .and_then(|stored| stored)
        .map_err(|cause| dma.fault(request, 0, cause))
}

impl Dma for GuestMemory {
    #[inline]
    fn with_piece<'a, R>(
        &'a self,
        request: Request,
        f: impl FnOnce(VolatileSlice<'a>) -> R,
    ) -> Result<R, FaultCause> {
        let piece = self.find(request)?;
        if request.write {
            if let Some(log) = &self.log {
                log.mark(request.iova, piece.len());
            }
        }
        Ok(f(piece))
    }
}
