// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A blocking client: reads, batches of writes with the error of each update, and arbitration when
//! the first batch is written.

use std::time::{Duration, Instant};

use prost::Message;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
pub use tonic::transport::Channel;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
pub use tonic::Code;
use tonic::{Status, Streaming};

use crate::proto::v1::{
    self, get_forwarding_pipeline_config_request::ResponseType, p4_runtime_client::P4RuntimeClient,
    set_forwarding_pipeline_config_request::Action, stream_message_request,
    stream_message_response, write_request::Atomicity,
};
use crate::proto::{config, Status as RpcStatus};

/// The timeout for establishing a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The time after which an idle connection is probed, and the interval of probes. A client that reaches its
/// device through the device may wait for a reply which the program that it has just loaded drops: to a stateful
/// filter the connection is unknown until a packet comes from this side. The probe is one.
const ALIVE: Duration = Duration::from_secs(2);
/// The number of probes without an answer after which the connection is given up.
const PROBES: u32 = 15;
/// The time to wait while another client is the primary of the same role.
const ARBITRATE: Duration = Duration::from_secs(30);
/// The maximum size of a reply in bytes.
const MAX_REPLY: usize = 64 << 20;

/// The client's TLS configuration, as PEM.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// The CA certificates that the server's certificate is verified with.
    pub servers: Vec<u8>,
    /// The client's certificate and key, for servers that require one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A server, a device and the client's role.
#[derive(Clone, Debug)]
pub struct Target {
    /// `HOST:PORT` or `unix:PATH`.
    pub address: String,
    /// The device's number.
    pub device_id: u64,
    /// The role to write in. A dedicated role does not displace the primary of another one.
    pub role: String,
    /// `None` connects without TLS.
    pub tls: Option<ClientTls>,
}

/// The failure of an update in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateError {
    /// The update's index in the batch, from 0.
    pub index: usize,
    /// The gRPC status code.
    pub code: Code,
    /// The server's error message; empty if it did not fit into the response headers.
    pub message: String,
}

/// An error of the client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The Tokio runtime could not be created.
    #[error("cannot start a client")]
    Start(#[source] std::io::Error),
    /// The connection could not be established, or TLS failed.
    #[error("cannot reach a P4Runtime server at {address} (`adit-nic --p4rt` is one)")]
    Connect {
        /// The server's address.
        address: String,
        /// The cause.
        #[source]
        source: tonic::transport::Error,
    },
    /// An RPC failed.
    #[error("{call}: {message} ({code:?})")]
    Call {
        /// The RPC's name.
        call: &'static str,
        /// The gRPC status code.
        code: Code,
        /// The server's error message.
        message: String,
    },
    /// Updates of a batch failed.
    #[error("{} updates failed", .0.len())]
    Updates(Vec<UpdateError>),
    /// Another client remained the primary of the role until the timeout.
    #[error("another client has been writing in the role `{role}` for {} s", ARBITRATE.as_secs())]
    Busy {
        /// The role.
        role: String,
    },
    /// The server closed the stream.
    #[error("the server closed the stream of the role `{role}`")]
    Closed {
        /// The role.
        role: String,
    },
}

/// A result of the client.
pub type Result<T> = std::result::Result<T, ClientError>;

/// The stream that keeps the client the primary while it is open.
struct Primary {
    election: v1::Uint128,
    _say: mpsc::Sender<v1::StreamMessageRequest>,
    _hear: Streaming<v1::StreamMessageResponse>,
}

/// A connection to a device's P4Runtime server.
pub struct Client {
    runtime: Runtime,
    grpc: P4RuntimeClient<Channel>,
    target: Target,
    primary: Option<Primary>,
}

fn refused(call: &'static str) -> impl Fn(Status) -> ClientError {
    move |status| ClientError::Call {
        call,
        code: status.code(),
        message: status.message().to_owned(),
    }
}

/// Connects to a server, for a client of any of its services. The channel belongs to the runtime.
pub fn connect(address: &str, tls: Option<&ClientTls>) -> Result<(Runtime, Channel)> {
    // A thread of its own answers the server's pings, also while the program waits for the reader of its output: the
    // server would close the connection.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(ClientError::Start)?;
    let failed = |source| ClientError::Connect {
        address: address.to_owned(),
        source,
    };
    let scheme = match (tls, address.starts_with("unix:")) {
        (_, true) => "",
        (Some(_), _) => "https://",
        (None, _) => "http://",
    };
    let endpoint = Endpoint::from_shared(format!("{scheme}{address}"));
    let endpoint = endpoint.map_err(failed)?.connect_timeout(CONNECT);
    let mut endpoint = endpoint
        .tcp_keepalive(Some(ALIVE))
        .tcp_keepalive_interval(Some(ALIVE))
        .tcp_keepalive_retries(Some(PROBES));
    if let Some(tls) = tls {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.servers));
        if let Some((certificate, key)) = &tls.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(config).map_err(failed)?;
    }
    let channel = runtime.block_on(endpoint.connect()).map_err(failed)?;
    Ok((runtime, channel))
}

impl Client {
    /// Connects to a server.
    pub fn connect(target: Target) -> Result<Client> {
        let (runtime, channel) = connect(&target.address, target.tls.as_ref())?;
        Ok(Client {
            runtime,
            grpc: P4RuntimeClient::new(channel).max_decoding_message_size(MAX_REPLY),
            target,
            primary: None,
        })
    }

    /// Returns the P4Info of the program that the device runs.
    pub fn p4info(&mut self) -> Result<config::P4Info> {
        let request = v1::GetForwardingPipelineConfigRequest {
            device_id: self.target.device_id,
            response_type: ResponseType::P4infoAndCookie as i32,
        };
        let call = self.grpc.get_forwarding_pipeline_config(request);
        let reply = self.runtime.block_on(call);
        let reply = reply.map_err(refused("GetForwardingPipelineConfig"))?;
        let config = reply.into_inner().config.unwrap_or_default();
        Ok(config.p4info.unwrap_or_default())
    }

    /// Loads a program, which is active when this returns. With `keeps`, the state of the previous
    /// program is carried over, or else the new one is rejected.
    pub fn load(&mut self, config: v1::ForwardingPipelineConfig, keeps: bool) -> Result<()> {
        let election = self.arbitrate()?;
        let request = v1::SetForwardingPipelineConfigRequest {
            device_id: self.target.device_id,
            role: self.target.role.clone(),
            election_id: Some(election),
            action: match keeps {
                true => Action::ReconcileAndCommit,
                false => Action::VerifyAndCommit,
            } as i32,
            config: Some(config),
            ..Default::default()
        };
        let call = self.grpc.set_forwarding_pipeline_config(request);
        let reply = self.runtime.block_on(call);
        reply
            .map(drop)
            .map_err(refused("SetForwardingPipelineConfig"))
    }

    /// Passes each entity that matches to `each`, as it arrives.
    pub fn read<E: From<ClientError>>(
        &mut self,
        entities: Vec<v1::entity::Entity>,
        mut each: impl FnMut(v1::entity::Entity) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let entities = entities.into_iter().map(|entity| v1::Entity {
            entity: Some(entity),
        });
        let request = v1::ReadRequest {
            device_id: self.target.device_id,
            entities: entities.collect(),
            ..Default::default()
        };
        let grpc = &mut self.grpc;
        self.runtime.block_on(async {
            let replies = grpc.read(request).await.map_err(refused("Read"))?;
            let mut replies = replies.into_inner();
            while let Some(reply) = replies.message().await.map_err(refused("Read"))? {
                let found = reply.entities.into_iter();
                found.filter_map(|e| e.entity).try_for_each(&mut each)?;
            }
            Ok(())
        })
    }

    /// Writes a batch. A failed update does not prevent the others, unless `all_or_nothing` is set.
    pub fn write(&mut self, updates: Vec<v1::Update>, all_or_nothing: bool) -> Result<()> {
        let election = self.arbitrate()?;
        let request = v1::WriteRequest {
            device_id: self.target.device_id,
            role: self.target.role.clone(),
            election_id: Some(election),
            updates,
            atomicity: match all_or_nothing {
                true => Atomicity::RollbackOnError,
                false => Atomicity::ContinueOnError,
            } as i32,
            ..Default::default()
        };
        match self.runtime.block_on(self.grpc.write(request)) {
            Ok(_) => Ok(()),
            Err(status) => Err(match update_errors(&status) {
                Some(errors) => ClientError::Updates(errors),
                None => refused("Write")(status),
            }),
        }
    }

    /// Becomes the primary of its role, once the previous primary has closed its stream.
    fn arbitrate(&mut self) -> Result<v1::Uint128> {
        if let Some(primary) = &self.primary {
            return Ok(primary.election);
        }
        let deadline = Instant::now() + ARBITRATE;
        loop {
            let (grpc, target) = (&mut self.grpc, &self.target);
            let attempt =
                async { tokio::time::timeout_at(deadline.into(), claim(grpc, target)).await };
            match self.runtime.block_on(attempt) {
                Ok(Ok(primary)) => return Ok(self.primary.insert(primary).election),
                // Another client has claimed the same election id at the same time.
                Ok(Err(ClientError::Call {
                    code: Code::InvalidArgument,
                    ..
                })) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    return Err(ClientError::Busy {
                        role: self.target.role.clone(),
                    })
                }
            }
        }
    }
}

/// Waits on a stream until the role has no primary, and then claims it.
async fn claim(grpc: &mut P4RuntimeClient<Channel>, target: &Target) -> Result<Primary> {
    let (say, said) = mpsc::channel(4);
    let closed = || ClientError::Closed {
        role: target.role.clone(),
    };
    let arbitration = |election: Option<v1::Uint128>| v1::StreamMessageRequest {
        update: Some(stream_message_request::Update::Arbitration(
            v1::MasterArbitrationUpdate {
                device_id: target.device_id,
                role: (!target.role.is_empty()).then(|| v1::Role {
                    name: target.role.clone(),
                    ..Default::default()
                }),
                election_id: election,
                status: None,
            },
        )),
    };
    let failed = refused("StreamChannel");
    // It is sent before the stream is opened, since some servers answer only then.
    say.send(arbitration(None)).await.map_err(|_| closed())?;
    let hear = grpc.stream_channel(ReceiverStream::new(said)).await;
    let mut hear = hear.map_err(&failed)?.into_inner();
    let mut claimed = None;
    loop {
        let message = hear.message().await.map_err(&failed)?.ok_or_else(closed)?;
        let Some(stream_message_response::Update::Arbitration(told)) = message.update else {
            continue;
        };
        let code = Code::from(told.status.map_or(0, |status| status.code));
        match (code, claimed) {
            (Code::Ok, Some(election)) => {
                return Ok(Primary {
                    election,
                    _say: say,
                    _hear: hear,
                })
            }
            (Code::NotFound, None) => {
                // The highest election id so far is sufficient; it need not be exceeded.
                let least = v1::Uint128 { high: 0, low: 1 };
                let election = told.election_id.unwrap_or(least);
                claimed = Some(election);
                let claim = arbitration(claimed);
                say.send(claim).await.map_err(|_| closed())?;
            }
            _ => {}
        }
    }
}

/// Decodes a batch's errors from `grpc-status-details-bin`; `None` if the call failed as a whole.
fn update_errors(status: &Status) -> Option<Vec<UpdateError>> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let errors = details.iter().enumerate().filter_map(|(index, detail)| {
        let error = v1::Error::decode(&*detail.value).ok()?;
        let code = Code::from(error.canonical_code);
        (code != Code::Ok).then_some(UpdateError {
            index,
            code,
            message: error.message,
        })
    });
    let errors: Vec<_> = errors.collect();
    (!errors.is_empty()).then_some(errors)
}
