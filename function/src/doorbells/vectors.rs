// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control registers of the function's vectors: DYN_CTL and ITR.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use adit_uapi::regs::{pf, RegArray};

use super::Window;
use crate::layout::RegisterLayout;

/// The control registers of the function's vectors.
pub enum VectorRegisters {
    /// A page for each vector: DYN_CTL, then the ITR registers.
    Pages(Window),
    /// Arrays of registers.
    Arrays {
        /// DYN_CTL of vector 0, the mailbox's, which is not throttled.
        mailbox: Window,
        /// DYN_CTL of the others.
        dyn_ctl: Window,
        /// The ITR registers of the others, one array for each interval.
        itr: [Window; 3],
    },
}

impl VectorRegisters {
    pub(super) fn new(fd: &OwnedFd, layout: RegisterLayout, count: u32) -> io::Result<Self> {
        if layout == RegisterLayout::Pf {
            return Window::new(fd, &pf::GLINT_DYN_CTL, count).map(Self::Pages);
        }
        let others = count.saturating_sub(1).max(1);
        // `first` and `last` are the offsets of the first and the last register of an array.
        let window = |first: Option<u32>, last: Option<u32>, stride, count| {
            let base = first.filter(|_| last.is_some());
            let base = base.ok_or(io::ErrorKind::InvalidInput)?;
            let array = RegArray {
                base,
                stride,
                count,
            };
            Window::new(fd, &array, count)
        };
        let (dyn_ctl, itr) = (|v| layout.dyn_ctl(v), |v, index| layout.itr(v, index));
        let intervals = |index| {
            let (first, last) = (itr(1, index), itr(others, index));
            window(first, last, layout.itr_spacing(), others)
        };
        Ok(Self::Arrays {
            mailbox: window(dyn_ctl(0), dyn_ctl(0), layout.dyn_ctl_spacing(), 1)?,
            dyn_ctl: window(
                dyn_ctl(1),
                dyn_ctl(others),
                layout.dyn_ctl_spacing(),
                others,
            )?,
            itr: [intervals(0)?, intervals(1)?, intervals(2)?],
        })
    }

    /// DYN_CTL of a vector; `None` if there is no such vector.
    #[must_use]
    pub fn dyn_ctl(&self, vector: u32) -> Option<&AtomicU32> {
        match (self, vector.checked_sub(1)) {
            (Self::Pages(pages), _) => pages.register(vector, 0),
            (Self::Arrays { mailbox, .. }, None) => mailbox.register(0, 0),
            (Self::Arrays { dyn_ctl, .. }, Some(other)) => dyn_ctl.register(other, 0),
        }
    }

    /// Throttling register `index` (0 to 2) of a vector; `None` if there is none.
    #[must_use]
    pub fn itr(&self, vector: u32, index: u32) -> Option<&AtomicU32> {
        match self {
            Self::Pages(pages) if index <= pf::GLINT_ITR_MAX_INDEX => {
                pages.register(vector, (index + 1) * pf::GLINT_ITR_INDEX_SPACING)
            }
            Self::Pages(_) => None,
            Self::Arrays { itr, .. } => {
                let array = itr.get(index as usize)?;
                array.register(vector.checked_sub(1)?, 0)
            }
        }
    }

    /// The value of a vector's DYN_CTL; 0 if there is no such vector.
    #[must_use]
    pub fn load(&self, vector: u32) -> u32 {
        self.dyn_ctl(vector)
            .map_or(0, |r| u32::from_le(r.load(Ordering::Acquire)))
    }

    /// Sets a vector's DYN_CTL.
    pub fn store(&self, vector: u32, value: u32) {
        if let Some(register) = self.dyn_ctl(vector) {
            register.store(value.to_le(), Ordering::Release);
        }
    }

    /// The windows: those of DYN_CTL before those of ITR.
    pub(super) fn windows(&self) -> impl Iterator<Item = &Window> {
        match self {
            Self::Pages(pages) => [Some(pages), None, None, None, None],
            Self::Arrays {
                mailbox,
                dyn_ctl,
                itr: [first, second, third],
            } => [mailbox, dyn_ctl, first, second, third].map(Some),
        }
        .into_iter()
        .flatten()
    }
}
