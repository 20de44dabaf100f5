// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4Runtime service. Clients are untrusted: their requests are checked before they change
//! anything, and are bounded in size. Clients do not wait for packets, nor packets for clients.

mod arbitration;
mod connections;
mod decoded;
mod digests;
mod direct;
mod entries;
mod fault;
mod group_members;
mod indirect;
mod kept;
mod learnt;
mod levels;
mod listen;
mod names;
mod one_shot;
mod outbox;
mod owners;
mod packets;
mod pipeline;
mod precopy;
mod rates;
mod read;
mod reconcile;
mod requests;
mod rules;
mod saved;
mod service;
mod target;
mod texts;
mod write;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use adit_p4_frontend::cancel::Cancel;
use adit_pipeline::p4::events::ControlPacket;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
pub use tonic::service::Routes;
use tonic::Code;

use crate::proto::v1::{
    self, set_forwarding_pipeline_config_request::Action, stream_message_response::Update,
};
use arbitration::Arbitration;
pub use connections::Limits;
use digests::Digests;
use fault::{Fault, Result};
pub use listen::{listen, listen_with, Address, Counters, Counts, Listening, Tls};
use outbox::Undelivered;
pub use pipeline::{Pipeline, PipelineHandle};
use precopy::Journal;
use target::Target;

/// The P4Runtime version that the server implements.
pub const API_VERSION: &str = "1.4.1";
/// The interval at which the server polls for messages that packets have generated for clients.
const TURN: Duration = Duration::from_millis(10);
/// The control plane's port in PNA programs (`PNA_PORT_CPU`).
const PNA_CPU_PORT: u32 = 0xFFFF_FFFD;
/// The control plane's usual port in v1model programs.
const V1MODEL_CPU_PORT: u32 = 510;
/// The maximum size of a request: [`MAX_UPDATES`] usual updates, or the largest program with its
/// P4Info.
pub const MAX_REQUEST: usize = 32 << 20;
/// The maximum number of entries in an idle timeout notification.
const MAX_IDLE: usize = 256;
/// The maximum number of updates in a batch.
pub const MAX_UPDATES: usize = 1 << 18;

/// A pipeline with the digests that clients have enabled.
struct Active {
    pipeline: Pipeline,
    digests: Digests,
    journal: Journal,
}

impl Active {
    fn new(pipeline: Pipeline) -> Arc<Active> {
        give_port(&pipeline);
        Arc::new(Active {
            pipeline,
            digests: Digests::default(),
            journal: Journal::default(),
        })
    }
}

/// A server for one device.
pub struct Server {
    device_id: u64,
    handle: Arc<dyn PipelineHandle>,
    /// The active program.
    active: RwLock<Option<Arc<Active>>>,
    /// A saved program that waits for COMMIT. Until then clients read and write its entities.
    saved: Mutex<Option<Arc<Active>>>,
    arbitration: Mutex<Arbitration>,
    undelivered: Arc<Undelivered>,
    /// The id of the last digest list that was sent.
    last_list: AtomicU64,
    /// Held during writes, so that batches do not interleave.
    writing: Arc<AsyncMutex<()>>,
}

impl Server {
    /// Creates a server for a device; its id is not 0. `pipeline` is the initial program.
    pub fn new(
        device_id: u64,
        handle: Arc<dyn PipelineHandle>,
        pipeline: Option<Pipeline>,
    ) -> Server {
        let undelivered = Arc::new(Undelivered::default());
        Server {
            device_id,
            handle,
            active: RwLock::new(pipeline.map(Active::new)),
            saved: Mutex::new(None),
            arbitration: Mutex::new(Arbitration::new(device_id, undelivered.clone())),
            undelivered,
            last_list: AtomicU64::new(0),
            writing: Arc::default(),
        }
    }

    /// Keeps clients from writing and from changing programs, whose calls wait, until the returned guard
    /// is dropped; `None` if a client's write goes on for longer than `timeout`.
    #[must_use]
    pub fn hold_writes(&self, timeout: Duration) -> Option<OwnedMutexGuard<()>> {
        let until = std::time::Instant::now() + timeout;
        loop {
            match self.writing.clone().try_lock_owned() {
                Ok(held) => return Some(held),
                Err(_) if std::time::Instant::now() >= until => return None,
                Err(_) => std::thread::sleep(Duration::from_micros(100)),
            }
        }
    }

    fn check_device(&self, device_id: u64) -> Result<()> {
        match device_id == self.device_id {
            true => Ok(()),
            false => Err(Fault::not_found(format!(
                "device {device_id} does not exist: this is device {}",
                self.device_id
            ))),
        }
    }

    /// Returns the active program.
    fn active(&self) -> Result<Arc<Active>> {
        self.active.read().clone().ok_or_else(|| {
            Fault::new(
                Code::FailedPrecondition,
                "No forwarding pipeline config set for this device",
            )
        })
    }

    /// Returns the program that reads and writes refer to: the saved one until it is committed.
    fn current(&self) -> Result<Arc<Active>> {
        let saved = self.saved.lock().clone();
        saved.map_or_else(|| self.active(), Ok)
    }

    /// Verifies, saves or realizes a program (P4Runtime 1.4, section "SetForwardingPipelineConfig
    /// RPC"). `check` is called again before anything changes, since compilation takes long.
    fn configure(
        &self,
        request: v1::SetForwardingPipelineConfigRequest,
        cancel: &Cancel,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let action = Action::try_from(request.action).unwrap_or(Action::Unspecified);
        let name = action.as_str_name();
        let config = match (action, request.config) {
            (Action::Unspecified, _) => {
                return Err(Fault::invalid(format!(
                    "action is {}: it takes VERIFY (1), VERIFY_AND_SAVE (2), VERIFY_AND_COMMIT \
                     (3), COMMIT (4) or RECONCILE_AND_COMMIT (5)",
                    request.action
                )))
            }
            (Action::Commit, None) => {
                let _writing = self.writing.blocking_lock();
                check()?;
                // Not locked during the device's commit: reads would wait for it. `writing` is
                // held, so that nothing else saves or commits a config meanwhile.
                let saved = self.saved.lock().clone();
                let Some(next) = saved else {
                    return Err(Fault::not_found(
                        "COMMIT: no config is saved (VERIFY_AND_SAVE saves one)",
                    ));
                };
                self.realize(next)?;
                *self.saved.lock() = None;
                return Ok(());
            }
            (Action::Commit, Some(_)) => {
                return Err(Fault::invalid(
                    "COMMIT takes no config: it realizes the saved one",
                ))
            }
            (_, None) => return Err(Fault::invalid(format!("{name} takes a config"))),
            (_, Some(config)) => config,
        };
        let next = Active::new(Pipeline::load(config, cancel)?);
        let _writing = self.writing.blocking_lock();
        check()?;
        match action {
            Action::VerifyAndSave => *self.saved.lock() = Some(next),
            Action::VerifyAndCommit | Action::ReconcileAndCommit => {
                if action == Action::ReconcileAndCommit {
                    if let Ok(before) = self.active() {
                        self.carry_over(&before, &next)?;
                    }
                }
                self.realize(next)?;
                // It is the latest config now: no saved one remains to be committed.
                *self.saved.lock() = None;
            }
            Action::Verify | Action::Commit | Action::Unspecified => {}
        }
        Ok(())
    }

    fn realize(&self, next: Arc<Active>) -> Result<()> {
        let committed = self.handle.commit(next.pipeline.engine.clone());
        committed.map_err(|why| Fault::new(Code::Internal, why))?;
        self.handle.keep(&next.pipeline.config.encode_to_vec());
        *self.active.write() = Some(next);
        Ok(())
    }

    /// Returns a program as the target of a role's writes.
    fn target<'a>(&self, active: &'a Active, role: &'a str) -> Target<'a> {
        Target {
            role,
            defers_references: false,
            hands_over: false,
            pipeline: &active.pipeline,
            digests: &active.digests,
            now_ns: self.handle.now_ns(),
        }
    }

    /// Sends clients the messages that packets have generated for them. Digests and idle entries
    /// wait until a client can take them; packets are only for the current clients.
    fn turn(&self, primaries: &mut Vec<u64>) {
        self.arbitration.lock().send_owed();
        let Ok(active) = self.active() else { return };
        let now_ns = self.handle.now_ns();
        let pipeline = &active.pipeline;
        let lost = active.digests.gather(pipeline, now_ns);
        self.undelivered.count_digests(lost);
        let now = self.arbitration.lock().primaries();
        if *primaries != now {
            active.digests.keep(&now);
            *primaries = now;
        }
        if self.arbitration.lock().has_taker() {
            let mut last = self.last_list.load(Relaxed);
            active
                .digests
                .send(pipeline, now_ns, &mut last, &mut |list| {
                    let mut arbitration = self.arbitration.lock();
                    match arbitration.has_taker() {
                        true => arbitration.send_primaries(&Update::Digest(list)),
                        false => Vec::new(),
                    }
                });
            self.last_list.store(last, Relaxed);
        }
        while pipeline.engine.idle().waiting() > 0 {
            let mut arbitration = self.arbitration.lock();
            if !arbitration.has_taker() {
                break;
            }
            let taken = std::iter::from_fn(|| pipeline.engine.idle().take());
            let entries = taken.take(MAX_IDLE).map(|event| {
                let none = v1::TableEntry::default();
                let mut entry =
                    pipeline.shown_entry(event.table as usize, &event.entry, &none, now_ns);
                entry.action = None;
                entry
            });
            let update = v1::IdleTimeoutNotification {
                table_entry: entries.collect(),
                timestamp: now_ns as i64,
            };
            arbitration.send_primaries(&Update::IdleTimeoutNotification(update));
        }
        for _ in 0..pipeline.engine.packets_in().waiting() {
            let Some(packet) = pipeline.engine.packets_in().take() else {
                break;
            };
            let packet = Update::Packet(pipeline.packet_in(&packet.data));
            self.arbitration.lock().send_primaries(&packet);
        }
    }

    /// Handles a message on a client's stream.
    fn say(&self, id: u64, request: v1::StreamMessageRequest) -> Result<()> {
        use v1::stream_message_request::Update as Said;
        let error = |fault: Fault, details| {
            Update::Error(v1::StreamError {
                canonical_code: fault.code as i32,
                message: fault.message,
                details: Some(details),
                ..Default::default()
            })
        };
        match request.update {
            Some(Said::Arbitration(said)) => {
                self.check_device(said.device_id)?;
                self.arbitration.lock().arbitrate(id, &said)
            }
            Some(Said::Packet(packet)) => {
                let is_primary = self.only_primary(id);
                if let Err(fault) = is_primary.clone().and_then(|()| self.packet_out(&packet)) {
                    // Any client can send packets: only those of a primary are sent back.
                    let details = v1::PacketOutError {
                        packet_out: is_primary.is_ok().then_some(packet),
                    };
                    let details = v1::stream_error::Details::PacketOut(details);
                    self.arbitration.lock().send(id, error(fault, details));
                }
                Ok(())
            }
            Some(Said::DigestAck(ack)) => {
                let result = self.active().and_then(|active| {
                    self.only_primary(id)?;
                    let last = self.last_list.load(Relaxed);
                    active.digests.acknowledge(&active.pipeline, &ack, last)
                });
                if let Err(fault) = result {
                    let details = v1::DigestListAckError {
                        digest_list_ack: Some(ack),
                    };
                    let details = v1::stream_error::Details::DigestListAck(details);
                    self.arbitration.lock().send(id, error(fault, details));
                }
                Ok(())
            }
            Some(Said::Other(other)) => {
                let fault = Fault::unimplemented(
                    "`other` is not supported: a stream takes arbitration, packet and digest_ack",
                );
                let is_primary = self.only_primary(id).is_ok();
                let details = v1::StreamOtherError {
                    other: is_primary.then_some(other),
                };
                let details = v1::stream_error::Details::Other(details);
                self.arbitration.lock().send(id, error(fault, details));
                Ok(())
            }
            None => Err(Fault::invalid(
                "the message has no update: a stream takes arbitration, packet and digest_ack",
            )),
        }
    }

    fn only_primary(&self, id: u64) -> Result<()> {
        match self.arbitration.lock().is_primary(id) {
            true => Ok(()),
            false => Err(Fault::new(
                Code::PermissionDenied,
                "this stream's client is not the primary of its role",
            )),
        }
    }

    fn packet_out(&self, packet: &v1::PacketOut) -> Result<()> {
        let active = self.active()?;
        let data = active.pipeline.packet_out(packet)?;
        if !active.pipeline.engine.packet_out(ControlPacket { data }) {
            return Err(Fault::new(
                Code::ResourceExhausted,
                format!(
                    "the packet has no room: {} packets wait for the data path",
                    active.pipeline.engine.packets_out().waiting()
                ),
            ));
        }
        self.handle.packets_wait();
        Ok(())
    }
}

/// Sets the control plane's port, unless it is set already.
fn give_port(pipeline: &Pipeline) {
    let engine = &pipeline.engine;
    if engine.cpu_port().is_none() {
        engine.set_cpu_port(Some(match engine.program().package.as_str() {
            "PNA_NIC" => PNA_CPU_PORT,
            _ => V1MODEL_CPU_PORT,
        }));
    }
}
