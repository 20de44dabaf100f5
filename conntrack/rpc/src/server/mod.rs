// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The service. Clients are untrusted: requests are small, streams are bounded in number, and a reply
//! is made when the client has received the previous one. No lock is held meanwhile.

mod expectations;
mod pages;
mod places;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use adit_conntrack::{
    CommitError, Connection, ConnectionRef, Cursor, Filter, Time, Tracker, UpdateError,
};
use tokio::sync::RwLock;
use tonic::{Request, Response, Status};

use crate::convert::{
    connection_message, filter_and_id, new_connection, reserved_message, reserved_ports, tuple,
    update, zone,
};
use crate::proto::conntrack_server::{Conntrack, ConntrackServer};
use crate::proto::{self, Counter};
use pages::{pages, Page, Pages};
use places::{Peer, Places};

/// The maximum size of a request.
const MAX_REQUEST: usize = 64 << 10;
/// The maximum number of connections of a page, and the default.
const MAX_PAGE: usize = 1024;
const DEFAULT_PAGE: usize = 256;
/// The maximum number of concurrent lists and deletions.
const MAX_LISTS: usize = 32;
/// The maximum number of concurrent watches.
const MAX_WATCHES: usize = 16;

/// The time of the tracker.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Time;
    /// The date at time zero, as the time since 1970.
    fn start_date(&self) -> Duration;
}

/// A gate that changes of the tracker pass. Whoever holds it for writing
/// ([`RwLock::blocking_write`]) keeps clients from changing anything; their calls wait.
pub type Gate = Arc<RwLock<()>>;

/// The state that calls share.
struct Shared {
    tracker: Arc<Tracker>,
    gate: Gate,
    clock: Box<dyn Clock>,
    lists: Arc<Places>,
    watches: Arc<Places>,
}

/// The service of a tracker.
#[derive(Clone)]
struct Service(Arc<Shared>);

/// Returns the gRPC service of a tracker, for a server of `tonic`. Changes pass the gate.
pub fn service(
    tracker: Arc<Tracker>,
    clock: impl Clock,
    gate: Gate,
) -> ConntrackServer<impl Conntrack> {
    let shared = Shared {
        tracker,
        gate,
        clock: Box::new(clock),
        lists: Places::new("lists and deletions", MAX_LISTS),
        watches: Places::new("watches", MAX_WATCHES),
    };
    ConntrackServer::new(Service(Arc::new(shared))).max_decoding_message_size(MAX_REQUEST)
}

impl Shared {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn message(&self, connection: &Connection) -> proto::Connection {
        connection_message(connection, self.clock.start_date())
    }

    fn messages(&self, connections: &[Connection]) -> Vec<proto::Connection> {
        connections.iter().map(|one| self.message(one)).collect()
    }

    /// The message of a connection that has just been found.
    fn get(&self, connection: ConnectionRef) -> Result<proto::Connection, Status> {
        let found = self.tracker.get(connection, self.now());
        let found = found.ok_or_else(|| Status::not_found("connection has ended"))?;
        Ok(self.message(&found))
    }

    /// The connection with a number, if there is one and it passes a filter.
    fn find(&self, id: u64, filter: &Filter) -> Vec<Connection> {
        let id = ConnectionRef::from_bits(id);
        let found = id.and_then(|id| self.tracker.get(id, self.now()));
        found.into_iter().filter(|one| filter.passes(one)).collect()
    }

    /// As [`Shared::find`]; the counters of the connection are zero afterwards.
    fn find_and_zero(&self, id: u64, filter: &Filter) -> Vec<Connection> {
        let found = self.find(id, filter).into_iter();
        found
            .filter_map(|one| self.tracker.get_and_zero(one.id, self.now()))
            .collect()
    }
}

fn commit_status(error: CommitError) -> Status {
    let text = error.to_string();
    match error {
        CommitError::Clash => Status::already_exists(text),
        CommitError::Family | CommitError::Tuples => Status::invalid_argument(text),
        // The table, a bucket, a zone or a range is full.
        _ => Status::resource_exhausted(text),
    }
}

fn update_status(error: UpdateError) -> Status {
    let text = error.to_string();
    match error {
        UpdateError::Missing => Status::not_found(text),
        UpdateError::Proto | UpdateError::Helper(_) => Status::invalid_argument(text),
        _ => Status::failed_precondition(text),
    }
}

fn exhausted(tracker: &Tracker) -> Vec<Counter> {
    let counts = tracker.exhausted().into_iter();
    let named = counts.map(|(address, count)| match address {
        Some(address) => counter(&address.to_string(), count),
        None => counter("others", count),
    });
    named.collect()
}

fn counter(name: &str, value: u64) -> Counter {
    Counter {
        name: name.to_owned(),
        value,
    }
}

#[tonic::async_trait]
impl Conntrack for Service {
    type ListConnectionsStream = Pages<proto::ListConnectionsResponse>;

    async fn list_connections(
        &self,
        request: Request<proto::ListConnectionsRequest>,
    ) -> Result<Response<Self::ListConnectionsStream>, Status> {
        let peer = Peer::of(&request);
        let (shared, request) = (self.0.clone(), request.into_inner());
        let (filter, id) = filter_and_id(request.filter.as_ref())?;
        let count = match request.page_size as usize {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let mut cursor = Cursor::from_bits(request.cursor);
        let turn = shared.lists.take(peer)?;
        Ok(pages(turn, move || {
            let (tracker, now) = (&shared.tracker, shared.now());
            let open = shared.gate.try_read();
            if request.zero_counters && open.is_err() {
                return Page::later(proto::ListConnectionsResponse::default());
            }
            let (found, next) = match (id, request.zero_counters) {
                (Some(id), false) => (shared.find(id, &filter), None),
                (Some(id), true) => (shared.find_and_zero(id, &filter), None),
                (None, false) => tracker.dump_matching(cursor, count, &filter, now),
                (None, true) => tracker.dump_and_zero(cursor, count, &filter, now),
            };
            cursor = next.unwrap_or(cursor);
            Page {
                // The last page has no cursor, even if it has no connections.
                is_empty: found.is_empty() && next.is_some(),
                is_last: next.is_none(),
                message: proto::ListConnectionsResponse {
                    connections: shared.messages(&found),
                    cursor: next.map(Cursor::to_bits),
                },
            }
        }))
    }

    async fn get_connection(
        &self,
        request: Request<proto::GetConnectionRequest>,
    ) -> Result<Response<proto::Connection>, Status> {
        let request = request.into_inner();
        let tuple = tuple("tuple", request.tuple.as_ref())?;
        let zone = zone(request.zone.as_ref())?;
        let found = self.0.tracker.lookup(&tuple, zone, self.0.now());
        let (connection, _) =
            found.ok_or_else(|| Status::not_found("no connection has this tuple in the zone"))?;
        self.0.get(connection).map(Response::new)
    }

    async fn create_connection(
        &self,
        request: Request<proto::CreateConnectionRequest>,
    ) -> Result<Response<proto::Connection>, Status> {
        let message = request.into_inner().connection;
        let new = new_connection(message.as_ref(), self.0.clock.start_date())?;
        let _open = self.0.gate.read().await;
        let created = self.0.tracker.create_connection(&new, self.0.now());
        let created = created.map_err(commit_status)?;
        self.0.get(created).map(Response::new)
    }

    async fn update_connection(
        &self,
        request: Request<proto::UpdateConnectionRequest>,
    ) -> Result<Response<proto::Connection>, Status> {
        let (connection, update) = update(request.get_ref())?;
        let _open = self.0.gate.read().await;
        let changed = self.0.tracker.change(connection, &update, self.0.now());
        changed.map_err(update_status)?;
        self.0.get(connection).map(Response::new)
    }

    type DeleteConnectionsStream = Pages<proto::DeleteConnectionsResponse>;

    async fn delete_connections(
        &self,
        request: Request<proto::DeleteConnectionsRequest>,
    ) -> Result<Response<Self::DeleteConnectionsStream>, Status> {
        let (shared, peer) = (self.0.clone(), Peer::of(&request));
        let (filter, id) = filter_and_id(request.into_inner().filter.as_ref())?;
        let mut cursor = Cursor::default();
        let turn = shared.lists.take(peer)?;
        Ok(pages(turn, move || {
            let (tracker, now) = (&shared.tracker, shared.now());
            let Ok(_open) = shared.gate.try_read() else {
                return Page::later(proto::DeleteConnectionsResponse::default());
            };
            let (mut found, next) = match id {
                Some(id) => (shared.find(id, &filter), None),
                None => tracker.dump_matching(cursor, DEFAULT_PAGE, &filter, now),
            };
            // Another client may have been faster.
            found.retain(|one| tracker.delete(one.id, now));
            cursor = next.unwrap_or(cursor);
            Page {
                is_empty: found.is_empty(),
                is_last: next.is_none(),
                message: proto::DeleteConnectionsResponse {
                    connections: shared.messages(&found),
                },
            }
        }))
    }

    async fn flush_connections(
        &self,
        request: Request<proto::FlushConnectionsRequest>,
    ) -> Result<Response<proto::FlushConnectionsResponse>, Status> {
        let _turn = self.0.lists.take(Peer::of(&request))?;
        let (mut cursor, mut deleted) = (Cursor::default(), 0);
        loop {
            let open = self.0.gate.read().await;
            let (count, next) = self.0.tracker.flush(cursor, self.0.now());
            deleted += count as u64;
            let Some(next) = next else { break };
            cursor = next;
            drop(open);
            tokio::task::yield_now().await;
        }
        Ok(Response::new(proto::FlushConnectionsResponse { deleted }))
    }

    async fn count(
        &self,
        _: Request<proto::CountRequest>,
    ) -> Result<Response<proto::CountResponse>, Status> {
        let tracker = &self.0.tracker;
        Ok(Response::new(proto::CountResponse {
            connections: tracker.len() as u64,
            max_connections: tracker.capacity() as u64,
            expectations: tracker.expectation_count() as u64,
        }))
    }

    async fn get_statistics(
        &self,
        _: Request<proto::GetStatisticsRequest>,
    ) -> Result<Response<proto::Statistics>, Status> {
        let statistics = self.0.tracker.statistics();
        let of_linux = statistics.of_linux();
        let reasons = |counts: &std::collections::BTreeMap<String, u64>| {
            counts.iter().map(|(name, n)| counter(name, *n)).collect()
        };
        Ok(Response::new(proto::Statistics {
            connections: of_linux.map(|(name, n)| counter(name, n)).to_vec(),
            expectations: vec![
                counter("expect_new", statistics.expect_new),
                counter("expect_create", statistics.expect_create),
                counter("expect_delete", statistics.expect_delete),
            ],
            invalid: reasons(&statistics.invalid_by_reason),
            dropped: reasons(&statistics.drop_by_reason),
            nat_exhausted: exhausted(&self.0.tracker),
        }))
    }

    async fn get_reserved_ports(
        &self,
        _: Request<proto::GetReservedPortsRequest>,
    ) -> Result<Response<proto::ReservedPorts>, Status> {
        let ports = self.0.tracker.reserved_ports();
        Ok(Response::new(reserved_message(&ports)))
    }

    async fn set_reserved_ports(
        &self,
        request: Request<proto::SetReservedPortsRequest>,
    ) -> Result<Response<proto::ReservedPorts>, Status> {
        let ports = reserved_ports(&request.get_ref().ports)?;
        let message = reserved_message(&ports);
        let _open = self.0.gate.read().await;
        self.0.tracker.set_reserved_ports(ports);
        Ok(Response::new(message))
    }

    type WatchStream = watch::Events;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        watch::watch(&self.0, &request)
    }

    type ListExpectationsStream = Pages<proto::ListExpectationsResponse>;

    async fn list_expectations(
        &self,
        request: Request<proto::ListExpectationsRequest>,
    ) -> Result<Response<Self::ListExpectationsStream>, Status> {
        expectations::list(&self.0, &request)
    }

    async fn get_expectation(
        &self,
        request: Request<proto::GetExpectationRequest>,
    ) -> Result<Response<proto::Expectation>, Status> {
        expectations::get(&self.0, request.get_ref()).map(Response::new)
    }

    async fn create_expectation(
        &self,
        request: Request<proto::CreateExpectationRequest>,
    ) -> Result<Response<proto::Expectation>, Status> {
        let _open = self.0.gate.read().await;
        expectations::create(&self.0, request.get_ref()).map(Response::new)
    }

    async fn delete_expectation(
        &self,
        request: Request<proto::DeleteExpectationRequest>,
    ) -> Result<Response<proto::DeleteExpectationResponse>, Status> {
        let id = request.into_inner().id;
        let _open = self.0.gate.read().await;
        match self.0.tracker.delete_expectation(id) {
            true => Ok(Response::new(proto::DeleteExpectationResponse {})),
            false => Err(Status::not_found(format!("no expectation has number {id}"))),
        }
    }

    async fn flush_expectations(
        &self,
        _: Request<proto::FlushExpectationsRequest>,
    ) -> Result<Response<proto::FlushExpectationsResponse>, Status> {
        let _open = self.0.gate.read().await;
        // The tracker has a few thousand at most.
        let deleted = self.0.tracker.flush_expectations(usize::MAX, self.0.now());
        let deleted = deleted as u64;
        Ok(Response::new(proto::FlushExpectationsResponse { deleted }))
    }
}
