// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The introduction of a connected client to a worker.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use vfio_bindings::bindings::vfio;
use zerocopy::{FromBytes, IntoBytes};

use super::message::{exchange, Reply};
use super::record::{EventKey, Record};
use super::{IntroductionError, Lost};
use crate::header::Command;
use crate::transport::UnixTransport;
use crate::{wire, Config, Errno, MAX_MSG_FDS};

/// The maximum length of configuration space in bytes.
const MAX_CONFIG_SPACE: u64 = 4096;

/// The worker's end of a client, and the limits of an exchange with it.
pub(super) struct Link<'a> {
    pub(super) transport: UnixTransport<'a>,
    max: usize,
    timeout: Duration,
}

impl<'a> Link<'a> {
    pub(super) fn new(transport: UnixTransport<'a>, config: &Config, timeout: Duration) -> Self {
        // The longest replies are bitmaps.
        let max = config.max_message() + config.max_bitmap() as usize;
        Self {
            transport,
            max,
            timeout,
        }
    }

    /// Sends a command and receives its reply.
    pub(super) fn exchange(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: &[Arc<OwnedFd>],
    ) -> Result<Reply, Lost> {
        let limits = (self.max, self.timeout);
        exchange(&mut self.transport, command, payload, fds, limits)
    }

    /// Sends a command that the worker must not refuse; returns the reply's payload.
    fn demand(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: &[Arc<OwnedFd>],
    ) -> Result<Vec<u8>, IntroductionError> {
        match self.exchange(command, payload, fds)? {
            Ok((payload, _)) => Ok(payload),
            Err(errno) => Err(IntroductionError::Refused { command, errno }),
        }
    }

    /// Introduces a client that has negotiated a version. If `strict`, the worker must accept all of
    /// its windows and eventfds.
    pub(super) fn introduce(
        &mut self,
        record: &Record,
        strict: bool,
    ) -> Result<(), IntroductionError> {
        let Some((version, agreed)) = &record.version else {
            return Ok(());
        };
        let again = self.demand(Command::Version, version, &[])?;
        if again != *agreed {
            let text = String::from_utf8_lossy(&again).into_owned();
            let error = IntroductionError::Version(text);
            if strict {
                return Err(error);
            }
            tracing::warn!("{error}");
        }
        for (command, payload, fds) in setup(record)? {
            match self.demand(command, &payload, &fds) {
                Err(error @ IntroductionError::Refused { .. }) if !strict => {
                    tracing::warn!("{error}");
                }
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Writes configuration space to a worker that begins with the state after power-on: what the
    /// last one had, and what was written since.
    pub(super) fn write_config(&mut self, record: &mut Record) -> Result<(), Lost> {
        let last = (0, record.config_space.clone());
        let since = std::mem::take(&mut record.config_writes);
        for (offset, data) in std::iter::once(last).chain(since) {
            if data.is_empty() {
                continue;
            }
            let access = wire::RegionAccess {
                offset,
                region: vfio::VFIO_PCI_CONFIG_REGION_INDEX,
                count: data.len() as u32,
            };
            let payload = [access.as_bytes(), &data].concat();
            if let Err(errno) = self.exchange(Command::RegionWrite, &payload, &[])? {
                tracing::warn!(offset, "configuration space not restored: {errno}");
            }
        }
        Ok(())
    }

    /// Reads configuration space; it is empty for a device that has none.
    pub(super) fn read_config(&mut self) -> Result<Vec<u8>, Lost> {
        let region = vfio::VFIO_PCI_CONFIG_REGION_INDEX;
        let request = wire::RegionInfo {
            argsz: wire::RegionInfo::SIZE as u32,
            index: region,
            ..Default::default()
        };
        let info = self.exchange(Command::DeviceGetRegionInfo, request.as_bytes(), &[])?;
        let size = info.ok().and_then(|(payload, _)| {
            let (info, _) = wire::RegionInfo::read_from_prefix(&payload).ok()?;
            Some(info.size.min(MAX_CONFIG_SPACE) as u32)
        });
        let Some(count) = size.filter(|&size| size > 0) else {
            return Ok(Vec::new());
        };
        let access = wire::RegionAccess {
            offset: 0,
            region,
            count,
        };
        let read = self.exchange(Command::RegionRead, access.as_bytes(), &[])?;
        let data = read.map(|(payload, _)| payload.get(wire::RegionAccess::SIZE..).map(Vec::from));
        Ok(data.ok().flatten().unwrap_or_default())
    }
}

/// A message to a worker.
type Setup = (Command, Vec<u8>, Vec<Arc<OwnedFd>>);

/// The messages that set up the windows and eventfds of a client, and start its log of DMA writes.
fn setup(record: &Record) -> Result<Vec<Setup>, IntroductionError> {
    let mut messages = Vec::new();
    for (address, window) in record.windows.iter() {
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        let map = wire::DmaMap {
            argsz: wire::DmaMap::SIZE as u32,
            flags: flag(window.prot.readable(), vfio::VFIO_DMA_MAP_FLAG_READ)
                | flag(window.prot.writable(), vfio::VFIO_DMA_MAP_FLAG_WRITE),
            offset: window.offset,
            address,
            size: window.size,
        };
        let dup = |errno: Errno| IntroductionError::Io { call: "dup", errno };
        let file = window.file.as_ref();
        let fd = file.map(|file| rustix::io::fcntl_dupfd_cloexec(file.as_fd(), 0));
        let fd = fd.transpose().map_err(dup)?.map(Arc::new);
        let fds = fd.into_iter().collect();
        messages.push((Command::DmaMap, map.as_bytes().to_vec(), fds));
    }
    let mut group: Vec<(&EventKey, &Arc<OwnedFd>)> = Vec::new();
    for entry in &record.eventfds {
        let follows = group.last().is_none_or(|((index, action, vector), _)| {
            entry.0 .0 == *index && entry.0 .1 == *action && entry.0 .2 == vector + 1
        });
        if !follows || group.len() == MAX_MSG_FDS {
            messages.extend(events(&group));
            group.clear();
        }
        group.push(entry);
    }
    messages.extend(events(&group));
    let log = record.log.clone();
    messages.extend(log.map(|start| (Command::DeviceFeature, start, Vec::new())));
    Ok(messages)
}

/// The message that sets up contiguous eventfds.
fn events(group: &[(&EventKey, &Arc<OwnedFd>)]) -> Option<Setup> {
    let (&(index, action, start), _) = group.first()?;
    let set = wire::IrqSet {
        argsz: wire::IrqSet::SIZE as u32,
        flags: action | vfio::VFIO_IRQ_SET_DATA_EVENTFD,
        index,
        start,
        count: group.len() as u32,
    };
    let fds = group.iter().map(|(_, fd)| (*fd).clone()).collect();
    Some((Command::DeviceSetIrqs, set.as_bytes().to_vec(), fds))
}
