// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4Runtime service. Clients are not trusted: what they send is checked before it changes
//! anything, and bounded in size; none of them waits for packets, nor packets for them.

mod arbitration;
mod connections;
mod digests;
mod entries;
mod fault;
mod indirect;
mod kept;
mod listen;
mod one_shot;
mod packets;
mod pipeline;
mod read;
mod reconcile;
mod service;
mod texts;
mod write;

use std::sync::Arc;
use std::time::Duration;

use adit_pipeline::p4::events::ControlPacket;
use parking_lot::{Mutex, RwLock};
use tonic::Code;

use crate::proto::v1::{
    self, set_forwarding_pipeline_config_request::Action, stream_message_response::Update,
};
use arbitration::Arbitration;
use digests::Digests;
use fault::{Fault, Result};
pub use listen::{listen, Address, Listening, Tls};
pub use pipeline::{Pipeline, PipelineHandle};
use write::Target;

/// The version of P4Runtime that the server speaks.
pub const API_VERSION: &str = "1.4.1";
/// How often the server looks for what packets have left for clients.
const TURN: Duration = Duration::from_millis(10);
/// The port that PNA's programs know the control plane by (`PNA_PORT_CPU`).
const PNA_CPU_PORT: u32 = 0xFFFF_FFFD;
/// The port that v1model's programs commonly know it by.
const V1MODEL_CPU_PORT: u32 = 510;
/// The largest request: [`MAX_UPDATES`] usual updates, or the largest program with its P4Info.
pub const MAX_REQUEST: usize = 32 << 20;
/// The most updates of a batch.
pub const MAX_UPDATES: usize = 1 << 18;

/// A pipeline at work, with what clients want of its digests.
struct Active {
    pipeline: Pipeline,
    digests: Digests,
}

/// A server for one device.
pub struct Server {
    device_id: u64,
    handle: Arc<dyn PipelineHandle>,
    active: RwLock<Option<Arc<Active>>>,
    saved: Mutex<Option<Pipeline>>,
    arbitration: Mutex<Arbitration>,
    /// Held while anything is written: batches are not mixed.
    writing: Mutex<()>,
}

impl Server {
    /// A server for a device; its number is not 0. `pipeline` is what it has at the beginning.
    pub fn new(
        device_id: u64,
        handle: Arc<dyn PipelineHandle>,
        pipeline: Option<Pipeline>,
    ) -> Server {
        let active = pipeline.map(|pipeline| {
            give_port(&pipeline);
            Arc::new(Active {
                pipeline,
                digests: Digests::default(),
            })
        });
        Server {
            device_id,
            handle,
            active: RwLock::new(active),
            saved: Mutex::new(None),
            arbitration: Mutex::new(Arbitration::new(device_id)),
            writing: Mutex::new(()),
        }
    }

    fn check_device(&self, device_id: u64) -> Result<()> {
        match device_id == self.device_id {
            true => Ok(()),
            false => Err(Fault::not_found(format!(
                "there is no device {device_id}: this is device {}",
                self.device_id
            ))),
        }
    }

    fn active(&self) -> Result<Arc<Active>> {
        self.active.read().clone().ok_or_else(|| {
            Fault::new(
                Code::FailedPrecondition,
                "No forwarding pipeline config set for this device",
            )
        })
    }

    /// Loads, saves or commits a program.
    fn configure(&self, request: v1::SetForwardingPipelineConfigRequest) -> Result<()> {
        let action = Action::try_from(request.action).unwrap_or(Action::Unspecified);
        if action == Action::Commit {
            if request.config.is_some() {
                return Err(Fault::invalid(
                    "COMMIT takes no config: it commits the saved one",
                ));
            }
            let saved = self.saved.lock().take();
            let saved = saved
                .ok_or_else(|| Fault::new(Code::FailedPrecondition, "no config has been saved"))?;
            return self.commit(saved, false);
        }
        if action == Action::Unspecified {
            return Err(Fault::invalid(format!(
                "the action {} is none",
                request.action
            )));
        }
        let config = request.config;
        let config = config.ok_or_else(|| Fault::invalid("this action takes a config"))?;
        let pipeline = Pipeline::load(config)?;
        match action {
            Action::Verify => Ok(()),
            Action::VerifyAndSave => {
                *self.saved.lock() = Some(pipeline);
                Ok(())
            }
            _ => self.commit(pipeline, action == Action::ReconcileAndCommit),
        }
    }

    fn commit(&self, pipeline: Pipeline, reconcile: bool) -> Result<()> {
        let _writing = self.writing.lock();
        give_port(&pipeline);
        let next = Active {
            pipeline,
            digests: Digests::default(),
        };
        if reconcile {
            if let Ok(before) = self.active() {
                self.carry_over(&before, &next)?;
            }
        }
        let engine = next.pipeline.engine.clone();
        let committed = self.handle.commit(engine);
        committed.map_err(|why| Fault::new(Code::Internal, why))?;
        *self.active.write() = Some(Arc::new(next));
        Ok(())
    }

    fn target<'a>(&self, active: &'a Active) -> Target<'a> {
        Target {
            pipeline: &active.pipeline,
            digests: &active.digests,
            now_ns: self.handle.now_ns(),
        }
    }

    /// What packets have left goes to clients.
    fn turn(&self, next_list: &mut u64) {
        let Ok(active) = self.active() else { return };
        let now_ns = self.handle.now_ns();
        let pipeline = &active.pipeline;
        for list in active.digests.gather(pipeline, now_ns, next_list) {
            self.arbitration
                .lock()
                .send_primaries(&Update::Digest(list));
        }
        let mut idle = Vec::new();
        for _ in 0..pipeline.engine.idle().waiting() {
            let Some(event) = pipeline.engine.idle().take() else {
                break;
            };
            let none = v1::TableEntry::default();
            let mut entry = pipeline.shown_entry(event.table as usize, &event.entry, &none, now_ns);
            entry.action = None;
            idle.push(entry);
        }
        for entries in idle.chunks(256) {
            let told = v1::IdleTimeoutNotification {
                table_entry: entries.to_vec(),
                timestamp: now_ns as i64,
            };
            let told = Update::IdleTimeoutNotification(told);
            self.arbitration.lock().send_primaries(&told);
        }
        for _ in 0..pipeline.engine.packets_in().waiting() {
            let Some(packet) = pipeline.engine.packets_in().take() else {
                break;
            };
            let packet = Update::Packet(pipeline.packet_in(&packet.data));
            self.arbitration.lock().send_primaries(&packet);
        }
    }

    /// What a client says on its stream.
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
                if let Err(fault) = self.packet_out(id, &packet) {
                    let details = v1::PacketOutError {
                        packet_out: Some(packet),
                    };
                    let details = v1::stream_error::Details::PacketOut(details);
                    self.arbitration.lock().send(id, error(fault, details));
                }
                Ok(())
            }
            Some(Said::DigestAck(ack)) => {
                let result = self.active().and_then(|active| {
                    self.only_primary(id)?;
                    active.digests.acknowledge(&ack);
                    Ok(())
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
                let fault = Fault::unimplemented("there are no other messages");
                let details = v1::StreamOtherError { other: Some(other) };
                let details = v1::stream_error::Details::Other(details);
                self.arbitration.lock().send(id, error(fault, details));
                Ok(())
            }
            None => Err(Fault::invalid("an empty message on the stream")),
        }
    }

    fn only_primary(&self, id: u64) -> Result<()> {
        match self.arbitration.lock().is_primary(id) {
            true => Ok(()),
            false => Err(Fault::new(Code::PermissionDenied, "not the primary")),
        }
    }

    fn packet_out(&self, id: u64, packet: &v1::PacketOut) -> Result<()> {
        self.only_primary(id)?;
        let active = self.active()?;
        let data = active.pipeline.packet_out(packet)?;
        if !active.pipeline.engine.packet_out(ControlPacket { data }) {
            return Err(Fault::new(
                Code::ResourceExhausted,
                "too many packets wait for the data path",
            ));
        }
        self.handle.packets_wait();
        Ok(())
    }
}

/// The control plane's port, if nothing has said it.
fn give_port(pipeline: &Pipeline) {
    let engine = &pipeline.engine;
    if engine.cpu_port().is_none() {
        engine.set_cpu_port(Some(match engine.program().package.as_str() {
            "PNA_NIC" => PNA_CPU_PORT,
            _ => V1MODEL_CPU_PORT,
        }));
    }
}
