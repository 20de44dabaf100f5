// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs over VFIO: devices of `adit_vfio`, opened by name.
//!
//! The ADI is the kernel's, and so are its limits (`adit_uapi::vfio`): messages are checked and
//! their ids are relative, memory is pinned when it is registered, vectors signal eventfds in the
//! kernel. Pages for clients are in a file that can do nothing but map them (PAGES_FD).

mod kept;
mod log;
mod memory;
mod pages;
mod provider;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use adit_adi::{stop_log, Device, Error, Memory, Page, Pages};
use adit_function::ids::AdiId;
use adit_function::memory::WriteLog;
use adit_uapi::vfio::{adi_state, irq, memory_flags, op as adit_op, AdiInfo};
use adit_uapi::virtchnl2::adi::{op as adi_op, ResetAdi};
use adit_vfio_user::migration::IovaRange;
use adit_vfio_user::EventFd;
use rustix::event::{eventfd, EventfdFlags};
use zerocopy::IntoBytes;

use self::kept::{Keeping, Left};
use self::log::AdiLog;
use self::pages::{doorbell_pages, give, poll_doorbells};
use crate::backend::{
    Adi, AdiError, DoorbellPages, Ids, KeptAdi, Link, Member, PagesPart, Properties, Window,
};

pub use self::kept::KeptAdis;
pub use self::provider::VfioProvider;

/// The speed that is reported of a link in Mbit/s. An owner cannot ask for that of its ADI's port.
const SPEED_MBPS: u32 = 10_000;

/// An open ADI.
pub struct VfioAdi {
    name: String,
    properties: Properties,
    pages: DoorbellPages,
    gone: OwnedFd,
    fault: OwnedFd,
    device: Box<dyn Device>,
    /// By address, with the accesses that are permitted. Declared after `device`, so that the device is closed
    /// before its memory is unmapped.
    windows: BTreeMap<u64, (Memory, u32)>,
    /// Set while it is another process's: what is set here is recorded, and nothing reaches the ADI.
    held: bool,
    /// The eventfds that were set while it was held.
    vectors: BTreeMap<u16, OwnedFd>,
    /// The log of what it writes, if it is to be known.
    log: Option<AdiLog>,
    /// Set while its descriptors are kept for a successor of this process.
    keeping: Option<Keeping>,
}

/// Returns a conversion of errors of an operation.
fn failed(what: &'static str) -> impl Fn(Error) -> AdiError {
    move |error| match error {
        error if error.is_gone() => AdiError::Gone,
        Error::Refused { opcode, source } => AdiError::Refused {
            opcode,
            reason: source.to_string(),
        },
        Error::Io { what, source } => AdiError::Io { what, source },
        Error::Config { .. } => AdiError::Limit {
            what,
            reason: error.to_string(),
        },
        error => AdiError::Io {
            what,
            source: io::Error::other(error),
        },
    }
}

fn event() -> Result<OwnedFd, AdiError> {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(|errno| AdiError::Io {
        what: "creating an eventfd",
        source: errno.into(),
    })
}

fn properties(info: &AdiInfo) -> Properties {
    Properties {
        mac: info.mac,
        vlan: info.vlan.get(),
        pairs: info.num_queue_pairs.get(),
        vectors: info.num_vectors.get(),
        max_mtu: info.max_mtu.get(),
        max_ring_len: info.max_ring_len.get(),
        iova: info.iova_first.get()..=info.iova_last.get(),
        max_registrations: info.max_registrations.get(),
        max_registered_len: info.max_registered_len.get(),
    }
}

impl VfioAdi {
    /// Sets up an ADI that was just opened.
    ///
    /// # Errors
    /// Fails when it is gone, it does not know a message, or the system has no descriptors left.
    pub fn new(name: &str, device: Box<dyn Device>) -> Result<Self, AdiError> {
        let what = "setting up an ADI";
        let properties = properties(&device.info().map_err(failed(what))?);
        let (gone, fault) = (event()?, event()?);
        for (index, event) in [(irq::REQUEST, &gone), (irq::FAULT, &fault)] {
            device
                .set_eventfds(index, 0, &[Some(event.as_fd())])
                .map_err(failed(what))?;
        }
        poll_doorbells(&*device)?;
        Ok(Self {
            name: name.to_owned(),
            pages: give(&*device, &properties)?,
            properties,
            gone,
            fault,
            device,
            windows: BTreeMap::new(),
            held: false,
            vectors: BTreeMap::new(),
            log: None,
            keeping: None,
        })
    }

    /// Keeps it for a successor of this process.
    fn keep(&mut self, kept: &KeptAdis) -> Result<(), AdiError> {
        let (gone, fault) = (self.gone.as_fd(), self.fault.as_fd());
        let keeping = kept.keep(&self.name, &*self.device, gone, fault, &self.pages);
        self.keeping = Some(keeping.map_err(|source| AdiError::Io {
            what: "keeping an ADI for a successor of this process",
            source,
        })?);
        Ok(())
    }

    /// Continues with an ADI that a predecessor has left. It is held until it is the predecessor's no more.
    fn inherited(name: &str, left: Left) -> Result<Self, AdiError> {
        let info = left.device.info().map_err(failed("inheriting an ADI"))?;
        if info.state.get() != adi_state::ACTIVE {
            return Err(AdiError::Gone);
        }
        Ok(Self {
            name: name.to_owned(),
            properties: properties(&info),
            pages: left.pages,
            gone: left.gone,
            fault: left.fault,
            device: left.device,
            windows: BTreeMap::new(),
            held: true,
            vectors: BTreeMap::new(),
            log: None,
            keeping: Some(left.keeping),
        })
    }

    /// Resets the ADI, and has its log go on.
    fn reset_by(
        &self,
        reset: impl FnOnce(&dyn Device) -> Result<(), Error>,
    ) -> Result<(), AdiError> {
        if let Some(log) = &self.log {
            log.before_reset(&*self.device);
        }
        reset(&*self.device).map_err(failed("resetting an ADI"))?;
        if let Some(log) = &self.log {
            log.after_reset(&*self.device);
        }
        Ok(())
    }

    /// Ends the NIC's log.
    fn stop_log(&self) {
        if let Err(error) = stop_log(&*self.device) {
            tracing::debug!(adi = self.name, %error, "a log was not ended");
        }
    }

    fn set_eventfd(&self, vector: u16, eventfd: Option<BorrowedFd<'_>>) -> Result<(), AdiError> {
        self.device
            .set_eventfds(irq::VECTORS, vector.into(), &[eventfd])
            .map_err(failed("setting the eventfd of a vector"))
    }
}

impl Drop for VfioAdi {
    fn drop(&mut self) {
        // What it has written last is not known any longer.
        if let Some(log) = &self.log {
            log.mark_all();
        }
        // One that is held is the predecessor's.
        if let Some(keeping) = self.keeping.take().filter(|_| !self.held) {
            keeping.end();
        }
    }
}

impl Adi for VfioAdi {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn members(&self) -> Vec<KeptAdi> {
        vec![KeptAdi {
            name: self.name.clone(),
            opening: self.keeping.as_ref().map_or(0, Keeping::opening),
            properties: self.properties.clone(),
        }]
    }

    fn ids(&self) -> Ids {
        Ids::default()
    }

    fn link(&self) -> Result<Link, AdiError> {
        let info = self
            .device
            .info()
            .map_err(failed("reading the state of an ADI"))?;
        if info.state.get() != adi_state::ACTIVE {
            return Err(AdiError::Gone);
        }
        Ok(Link {
            up: true,
            speed_mbps: SPEED_MBPS,
        })
    }

    fn request(
        &mut self,
        opcode: u32,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), AdiError> {
        // Memory and resets have functions of their own, which keep account of them.
        if matches!(
            opcode,
            adit_op::REGISTER_MEMORY | adit_op::UNREGISTER_MEMORY | adi_op::RESET_ADI
        ) {
            return Err(AdiError::Refused {
                opcode,
                reason: "it is not a message of a composed device".into(),
            });
        }
        if self.held {
            // The ADI is as the message would have it already: the predecessor has sent it.
            reply.clear();
            return Ok(());
        }
        *reply = self
            .device
            .request(opcode, payload)
            .map_err(failed("sending a message"))?;
        Ok(())
    }

    fn map(&mut self, window: &Window) -> Result<(), AdiError> {
        self.check(window)?;
        let flags = [
            (window.access.read, memory_flags::READ),
            (window.access.write, memory_flags::WRITE),
        ];
        let flags = flags
            .iter()
            .filter(|(permitted, _)| *permitted)
            .fold(0, |flags, (_, flag)| flags | flag);
        if flags == 0 {
            return Err(AdiError::Limit {
                what: "registering memory",
                reason: format!("the window at {:#x} permits no access", window.iova),
            });
        }
        let file = window.file.as_fd();
        let memory = Memory::of_file(file, window.offset, window.len, window.iova)
            .map_err(failed("mapping the client's memory"))?;
        let memory = match self.held {
            true => memory,
            false => self.map_memory(memory, flags)?,
        };
        self.windows.insert(window.iova, (memory, flags));
        Ok(())
    }

    fn unmap(&mut self, iova: u64, len: u64) -> Result<(), AdiError> {
        let memory = match self.windows.get(&iova) {
            Some((memory, _)) if memory.len() == len => self.windows.remove(&iova),
            _ => None,
        };
        let Some((memory, _)) = memory else {
            return Err(AdiError::Limit {
                what: "unregistering memory",
                reason: format!("there is no window of {len:#x} bytes at {iova:#x}"),
            });
        };
        if self.held {
            return Ok(());
        }
        // Queues continue: the client may unmap what they do not use.
        let flags = memory_flags::KEEP_QUEUES;
        if let Err(error) = self.device.unregister_memory(&memory, flags) {
            // Unmapping it from the container makes the kernel unregister it.
            tracing::debug!(adi = self.name, iova, %error, "memory was not unregistered");
        }
        self.unmap_memory(memory)
    }

    fn log_writes(&mut self, log: Option<Arc<WriteLog>>) -> bool {
        let had = self.log.take().is_some();
        let Some(log) = log.filter(|_| !self.held) else {
            if had {
                self.stop_log();
            }
            return false;
        };
        let (first, last) = (self.properties.iova.start(), self.properties.iova.end());
        let possible = *first..last.saturating_add(1);
        match AdiLog::start(&*self.device, log, possible) {
            Ok(log) => self.log = Some(log),
            // Of a NIC or a driver without such logs.
            Err(error) => tracing::debug!(adi = self.name, %error, "DMA writes are not logged"),
        }
        self.log.is_some()
    }

    fn collect_writes(&self, range: IovaRange) {
        if let Some(log) = &self.log {
            log.collect(&*self.device, range);
        }
    }

    fn set_vector(&mut self, vector: u16, eventfd: Option<&EventFd>) -> Result<(), AdiError> {
        if self.held {
            let eventfd = eventfd.map(|event| event.as_fd().try_clone_to_owned());
            let eventfd = eventfd.transpose().map_err(|source| AdiError::Io {
                what: "duplicating an eventfd",
                source,
            })?;
            match eventfd {
                Some(eventfd) => self.vectors.insert(vector, eventfd),
                None => self.vectors.remove(&vector),
            };
            return Ok(());
        }
        self.set_eventfd(vector, eventfd.map(AsFd::as_fd))
    }

    fn pages(&self) -> Result<&DoorbellPages, AdiError> {
        Ok(&self.pages)
    }

    fn join_pages(&self, parts: &[PagesPart<'_>]) -> Result<DoorbellPages, AdiError> {
        let what = "joining files of doorbell pages";
        let given: Vec<_> = parts
            .iter()
            .map(|part| {
                let pages = part.pages;
                Ok(Pages::new(pages.file.try_clone()?.into(), pages.count))
            })
            .collect::<io::Result<_>>()
            .map_err(|source| AdiError::Io { what, source })?;
        let listed = |(pages, part): (_, &PagesPart<'_>)| {
            part.range
                .clone()
                .map(move |page| Page::Given { pages, page })
        };
        let pages: Vec<_> = given.iter().zip(parts).flat_map(listed).collect();
        self.device
            .give(&pages)
            .map(doorbell_pages)
            .map_err(failed(what))
    }

    fn member(&self) -> Result<Member<'_>, AdiError> {
        let what = "joining ADIs in a group";
        let member = self.device.member().map_err(failed(what))?;
        let id = member.device_adi_id;
        let id = u16::try_from(id).map_err(|_| AdiError::Limit {
            what,
            reason: format!("{} has the id {id}, which no ADI can have", self.name),
        })?;
        Ok(Member {
            id: AdiId(id),
            device: Some(member.device),
        })
    }

    fn lead(&mut self, members: &[Member<'_>]) -> Result<(), AdiError> {
        let what = "joining ADIs in a group";
        let mut named = Vec::with_capacity(members.len());
        for member in members {
            let device = member.device.ok_or_else(|| AdiError::Limit {
                what,
                reason: format!("ADI {} is none over VFIO", member.id.0),
            })?;
            named.push(adit_adi::Member {
                device,
                device_adi_id: member.id.0.into(),
            });
        }
        self.device.lead(&named).map_err(failed(what))
    }

    fn revoke_pages(&mut self) -> Result<(), AdiError> {
        if self.held {
            return Ok(());
        }
        self.reset_by(|device| device.reset())?;
        poll_doorbells(&*self.device)?;
        self.pages = give(&*self.device, &self.properties)?;
        if let Some(keeping) = &self.keeping {
            keeping.keep_pages(&self.pages);
        }
        Ok(())
    }

    fn take_over(&mut self) {
        // The predecessor has mapped the windows, and set the same eventfds.
        if std::mem::take(&mut self.held) {
            // Nobody reads its log any more, which costs the NIC memory and would be in the way of the next one.
            self.stop_log();
        }
        self.vectors.clear();
    }

    fn begin_anew(&mut self) -> Result<(), AdiError> {
        if !std::mem::take(&mut self.held) {
            return Ok(());
        }
        // No queue accesses memory then, nor does a driver that maps it here find it in use.
        self.reset()?;
        let unmapped = self.device.unmap_all();
        unmapped.map_err(failed("unmapping the memory of another process"))?;
        for vector in 0..self.properties.vectors {
            let eventfd = self.vectors.get(&vector).map(AsFd::as_fd);
            self.set_eventfd(vector, eventfd)?;
        }
        self.vectors.clear();
        for (iova, (memory, flags)) in std::mem::take(&mut self.windows) {
            let memory = self.map_memory(memory, flags)?;
            self.windows.insert(iova, (memory, flags));
        }
        Ok(())
    }

    fn leave_open(&mut self) {
        self.keeping = None;
    }

    fn reset(&mut self) -> Result<(), AdiError> {
        if self.held {
            return Ok(());
        }
        // Not VFIO_DEVICE_RESET, which also revokes the pages that the client has mapped.
        self.reset_by(|device| {
            let message = ResetAdi::default();
            device
                .request(adi_op::RESET_ADI, message.as_bytes())
                .map(drop)
        })?;
        poll_doorbells(&*self.device)
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }

    fn fault(&self) -> BorrowedFd<'_> {
        self.fault.as_fd()
    }
}
