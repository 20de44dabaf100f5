// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A blocking client.

use std::future::Future;

use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};
use tonic::{Code, Response, Status, Streaming};

use crate::proto::{self, conntrack_client::ConntrackClient};

/// The maximum size of a reply: a page of connections takes less than 512 KiB.
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

/// Passes the items of each page of a call's stream to `each`, as it arrives.
async fn each_page<P, T, E: From<CallError>>(
    name: &'static str,
    call: impl Future<Output = std::result::Result<Response<Streaming<P>>, Status>>,
    items: impl Fn(P) -> Vec<T>,
    mut each: impl FnMut(T) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let failed = failed(name);
    let mut pages = call.await.map_err(&failed)?.into_inner();
    while let Some(page) = pages.message().await.map_err(&failed)? {
        items(page).into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

/// Reports whether a server ends a list in this way when its pages are not taken: it ends the call, or, if what it has
/// sent is not taken either, the connection.
fn is_end_of_waiting(code: Code) -> bool {
    matches!(
        code,
        Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unavailable
            | Code::Unknown
            | Code::Internal
    )
}

/// A client of the service, over a channel `C`.
pub struct Client<C> {
    runtime: Runtime,
    grpc: ConntrackClient<C>,
}

/// The events of a watch.
pub struct Watch {
    events: Streaming<proto::WatchResponse>,
}

impl<C> Client<C>
where
    C: GrpcService<Body>,
    C::Error: Into<StdError>,
    C::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <C::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    /// A client whose channel belongs to a runtime.
    pub fn new(runtime: Runtime, channel: C) -> Self {
        let grpc = ConntrackClient::new(channel).max_decoding_message_size(MAX_REPLY);
        Client { runtime, grpc }
    }

    /// Passes the connections of each page to `each`, as it arrives.
    ///
    /// # Errors
    /// When the call fails, or `each` does.
    pub fn list<E: From<CallError>>(
        &mut self,
        request: proto::ListConnectionsRequest,
        mut each: impl FnMut(proto::Connection) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.list_pages(request, |_, page| page.into_iter().try_for_each(&mut each))
    }

    /// Passes each page of connections to `each`, with this client, which can change them meanwhile: no more than a
    /// page is in memory. A page that `each` takes long for does not end the list, unless counters are zeroed: where
    /// the server has ended it, another call goes on behind the last page that has arrived.
    ///
    /// # Errors
    /// When a call fails, or `each` does.
    pub fn list_pages<E: From<CallError>>(
        &mut self,
        mut request: proto::ListConnectionsRequest,
        mut each: impl FnMut(&mut Self, Vec<proto::Connection>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let failed = failed("ListConnections");
        loop {
            let call = self.grpc.list_connections(request.clone());
            let pages = self.runtime.block_on(call);
            let mut pages = pages.map_err(&failed)?.into_inner();
            let mut can_go_on = false;
            loop {
                let page = match self.runtime.block_on(pages.message()) {
                    Ok(Some(page)) => page,
                    Ok(None) => return Ok(()),
                    Err(status) if can_go_on && is_end_of_waiting(status.code()) => break,
                    Err(status) => return Err(failed(status).into()),
                };
                if let Some(cursor) = page.cursor {
                    // The counters of a page that was lost on its way are zero. Without an advance there is no end.
                    can_go_on |= !request.zero_counters && cursor > request.cursor;
                    request.cursor = cursor;
                }
                each(self, page.connections)?;
            }
        }
    }

    /// Deletes connections, and passes them to `each`.
    ///
    /// # Errors
    /// When the call fails, or `each` does.
    pub fn delete<E: From<CallError>>(
        &mut self,
        filter: proto::Filter,
        each: impl FnMut(proto::Connection) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let filter = Some(filter);
        let pages = self
            .grpc
            .delete_connections(proto::DeleteConnectionsRequest { filter });
        let pages = each_page("DeleteConnections", pages, |page| page.connections, each);
        self.runtime.block_on(pages)
    }

    /// Passes all expectations to `each`.
    ///
    /// # Errors
    /// When the call fails, or `each` does.
    pub fn list_expectations<E: From<CallError>>(
        &mut self,
        each: impl FnMut(proto::Expectation) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let pages = self
            .grpc
            .list_expectations(proto::ListExpectationsRequest {});
        let pages = each_page("ListExpectations", pages, |page| page.expectations, each);
        self.runtime.block_on(pages)
    }

    /// Begins to watch events.
    ///
    /// # Errors
    /// When the call fails.
    pub fn watch(&mut self, request: proto::WatchRequest) -> Result<Watch> {
        let events = self.runtime.block_on(self.grpc.watch(request));
        let events = events.map_err(failed("Watch"))?.into_inner();
        Ok(Watch { events })
    }

    /// Waits for further events of a watch. Returns `None` if the server has closed the stream.
    ///
    /// # Errors
    /// When the watch fails.
    pub fn next(&mut self, watch: &mut Watch) -> Result<Option<proto::WatchResponse>> {
        let next = self.runtime.block_on(watch.events.message());
        next.map_err(failed("Watch"))
    }
}

/// Defines a function for each unary call.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $rpc:ident, $call:literal: $request:ident -> $reply:ident;)*) => {
        impl<C> Client<C>
        where
            C: GrpcService<Body>,
            C::Error: Into<StdError>,
            C::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
            <C::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
        {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// When the call fails.
                pub fn $name(&mut self, request: proto::$request) -> Result<proto::$reply> {
                    let reply = self.runtime.block_on(self.grpc.$rpc(request));
                    Ok(reply.map_err(failed($call))?.into_inner())
                }
            )*
        }
    };
}

calls! {
    /// Returns the connection of a tuple.
    get = get_connection, "GetConnection": GetConnectionRequest -> Connection;
    /// Creates a connection.
    create = create_connection, "CreateConnection": CreateConnectionRequest -> Connection;
    /// Changes a connection.
    update = update_connection, "UpdateConnection": UpdateConnectionRequest -> Connection;
    /// Deletes all connections.
    flush = flush_connections, "FlushConnections": FlushConnectionsRequest -> FlushConnectionsResponse;
    /// Returns the number of connections and expectations.
    count = count, "Count": CountRequest -> CountResponse;
    /// Returns the counters of the tracker.
    statistics = get_statistics, "GetStatistics": GetStatisticsRequest -> Statistics;
    /// Returns the ports that no source is translated to.
    reserved_ports = get_reserved_ports, "GetReservedPorts": GetReservedPortsRequest -> ReservedPorts;
    /// Replaces the ports that no source is translated to.
    set_reserved_ports = set_reserved_ports, "SetReservedPorts": SetReservedPortsRequest -> ReservedPorts;
    /// Returns an expectation.
    get_expectation = get_expectation, "GetExpectation": GetExpectationRequest -> Expectation;
    /// Creates an expectation.
    create_expectation = create_expectation, "CreateExpectation": CreateExpectationRequest -> Expectation;
    /// Deletes an expectation.
    delete_expectation = delete_expectation, "DeleteExpectation": DeleteExpectationRequest -> DeleteExpectationResponse;
    /// Deletes all expectations.
    flush_expectations = flush_expectations, "FlushExpectations": FlushExpectationsRequest -> FlushExpectationsResponse;
}
