// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The calls of the service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, Semaphore};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::arbitration::{role_name, Reply};
use super::fault::{batch_status, Fault};
use super::{Server, MAX_UPDATES};
use crate::proto::v1::{
    self, get_forwarding_pipeline_config_request::ResponseType, p4_runtime_server::P4Runtime,
    write_request::Atomicity,
};

/// How many messages wait for a client that does not read.
const MAX_WAITING: usize = 1024;
/// How many replies of a read wait.
const MAX_REPLIES: usize = 2;
/// How many reads are under way at a time: less than there are threads, so that clients that do
/// not take their replies keep nobody from writing.
const MAX_READS: usize = 8;
/// How long a client may take for a reply.
const TAKE: Duration = Duration::from_secs(20);

/// The server as the service wants it.
#[derive(Clone)]
pub(super) struct Service {
    server: Arc<Server>,
    reads: Arc<Semaphore>,
}

impl Service {
    pub(super) fn new(server: Arc<Server>) -> Service {
        Service {
            server,
            reads: Arc::new(Semaphore::new(MAX_READS)),
        }
    }
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Work that takes long does not keep others waiting.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Status::internal("the server failed at this request")),
    }
}

/// Closes a stream when nobody reads or writes it any more.
struct Open(Arc<Server>, u64);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.arbitration.lock().close(self.1);
    }
}

#[tonic::async_trait]
#[allow(deprecated, reason = "older clients have numbers for roles")]
impl P4Runtime for Service {
    async fn write(
        &self,
        request: Request<v1::WriteRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let (server, request) = (self.server.clone(), request.into_inner());
        aside(move || {
            server.check_device(request.device_id)?;
            let how = Atomicity::try_from(request.atomicity)
                .map_err(|_| Fault::invalid("an atomicity that there is not"))?;
            if how == Atomicity::DataplaneAtomic {
                return Err(Fault::unimplemented(
                    "DATAPLANE_ATOMIC: each update is atomic, a batch can be rolled back",
                )
                .into());
            }
            if request.updates.len() > MAX_UPDATES {
                return Err(Status::resource_exhausted(format!(
                    "{} updates: {MAX_UPDATES} are the most",
                    request.updates.len()
                )));
            }
            let _writing = server.writing.lock();
            let role = role_name(&request.role, request.role_id);
            let election = request.election_id.as_ref();
            server.arbitration.lock().check(&role, election)?;
            let active = server.active()?;
            let results = server.target(&active).batch(&request.updates, how);
            batch_status(&results)?;
            Ok(Response::new(v1::WriteResponse {}))
        })
        .await
    }

    type ReadStream = Replies<v1::ReadResponse>;

    async fn read(
        &self,
        request: Request<v1::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let (server, request) = (self.server.clone(), request.into_inner());
        server.check_device(request.device_id)?;
        let active = server.active()?;
        let (sender, receiver) = mpsc::channel(MAX_REPLIES);
        let turn = self.reads.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the server ends"))?;
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let target = server.target(&active);
            let send = |reply| {
                let sent = runtime.block_on(sender.send_timeout(reply, TAKE));
                sent.is_ok()
            };
            let mut sink = |reply| send(Ok(reply));
            if let Err(fault) = target.read(&request.entities, &mut sink) {
                send(Err(fault.into()));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn set_forwarding_pipeline_config(
        &self,
        request: Request<v1::SetForwardingPipelineConfigRequest>,
    ) -> Result<Response<v1::SetForwardingPipelineConfigResponse>, Status> {
        let (server, request) = (self.server.clone(), request.into_inner());
        aside(move || {
            server.check_device(request.device_id)?;
            let role = role_name(&request.role, request.role_id);
            let election = request.election_id.as_ref();
            server.arbitration.lock().check(&role, election)?;
            server.configure(request)?;
            Ok(Response::new(v1::SetForwardingPipelineConfigResponse {}))
        })
        .await
    }

    async fn get_forwarding_pipeline_config(
        &self,
        request: Request<v1::GetForwardingPipelineConfigRequest>,
    ) -> Result<Response<v1::GetForwardingPipelineConfigResponse>, Status> {
        let request = request.into_inner();
        self.server.check_device(request.device_id)?;
        let active = self.server.active()?;
        let mut config = active.pipeline.config.clone();
        match ResponseType::try_from(request.response_type) {
            Ok(ResponseType::All) => {}
            Ok(ResponseType::CookieOnly) => {
                config.p4info = None;
                config.p4_device_config.clear();
            }
            Ok(ResponseType::P4infoAndCookie) => config.p4_device_config.clear(),
            Ok(ResponseType::DeviceConfigAndCookie) => config.p4info = None,
            Err(_) => {
                return Err(Status::invalid_argument(
                    "a response type that there is not",
                ))
            }
        }
        Ok(Response::new(v1::GetForwardingPipelineConfigResponse {
            config: Some(config),
        }))
    }

    type StreamChannelStream = Replies<v1::StreamMessageResponse>;

    async fn stream_channel(
        &self,
        request: Request<Streaming<v1::StreamMessageRequest>>,
    ) -> Result<Response<Self::StreamChannelStream>, Status> {
        let server = self.server.clone();
        let (sender, receiver) = mpsc::channel::<Reply>(MAX_WAITING);
        let id = server.arbitration.lock().open(sender.clone())?;
        let open = Open(server.clone(), id);
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            let open = open;
            loop {
                let said = tokio::select! {
                    said = incoming.next() => said,
                    () = sender.closed() => None,
                };
                let Some(Ok(said)) = said else { break };
                if let Err(fault) = open.0.say(id, said) {
                    let _ = sender.try_send(Err(fault.into()));
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn capabilities(
        &self,
        _request: Request<v1::CapabilitiesRequest>,
    ) -> Result<Response<v1::CapabilitiesResponse>, Status> {
        Ok(Response::new(v1::CapabilitiesResponse {
            p4runtime_api_version: super::API_VERSION.to_owned(),
            experimental: None,
        }))
    }
}
