// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The address space of a queue: the function's, or that of a PASID.

use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{GuestAddress, GuestMemoryResult, Permissions, VolatileSlice};

use super::registered::RegisteredSpace;
use super::{Pasid, TranslationFault, Translator};
use crate::memory::{Dma, DmaFault, FaultCause, GuestMemory, Pieces, Regions, Request, WriteLog};

const PAGE: u64 = 1 << super::walk::PAGE_SHIFT;

/// The address space of a queue.
#[derive(Clone, Copy)]
pub enum AddressSpace<'a> {
    /// The function's own address space.
    Function(&'a GuestMemory),
    /// The address space of a PASID, in the IOMMU's tables.
    Pasid(PasidSpace<'a>),
    /// The address space of a PASID with registered memory.
    Registered(RegisteredSpace<'a>),
}

impl<'a> AddressSpace<'a> {
    /// The address space of a PASID, or the function's own without one.
    #[must_use]
    pub fn new(memory: &'a GuestMemory, translator: &'a Translator, pasid: Option<Pasid>) -> Self {
        match pasid {
            None => Self::Function(memory),
            Some(pasid) => match translator.registered(pasid) {
                Some(memory) => Self::Registered(RegisteredSpace(memory)),
                None => Self::Pasid(PasidSpace {
                    memory,
                    translator,
                    pasid,
                    log: translator.log(pasid),
                }),
            },
        }
    }
}

/// The address space of a PASID.
#[derive(Clone, Copy)]
pub struct PasidSpace<'a> {
    memory: &'a GuestMemory,
    translator: &'a Translator,
    pasid: Pasid,
    /// The log in which its writes are marked.
    log: Option<&'a WriteLog>,
}

impl<'a> PasidSpace<'a> {
    /// The part of an access that lies within its first page.
    #[inline]
    fn in_page(request: Request) -> Request {
        let room = (PAGE - request.iova % PAGE) as usize;
        Request {
            len: request.len.min(room),
            ..request
        }
    }

    /// Marks a write within a page, which is about to be made, if there is a log. A page of a log is not
    /// smaller.
    #[inline]
    fn mark(&self, part: Request) {
        if let Some(log) = self.log.filter(|_| part.write) {
            log.mark(part.iova, part.len);
        }
    }

    /// Calls `f` with the bytes of a page that is not cached, or with the first of those that are
    /// contiguous in this process if the page is not.
    #[cold]
    fn with_uncached<R>(
        &self,
        part: Request,
        f: impl FnOnce(VolatileSlice<'a>) -> R,
    ) -> Result<R, FaultCause> {
        let page = (self.translator).find(self.memory, self.pasid, part.iova, part.write)?;
        self.mark(part);
        let offset = part.iova % PAGE;
        let slice = (self.memory).slice_in(&page.place, offset as usize, part.len, part.write);
        if let Some(slice) = slice {
            return Ok(f(slice));
        }
        let untranslated = Request {
            iova: page.address() | offset,
            ..part
        };
        let found = self.memory.with_piece(untranslated, f);
        found.map_err(|cause| match cause {
            FaultCause::Unmapped | FaultCause::Permission => TranslationFault::NoMemory.into(),
            other => other,
        })
    }
}

impl Dma for PasidSpace<'_> {
    #[inline]
    fn with_piece<'a, R>(
        &'a self,
        request: Request,
        f: impl FnOnce(VolatileSlice<'a>) -> R,
    ) -> Result<R, FaultCause> {
        let part = Self::in_page(request);
        match self.translator.cached(self.memory, self.pasid, part) {
            Some(slice) => {
                self.mark(part);
                Ok(f(slice))
            }
            None => self.with_uncached(part, f),
        }
    }

    /// The fault of the part of an access that lies within a page.
    #[cold]
    fn fault(&self, request: Request, done: usize, cause: FaultCause) -> DmaFault {
        Self::in_page(request.after(done)).fault(cause)
    }

    /// Checks a write that crosses pages, so that it happens as a whole or not at all.
    #[inline]
    fn check(&self, request: Request) -> Result<(), DmaFault> {
        let Self {
            translator,
            memory,
            pasid,
            log: _,
        } = *self;
        if request.iova % PAGE + request.len as u64 > PAGE {
            let mut done = 0;
            while done < request.len {
                let part = Self::in_page(request.after(done));
                translator
                    .find(memory, pasid, part.iova, true)
                    .map_err(|fault| part.fault(fault.into()))?;
                done += part.len;
            }
        }
        Ok(())
    }

    #[inline]
    fn check_word(&self, request: Request) -> Result<(), DmaFault> {
        match request.iova % request.len as u64 {
            0 => Ok(()),
            _ => Err(request.fault(FaultCause::Misaligned)),
        }
    }
}

/// Forwards a call to the address space of the variant.
macro_rules! dispatch {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self {
            Self::Function(memory) => memory.$method($($argument),*),
            Self::Pasid(space) => space.$method($($argument),*),
            Self::Registered(space) => space.$method($($argument),*),
        }
    };
}

impl Dma for AddressSpace<'_> {
    fn with_piece<'a, R>(
        &'a self,
        request: Request,
        f: impl FnOnce(VolatileSlice<'a>) -> R,
    ) -> Result<R, FaultCause> {
        dispatch!(self.with_piece(request, f))
    }

    fn fault(&self, request: Request, done: usize, cause: FaultCause) -> DmaFault {
        dispatch!(self.fault(request, done, cause))
    }

    fn check(&self, request: Request) -> Result<(), DmaFault> {
        dispatch!(self.check(request))
    }

    fn check_word(&self, request: Request) -> Result<(), DmaFault> {
        dispatch!(self.check_word(request))
    }

    // These distinguish the address spaces once instead of for each piece.

    fn read(&self, iova: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        dispatch!(self.read(iova, buf))
    }

    fn write(&self, iova: u64, buf: &[u8]) -> Result<(), DmaFault> {
        dispatch!(self.write(iova, buf))
    }

    fn publish_u64(&self, iova: u64, value: u64) -> Result<(), DmaFault> {
        dispatch!(self.publish_u64(iova, value))
    }

    fn publish_u32(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        dispatch!(self.publish_u32(iova, value))
    }
}

impl vm_memory::GuestMemory for AddressSpace<'_> {
    type PhysicalMemory = Regions;
    type Bitmap = ();

    fn check_range(&self, at: GuestAddress, len: usize, access: Permissions) -> bool {
        Pieces::permit(self, at, len, access)
    }

    fn get_slices<'a>(
        &'a self,
        at: GuestAddress,
        len: usize,
        access: Permissions,
    ) -> GuestMemoryResult<impl GuestMemorySliceIterator<'a, ()>> {
        Pieces::new(self, at, len, access)
    }
}
