// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The address space of a queue: the function's, or that of a PASID.

use super::cache::Known;
use super::{Pasid, TranslationFault, Translator};
use crate::memory::{Dma, DmaFault, FaultCause, GuestMemory};

const PAGE: u64 = 1 << super::walk::PAGE_SHIFT;

/// The address space of a queue.
#[derive(Clone, Copy)]
pub struct AddressSpace<'a> {
    memory: &'a GuestMemory,
    translation: Option<(&'a Translator, Pasid)>,
}

impl<'a> AddressSpace<'a> {
    /// The address space of a PASID, or the function's own without one.
    #[must_use]
    pub fn new(memory: &'a GuestMemory, translator: &'a Translator, pasid: Option<Pasid>) -> Self {
        Self {
            memory,
            translation: pasid.map(|pasid| (translator, pasid)),
        }
    }
}

/// One access with a PASID.
struct Access<'a> {
    memory: &'a GuestMemory,
    translator: &'a Translator,
    pasid: Pasid,
    write: bool,
}

impl Access<'_> {
    /// Returns the page that contains the bytes at `iova`.
    #[inline]
    fn page(&self, iova: u64, len: usize) -> Result<Known, DmaFault> {
        self.translator
            .find(self.memory, self.pasid, iova, self.write)
            .map_err(|fault| self.fault(iova, len, FaultCause::Translation(fault)))
    }

    fn fault(&self, iova: u64, len: usize, cause: FaultCause) -> DmaFault {
        DmaFault {
            iova,
            len,
            write: self.write,
            cause,
        }
    }

    /// Splits an access into pieces that lie within a page each: the offset in the buffer, the
    /// address and the length. An access that wraps around the address space continues at 0.
    fn pieces(iova: u64, len: usize) -> impl Iterator<Item = (usize, u64, usize)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = iova.wrapping_add(done as u64);
            let n = ((PAGE - at % PAGE) as usize).min(len - done);
            let piece = (done, at, n);
            done += n;
            (n > 0).then_some(piece)
        })
    }

    /// Checks a write that crosses pages, so that it happens as a whole or not at all.
    fn check(&self, iova: u64, len: usize) -> Result<(), DmaFault> {
        if iova % PAGE + len as u64 > PAGE {
            for (_, at, n) in Self::pieces(iova, len) {
                self.page(at, n)?;
            }
        }
        Ok(())
    }
}

/// Converts a fault of guest memory after a translation to the untranslated address.
fn at(iova: u64) -> impl Fn(DmaFault) -> DmaFault {
    move |fault| DmaFault {
        iova,
        cause: match fault.cause {
            FaultCause::Unmapped | FaultCause::Permission => {
                FaultCause::Translation(TranslationFault::NoMemory)
            }
            other => other,
        },
        ..fault
    }
}

impl AddressSpace<'_> {
    fn access(&self, write: bool) -> Option<Access<'_>> {
        self.translation.map(|(translator, pasid)| Access {
            memory: self.memory,
            translator,
            pasid,
            write,
        })
    }
}

impl Dma for AddressSpace<'_> {
    fn read(&self, iova: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        let Some(access) = self.access(false) else {
            return self.memory.read(iova, buf);
        };
        for (done, from, n) in Access::pieces(iova, buf.len()) {
            let page = access.page(from, n)?;
            let (offset, piece) = (from % PAGE, &mut buf[done..done + n]);
            let known = page.place.as_ref();
            if known
                .and_then(|at| self.memory.read_in(at, offset as usize, piece))
                .is_none()
            {
                let read = self.memory.read(page.address() | offset, piece);
                read.map_err(at(from))?;
            }
        }
        Ok(())
    }

    fn write(&self, iova: u64, buf: &[u8]) -> Result<(), DmaFault> {
        let Some(access) = self.access(true) else {
            return self.memory.write(iova, buf);
        };
        access.check(iova, buf.len())?;
        for (done, to, n) in Access::pieces(iova, buf.len()) {
            let page = access.page(to, n)?;
            let (offset, piece) = (to % PAGE, &buf[done..done + n]);
            let known = page.place.as_ref();
            if known
                .and_then(|at| self.memory.write_in(at, offset as usize, piece))
                .is_none()
            {
                let write = self.memory.write(page.address() | offset, piece);
                write.map_err(at(to))?;
            }
        }
        Ok(())
    }

    fn publish_u64(&self, iova: u64, value: u64) -> Result<(), DmaFault> {
        let Some(access) = self.access(true) else {
            return self.memory.publish_u64(iova, value);
        };
        if iova % 8 != 0 {
            return Err(access.fault(iova, 8, FaultCause::Misaligned));
        }
        let page = access.page(iova, 8)?;
        let (offset, known) = (iova % PAGE, page.place.as_ref());
        match known.and_then(|at| self.memory.publish_u64_in(at, offset as usize, value)) {
            Some(()) => Ok(()),
            None => (self.memory)
                .publish_u64(page.address() | offset, value)
                .map_err(at(iova)),
        }
    }

    fn publish_u32(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        let Some(access) = self.access(true) else {
            return self.memory.publish_u32(iova, value);
        };
        if iova % 4 != 0 {
            return Err(access.fault(iova, 4, FaultCause::Misaligned));
        }
        let page = access.page(iova, 4)?;
        let (offset, known) = (iova % PAGE, page.place.as_ref());
        match known.and_then(|at| self.memory.publish_u32_in(at, offset as usize, value)) {
            Some(()) => Ok(()),
            None => (self.memory)
                .publish_u32(page.address() | offset, value)
                .map_err(at(iova)),
        }
    }
}
