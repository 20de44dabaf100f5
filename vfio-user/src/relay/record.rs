// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The session of a relay's client, as the next worker needs it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use vfio_bindings::bindings::vfio;

use super::message::{Data, Reply};
use crate::dma::{DmaWindows, Window};
use crate::error::ProtocolError;
use crate::feature::Operation;
use crate::header::Command;
use crate::irq::{EventFd, IrqAction};
use crate::request::{parse, DmaUnmap, IrqData, Request, SetIrqs};
use crate::{checks, Config};

/// The maximum number of eventfds: MSI-X has no more vectors.
const MAX_EVENTFDS: usize = 2048;
/// The maximum number of descriptions that are kept: each region and interrupt type in two lengths.
const MAX_DESCRIPTIONS: usize = 64;
/// The maximum number of writes to configuration space that wait for a worker.
pub(super) const MAX_WRITES: usize = 256;

/// The key of an eventfd: interrupt type, action (`VFIO_IRQ_SET_ACTION_*`), vector.
pub(super) type EventKey = (u32, u32, u32);

/// The record of a session.
pub(super) struct Record {
    /// The client's version message and the reply to it.
    pub(super) version: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) windows: DmaWindows,
    pub(super) eventfds: BTreeMap<EventKey, Arc<OwnedFd>>,
    /// The client's message that has started a log of DMA writes, until it ends that.
    pub(super) log: Option<Vec<u8>>,
    /// The replies to requests for descriptions, by command and payload.
    descriptions: BTreeMap<(u16, Vec<u8>), Data>,
    /// Configuration space as the last worker had it.
    pub(super) config_space: Vec<u8>,
    /// Writes to it that no worker has seen.
    pub(super) config_writes: Vec<(u64, Vec<u8>)>,
}

impl Record {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            version: None,
            windows: DmaWindows::new(config.max_dma_maps, true),
            eventfds: BTreeMap::new(),
            log: None,
            descriptions: BTreeMap::new(),
            config_space: Vec::new(),
            config_writes: Vec::new(),
        }
    }

    /// The recorded description of the device, if it was requested before.
    pub(super) fn description(&self, command: Command, payload: &[u8]) -> Option<Reply> {
        let known = self.descriptions.get(&(command as u16, payload.to_vec()))?;
        Some(Ok(known.clone()))
    }

    /// Records a message that the worker has executed. Returns whether it was a write to
    /// configuration space.
    pub(super) fn note(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: &[Arc<OwnedFd>],
        reply: (&[u8], Option<&Arc<OwnedFd>>),
    ) -> Result<bool, ProtocolError> {
        match command {
            Command::Version => {
                self.version = Some((payload.to_vec(), reply.0.to_vec()));
            }
            Command::DmaMap | Command::DmaUnmap | Command::DeviceSetIrqs => {
                self.apply(command, payload, fds)?;
            }
            Command::DeviceGetInfo | Command::DeviceGetRegionInfo | Command::DeviceGetIrqInfo
                if self.descriptions.len() < MAX_DESCRIPTIONS =>
            {
                let key = (command as u16, payload.to_vec());
                let value = (reply.0.to_vec(), reply.1.cloned());
                self.descriptions.insert(key, value);
            }
            Command::DeviceFeature => {
                if let Request::Feature(feature) = parse(command, payload, Vec::new())? {
                    match feature.operation {
                        Operation::StartLog { .. } => self.log = Some(payload.to_vec()),
                        Operation::StopLog => self.log = None,
                        _ => {}
                    }
                }
            }
            Command::RegionWrite | Command::RegionWriteMulti => {
                return Ok(match parse(command, payload, Vec::new())? {
                    Request::RegionWrite { access, .. } => is_config(access.region),
                    Request::RegionWriteMulti(writes) => {
                        writes.iter().any(|write| is_config(write.region.get()))
                    }
                    _ => false,
                });
            }
            _ => {}
        }
        Ok(false)
    }

    /// Records a window that is mapped or unmapped, or eventfds.
    pub(super) fn apply(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: &[Arc<OwnedFd>],
    ) -> Result<(), ProtocolError> {
        let dup = |fd: &Arc<OwnedFd>| rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 0);
        let owned: Result<Vec<_>, _> = fds.iter().map(dup).collect();
        match parse(command, payload, owned.map_err(ProtocolError::Device)?)? {
            Request::DmaMap(map) => {
                self.windows.check(map.iova, map.size)?;
                if let Some(fd) = &map.fd {
                    checks::backing(fd, map.offset, map.size)?;
                }
                let kept = self.windows.keep(map.fd.as_ref());
                let window = Window {
                    size: map.size,
                    offset: map.offset,
                    prot: map.prot,
                    file: kept.map_err(ProtocolError::Device)?,
                };
                self.windows.insert(map.iova, window);
            }
            Request::DmaUnmap(DmaUnmap::All) => self.windows.clear(|_, _| {}),
            Request::DmaUnmap(DmaUnmap::Range { iova, size }) => {
                self.windows.remove(iova, size, |_, _| {})?;
            }
            Request::SetIrqs(set) => self.set_irqs(set)?,
            _ => {}
        }
        Ok(())
    }

    fn set_irqs(&mut self, set: SetIrqs<'_>) -> Result<(), ProtocolError> {
        let SetIrqs {
            index,
            start,
            count,
            action,
            data,
        } = set;
        let range = || {
            let end = start.checked_add(count);
            end.filter(|&end| end as usize <= MAX_EVENTFDS)
                .ok_or(ProtocolError::IrqRange {
                    index,
                    start,
                    count,
                    available: MAX_EVENTFDS as u32,
                })
        };
        let kind = match action {
            IrqAction::Mask => vfio::VFIO_IRQ_SET_ACTION_MASK,
            IrqAction::Unmask => vfio::VFIO_IRQ_SET_ACTION_UNMASK,
            IrqAction::Trigger => vfio::VFIO_IRQ_SET_ACTION_TRIGGER,
        };
        match data {
            IrqData::None if (action, start, count) == (IrqAction::Trigger, 0, 0) => {
                self.eventfds.retain(|key, _| key.0 != index);
            }
            // Actions on behalf of the client have no lasting effect.
            IrqData::None | IrqData::Bool(_) => {}
            IrqData::EventFd(fds) => {
                let end = range()?;
                for vector in start..end {
                    self.eventfds.remove(&(index, kind, vector));
                }
                for (n, fd) in fds.into_iter().enumerate() {
                    let event =
                        EventFd::from_client(fd).map_err(|_| ProtocolError::NotEventfd(n))?;
                    if self.eventfds.len() >= MAX_EVENTFDS {
                        range()?;
                    }
                    let key = (index, kind, start + n as u32);
                    self.eventfds.insert(key, Arc::new(event.into()));
                }
            }
        }
        Ok(())
    }

    /// Keeps a write to configuration space for the next worker; returns false if too many wait.
    pub(super) fn keep_config_write(&mut self, offset: u64, data: &[u8]) -> bool {
        let fits = self.config_writes.len() < MAX_WRITES && data.len() <= 4096;
        if fits {
            self.config_writes.push((offset, data.to_vec()));
        }
        fits
    }
}

/// Returns whether a region is configuration space.
pub(super) fn is_config(region: u32) -> bool {
    region == vfio::VFIO_PCI_CONFIG_REGION_INDEX
}
