// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A blocking client.

use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};
use tonic::{Code, Status, Streaming};

use crate::proto::{self, trace_client::TraceClient};

/// The maximum size of a reply: the trace of a packet takes less than 1 MiB.
const MAX_REPLY: usize = 4 << 20;

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {message} ({code:?})")]
pub struct CallError {
    /// The name of the RPC.
    pub call: &'static str,
    /// The gRPC status code.
    pub code: Code,
    /// The server's text.
    pub message: String,
}

/// A result of the client.
pub type Result<T> = std::result::Result<T, CallError>;

fn failed(call: &'static str) -> impl Fn(Status) -> CallError {
    move |status| CallError {
        call,
        code: status.code(),
        message: status.message().to_owned(),
    }
}

/// A client of the service, over a channel `C`.
pub struct Client<C> {
    runtime: Runtime,
    grpc: TraceClient<C>,
}

/// The packets of a watch.
pub struct Watch(Streaming<proto::WatchResponse>);

impl<C> Client<C>
where
    C: GrpcService<Body>,
    C::Error: Into<StdError>,
    C::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <C::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    /// A client whose channel belongs to a runtime.
    pub fn new(runtime: Runtime, channel: C) -> Self {
        let grpc = TraceClient::new(channel).max_decoding_message_size(MAX_REPLY);
        Client { runtime, grpc }
    }

    /// Begins to watch packets. No further packet is missed once this returns.
    ///
    /// # Errors
    /// When the call fails.
    pub fn watch(&mut self, request: proto::WatchRequest) -> Result<Watch> {
        let packets = self.runtime.block_on(self.grpc.watch(request));
        Ok(Watch(packets.map_err(failed("Watch"))?.into_inner()))
    }

    /// Waits for the next response of a watch. Returns `None` at its end.
    ///
    /// # Errors
    /// When the watch fails.
    pub fn next(&mut self, watch: &mut Watch) -> Result<Option<proto::WatchResponse>> {
        let next = self.runtime.block_on(watch.0.message());
        next.map_err(failed("Watch"))
    }

    /// Sends a packet through the NIC, and returns its trace.
    ///
    /// # Errors
    /// When the call fails.
    pub fn inject(&mut self, request: proto::InjectRequest) -> Result<proto::Packet> {
        let reply = self.runtime.block_on(self.grpc.inject(request));
        let reply = reply.map_err(failed("Inject"))?.into_inner();
        Ok(reply.packet.unwrap_or_default())
    }
}
