// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lists that the server ends before they are complete, as it does with those of clients that receive slowly.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::task::{Context, Poll};

use adit_conntrack::{Protocol, Seed, Settings, Tracker};
use adit_conntrack_rpc::client::{CallError, Client};
use adit_conntrack_rpc::{proto, service, Gate};
use http_body::Frame;
use tonic::body::Body;
use tonic::codegen::{http, BoxFuture, Bytes, Service};
use tonic::{Code, Status};

use super::{connect, runtime, Still};

/// A reply of which some frames are left, instead of a further one the server ends it.
struct Bounded {
    body: Body,
    frames: usize,
    end: Code,
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(&next, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            let Some(left) = self.frames.checked_sub(1) else {
                return Poll::Ready(Some(Err(Status::new(self.end, "the list has ended"))));
            };
            self.frames = left;
        }
        next
    }
}

/// A server that ends each reply behind a number of frames.
#[derive(Clone)]
struct Ending<S> {
    server: S,
    frames: usize,
    end: Code,
    calls: Arc<AtomicUsize>,
}

impl<S> Service<http::Request<Body>> for Ending<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Bounded>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, Relaxed);
        let reply = self.server.call(request);
        let (frames, end) = (self.frames, self.end);
        Box::pin(async move { Ok(reply.await?.map(|body| Bounded { body, frames, end })) })
    }
}

/// Lists 1000 connections from a server that ends each list behind a number of frames, with this status. Returns the
/// number of lists as well.
fn list(frames: usize, end: Code, zero_counters: bool) -> (Result<Vec<u32>, CallError>, usize) {
    let tracker = Tracker::new(4000, Seed::new([1; 16]), Settings::default());
    for port in 1..=1000 {
        connect(&tracker, port, Protocol::UDP);
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let server = Ending {
        server: service(Arc::new(tracker), Still, Gate::default()),
        frames,
        end,
        calls: calls.clone(),
    };
    let mut client = Client::new(runtime(), server);
    let mut ports = Vec::new();
    let request = proto::ListConnectionsRequest {
        page_size: 100,
        zero_counters,
        ..Default::default()
    };
    let listed = client.list(request, |one| {
        let original = one.original.and_then(|tuple| tuple.src);
        ports.push(original.map_or(0, |src| src.part));
        Ok(())
    });
    ports.sort();
    (listed.map(|()| ports), calls.load(Relaxed))
}

#[test]
fn a_list_goes_on_behind_the_last_page() {
    // Unknown: its connection was closed.
    for end in [Code::DeadlineExceeded, Code::Unknown] {
        let (ports, calls) = list(1, end, false);
        assert_eq!(ports, Ok((1..=1000).collect()), "{end:?}");
        assert!(calls > 1, "the list did not end");
    }
}

#[test]
fn a_list_that_is_refused_fails() {
    let (listed, calls) = list(1, Code::PermissionDenied, false);
    let error = listed.expect_err("it is refused");
    assert_eq!((error.code, calls), (Code::PermissionDenied, 1));
}

#[test]
fn a_list_without_a_page_fails() {
    let (listed, calls) = list(0, Code::DeadlineExceeded, false);
    let error = listed.expect_err("nothing has arrived");
    assert_eq!((error.code, calls), (Code::DeadlineExceeded, 1));
}

/// The counters of the connections that did not arrive are zero.
#[test]
fn a_list_that_zeroes_counters_fails() {
    let (listed, calls) = list(1, Code::DeadlineExceeded, true);
    let error = listed.expect_err("counters are lost");
    assert_eq!((error.code, calls), (Code::DeadlineExceeded, 1));
}
