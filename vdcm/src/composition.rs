// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data plane of a composed device: turns the calls of the control plane into messages to ADIs.
//!
//! Each virtual port is an ADI. Queues and vectors are numbered device-wide by the control plane,
//! and from 0 within each ADI; [`Frames`] relates the two. A call that an ADI does not execute is
//! recorded, and the driver's request is refused for it ([`DataPlane::take_refusal`]). An ADI that
//! fails to stop queues, to reset or to unregister memory is closed, which stops it.

mod data_plane;
mod dma;
mod limiter;
mod messages;
mod port;
mod suspension;
#[cfg(test)]
mod tests;
mod written;

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use adit_function::control::Refusal;
use adit_function::dataplane::{QueueId, QueueKind, VportCounters};
use adit_function::ids::VportId;
use adit_function::layout::Frames;
use adit_function::mac::MacAddr;
use adit_function::memory::{GuestMemory, WriteLog};
use adit_function::vport::{VportConfig, RSS_LUT_LEN};
use adit_uapi::virtchnl2::adi::fault_reason;
use adit_vfio_user::EventFd;
use zerocopy::little_endian::U32;

use crate::backend::{Adi, AdiError, DoorbellPages, KeptAdi, Properties};
use crate::protocol::{AdiInfo, AdiState, AdiStats, Limits, TraceEvent};
use crate::trace::{opcode_name, Trace};
use limiter::Limiter;
use messages::Message;
use port::Port;

pub use dma::DmaError;
pub(crate) use suspension::PortState;

/// The ADIs of a device, and the client's memory.
pub struct Composition {
    frames: Frames,
    limits: Limits,
    ports: Vec<Port>,
    /// The client's memory, for the mailbox.
    memory: GuestMemory,
    windows: dma::Windows,
    /// The log of what the ADIs and the mailbox write, if there is one.
    log: Option<Arc<WriteLog>>,
    /// Set if the marks of a log of a predecessor of this process may be lost.
    unreported: bool,
    /// The reason for which the request in progress is refused.
    refusal: Cell<Option<Refusal>>,
    limiter: Limiter,
    pub(crate) trace: RefCell<Trace>,
    /// The configuration of virtual ports that do not exist.
    none: VportConfig,
}

impl Composition {
    /// A composition of ADIs in the state after opening, of which each has what `frames` says.
    #[must_use]
    pub fn new(adis: Vec<Box<dyn Adi>>, frames: Frames, limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            frames,
            limits,
            ports: adis.into_iter().map(Port::new).collect(),
            memory: GuestMemory::new(),
            windows: dma::Windows::default(),
            log: None,
            unreported: false,
            refusal: Cell::new(None),
            limiter: Limiter::new(&limits, now),
            trace: RefCell::new(Trace::new(now)),
            none: VportConfig::default(),
        }
    }

    /// The resources of the ADIs.
    #[must_use]
    pub fn frames(&self) -> Frames {
        self.frames
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The properties of the ADIs.
    #[must_use]
    pub fn properties(&self) -> Vec<&Properties> {
        self.ports.iter().map(|port| &port.properties).collect()
    }

    /// Makes a file out of the doorbell pages of all ADIs.
    ///
    /// # Errors
    /// Fails when an ADI is gone, or the back end cannot make such a file.
    pub fn pages(&self) -> Result<DoorbellPages, AdiError> {
        let adis = self.ports.iter().map(Port::borrow);
        let adis = adis.collect::<Option<Vec<_>>>().ok_or(AdiError::Gone)?;
        let adis: Vec<&dyn Adi> = adis.iter().map(|adi| adi.as_ref()).collect();
        join_pages(&adis)
    }

    /// Takes the doorbell pages of all ADIs away from a client that has left; returns whether a new
    /// file has to be made out of them.
    pub fn revoke_pages(&mut self) -> bool {
        let revoked = self.ports.iter_mut().map(Port::revoke_pages);
        revoked.fold(false, |any, revoked| any | revoked)
    }

    /// The name of the ADI of a virtual port.
    #[must_use]
    pub fn name(&self, vport: u16) -> String {
        let port = self.ports.get(usize::from(vport));
        port.map_or_else(String::new, |port| port.name.clone())
    }

    /// The numbers of queue pairs and vectors of the ADI of this name that a virtual port has, in a group or
    /// alone.
    #[must_use]
    pub fn named(&self, vport: u16, name: &str) -> Option<(u16, u16)> {
        self.ports.get(usize::from(vport))?.named(name)
    }

    /// Gives the only ADI a file of doorbell pages that a client has mapped already.
    ///
    /// # Errors
    /// Fails when there are several ADIs, the ADI is gone, or the back end cannot do that.
    pub fn adopt_pages(&mut self, pages: OwnedFd) -> Result<(), AdiError> {
        match &mut self.ports[..] {
            [port] => port.adopt_pages(pages),
            ports => Err(AdiError::Limit {
                what: "taking over doorbell pages",
                reason: format!("the device has {} ADIs: one can", ports.len()),
            }),
        }
    }

    /// Returns whether one of the ADIs is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.ports.iter().any(Port::is_gone)
    }

    /// Closes the ADI of a virtual port, which has gone or must be closed.
    pub fn close(&mut self, vport: u16) {
        if let Some(port) = self.ports.get_mut(usize::from(vport)) {
            port.close();
        }
    }

    /// Leaves all ADIs open for a successor of this process, where there is a keeper, and closes them
    /// otherwise.
    pub fn leave(&mut self) {
        self.ports.iter_mut().for_each(Port::leave);
    }

    /// Restores the state after opening in ADIs that were inherited from a process that has ended.
    pub(crate) fn begin_anew(&mut self) {
        self.ports.iter_mut().for_each(Port::begin_anew);
    }

    /// The ADIs that a virtual port consists of; `None` if its ADI is closed.
    pub(crate) fn members(&self, vport: u16) -> Option<Vec<KeptAdi>> {
        self.ports.get(usize::from(vport))?.members()
    }

    /// Closes the ADI of a virtual port if it reports that it has gone, or must be closed. An event
    /// can be late: then it is about an ADI that has been replaced.
    pub fn close_if_gone(&mut self, vport: u16) {
        if let Some(port) = self.ports.get_mut(usize::from(vport)) {
            if port.reports_gone() {
                port.close();
            }
        }
    }

    /// Restores the state after opening in all ADIs. Windows and eventfds are kept. When this
    /// returns, no queue accesses memory.
    pub fn reset(&mut self) {
        self.ports.iter_mut().for_each(Port::reset);
        self.refusal.set(None);
        self.limiter.forget();
    }

    /// Replaces the ADI of a virtual port by one in the state after opening, with the same
    /// resources, and registers the client's memory for it. The device must have been reset. Its
    /// eventfds have to be set afterwards.
    ///
    /// # Errors
    /// Fails when it cannot register a window; it is closed then, and the port has no ADI.
    pub fn replace(&mut self, vport: u16, adi: Box<dyn Adi>) -> Result<(), DmaError> {
        let at = usize::from(vport);
        if let Some(port) = self.ports.get_mut(at) {
            *port = Port::new(adi);
            self.log_replacement(at);
            return self
                .register_all(at)
                .inspect_err(|_| self.ports[at].close());
        }
        Ok(())
    }

    /// Sets the eventfd of a vector of an ADI. An ADI that is gone needs none.
    ///
    /// # Errors
    /// Fails when the ADI does.
    pub fn set_vector(
        &mut self,
        vport: u16,
        vector: u16,
        eventfd: Option<&EventFd>,
    ) -> Result<(), AdiError> {
        let Some(port) = self.ports.get_mut(usize::from(vport)) else {
            return Ok(());
        };
        let result = match port.adi() {
            Ok(adi) => adi.set_vector(vector, eventfd),
            Err(_) => return Ok(()),
        };
        match port.note(result) {
            Err(AdiError::Gone) => Ok(()),
            other => other,
        }
    }

    /// Reads the links again, and returns the virtual ports whose have changed.
    pub fn refresh_links(&mut self) -> Vec<VportId> {
        let ports = (0..).zip(&mut self.ports);
        ports
            .filter_map(|(id, port)| port.refresh_link().then_some(VportId(id)))
            .collect()
    }

    /// Reads the fault of an ADI, and records it if there is one. An event can be late: then the fault was
    /// recorded before.
    pub fn take_fault(&mut self, vport: u16) {
        let port = self.ports.get_mut(usize::from(vport));
        let Some(fault) = port.and_then(Port::take_fault) else {
            return;
        };
        let reason = fault_reason::name(fault.reason.get()).unwrap_or("unknown");
        let text = format!(
            "{reason} at {:#x}, queue {} of type {}",
            fault.address.get(),
            fault.queue_id.get(),
            fault.queue_type.get()
        );
        let vport = vport.into();
        self.record(TraceEvent::AdiFault { vport, fault: text });
    }

    /// Reads the faults of all ADIs, whose events were not handled for some time.
    pub(crate) fn take_faults(&mut self) {
        (0..self.frames.adis).for_each(|vport| self.take_fault(vport));
    }

    /// Returns whether a request waits for the limit of messages.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.limiter.waiting()
    }

    /// The number of requests that had to wait for the limit of messages.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.limiter.delayed()
    }

    /// The ADIs.
    #[must_use]
    pub fn adis(&self) -> Vec<AdiInfo> {
        let info = |port: &Port| AdiInfo {
            name: port.name.clone(),
            mac: MacAddr(port.properties.mac),
            vlan: port.properties.vlan,
            pairs: port.properties.pairs,
            vectors: port.properties.vectors,
            state: match (port.is_gone(), port.link.up) {
                (true, _) => AdiState::Gone,
                (false, true) => AdiState::Up,
                (false, false) => AdiState::Down,
            },
            speed_mbps: port.link.speed_mbps,
        };
        self.ports.iter().map(info).collect()
    }

    /// The counters of the ADIs.
    #[must_use]
    pub fn adi_stats(&self) -> Vec<AdiStats> {
        let stats = |(id, port): (u32, &Port)| AdiStats {
            name: port.name.clone(),
            traffic: self.read_counters(id).map(Into::into),
            requests: port.requests.get(),
            refused: port.refused.get(),
            faults: port.faults,
        };
        (0..).zip(&self.ports).map(stats).collect()
    }

    pub(crate) fn record(&self, event: TraceEvent) {
        self.trace.borrow_mut().record(event);
    }

    fn port(&self, vport: VportId) -> Option<&Port> {
        self.ports.get(vport.index())
    }

    /// The number of queues of a kind of each virtual port.
    fn queues_per_port(&self, kind: QueueKind) -> u32 {
        u32::from(match kind {
            QueueKind::Tx | QueueKind::TxCompletion => self.frames.pairs,
            QueueKind::Rx => self.frames.rx_queues,
            QueueKind::RxBuffer => 2 * self.frames.rx_queues,
        })
    }

    /// The virtual port of a queue, and the queue's number in the ADI.
    fn place(&self, queue: QueueId) -> Option<(VportId, QueueId)> {
        let each = self.queues_per_port(queue.kind);
        let vport = VportId(queue.index.checked_div(each)?);
        let own = QueueId {
            index: queue.index % each,
            ..queue
        };
        self.port(vport).map(|_| (vport, own))
    }

    /// Sends a message to the ADI of a virtual port; returns whether it was executed. If not, the
    /// request in progress is refused.
    fn send(&self, vport: VportId, message: &Message) -> bool {
        let mut reply = Vec::new();
        let result = match self.port(vport) {
            Some(port) => port.send(message, &mut reply),
            None => Err(AdiError::Gone),
        };
        self.record(TraceEvent::AdiRequest {
            vport: vport.0,
            opcode: message.opcode,
            name: opcode_name(message.opcode).to_owned(),
            error: result.as_ref().err().map(ToString::to_string),
        });
        if result.is_err() {
            self.refuse(Refusal::DataPlane);
        }
        result.is_ok()
    }

    /// Refuses the request in progress, unless it is already.
    fn refuse(&self, refusal: Refusal) {
        let first = self.refusal.get().unwrap_or(refusal);
        self.refusal.set(Some(first));
    }

    fn read_counters(&self, vport: u32) -> Option<VportCounters> {
        let port = self.port(VportId(vport))?;
        let mut reply = Vec::new();
        port.send(&port.encoder.stats(), &mut reply).ok()?;
        let counters = messages::counters(&reply)?;
        port.counters.set(counters);
        Some(counters)
    }

    /// Spreads the flows of a virtual port as its look-up table says. The ADI's table is one of all
    /// its RX queues, of which the virtual port may use fewer.
    fn send_rss_lut(&self, vport: VportId) {
        let Some(port) = self.port(vport) else { return };
        if port.config.rx_queues.is_empty() {
            return;
        }
        let each = self.queues_per_port(QueueKind::Rx).max(1);
        let entries: Vec<_> = (0..RSS_LUT_LEN as u32)
            .map(|hash| U32::new(port.config.rx_queue(hash).unwrap_or(0) % each))
            .collect();
        self.send(vport, &port.encoder.rss_lut(&entries));
    }
}

/// Makes one file out of the doorbell pages of ADIs, in their order: a client can map one file for
/// each region.
fn join_pages(adis: &[&dyn Adi]) -> Result<DoorbellPages, AdiError> {
    if let [adi] = adis {
        let pages = adi.pages()?;
        let file = pages.file.try_clone().map_err(|source| AdiError::Io {
            what: "duplicating the file of doorbell pages",
            source,
        })?;
        return Ok(DoorbellPages {
            file,
            count: pages.count,
        });
    }
    let parts = adis.iter().map(|adi| Ok(adi.pages()?.into()));
    let parts = parts.collect::<Result<Vec<_>, AdiError>>()?;
    match adis.first() {
        Some(first) => first.join_pages(&parts),
        None => Err(AdiError::Gone),
    }
}
