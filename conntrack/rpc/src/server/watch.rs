// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Events as a stream.

use std::sync::Arc;
use std::time::Duration;

use adit_conntrack::{Event, EventMask, Filter, Listener};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::places::Peer;
use super::Shared;
use crate::convert::{event_values, expectation_message, filter_and_id};
use crate::proto::{self, event::Subject, EventKind};

/// A stream of events.
pub(super) type Events = ReceiverStream<Result<proto::WatchResponse, Status>>;

/// The filter, and the number of the only connection.
type Wanted = (Filter, Option<u64>);

/// The maximum number of events of a response.
const MAX_EVENTS: usize = 256;
/// The number of events that are read at a time, whether or not they pass the filter.
const MAX_READ: usize = 4096;
/// The maximum number of events in a queue, and the default.
const MAX_QUEUE: usize = 8192;
const DEFAULT_QUEUE: usize = 4096;
/// The interval at which the queue is read.
const TURN: Duration = Duration::from_millis(5);

/// Watches the events of a request.
pub(super) fn watch(
    shared: &Arc<Shared>,
    request: &Request<proto::WatchRequest>,
) -> Result<Response<Events>, Status> {
    let peer = Peer::of(request);
    let request = request.get_ref();
    let mask = EventMask {
        new: request.new,
        update: request.update,
        destroy: request.destroy,
        expect_new: request.expect_new,
        expect_destroy: request.expect_destroy,
    };
    if mask == EventMask::NONE {
        let text = "no kind of event is wanted: set new, update, destroy, expect_new or \
                    expect_destroy";
        return Err(Status::invalid_argument(text));
    }
    let wanted = filter_and_id(request.filter.as_ref())?;
    let capacity = match request.queue as usize {
        0 => DEFAULT_QUEUE,
        capacity => capacity.min(MAX_QUEUE),
    };
    let place = shared.watches.take(peer)?;
    let listener = shared.tracker.listen(mask, capacity);
    let listener = listener.map_err(|full| Status::resource_exhausted(full.to_string()))?;
    let (sender, receiver) = mpsc::channel(1);
    let shared = shared.clone();
    tokio::spawn(async move {
        let _place = place;
        let mut lost = 0;
        loop {
            // Events stay in the queue until the client has taken those before.
            let Ok(place) = sender.reserve().await else {
                return;
            };
            let response = read(&shared, &listener, &wanted, &mut lost);
            if !response.events.is_empty() || response.lost > 0 {
                place.send(Ok(response));
                continue;
            }
            drop(place);
            if tokio::time::timeout(TURN, sender.closed()).await.is_ok() {
                return;
            }
        }
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// Reads events from the queue; `lost` is the number of lost ones that has been reported.
fn read(
    shared: &Shared,
    listener: &Listener,
    wanted: &Wanted,
    lost: &mut u64,
) -> proto::WatchResponse {
    let mut events = Vec::new();
    for _ in 0..MAX_READ {
        if events.len() == MAX_EVENTS {
            break;
        }
        let Some(event) = listener.next() else { break };
        events.extend(message(shared, event, wanted));
    }
    let total = listener.lost();
    let response = proto::WatchResponse {
        events,
        lost: total - *lost,
    };
    *lost = total;
    response
}

/// The message of an event, unless its connection does not pass the filter.
fn message(shared: &Shared, event: Event, (filter, id): &Wanted) -> Option<proto::Event> {
    let (kind, subject) = match &event {
        Event::New(one, _) | Event::Update(one, _) | Event::Destroy(one) => {
            if id.is_some_and(|id| id != one.id.to_bits()) || !filter.passes(one) {
                return None;
            }
            let kind = match event {
                Event::New(..) => EventKind::New,
                Event::Update(..) => EventKind::Update,
                _ => EventKind::Destroy,
            };
            (kind, Subject::Connection(shared.message(one)))
        }
        Event::ExpectNew(one) => (
            EventKind::New,
            Subject::Expectation(expectation_message(one, shared.now())),
        ),
        Event::ExpectDestroy(one) => (
            EventKind::Destroy,
            Subject::Expectation(expectation_message(one, shared.now())),
        ),
    };
    Some(proto::Event {
        kind: kind.into(),
        subject: Some(subject),
        values: event_values(&event),
        requested: event.is_requested(),
    })
}
