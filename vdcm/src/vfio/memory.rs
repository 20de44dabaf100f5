// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Windows of memory that are registered for an ADI over VFIO.

use std::io;

use adit_adi::{Error, Memory};
use rustix::io::Errno;
use rustix::process::{getrlimit, Resource};

use super::{failed, VfioAdi};
use crate::backend::{AdiError, Window};

/// The number of attempts to register memory that signals interrupt.
const ATTEMPTS: u32 = 16;

impl VfioAdi {
    /// Returns the error for a window that cannot be registered because of a limit that is known.
    pub(super) fn check(&self, window: &Window) -> Result<(), AdiError> {
        let limit = |reason| {
            Err(AdiError::Limit {
                what: "registering memory",
                reason,
            })
        };
        let properties = &self.properties;
        let (first, possible) = (window.iova, &properties.iova);
        let last = window.len.checked_sub(1).and_then(|n| first.checked_add(n));
        let inside = |last: &u64| possible.contains(&first) && possible.contains(last);
        let Some(last) = last.filter(inside) else {
            return limit(format!(
                "{:#x} bytes at {first:#x} are not inside of the ADI's addresses, {:#x} to {:#x}",
                window.len,
                possible.start(),
                possible.end()
            ));
        };
        if let Some((iova, other)) = self.windows.range(..=last).next_back() {
            let (other, _) = other;
            if iova + (other.len() - 1) >= first {
                return limit(format!(
                    "{first:#x} to {last:#x} overlaps the window of {:#x} bytes at {iova:#x}",
                    other.len()
                ));
            }
        }
        let count = self.windows.len();
        if count >= properties.max_registrations as usize {
            return limit(format!("{count} windows are registered, the ADI's maximum"));
        }
        let registered: u64 = self.windows.values().map(|(memory, _)| memory.len()).sum();
        if window.len > properties.max_registered_len.saturating_sub(registered) {
            return limit(format!(
                "{:#x} bytes, besides {registered:#x}: the ADI's maximum is {:#x}",
                window.len, properties.max_registered_len
            ));
        }
        Ok(())
    }

    fn register(&self, memory: &Memory, flags: u32) -> Result<(), AdiError> {
        let mut attempt = 1;
        let error = loop {
            match self.device.register_memory(memory, flags) {
                Ok(()) => return Ok(()),
                // The kernel interrupts the pinning for any signal, which is handled now.
                Err(Error::Refused { source, .. })
                    if source.kind() == io::ErrorKind::Interrupted && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                Err(error) => break error,
            }
        };
        let Error::Refused { source, .. } = &error else {
            return Err(failed("registering memory")(error));
        };
        let (len, iova) = (memory.len(), memory.iova());
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        let reason = match errno {
            Some(Errno::NOMEM | Errno::PERM) => {
                let limit = match getrlimit(Resource::Memlock).current {
                    Some(limit) => format!("{limit:#x} bytes"),
                    None => "any number of bytes".into(),
                };
                format!(
                    "{len:#x} bytes cannot be pinned: this process may lock {limit} \
                     (RLIMIT_MEMLOCK; LimitMEMLOCK= of a unit) without CAP_IPC_LOCK, or the system is \
                     out of memory"
                )
            }
            Some(Errno::FAULT) => format!(
                "{len:#x} bytes for {iova:#x} cannot be pinned: their file is shorter, or its pages \
                 cannot be allocated"
            ),
            Some(Errno::INVAL) => format!(
                "{len:#x} bytes at {iova:#x} contain addresses of interrupts, 0xfee00000 to 0xfeefffff"
            ),
            _ => return Err(failed("registering memory")(error)),
        };
        Err(AdiError::Limit {
            what: "registering memory",
            reason,
        })
    }

    /// Maps memory, and registers it; returns it, to be kept.
    pub(super) fn map_memory(&self, memory: Memory, flags: u32) -> Result<Memory, AdiError> {
        // SAFETY: nothing in this process accesses or borrows the memory. It stays mapped until
        // `unmap` has removed it from the device, or the device is closed: see `windows`. If this process
        // ends before that, the device accesses the registered pages only, which the kernel has pinned.
        unsafe { self.device.map_memory(&memory) }.map_err(failed("mapping memory"))?;
        if let Err(error) = self.register(&memory, flags) {
            self.unmap_memory(memory)?;
            return Err(error);
        }
        Ok(memory)
    }

    /// Unmaps memory that is not registered from the ADI's container, and from this process.
    pub(super) fn unmap_memory(&self, memory: Memory) -> Result<(), AdiError> {
        self.device.unmap_memory(&memory).map_err(|error| {
            // The container refers to it still, by its address: nothing else may be mapped there.
            std::mem::forget(memory);
            failed("unmapping memory")(error)
        })
    }
}
