// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An ADI that has gone before this process could continue with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use adit_function::doorbells::shared_file;
use adit_vfio_user::EventFd;
use rustix::event::{eventfd, EventfdFlags};

use super::{Adi, AdiError, DoorbellPages, Ids, Link, PagesPart, Properties, Window};

/// An ADI of which nothing is left but what its device was composed with. A device that has it says that it is
/// gone.
pub(crate) struct GoneAdi {
    name: String,
    properties: Properties,
    /// Pages that nothing polls.
    pages: DoorbellPages,
    gone: OwnedFd,
    fault: OwnedFd,
}

impl GoneAdi {
    /// An ADI with this name and these properties.
    ///
    /// # Errors
    /// Fails when the system has no memory or descriptors left.
    pub(crate) fn new(name: &str, properties: Properties) -> std::io::Result<Self> {
        let count = 3 * u32::from(properties.pairs) + u32::from(properties.vectors);
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        Ok(Self {
            name: name.to_owned(),
            properties,
            pages: DoorbellPages {
                file: shared_file(count)?.into(),
                count,
            },
            gone: eventfd(1, flags)?,
            fault: eventfd(0, flags)?,
        })
    }
}

impl Adi for GoneAdi {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn ids(&self) -> Ids {
        Ids::default()
    }

    fn link(&self) -> Result<Link, AdiError> {
        Err(AdiError::Gone)
    }

    fn request(&mut self, _: u32, _: &[u8], _: &mut Vec<u8>) -> Result<(), AdiError> {
        Err(AdiError::Gone)
    }

    fn map(&mut self, _: &Window) -> Result<(), AdiError> {
        Err(AdiError::Gone)
    }

    fn unmap(&mut self, _: u64, _: u64) -> Result<(), AdiError> {
        Ok(())
    }

    fn set_vector(&mut self, _: u16, _: Option<&EventFd>) -> Result<(), AdiError> {
        Err(AdiError::Gone)
    }

    fn pages(&self) -> Result<&DoorbellPages, AdiError> {
        Ok(&self.pages)
    }

    fn join_pages(&self, parts: &[PagesPart<'_>]) -> Result<DoorbellPages, AdiError> {
        let count = parts.iter().map(|part| part.range.len() as u32).sum();
        let file = shared_file(count).map_err(|source| AdiError::Io {
            what: "making a file of doorbell pages",
            source,
        })?;
        let file = file.into();
        Ok(DoorbellPages { file, count })
    }

    fn reset(&mut self) -> Result<(), AdiError> {
        Err(AdiError::Gone)
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }

    fn fault(&self) -> BorrowedFd<'_> {
        self.fault.as_fd()
    }
}
