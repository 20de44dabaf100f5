// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The RPCs of the service.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_p4_frontend::cancel::Cancel;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, Semaphore};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

use super::arbitration::role_name;
use super::connections::Peer;
use super::fault::{batch_status, Fault};
use super::outbox::outbox;
use super::requests::Request as Arriving;
use super::{Server, MAX_UPDATES};
use crate::proto::v1::{
    self, get_forwarding_pipeline_config_request::ResponseType, p4_runtime_server::P4Runtime,
    write_request::Atomicity,
};

/// The maximum number of queued replies of a read.
const MAX_REPLIES: usize = 2;
/// The maximum number of concurrent reads: less than the number of threads, so that clients that do
/// not take their replies do not block writes.
const MAX_READS: usize = 8;
/// The time that a client may take for a reply, and the shorter one while other reads wait.
const TAKE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(2));
/// The maximum number of replies with a program that clients have not received.
const MAX_CONFIGS: usize = 4;
/// The time for which a request waits for its turn to be answered with a program.
const CONFIG: Duration = Duration::from_secs(5);

/// The server, with the limits of its RPCs.
#[derive(Clone)]
pub(super) struct Service {
    server: Arc<Server>,
    reads: Arc<Reads>,
    /// Serializes compilations of programs.
    compiling: Arc<Semaphore>,
    /// Limits the replies with a program that clients have not received.
    configs: Arc<Semaphore>,
    /// The time for which a stream may be open without a role.
    first_request: Duration,
}

/// The reads under way.
struct Reads {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Service {
    pub(super) fn new(server: Arc<Server>, first_request: Duration) -> Service {
        Service {
            server,
            reads: Arc::new(Reads {
                turns: Arc::new(Semaphore::new(MAX_READS)),
                waiting: AtomicUsize::new(0),
            }),
            compiling: Arc::new(Semaphore::new(1)),
            configs: Arc::new(Semaphore::new(MAX_CONFIGS)),
            first_request,
        }
    }
}

/// A read that waits for its turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Waiting<'a> {
        waiting.fetch_add(1, Relaxed);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Cancels work when its call is dropped because the client has disconnected.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Runs long work on a blocking thread, so that it does not delay other calls.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Status::internal("the server failed at this request")),
    }
}

/// Frees the place of a stream when it is dropped, with the messages to its client.
struct Place(Arc<Server>, u64);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.arbitration.lock().leave(self.1);
    }
}

/// Closes a client's stream when it is dropped.
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
        server.check_device(request.device_id)?;
        let role = role_name(&request.role, request.role_id);
        let election = request.election_id;
        server.arbitration.lock().check(&role, election.as_ref())?;
        let how = Atomicity::try_from(request.atomicity).map_err(|_| {
            Fault::invalid(format!(
                "atomicity is {}: it takes CONTINUE_ON_ERROR (0) or ROLLBACK_ON_ERROR (1)",
                request.atomicity
            ))
        })?;
        if how == Atomicity::DataplaneAtomic {
            return Err(Fault::unimplemented(
                "atomicity is DATAPLANE_ATOMIC (2), which is not supported: each update is atomic, \
                 and ROLLBACK_ON_ERROR (1) takes a batch back",
            )
            .into());
        }
        if request.updates.len() > MAX_UPDATES {
            return Err(Status::resource_exhausted(format!(
                "the batch has {} updates: {MAX_UPDATES} are the most",
                request.updates.len()
            )));
        }
        let writing = server.writing.clone().lock_owned().await;
        let cancel = Cancel::default();
        let _cancel = CancelOnDrop(cancel.clone());
        aside(move || {
            let _writing = writing;
            // A batch ends early if nobody waits for it or its client is no longer the primary.
            let go_on = || match cancel.is_cancelled() {
                true => Err(Fault::new(
                    Code::Cancelled,
                    "the client has disconnected or the request's timeout has passed",
                )),
                false => server.arbitration.lock().check(&role, election.as_ref()),
            };
            go_on()?;
            let current = server.current()?;
            let target = server.target(&current, &role);
            if how == Atomicity::RollbackOnError {
                target.check_rollback(&request.updates)?;
            }
            let results = target.batch(&request.updates, how, &go_on);
            current.journal.record(&request.updates, &results);
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
        let current = server.current()?;
        let (sender, receiver) = mpsc::channel(MAX_REPLIES);
        let turn = {
            let _waiting = Waiting::new(&self.reads.waiting);
            self.reads.turns.clone().acquire_owned().await
        };
        let turn = turn.map_err(|_| Status::unavailable("the server ends"))?;
        let runtime = Handle::current();
        let reads = self.reads.clone();
        let is_late = Arc::new(AtomicBool::new(false));
        let late = is_late.clone();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let target = server.target(&current, "");
            let begun = Instant::now();
            let send = |reply| match runtime.block_on(take(&sender, reply, begun, &reads)) {
                Taken::Yes => true,
                Taken::Gone => false,
                Taken::Late => {
                    late.store(true, Relaxed);
                    false
                }
            };
            let mut sink = |reply| send(Ok(reply));
            if let Err(fault) = target.read(&request.entities, &mut sink) {
                send(Err(fault.into()));
            }
        });
        // A read that ends because replies were not received must not look complete.
        let end = tokio_stream::iter([()]).filter_map(move |()| {
            let is_late = is_late.load(Relaxed);
            is_late.then(|| {
                Err(Status::deadline_exceeded(format!(
                    "the read has ended: a reply was not taken within {} s, or {} s while other \
                     reads wait",
                    TAKE.0.as_secs(),
                    TAKE.1.as_secs()
                )))
            })
        });
        let replies = ReceiverStream::new(receiver).chain(end);
        Ok(Response::new(Box::pin(replies)))
    }

    async fn set_forwarding_pipeline_config(
        &self,
        request: Request<v1::SetForwardingPipelineConfigRequest>,
    ) -> Result<Response<v1::SetForwardingPipelineConfigResponse>, Status> {
        let (server, request) = (self.server.clone(), request.into_inner());
        server.check_device(request.device_id)?;
        let role = role_name(&request.role, request.role_id);
        let election = request.election_id;
        let check =
            move |server: &Server| server.arbitration.lock().check(&role, election.as_ref());
        check(&server)?;
        let turn = self.compiling.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the server ends"))?;
        let cancel = Cancel::default();
        let _cancel = CancelOnDrop(cancel.clone());
        aside(move || {
            let _turn = turn;
            server.configure(request, &cancel, &|| check(&server))?;
            Ok(Response::new(v1::SetForwardingPipelineConfigResponse {}))
        })
        .await
    }

    async fn get_forwarding_pipeline_config(
        &self,
        request: Request<v1::GetForwardingPipelineConfigRequest>,
    ) -> Result<Response<v1::GetForwardingPipelineConfigResponse>, Status> {
        let arriving = request.extensions().get::<Arc<Arriving>>().cloned();
        let request = request.into_inner();
        self.server.check_device(request.device_id)?;
        let (with_info, with_program) = match ResponseType::try_from(request.response_type) {
            Ok(ResponseType::All) => (true, true),
            Ok(ResponseType::CookieOnly) => (false, false),
            Ok(ResponseType::P4infoAndCookie) => (true, false),
            Ok(ResponseType::DeviceConfigAndCookie) => (false, true),
            Err(_) => {
                return Err(Status::invalid_argument(format!(
                    "response_type is {}: it takes ALL (0), COOKIE_ONLY (1), P4INFO_AND_COOKIE \
                     (2) or DEVICE_CONFIG_AND_COOKIE (3)",
                    request.response_type
                )))
            }
        };
        if with_info || with_program {
            let turn = self.configs.clone().acquire_owned();
            let turn = tokio::time::timeout(CONFIG, turn).await.map_err(|_| {
                Status::resource_exhausted(format!(
                    "{MAX_CONFIGS} replies with a program are still being received by clients: \
                     try again"
                ))
            })?;
            let turn = turn.map_err(|_| Status::unavailable("the server ends"))?;
            if let Some(arriving) = &arriving {
                arriving.keep(turn);
            }
        }
        let current = self.server.current()?;
        let all = &current.pipeline.config;
        let config = v1::ForwardingPipelineConfig {
            p4info: with_info.then(|| all.p4info.clone()).flatten(),
            p4_device_config: match with_program {
                true => all.p4_device_config.clone(),
                false => Vec::new(),
            },
            cookie: all.cookie,
        };
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
        let arriving = request.extensions().get::<Arc<Arriving>>().cloned();
        let connection = arriving.as_ref().and_then(|a| a.connection());
        let peer = connection.map_or(Peer::Unknown, |connection| connection.peer);
        let (outbox, replies) = outbox();
        let id = server.arbitration.lock().open(outbox.clone(), peer)?;
        let open = Open(server.clone(), id);
        let place = Place(server, id);
        let replies = replies.map(move |reply| {
            let _place = &place;
            reply
        });
        let mut incoming = request.into_inner();
        let first_request = self.first_request;
        tokio::spawn(async move {
            let open = open;
            let deadline = tokio::time::sleep(first_request);
            tokio::pin!(deadline);
            let mut has_role = false;
            loop {
                let message = tokio::select! {
                    message = incoming.next() => message,
                    () = outbox.closed() => None,
                    () = &mut deadline, if !has_role => {
                        outbox.fail(Status::deadline_exceeded(format!(
                            "no MasterArbitrationUpdate came within {} s",
                            first_request.as_secs_f32()
                        )));
                        break;
                    }
                };
                let message = match message {
                    Some(Ok(message)) => message,
                    Some(Err(status)) => {
                        outbox.fail(status);
                        break;
                    }
                    None => break,
                };
                if let Some(arriving) = &arriving {
                    arriving.received();
                }
                if let Err(fault) = open.0.say(id, message) {
                    outbox.fail(fault.into());
                    break;
                }
                has_role = has_role || open.0.arbitration.lock().has_role(id);
            }
        });
        Ok(Response::new(Box::pin(replies)))
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

/// The outcome of sending a reply.
enum Taken {
    Yes,
    /// The client has disconnected.
    Gone,
    /// The client does not take replies.
    Late,
}

/// Waits until a client takes a reply of a read that began at `begun`; less long if other reads
/// wait for their turn.
async fn take<T>(sender: &mpsc::Sender<T>, reply: T, begun: Instant, reads: &Reads) -> Taken {
    let asked = Instant::now();
    loop {
        let others_wait = reads.waiting.load(Relaxed) > 0;
        if others_wait && begun.elapsed() >= TAKE.0 {
            return Taken::Late;
        }
        match tokio::time::timeout(TAKE.1, sender.reserve()).await {
            Ok(Ok(place)) => {
                place.send(reply);
                return Taken::Yes;
            }
            Ok(Err(_)) => return Taken::Gone,
            Err(_) if others_wait || asked.elapsed() >= TAKE.0 => return Taken::Late,
            Err(_) => {}
        }
    }
}
