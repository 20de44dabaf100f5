// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A server on loopback with the test as its data path, and a client that sends what a test
//! specifies.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use adit_p4runtime::p4info::p4info;
use adit_p4runtime::program::Package;
use adit_p4runtime::proto::config::P4Info;
use adit_p4runtime::proto::v1::{
    self, entity::Entity as E, p4_runtime_client::P4RuntimeClient, stream_message_request as said,
    stream_message_response::Update as Heard, update::Type, write_request::Atomicity,
};
use adit_p4runtime::server::{
    listen_with, Address, Limits, Listening, Pipeline, PipelineHandle, Routes, Server, Tls,
};
use adit_pipeline::p4::{Engine, Input, Output};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

pub(crate) const PROGRAM: &str = include_str!("test.p4");
pub(crate) const DEVICE: u64 = 3;

/// The data path.
#[derive(Default)]
pub(crate) struct Path {
    pub(crate) engine: Mutex<Option<Arc<Engine>>>,
    pub(crate) clock: AtomicU64,
    /// Commits wait while it is locked.
    pub(crate) commit: Mutex<()>,
}

struct Handle(Arc<Path>);

impl PipelineHandle for Handle {
    fn commit(&self, engine: Arc<Engine>) -> Result<(), String> {
        let _unlocked = self.0.commit.lock();
        *self.0.engine.lock() = Some(engine);
        Ok(())
    }
    fn now_ns(&self) -> u64 {
        self.0.clock.load(Relaxed)
    }
}

pub(crate) struct Nic {
    pub(crate) server: Arc<Server>,
    pub(crate) listening: Listening,
    pub(crate) path: Arc<Path>,
    pub(crate) info: P4Info,
}

/// Creates a device with the test's program.
pub(crate) fn nic() -> Nic {
    nic_with(None, true)
}

pub(crate) fn nic_with(tls: Option<Tls>, has_program: bool) -> Nic {
    device(PROGRAM, tls, has_program)
}

/// Creates a device with that program.
pub(crate) fn nic_of(program: &str) -> Nic {
    device(program, None, true)
}

fn device(program: &str, tls: Option<Tls>, has_program: bool) -> Nic {
    let address = "127.0.0.1:0".parse().expect("an address");
    device_at(program, &address, tls, has_program, Limits::default())
}

/// Creates a device with the test's program, at that address and with those limits.
pub(crate) fn nic_at(address: &Address, tls: Option<Tls>, limits: Limits) -> Nic {
    device_at(PROGRAM, address, tls, true, limits)
}

fn device_at(
    program: &str,
    address: &Address,
    tls: Option<Tls>,
    has_program: bool,
    limits: Limits,
) -> Nic {
    let program = Package::source(program).program().expect("no errors");
    let info = p4info(&program).expect("ids").p4info;
    let engine = Arc::new(Engine::load(program).expect("an engine"));
    let path = Arc::new(Path::default());
    let pipeline = has_program.then(|| {
        *path.engine.lock() = Some(engine.clone());
        Pipeline::of_engine(engine).expect("a pipeline")
    });
    let server = Server::new(DEVICE, Arc::new(Handle(path.clone())), pipeline);
    let server = Arc::new(server);
    Nic {
        listening: listen_with(server.clone(), address, tls, limits, Routes::default())
            .expect("the kernel has a port"),
        server,
        path,
        info,
    }
}

impl Nic {
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.path.engine.lock().clone().expect("there is a program")
    }

    /// Processes a packet; returns the ports and bytes of the packets sent.
    pub(crate) fn process(&self, port: u32, packet: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut sent = Vec::new();
        let mut worker = Engine::worker(&self.engine());
        let now = self.path.clock.load(Relaxed);
        worker.process(now, &[Input::new(port, packet)], &mut |_, output| {
            if let Output::Sent(leaves) = output {
                let mut bytes = Vec::new();
                leaves.copy_to(packet, &mut bytes);
                sent.push((leaves.port, bytes));
            }
        });
        sent
    }

    pub(crate) fn table(&self, name: &str) -> u32 {
        let mut tables = self.info.tables.iter().filter_map(|t| t.preamble.as_ref());
        tables.find(|p| p.alias == name).expect("a table").id
    }

    pub(crate) fn action(&self, name: &str, values: &[&[u8]]) -> v1::Action {
        let mut actions = self.info.actions.iter();
        let action = actions
            .find(|a| a.preamble.as_ref().is_some_and(|p| p.alias == name))
            .expect("an action");
        v1::Action {
            action_id: action.preamble.as_ref().expect("an id").id,
            params: action
                .params
                .iter()
                .zip(values)
                .map(|(p, value)| v1::action::Param {
                    param_id: p.id,
                    value: value.to_vec(),
                })
                .collect(),
        }
    }

    /// Creates an entry of `stations`.
    pub(crate) fn station(&self, dst: u64, action: &str, values: &[&[u8]]) -> v1::TableEntry {
        v1::TableEntry {
            table_id: self.table("stations"),
            r#match: vec![exact(1, dst)],
            action: Some(direct(self.action(action, values))),
            ..Default::default()
        }
    }
}

pub(crate) fn direct(action: v1::Action) -> v1::TableAction {
    v1::TableAction {
        r#type: Some(v1::table_action::Type::Action(action)),
    }
}

fn shortest(value: u64) -> Vec<u8> {
    adit_p4runtime::bytes::shortest(&value.to_be_bytes()).to_vec()
}

pub(crate) fn exact(field_id: u32, value: u64) -> v1::FieldMatch {
    let value = shortest(value);
    v1::FieldMatch {
        field_id,
        field_match_type: Some(v1::field_match::FieldMatchType::Exact(
            v1::field_match::Exact { value },
        )),
    }
}

pub(crate) fn lpm(field_id: u32, value: u64, prefix_len: i32) -> v1::FieldMatch {
    let value = shortest(value);
    v1::FieldMatch {
        field_id,
        field_match_type: Some(v1::field_match::FieldMatchType::Lpm(v1::field_match::Lpm {
            value,
            prefix_len,
        })),
    }
}

pub(crate) fn update(kind: Type, entity: E) -> v1::Update {
    v1::Update {
        r#type: kind as i32,
        entity: Some(v1::Entity {
            entity: Some(entity),
        }),
    }
}

pub(crate) fn insert(entry: v1::TableEntry) -> v1::Update {
    update(Type::Insert, E::TableEntry(entry))
}

/// Builds a frame from `src` to `dst`.
pub(crate) fn frame(dst: u64, src: u64) -> Vec<u8> {
    let mut frame = dst.to_be_bytes()[2..].to_vec();
    frame.extend_from_slice(&src.to_be_bytes()[2..]);
    frame.extend_from_slice(&[0x12, 0x34]);
    frame.extend_from_slice(b"payload");
    frame
}

/// Creates a client's first message: its role and election id.
pub(crate) fn claim(role: &str, election: Option<u64>) -> said::Update {
    said::Update::Arbitration(v1::MasterArbitrationUpdate {
        device_id: DEVICE,
        role: (!role.is_empty()).then(|| v1::Role {
            name: role.to_owned(),
            ..Default::default()
        }),
        election_id: election.map(|low| v1::Uint128 { high: 0, low }),
        status: None,
    })
}

/// A client with a stream.
pub(crate) struct Peer {
    pub(crate) runtime: Runtime,
    pub(crate) grpc: P4RuntimeClient<Channel>,
    say: mpsc::Sender<v1::StreamMessageRequest>,
    hear: Option<Streaming<v1::StreamMessageResponse>>,
    pub(crate) role: String,
    pub(crate) election: u64,
}

impl Peer {
    pub(crate) fn connect(nic: &Nic) -> Peer {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let address = format!("http://{}", nic.listening.address);
        let grpc = runtime.block_on(P4RuntimeClient::connect(address));
        let grpc = grpc.expect("the server listens");
        let grpc = grpc.max_decoding_message_size(64 << 20);
        Peer {
            runtime,
            grpc,
            say: mpsc::channel(1).0,
            hear: None,
            role: String::new(),
            election: 0,
        }
    }

    /// Opens the stream, without sending a message.
    pub(crate) fn open(&mut self) -> Result<(), Status> {
        let (say, said) = mpsc::channel(64);
        self.say = say;
        let call = self.grpc.stream_channel(ReceiverStream::new(said));
        self.hear = Some(self.runtime.block_on(call)?.into_inner());
        Ok(())
    }

    /// Connects as the primary of a role.
    pub(crate) fn primary(nic: &Nic, role: &str, election: u64) -> Peer {
        let mut peer = Peer::connect(nic);
        peer.role = role.to_owned();
        peer.election = election;
        peer.open().expect("a stream");
        peer.say(claim(role, Some(election)));
        assert_eq!(peer.arbitrated(), (0, Some(election)));
        peer
    }

    pub(crate) fn say(&self, update: said::Update) {
        let message = v1::StreamMessageRequest {
            update: Some(update),
        };
        let said = self.runtime.block_on(self.say.send(message));
        said.expect("the stream is open");
    }

    /// Returns the next message, or how the stream ended.
    pub(crate) fn heard(&mut self) -> Result<Option<Heard>, Status> {
        let hear = self.hear.as_mut().expect("a stream");
        let next = async { tokio::time::timeout(Duration::from_secs(60), hear.message()).await };
        let next = self
            .runtime
            .block_on(next)
            .expect("something within 60 s")?;
        Ok(next.and_then(|message| message.update))
    }

    pub(crate) fn hear(&mut self) -> Heard {
        let heard = self.heard().expect("the stream goes on");
        heard.expect("a message")
    }

    /// Returns the code and election id of an arbitration update.
    pub(crate) fn arbitrated(&mut self) -> (i32, Option<u64>) {
        match self.hear() {
            Heard::Arbitration(told) => {
                assert_eq!(told.device_id, DEVICE);
                let code = told.status.expect("a status").code;
                (code, told.election_id.map(|id| id.low))
            }
            other => panic!("not an arbitration: {other:?}"),
        }
    }

    pub(crate) fn write_as(
        &mut self,
        updates: Vec<v1::Update>,
        atomicity: Atomicity,
    ) -> Result<(), Status> {
        let request = v1::WriteRequest {
            device_id: DEVICE,
            role: self.role.clone(),
            election_id: Some(v1::Uint128 {
                high: 0,
                low: self.election,
            }),
            updates,
            atomicity: atomicity as i32,
            ..Default::default()
        };
        self.runtime.block_on(self.grpc.write(request)).map(drop)
    }

    pub(crate) fn write(&mut self, updates: Vec<v1::Update>) -> Result<(), Status> {
        self.write_as(updates, Atomicity::ContinueOnError)
    }

    pub(crate) fn try_read(&mut self, entity: E) -> Result<Vec<E>, Status> {
        let request = v1::ReadRequest {
            device_id: DEVICE,
            entities: vec![v1::Entity {
                entity: Some(entity),
            }],
            ..Default::default()
        };
        let grpc = &mut self.grpc;
        self.runtime.block_on(async {
            let mut replies = grpc.read(request).await?.into_inner();
            let mut found = Vec::new();
            while let Some(reply) = replies.message().await? {
                found.extend(reply.entities.into_iter().filter_map(|e| e.entity));
            }
            Ok(found)
        })
    }

    pub(crate) fn read(&mut self, entity: E) -> Vec<E> {
        self.try_read(entity).expect("it can be read")
    }

    /// Reads the entries of all tables.
    pub(crate) fn entries(&mut self) -> Vec<E> {
        self.read(E::TableEntry(v1::TableEntry::default()))
    }

    pub(crate) fn configure(
        &mut self,
        action: v1::set_forwarding_pipeline_config_request::Action,
        program: Option<&str>,
    ) -> Result<(), Status> {
        let request = v1::SetForwardingPipelineConfigRequest {
            device_id: DEVICE,
            role: self.role.clone(),
            election_id: Some(v1::Uint128 {
                high: 0,
                low: self.election,
            }),
            action: action as i32,
            config: program.map(|text| v1::ForwardingPipelineConfig {
                p4_device_config: text.as_bytes().to_vec(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let call = self.grpc.set_forwarding_pipeline_config(request);
        self.runtime.block_on(call).map(drop)
    }
}

/// Fills `stations` with 4,000 entries. Returns their writer, a reader, and a request whose reply is
/// 500 times these entries, larger than what a connection buffers.
pub(crate) fn large_read(nic: &Nic) -> (Peer, Peer, v1::ReadRequest) {
    let mut primary = Peer::primary(nic, "", 1);
    let all = (0..4000).map(|n| insert(nic.station(n, "forward", &[&[1, 2]])));
    primary.write(all.collect()).expect("entries");
    let reader = Peer::connect(nic);
    let entity = v1::Entity {
        entity: Some(E::TableEntry(v1::TableEntry::default())),
    };
    let request = v1::ReadRequest {
        device_id: DEVICE,
        entities: vec![entity; 500],
        ..Default::default()
    };
    (primary, reader, request)
}

/// Returns the codes of a batch's updates.
pub(crate) fn codes(status: &Status) -> Vec<i32> {
    use prost::Message;
    let details = adit_p4runtime::proto::Status::decode(status.details());
    let details = details.expect("details").details;
    let errors = details.iter().map(|d| v1::Error::decode(&*d.value));
    errors
        .map(|e| e.expect("an error").canonical_code)
        .collect()
}
