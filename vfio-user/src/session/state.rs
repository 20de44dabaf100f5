// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a session between two messages, which another process can go on with.

use super::Session;
use crate::device::{Device, DmaMap};
use crate::dma::DmaWindows;
use crate::migration::MigrationState;
use crate::transport::Transport;
use crate::version::Capabilities;
use crate::{Config, Errno};

/// The negotiated version and capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) minor: u16,
    pub(crate) capabilities: Capabilities,
}

/// The state of a session between two messages.
#[derive(Debug)]
pub(crate) struct State {
    /// The negotiated version; `None` until the client has sent its own.
    pub(crate) agreed: Option<Agreed>,
    pub(crate) windows: DmaWindows,
    pub(crate) migration: MigrationState,
    /// Set while the device logs DMA writes.
    pub(crate) logging: bool,
}

impl State {
    /// The state of a new client's session.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            agreed: None,
            windows: DmaWindows::new(config.max_dma_maps, config.handover),
            migration: MigrationState::Running,
            logging: false,
        }
    }
}

impl<T: Transport, D: Device + ?Sized> Session<'_, T, D> {
    /// Introduces a client of another process, with its windows, to the device. After an error the
    /// device has no client.
    pub(crate) fn resume(&mut self) -> Result<(), (u64, Errno)> {
        if self.state.agreed.is_some() {
            self.device.connected();
            for (iova, window) in self.state.windows.iter() {
                let dup = |file| rustix::io::fcntl_dupfd_cloexec(file, 0);
                let mapped = window.file.as_ref().map(dup).transpose().and_then(|fd| {
                    self.device.dma_map(DmaMap {
                        iova,
                        size: window.size,
                        offset: window.offset,
                        prot: window.prot,
                        fd,
                    })
                });
                if let Err(errno) = mapped {
                    self.device.disconnected();
                    return Err((iova, errno));
                }
            }
            self.device.resumed();
        }
        if !self.config.handover {
            self.state.windows.forget_files();
        }
        Ok(())
    }
}
