// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Limits on incoming requests: the memory that they take, encoded and decoded, is bounded, for all
//! connections together and for each, and they have to arrive at a minimum rate. Small ones are always admitted, so that a client that
//! sends large ones only in part does not block others.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::codegen::{http, Bytes};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::Status;
use tower::{Layer, Service};

use super::connections::{Connection, ConnectionInfo};
use super::decoded::{Decoded, Shapes};
use crate::p4info::text::POOL;

/// The maximum number of bytes of requests, encoded and decoded, that are held at a time, for all
/// connections.
const MAX_HELD: usize = 1 << 30;
/// The same for one connection: more than the largest batch of usual updates takes.
const MAX_HELD_BY_CONNECTION: usize = 512 << 20;
/// The number of a request's bytes that are not counted.
const SMALL: usize = 16 << 10;
/// The unit in which bytes are counted.
const UNIT: usize = 4 << 10;
/// The minimum rate of a request in bytes per second.
const PACE: usize = 1 << 20;
/// The maximum size of a message on a stream: a packet with its metadata.
const MAX_MESSAGE: usize = 256 << 10;

/// The maximum size of a frame of a reply. HTTP/2 takes a frame once the client has made room for
/// some of it: the body holds the others until then, and its limits apply to them.
const MAX_FRAME: usize = 64 << 10;

/// A request that has not been answered yet, stored in the request's extensions.
pub(super) struct Request {
    connection: Option<Arc<Connection>>,
    was_received: AtomicBool,
    /// The bytes received since the last message of a stream.
    message: AtomicUsize,
    held: Mutex<HeldBytes>,
    /// A turn that ends when the reply has been received.
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

#[derive(Default)]
struct HeldBytes {
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Request {
    fn new(connection: Option<Arc<Connection>>) -> Request {
        if let Some(connection) = &connection {
            connection.receives();
        }
        Request {
            connection,
            was_received: AtomicBool::new(false),
            message: AtomicUsize::new(0),
            held: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Returns the connection that it arrived on.
    pub(super) fn connection(&self) -> Option<&Arc<Connection>> {
        self.connection.as_ref()
    }

    /// Notes that it has arrived completely; for a stream: with its first message.
    pub(super) fn received(&self) {
        self.message.store(0, Relaxed);
        if !self.was_received.swap(true, Relaxed) {
            if let Some(connection) = &self.connection {
                connection.received();
            }
        }
    }

    /// Keeps a turn until the reply has been received.
    pub(super) fn keep(&self, turn: OwnedSemaphorePermit) {
        *self.turn.lock() = Some(turn);
    }

    /// Counts received bytes.
    fn hold(&self, all: &Arc<Semaphore>, bytes: usize) -> Result<(), Status> {
        let mut held = self.held.lock();
        held.bytes = held.bytes.saturating_add(bytes);
        let counted = held
            .permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = held.bytes.saturating_sub(SMALL).div_ceil(UNIT);
        let Some(more) = wanted.checked_sub(counted).filter(|more| *more > 0) else {
            return Ok(());
        };
        let more = more.min(MAX_HELD / UNIT + 1);
        let of_connection = |c: &Arc<Connection>| c.hold(more * UNIT, MAX_HELD_BY_CONNECTION);
        if !self.connection.as_ref().is_none_or(of_connection) {
            return Err(Status::resource_exhausted(format!(
                "requests of more than {MAX_HELD_BY_CONNECTION} bytes are under way on this \
                 connection"
            )));
        }
        match all.clone().try_acquire_many_owned(more as u32) {
            Ok(permit) => match &mut held.permit {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            },
            Err(_) => {
                if let Some(connection) = &self.connection {
                    connection.release(more * UNIT);
                }
                return Err(Status::resource_exhausted(format!(
                    "requests of more than {MAX_HELD} bytes are under way: try again"
                )));
            }
        }
        Ok(())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            let held = self.held.get_mut();
            let units = held
                .permit
                .as_ref()
                .map_or(0, OwnedSemaphorePermit::num_permits);
            connection.release(units * UNIT);
            connection.ended(*self.was_received.get_mut());
        }
    }
}

/// A layer that applies the limits to a service.
#[derive(Clone)]
pub(super) struct Bounds {
    held: Arc<Semaphore>,
    shapes: Arc<Shapes>,
    /// The time for which a request may make no progress at the beginning.
    grace: Duration,
}

impl Bounds {
    pub(super) fn new(grace: Duration) -> Bounds {
        Bounds {
            held: Arc::new(Semaphore::new(MAX_HELD / UNIT)),
            shapes: Arc::new(POOL.as_ref().map_or_else(Shapes::default, Shapes::new)),
            grace,
        }
    }
}

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded {
            inner,
            bounds: self.clone(),
        }
    }
}

/// A service with limits on its requests.
#[derive(Clone)]
pub(super) struct Bounded<S> {
    inner: S,
    bounds: Bounds,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

impl<S> Service<http::Request<Body>> for Bounded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, incoming: http::Request<Body>) -> Self::Future {
        let (mut parts, body) = incoming.into_parts();
        let plain = parts.extensions.get::<ConnectionInfo>();
        let tls = parts.extensions.get::<TlsConnectInfo<ConnectionInfo>>();
        let info = plain.or(tls.map(TlsConnectInfo::get_ref));
        let request = Arc::new(Request::new(info.map(|info| info.0.clone())));
        if let Some(address) = request.connection().and_then(|one| one.peer.address()) {
            // Services beside this one have limits for each peer as well.
            parts.extensions.insert(TcpConnectInfo {
                local_addr: None,
                remote_addr: Some((address, 0).into()),
            });
        }
        parts.extensions.insert(request.clone());
        let began = Instant::now();
        let body = Incoming {
            inner: body,
            request: request.clone(),
            bounds: self.bounds.clone(),
            began,
            bytes: 0,
            decoded: Decoded::new(&self.bounds.shapes, parts.uri.path()),
            // A stream is long-lived: its messages have a limit of their own.
            deadline: (!parts.uri.path().ends_with("/StreamChannel"))
                .then(|| Box::pin(tokio::time::sleep_until(began + self.bounds.grace))),
        };
        let answer = self
            .inner
            .call(http::Request::from_parts(parts, Body::new(body)));
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|inner| {
                Body::new(Outgoing {
                    inner,
                    request,
                    rest: Bytes::new(),
                    unsent: None,
                })
            }))
        })
    }
}

/// The body of a request.
struct Incoming {
    inner: Body,
    request: Arc<Request>,
    bounds: Bounds,
    began: Instant,
    bytes: usize,
    decoded: Option<Decoded>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// Counts the bytes of a frame, and the memory that they take once they are decoded.
    fn count(&mut self, data: &[u8]) -> Result<(), Status> {
        let bytes = data.len();
        let Some(deadline) = &mut self.deadline else {
            let message = self.request.message.fetch_add(bytes, Relaxed) + bytes;
            return match message > MAX_MESSAGE {
                true => Err(Status::resource_exhausted(format!(
                    "a message on the stream is longer than {MAX_MESSAGE} bytes"
                ))),
                false => Ok(()),
            };
        };
        self.bytes += bytes;
        let paced = Duration::from_secs_f64(self.bytes as f64 / PACE as f64);
        deadline
            .as_mut()
            .reset(self.began + self.bounds.grace + paced);
        let decoded = match &mut self.decoded {
            Some(decoded) => decoded.count(data)?,
            None => 0,
        };
        self.request
            .hold(&self.bounds.held, bytes.saturating_add(decoded))
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            return Poll::Ready(match frame {
                Some(Ok(frame)) => {
                    let counted = this.count(frame.data_ref().map_or(&[][..], |data| data));
                    if this.deadline.is_some() && this.inner.is_end_stream() {
                        this.request.received();
                    }
                    Some(counted.map(|()| frame))
                }
                Some(Err(status)) => Some(Err(status)),
                None => {
                    if this.deadline.is_some() {
                        this.request.received();
                    }
                    None
                }
            });
        }
        if let Some(deadline) = &mut this.deadline {
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Status::deadline_exceeded(format!(
                "the request did not arrive in time: {} bytes in {} s",
                this.bytes,
                this.began.elapsed().as_secs()
            )))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a reply. The request is under way while it exists.
struct Outgoing {
    inner: Body,
    request: Arc<Request>,
    /// The bytes of the inner body's last frame that have not been taken.
    rest: Bytes,
    /// The frame that has been taken and may not have been sent yet.
    unsent: Option<u64>,
}

impl Outgoing {
    /// Notes that the last frame has been passed to the connection: only then is the next one taken.
    fn sent(&mut self) {
        if let (Some(frame), Some(connection)) = (self.unsent.take(), &self.request.connection) {
            connection.sent(frame);
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.sent();
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        this.sent();
        if this.rest.is_empty() {
            let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
        this.unsent = this.request.connection.as_ref().map(|c| c.sends());
        let taken = this.rest.len().min(MAX_FRAME);
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(taken)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.len() {
            0 => self.inner.size_hint(),
            _ => SizeHint::default(),
        }
    }
}
