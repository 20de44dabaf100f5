// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory that this process has registered for a PASID, in place of an IOMMU's tables.

use vm_memory::VolatileSlice;

use super::walk::PAGE_SHIFT;
use super::{Pasid, TranslationFault};
use crate::memory::{Dma, DmaFault, FaultCause, GuestMemory, Request};

const PAGE: u64 = 1 << PAGE_SHIFT;

/// The memory of all PASIDs.
#[derive(Default)]
pub(super) struct Registered {
    /// Indexed by PASID: these are small numbers, which this process allocates.
    spaces: Vec<Option<Box<GuestMemory>>>,
    /// The memory of a PASID without any.
    nothing: GuestMemory,
}

impl Registered {
    /// The memory of a PASID.
    pub(super) fn get(&self, pasid: Pasid) -> &GuestMemory {
        let space = self.spaces.get(pasid.get() as usize);
        space.and_then(Option::as_deref).unwrap_or(&self.nothing)
    }

    /// The memory of a PASID, to be changed.
    pub(super) fn entry(&mut self, pasid: Pasid) -> &mut GuestMemory {
        let at = pasid.get() as usize;
        if self.spaces.len() <= at {
            self.spaces.resize_with(at + 1, || None);
        }
        self.spaces[at].get_or_insert_default()
    }

    /// Releases the memory of a PASID.
    pub(super) fn remove(&mut self, pasid: Pasid) {
        if let Some(space) = self.spaces.get_mut(pasid.get() as usize) {
            *space = None;
        }
    }
}

/// The address space of a PASID with registered memory. Its faults are those of translations, as
/// with tables.
#[derive(Clone, Copy)]
pub struct RegisteredSpace<'a>(pub(super) &'a GuestMemory);

impl Dma for RegisteredSpace<'_> {
    #[inline]
    fn with_piece<'a, R>(
        &'a self,
        request: Request,
        f: impl FnOnce(VolatileSlice<'a>) -> R,
    ) -> Result<R, FaultCause> {
        self.0.with_piece(request, f).map_err(translation_fault)
    }

    /// The fault of the rest of an access.
    #[cold]
    fn fault(&self, request: Request, done: usize, cause: FaultCause) -> DmaFault {
        request.after(done).fault(cause)
    }

    /// Checks a write that crosses pages, so that it happens as a whole or not at all. Registrations
    /// consist of whole pages.
    #[inline]
    fn check(&self, request: Request) -> Result<(), DmaFault> {
        if request.iova % PAGE + request.len as u64 > PAGE {
            let mut done = 0;
            while done < request.len {
                let piece = self.0.piece_len(request.after(done));
                let piece = piece.map_err(translation_fault);
                done += piece.map_err(|cause| self.fault(request, done, cause))?;
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

/// The cause of a fault as that of a translation.
fn translation_fault(cause: FaultCause) -> FaultCause {
    match cause {
        FaultCause::Unmapped => TranslationFault::NotMapped.into(),
        FaultCause::Permission => TranslationFault::Permission.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AddressSpace, Translator};
    use super::*;
    use crate::memory::Access;
    use crate::testing::sealed;

    const IOVA: u64 = 0x7000_0000;

    fn window(translator: &mut Translator, pasid: u32, iova: u64, len: u64, write: bool) {
        let access = Access { read: true, write };
        let memory = translator.registered_mut(Pasid::new(pasid).unwrap());
        let file = Some((sealed(len), 0));
        memory.unwrap().map(iova, len, access, file).unwrap();
    }

    #[test]
    fn memory_is_the_pasids_own_and_faults_are_those_of_translations() {
        let own = GuestMemory::new();
        let mut translator = Translator::of_registered_memory();
        window(&mut translator, 1, IOVA, 0x2000, true);
        window(&mut translator, 2, IOVA + 0x4000, 0x1000, false);
        let space = |pasid| AddressSpace::new(&own, &translator, Pasid::new(pasid));
        space(1).write(IOVA + 0xFFF, &[1, 2]).unwrap();
        assert_eq!(space(1).read_obj::<u8>(IOVA + 0x1000), Ok(2));
        let cause = |fault: DmaFault| (fault.iova, fault.cause);
        let unmapped = FaultCause::from(TranslationFault::NotMapped);
        for pasid in [2, 3, 99] {
            let fault = space(pasid).read_obj::<u8>(IOVA).unwrap_err();
            assert_eq!(cause(fault), (IOVA, unmapped), "PASID {pasid}");
        }
        let at = IOVA + 0x4000;
        let fault = space(2).write(at, &[0]).unwrap_err();
        assert_eq!(cause(fault), (at, TranslationFault::Permission.into()));
        // A write that is possible in part is not performed.
        let fault = space(1).write(IOVA + 0x1FFE, &[9; 4]).unwrap_err();
        assert_eq!(cause(fault), (IOVA + 0x2000, unmapped));
        assert_eq!(space(1).read_obj::<u16>(IOVA + 0x1FFE), Ok(0));
        let fault = space(1).publish_u64(IOVA + 4, 1).unwrap_err();
        assert_eq!(fault.cause, FaultCause::Misaligned);
        assert!(space(1).publish_u64(IOVA + 8, 1).is_ok());
    }

    #[test]
    fn memory_that_is_removed_is_gone_at_once() {
        let own = GuestMemory::new();
        let mut translator = Translator::of_registered_memory();
        let pasid = Pasid::new(5).unwrap();
        window(&mut translator, 5, IOVA, 0x1000, true);
        window(&mut translator, 5, IOVA + 0x1000, 0x1000, true);
        let read = |translator: &Translator, iova| {
            let space = AddressSpace::new(&own, translator, Some(pasid));
            space.read_obj::<u8>(iova).is_ok()
        };
        assert!(read(&translator, IOVA));
        let memory = translator.registered_mut(pasid).unwrap();
        memory.unmap(IOVA, 0x1000).unwrap();
        assert!(!read(&translator, IOVA) && read(&translator, IOVA + 0x1000));
        translator.unregister(pasid);
        assert!(!read(&translator, IOVA + 0x1000));
    }

    #[test]
    fn tables_are_neither_needed_nor_looked_for() {
        let mut translator = Translator::of_registered_memory();
        assert!(translator.has_tables());
        assert_eq!(translator.find_tables(), super::super::Readiness::Ready);
        let mut walker = Translator::new(None);
        assert!(walker.registered_mut(Pasid::new(1).unwrap()).is_none());
        assert!(!walker.has_tables());
    }
}
