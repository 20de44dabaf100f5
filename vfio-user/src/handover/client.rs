// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client between two of its messages, and its description for another process.

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::{check_format, HandoverError, InheritedFds, SentFds, FORMAT};
use crate::checks;
use crate::device::DmaProt;
use crate::dma::{DmaWindows, Window};
use crate::error::ProtocolError;
use crate::migration::MigrationState;
use crate::session::{Agreed, State};
use crate::version::{self, Capabilities};
use crate::Config;

/// A connected client that is served by nobody at the moment. It is disconnected when this is
/// dropped.
#[derive(Debug)]
pub struct Client {
    pub(crate) socket: OwnedFd,
    pub(crate) state: State,
    /// Set if the device does not know the client yet.
    pub(crate) is_foreign: bool,
}

impl Client {
    /// A client that the device knows, or that has not negotiated a version.
    pub(crate) fn new(socket: OwnedFd, state: State) -> Self {
        Self {
            socket,
            state,
            is_foreign: false,
        }
    }

    /// Returns whether the client has negotiated a version: the device was told of it by
    /// [`connected`](crate::Device::connected).
    pub fn is_connected(&self) -> bool {
        self.state.agreed.is_some()
    }

    /// Returns the number of its DMA windows.
    pub fn windows(&self) -> usize {
        self.state.windows.iter().len()
    }

    /// Describes the client for another process.
    pub fn save<'a>(&'a self, fds: &mut SentFds<'a>) -> SavedClient {
        let State {
            agreed,
            windows,
            migration,
            logging,
        } = &self.state;
        SavedClient {
            format: FORMAT,
            socket: fds.add(self.socket.as_fd()),
            agreed: agreed.as_ref().map(|agreed| SavedAgreed {
                minor: agreed.minor,
                capabilities: agreed.capabilities.clone(),
            }),
            migration: *migration as u32,
            logging: *logging,
            windows: windows
                .iter()
                .map(|(iova, window)| SavedWindow {
                    iova,
                    size: window.size,
                    offset: window.offset,
                    prot: window.prot.into(),
                    file: window.file.as_ref().map(|file| fds.add(file.as_fd())),
                })
                .collect(),
        }
    }
}

/// The description of a client for another process; see the [module](super) for its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedClient {
    format: u32,
    socket: u32,
    agreed: Option<SavedAgreed>,
    migration: u32,
    logging: bool,
    windows: Vec<SavedWindow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedAgreed {
    minor: u16,
    capabilities: Capabilities,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct SavedWindow {
    iova: u64,
    size: u64,
    offset: u64,
    prot: SavedProt,
    file: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedProt {
    Read,
    Write,
    ReadWrite,
}

impl From<DmaProt> for SavedProt {
    fn from(prot: DmaProt) -> Self {
        match prot {
            DmaProt::Read => Self::Read,
            DmaProt::Write => Self::Write,
            DmaProt::ReadWrite => Self::ReadWrite,
        }
    }
}

impl From<SavedProt> for DmaProt {
    fn from(prot: SavedProt) -> Self {
        match prot {
            SavedProt::Read => Self::Read,
            SavedProt::Write => Self::Write,
            SavedProt::ReadWrite => Self::ReadWrite,
        }
    }
}

impl SavedClient {
    /// Takes over the client of another process. Everything is checked as if the client had sent
    /// it, and against the limits of this process: `config` is that of the server which will serve
    /// the client.
    ///
    /// # Errors
    /// Fails for another format, for descriptors that are not there, and if the client uses more
    /// than `config` permits; it is disconnected then.
    pub fn restore(self, fds: &mut InheritedFds, config: &Config) -> Result<Client, HandoverError> {
        check_format(self.format)?;
        let socket = fds.take(self.socket)?;
        let migration = MigrationState::from_number(self.migration)
            .ok_or(HandoverError::MigrationState(self.migration))?;
        let agreed = self.agreed.map(|agreed| Agreed {
            minor: agreed.minor,
            capabilities: agreed.capabilities,
        });
        if let Some(agreed) = &agreed {
            check_limits(agreed, config)?;
        } else if !self.windows.is_empty() {
            let (what, value, max) = ("the number of windows before a version", 1, 0);
            return Err(HandoverError::Limit { what, value, max });
        }
        // The files are needed until the device has mapped the windows, whatever the configuration.
        let mut windows = DmaWindows::new(config.max_dma_maps, true);
        for window in self.windows {
            let iova = window.iova;
            add(&mut windows, window, fds).map_err(|error| match error {
                AddError::Fd(error) => error,
                AddError::Window(source) => HandoverError::Window {
                    iova,
                    source: Box::new(source),
                },
            })?;
        }
        Ok(Client {
            socket,
            state: State {
                agreed,
                windows,
                migration,
                logging: self.logging,
            },
            is_foreign: true,
        })
    }
}

/// Checks that the client will not exceed what it was promised.
fn check_limits(agreed: &Agreed, config: &Config) -> Result<(), HandoverError> {
    let Capabilities {
        max_data_xfer_size,
        max_dma_maps,
        ref migration,
        // Constant in all processes.
        max_msg_fds: _,
        pgsizes: _,
        write_multiple: _,
    } = agreed.capabilities;
    let max_bitmap_size = migration.as_ref().and_then(|m| m.max_bitmap_size);
    for (what, value, max) in [
        (
            "minor version",
            Some(agreed.minor.into()),
            version::MINOR.into(),
        ),
        (
            "max_data_xfer_size",
            max_data_xfer_size,
            config.max_data_xfer_size.into(),
        ),
        ("max_dma_maps", max_dma_maps, config.max_dma_maps as u64),
        ("max_bitmap_size", max_bitmap_size, config.max_bitmap()),
    ] {
        if let Some(value) = value.filter(|&value| value > max) {
            return Err(HandoverError::Limit { what, value, max });
        }
    }
    Ok(())
}

enum AddError {
    Fd(HandoverError),
    Window(ProtocolError),
}

fn add(windows: &mut DmaWindows, window: SavedWindow, fds: &InheritedFds) -> Result<(), AddError> {
    let SavedWindow {
        iova,
        size,
        offset,
        prot,
        file,
    } = window;
    windows.check(iova, size).map_err(AddError::Window)?;
    let fd = file.map(|file| fds.share(file)).transpose();
    let fd = fd.map_err(AddError::Fd)?;
    if let Some(fd) = &fd {
        checks::backing(fd, offset, size).map_err(AddError::Window)?;
    }
    let file = windows
        .adopt(fd.as_ref())
        .map_err(|errno| AddError::Window(ProtocolError::Device(errno)))?;
    windows.insert(
        iova,
        Window {
            size,
            offset,
            prot: prot.into(),
            file,
        },
    );
    Ok(())
}
