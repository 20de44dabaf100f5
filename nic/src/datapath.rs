// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data plane: frames on their way between wires and drivers, polled in bursts.
//!
//! A frame comes from a wire ([`receive`]), from a TX queue ([`transmit`]) or from the control plane
//! of the program. The stages are pure: the program stage ([`program`]) modifies the frame and
//! returns its [`Destination`](destination::Destination), and so does the [`switch`] if the program
//! has selected none. One place takes it there: [`Fabric::dispatch`], which has the host side
//! ([`host`]: virtual ports and their [`queues`]) and the [`wires`].

mod adi;
mod dataplane;
mod deliver;
mod destination;
mod fabric;
mod flood;
mod fragments;
mod host;
mod program;
mod ptype;
mod queues;
mod receive;
mod saved;
mod switch;
#[cfg(test)]
mod tests;
mod tracing;
mod transmit;
mod vlan;
mod vport;
mod wires;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use adit_conntrack::FragmentStatistics;
use adit_pipeline::offload::FrameMeta;
use adit_pipeline::p4::Engine;
use adit_trace::{Injection, Record, Refused, Watcher};

use crate::doorbells::Doorbells;
use crate::drops::Drops;
use crate::forwarding::Forwarding;
use crate::frame::Frame;
use crate::ids::{AdiId, P4Port, VportId, WireIndex};
use crate::layout::RegisterLayout;
use crate::pasid::{Pasid, Translator};
use crate::program::Program;
use crate::queues::QueueFault;
use crate::wire::{Port, MAX_FRAME_LEN};
use destination::Source;
use fabric::Fabric;
use flood::Floods;
use host::Host;
use program::ProgramStage;
use receive::Ingress;
use switch::Switch;
use tracing::Tracing;
use transmit::{Egress, HEADER};
use wires::Wires;

pub use adi::AdiTotals;
pub use flood::FloodCounters;
pub use queues::Queues;
pub use saved::{AdiState, AdisState, PortState, QueuesState, TotalsState};

/// The maximum number of frames that a port or queue moves before its neighbours get their turn.
const BURST: usize = 64;
/// The maximum number of bursts per turn, after which any thread that waits for the device lock
/// gets it.
const BURSTS_PER_TURN: usize = 64;
/// The maximum number of packets from the control plane that are sent in a turn.
const PACKETS_OUT: usize = 64;
/// The time that a frame may wait for a full wire before it is dropped, in nanoseconds.
const MAX_STALL_NS: u64 = 200_000_000;

/// The device's resource limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of RX queues.
    pub rx: u32,
    /// The number of TX queues, and of completion queues.
    pub tx: u32,
    /// The number of RX buffer queues.
    pub buffer: u32,
    /// The number of interrupt vectors.
    pub vectors: u32,
    /// The register layout, which has the doorbells.
    pub layout: RegisterLayout,
}

impl Limits {
    /// Creates the doorbell pages, or inherits those in a file.
    fn doorbells(&self, inherited: Option<OwnedFd>) -> std::io::Result<Doorbells> {
        let &Self {
            layout,
            buffer,
            tx,
            vectors,
            ..
        } = self;
        match inherited {
            Some(file) => Doorbells::inherit(file, layout, buffer, tx, vectors),
            None => Doorbells::new(layout, buffer, tx, vectors),
        }
    }
}

/// The result of a poll.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Set if anything was moved.
    pub busy: bool,
    /// Set if frames came from a wire, or are still waiting to be delivered.
    pub received: bool,
    /// Set if frames came from a driver.
    pub sent: bool,
    /// The time at which there will be work without a doorbell or a frame (nanoseconds on the
    /// caller's clock).
    pub due: Option<u64>,
}

/// All state of the data path: the frames that are on their way, the program, and the fabric.
pub struct Datapath {
    fabric: Fabric,
    program: ProgramStage,
    /// Frames received from each wire.
    ingress: Vec<Ingress>,
    /// Frames that wait for each wire.
    egress: Vec<Egress>,
    /// The packet that was gathered from a TX queue.
    tx_frame: Frame,
    /// A segment of a frame for the program, or a packet of the control plane.
    segment: Frame,
}

impl Datapath {
    /// Creates a data plane with a virtual port on each wire, and with the doorbells of a PF.
    ///
    /// # Errors
    /// When the host has no memory for the doorbell pages.
    pub fn new(limits: Limits, wires: Vec<Option<Box<dyn Port>>>) -> std::io::Result<Self> {
        Self::with_pages(limits, wires, None)
    }

    /// Creates a data plane like [`new`](Self::new), with the file of the doorbell pages of a
    /// process that is gone, if there is one.
    ///
    /// # Errors
    /// When the file has no such pages, or the host has no memory for them.
    pub fn with_pages(
        limits: Limits,
        wires: Vec<Option<Box<dyn Port>>>,
        pages: Option<OwnedFd>,
    ) -> std::io::Result<Self> {
        let count = wires.len();
        let fabric = Fabric {
            wires: Wires::new(wires),
            host: Host::new(limits, limits.doorbells(pages)?, count),
            switch: Switch::default(),
            floods: Floods::default(),
            tracing: Tracing::default(),
        };
        Ok(Self {
            fabric,
            program: ProgramStage::default(),
            ingress: (0..count).map(|_| Ingress::default()).collect(),
            egress: (0..count).map(|_| Egress::default()).collect(),
            tx_frame: Frame::default(),
            segment: Frame::default(),
        })
    }

    /// Allocates resources for ADIs with `pairs` queue pairs together, whose requests `translator`
    /// translates.
    ///
    /// # Errors
    /// When the host has no address space for their doorbells.
    pub fn with_adis(mut self, pairs: u32, translator: Translator) -> std::io::Result<Self> {
        self.queues_mut().reserve_adis(pairs, translator)?;
        Ok(self)
    }

    /// The queues, with their doorbells, interrupts and memory.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        &self.fabric.host.queues
    }

    /// The queues, with their doorbells, interrupts and memory.
    pub fn queues_mut(&mut self) -> &mut Queues {
        &mut self.fabric.host.queues
    }

    /// The number of virtual ports with a wire.
    #[must_use]
    pub fn vport_count(&self) -> u32 {
        self.fabric.wires.len() as u32
    }

    /// The virtual ports with a wire.
    pub fn vports(&self) -> impl Iterator<Item = VportId> {
        self.fabric.wires.indexes().map(WireIndex::pf)
    }

    /// The wire of a virtual port.
    #[must_use]
    pub fn wire(&self, vport: VportId) -> Option<&dyn Port> {
        self.fabric.wires.port(WireIndex::of_pf(vport))
    }

    /// The drop counters of a virtual port, by reason.
    #[must_use]
    pub fn drops(&self, vport: VportId) -> Option<&Drops> {
        self.fabric.host.vports.get(vport).map(|v| &v.drops)
    }

    /// The PASID of a virtual port.
    #[must_use]
    pub fn pasid(&self, vport: VportId) -> Option<Pasid> {
        self.fabric.host.vports.get(vport)?.pasid()
    }

    /// The totals of all ADIs.
    #[must_use]
    pub fn adi_totals(&self) -> AdiTotals {
        self.fabric.adi_totals()
    }

    /// The number of queues that a fault has stopped so far, and the last fault.
    #[must_use]
    pub fn faults(&self) -> (u64, Option<QueueFault>) {
        self.fabric.host.faults
    }

    /// The engine of the running program, if one was set.
    #[must_use]
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        self.program.engine()
    }

    /// The incomplete datagrams that are held for the program, and the bytes of their fragments.
    #[must_use]
    pub fn held_fragments(&self) -> (usize, usize) {
        self.program.held.held()
    }

    /// The counters of the fragments that are held for the program.
    #[must_use]
    pub fn fragment_statistics(&self) -> FragmentStatistics {
        self.program.held.statistics()
    }

    /// Replaces the program, from the next frame on; ports and queues, with their frames, are
    /// unchanged.
    pub fn set_program(&mut self, program: Program) {
        self.program.set(program);
        self.fabric.wires.request_merged(true);
    }

    /// Adds a client that wants traces of packets; returns its number. The program's engine must be
    /// prepared for that ([`Engine::prepare_trace`]).
    ///
    /// # Errors
    /// When there are too many.
    pub fn add_watcher(&mut self, watcher: Watcher) -> Result<u64, Refused> {
        let client = self.fabric.tracing.add(watcher)?;
        self.program.trace(true);
        Ok(client)
    }

    /// Removes a client that wants traces.
    pub fn remove_watcher(&mut self, client: u64) {
        self.fabric.tracing.remove(client);
        self.program.trace(self.is_traced());
    }

    /// Returns whether clients want traces.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.fabric.tracing.is_active()
    }

    /// Sends a packet through the NIC as though a port had received it at the time `now`, and returns
    /// its trace.
    ///
    /// # Errors
    /// When there is no such port, no frame has this length, or too many packets were traced in this
    /// second.
    pub fn inject(&mut self, now: u64, injection: &Injection) -> Result<Record, Refused> {
        let port = P4Port(injection.port);
        let source = match port.vport() {
            Some(vport) if self.fabric.host.vports.exists(vport) => Source::Vport {
                vport,
                uplink: self.fabric.host.uplink(vport),
                queue: injection.queue,
            },
            None if (port.0 as usize) < self.fabric.wires.len() => Source::Wire(WireIndex(port.0)),
            _ => return Err(Refused::Port(injection.port)),
        };
        let (fabric, frame, length) = (&mut self.fabric, &mut self.segment, injection.data.len());
        if !(HEADER..=MAX_FRAME_LEN).contains(&length) || !frame.copy_from(&injection.data) {
            return Err(Refused::Length {
                length,
                least: HEADER,
                most: MAX_FRAME_LEN,
            });
        }
        fabric.tracing.begin_injection(now)?;
        fabric.host.now = now;
        self.program.trace(true);
        let mut meta = FrameMeta::default();
        let to = self.program.run_with(fabric, source, frame, &mut meta);
        fabric.dispatch_now(source, frame, meta, to);
        // Translations for its queue must not be used for the next.
        fabric.host.queues.translator.flush();
        let record = fabric.tracing.end_injection();
        self.program.trace(self.is_traced());
        // There is none without a program, and of a fragment that waits for the others.
        Ok(record.unwrap_or_else(|| tracing::record(source, &self.segment, now)))
    }

    /// Reads the link state of every wire again; returns the virtual ports whose link changed.
    pub fn refresh_links(&mut self) -> Vec<VportId> {
        self.fabric.wires.refresh_links()
    }

    /// Returns whether a link can change without a notification.
    #[must_use]
    pub fn has_unwatched_links(&self) -> bool {
        self.fabric.wires.has_unwatched_links()
    }

    /// Returns whether a frame waits for a driver's buffers: its wire is readable, but must not be
    /// read.
    #[must_use]
    pub fn has_waiting_frames(&self) -> bool {
        self.ingress.iter().any(Ingress::is_waiting)
    }

    /// The number of frames that wait for a driver's buffers; a merged one counts as its segments.
    #[cfg(any(test, feature = "fuzzing"))]
    #[must_use]
    pub fn waiting_frames(&self) -> u64 {
        self.ingress.iter().map(Ingress::waiting_frames).sum()
    }

    /// The forwarding state of a virtual port.
    pub(crate) fn forwarding(&mut self, vport: VportId) -> &mut Forwarding {
        &mut self.fabric.host.vports[vport].forwarding
    }

    /// Polls the doorbells that an ADI may have written while they were not polled. `adi` is its
    /// id; returns false if there is none.
    pub fn kick(&mut self, adi: AdiId) -> bool {
        self.fabric.kick(adi)
    }

    /// Stops everything and discards its configuration; counters are kept.
    pub fn reset(&mut self) {
        self.queues_mut().clear();
        self.drop_waiting();
        self.discard_waiting();
        self.program.held.clear();
        self.fabric.clear_adis();
        for vport in self.fabric.host.vports.iter_mut() {
            vport.forwarding = Forwarding::default();
        }
        self.queues_mut().interrupts.reset();
        self.queues().doorbells.clear();
    }

    /// Makes the wires this process's own: a predecessor that had them has ended, or a successor could not
    /// take them over.
    pub fn claim_wires(&mut self) {
        self.fabric.wires.claim();
    }

    /// Leaves the wires to a successor, until they are claimed again.
    pub fn release_wires(&mut self) {
        self.fabric.wires.release();
    }

    /// Closes all wires, for the end of the process: what they have bound is removed, unless it is left to
    /// a successor.
    pub fn close_wires(&mut self) {
        self.fabric.wires.close();
    }

    /// Runs one burst over everything that may have work. Wires that announce frames through a
    /// descriptor are skipped unless `wires` is set.
    pub fn poll(&mut self, now: u64, wires: bool) -> Progress {
        self.fabric.host.now = now;
        self.program.held.expire(now);
        let mut progress = Progress::default();
        for wire in self.fabric.wires.indexes() {
            if wires || self.fabric.wires.is_unannounced(wire) {
                progress.received |= self.receive_burst(wire);
                self.queues_mut().translator.flush();
            }
        }
        self.queues_mut().look_at_drowsy(now);
        progress.sent = self.transmit_turn();
        let Fabric {
            floods,
            switch,
            host,
            ..
        } = &mut self.fabric;
        let copied = floods.turn(switch, host) | self.send_packets_out();
        progress.busy = progress.received || progress.sent || copied;
        self.queues_mut().translator.flush();
        progress.due = self.queues_mut().sweep_interrupts(now);
        progress
    }

    /// Sends packets that the control plane has queued; returns true if there were any.
    fn send_packets_out(&mut self) -> bool {
        let (fabric, packet) = (&mut self.fabric, &mut self.segment);
        let mut any = false;
        for _ in 0..PACKETS_OUT {
            let Some(taken) = self.program.packet_out(packet) else {
                break;
            };
            any = true;
            match taken {
                Ok(()) => {
                    let mut meta = FrameMeta::default();
                    let to = self
                        .program
                        .run_with(fabric, Source::Cpu, packet, &mut meta);
                    fabric.dispatch_now(Source::Cpu, packet, meta, to);
                }
                Err(reason) => fabric.host.count_dropped(Source::Cpu, reason, 1),
            }
        }
        any
    }
}
