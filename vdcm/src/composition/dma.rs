// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The windows of the client's memory: mapped in this process for the mailbox, and in each ADI.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use adit_function::memory::{Access, MapError};
use adit_vfio_user::Errno;
use thiserror::Error;

use super::Composition;
use crate::backend::{AdiError, Window};
use crate::protocol::DmaStats;

/// The reason why a window is refused.
#[derive(Debug, Error)]
pub enum DmaError {
    /// The limit of windows is reached.
    #[error("{0} windows of memory are mapped: the limit is reached")]
    Windows(u32),
    /// The limit of bytes is reached.
    #[error("a window of {len} bytes, and {registered} are registered: the limit is {most}")]
    Bytes {
        /// The length of the window.
        len: u64,
        /// The number of bytes that are registered.
        registered: u64,
        /// The limit.
        most: u64,
    },
    /// An ADI cannot have the address.
    #[error(
        "the window {iova:#x}+{len:#x} is outside of the addresses {first:#x} to {last:#x} that ADI \
         {adi} can access"
    )]
    Address {
        /// The window's address.
        iova: u64,
        /// Its length in bytes.
        len: u64,
        /// The ADI.
        adi: String,
        /// The first address that it can access.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// The window cannot be mapped in this process.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The system has no file descriptor left.
    #[error("duplicating the window's file: {0}")]
    File(std::io::Error),
    /// An ADI did not register it.
    #[error("ADI {adi}: {error}")]
    Adi {
        /// The ADI.
        adi: String,
        /// Its error.
        error: AdiError,
    },
}

impl DmaError {
    /// The names of all reasons, for counters.
    const NAMES: [&'static str; 6] = ["windows", "bytes", "address", "map", "file", "adi"];

    fn index(&self) -> usize {
        match self {
            Self::Windows(_) => 0,
            Self::Bytes { .. } => 1,
            Self::Address { .. } => 2,
            Self::Map(_) => 3,
            Self::File(_) => 4,
            Self::Adi { .. } => 5,
        }
    }

    /// The error for the client.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Windows(_) | Self::Bytes { .. } => Errno::NOSPC,
            Self::Address { .. } => Errno::RANGE,
            Self::Map(_) => Errno::INVAL,
            Self::File(_) => Errno::MFILE,
            Self::Adi { error, .. } => match error {
                AdiError::Refused { .. } => Errno::INVAL,
                AdiError::Limit { .. } => Errno::NOSPC,
                AdiError::Gone => Errno::NODEV,
                AdiError::Io { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::IO),
            },
        }
    }
}

/// The windows that are mapped, by address.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// `None` for a window without a file.
    by_iova: BTreeMap<u64, Option<Window>>,
    bytes: u64,
    mapped: u64,
    unmapped: u64,
    without_file: u64,
    refused: [u64; DmaError::NAMES.len()],
}

impl Windows {
    /// Those with a file.
    fn registered(&self) -> impl Iterator<Item = &Window> {
        self.by_iova.values().flatten()
    }
}

impl Composition {
    /// Maps a window. One without a file is accepted and cannot be accessed: clients map the BARs of
    /// other devices so.
    ///
    /// # Errors
    /// Fails when a limit is reached, or the window cannot be registered for an ADI; it is mapped
    /// nowhere then. An ADI that is gone is no error: it accesses nothing.
    pub fn map(
        &mut self,
        iova: u64,
        len: u64,
        access: Access,
        file: Option<(OwnedFd, u64)>,
    ) -> Result<(), DmaError> {
        let result = self.try_map(iova, len, access, file);
        match &result {
            Ok(()) => self.windows.mapped += 1,
            Err(error) => self.windows.refused[error.index()] += 1,
        }
        result
    }

    fn try_map(
        &mut self,
        iova: u64,
        len: u64,
        access: Access,
        file: Option<(OwnedFd, u64)>,
    ) -> Result<(), DmaError> {
        if self.windows.by_iova.len() >= self.limits.windows as usize {
            return Err(DmaError::Windows(self.limits.windows));
        }
        let Some((file, offset)) = file else {
            self.memory.map(iova, len, access, None)?;
            self.windows.by_iova.insert(iova, None);
            self.windows.without_file += 1;
            return Ok(());
        };
        let registered = self.windows.bytes;
        let most = self.limits.registered_bytes;
        if registered.checked_add(len).is_none_or(|sum| sum > most) {
            return Err(DmaError::Bytes {
                len,
                registered,
                most,
            });
        }
        let last = iova.saturating_add(len.saturating_sub(1));
        for port in self.ports.iter().filter(|port| !port.is_gone()) {
            let able = &port.properties.iova;
            if !able.contains(&iova) || !able.contains(&last) {
                return Err(DmaError::Address {
                    iova,
                    len,
                    adi: port.name.clone(),
                    first: *able.start(),
                    last: *able.end(),
                });
            }
        }
        let own = file.try_clone().map_err(DmaError::File)?;
        self.memory.map(iova, len, access, Some((own, offset)))?;
        let window = Window {
            iova,
            len,
            access,
            file: Arc::new(file),
            offset,
        };
        if let Err(error) = self.register(&window) {
            // The range is that of a region.
            let _ = self.memory.unmap(iova, len);
            return Err(error);
        }
        self.windows.bytes += len;
        self.windows.by_iova.insert(iova, Some(window));
        Ok(())
    }

    /// Registers a window for all ADIs, or none.
    fn register(&mut self, window: &Window) -> Result<(), DmaError> {
        for at in 0..self.ports.len() {
            let port = &mut self.ports[at];
            let result = match port.adi() {
                Ok(adi) => adi.map(window),
                Err(_) => continue,
            };
            match port.note(result) {
                Ok(()) | Err(AdiError::Gone) => {}
                Err(error) => {
                    let adi = port.name.clone();
                    for port in &mut self.ports[..at] {
                        unregister(port, window);
                    }
                    return Err(DmaError::Adi { adi, error });
                }
            }
        }
        Ok(())
    }

    /// Unmaps a window that was mapped with exactly this address and length. When this returns,
    /// nothing accesses it.
    pub fn unmap(&mut self, iova: u64, len: u64) {
        if let Some(Some(window)) = self.windows.by_iova.remove(&iova) {
            self.windows.bytes -= window.len;
            for port in &mut self.ports {
                unregister(port, &window);
            }
        }
        self.windows.unmapped += 1;
        if let Err(error) = self.memory.unmap(iova, len) {
            // The server passes on windows that it has mapped only.
            tracing::error!(iova, len, "window not unmapped: {error}");
        }
    }

    /// Unmaps all windows.
    pub fn unmap_all(&mut self) {
        for window in std::mem::take(&mut self.windows.by_iova).values().flatten() {
            for port in &mut self.ports {
                unregister(port, window);
            }
        }
        self.windows.bytes = 0;
        self.memory.clear();
    }

    /// Registers all windows for one ADI, which replaces another.
    pub(super) fn register_all(&mut self, at: usize) -> Result<(), DmaError> {
        let port = &mut self.ports[at];
        for window in self.windows.registered() {
            let result = port.adi().and_then(|adi| adi.map(window));
            port.note(result).map_err(|error| DmaError::Adi {
                adi: port.name.clone(),
                error,
            })?;
        }
        Ok(())
    }

    /// The address and the length of each window that the ADIs may write.
    pub(super) fn writable(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let windows = self.windows.registered();
        let writable = windows.filter(|window| window.access.write);
        writable.map(|window| (window.iova, window.len))
    }

    /// The address and the length of each window that is registered for the ADIs.
    pub(crate) fn registered(&self) -> Vec<(u64, u64)> {
        let windows = self.windows.registered();
        windows.map(|window| (window.iova, window.len)).collect()
    }

    /// The number of windows, and of bytes in those that have a file.
    #[must_use]
    pub fn windows(&self) -> (u32, u64) {
        (self.windows.by_iova.len() as u32, self.windows.bytes)
    }

    /// The counters of windows.
    #[must_use]
    pub fn dma_stats(&self) -> DmaStats {
        let windows = &self.windows;
        let refused = DmaError::NAMES.into_iter().zip(windows.refused);
        DmaStats {
            mapped: windows.mapped,
            unmapped: windows.unmapped,
            without_file: windows.without_file,
            refused: refused
                .filter(|&(_, count)| count > 0)
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
        }
    }
}

/// Removes a window from an ADI. One that fails to do so is closed: it could still access memory
/// that the client is about to use for something else.
fn unregister(port: &mut super::Port, window: &Window) {
    let result = match port.adi() {
        Ok(adi) => adi.unmap(window.iova, window.len),
        Err(_) => return port.close_lost(),
    };
    if port.note(result).is_err() {
        port.close();
    }
}
