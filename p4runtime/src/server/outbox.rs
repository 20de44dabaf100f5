// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The queue of messages that a client has not taken from its stream yet: bounded in number and
//! bytes.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use crate::proto::v1::{self, stream_message_response::Update};

/// The maximum number of queued messages.
const MAX_MESSAGES: usize = 1024;
/// The maximum number of queued bytes, before the last message.
const MAX_BYTES: usize = 8 << 20;

pub(super) type Reply = Result<v1::StreamMessageResponse, Status>;

/// The sending end of a client's stream.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Reply>,
    bytes: Arc<AtomicUsize>,
}

/// Creates an outbox, and the stream of its messages to the client.
pub(super) fn outbox() -> (Outbox, impl Stream<Item = Reply>) {
    let (sender, receiver) = mpsc::channel(MAX_MESSAGES);
    let outbox = Outbox {
        sender,
        bytes: Arc::default(),
    };
    let bytes = outbox.bytes.clone();
    let taken = ReceiverStream::new(receiver).map(move |reply| {
        if let Ok(message) = &reply {
            bytes.fetch_sub(message.encoded_len(), Relaxed);
        }
        reply
    });
    (outbox, taken)
}

impl Outbox {
    /// Returns whether there is space for a message.
    pub(super) fn has_room(&self) -> bool {
        let fits = self.bytes.load(Relaxed) < MAX_BYTES;
        fits && !self.sender.is_closed() && self.sender.capacity() > 0
    }

    /// Queues a message, if there is space.
    pub(super) fn send(&self, update: Update) -> bool {
        if !self.has_room() {
            return false;
        }
        let message = v1::StreamMessageResponse {
            update: Some(update),
        };
        let bytes = message.encoded_len();
        self.bytes.fetch_add(bytes, Relaxed);
        let is_sent = self.sender.try_send(Ok(message)).is_ok();
        if !is_sent {
            self.bytes.fetch_sub(bytes, Relaxed);
        }
        is_sent
    }

    /// Ends the stream with an error, if there is space for it.
    pub(super) fn fail(&self, status: Status) {
        if self.sender.try_send(Err(status)).is_err() {
            tracing::debug!("P4Runtime: a stream ends without its error, for want of room");
        }
    }

    /// Waits until the client has disconnected.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// Counters of messages that no client took, by kind.
#[derive(Debug, Default)]
pub(super) struct Undelivered {
    digests: AtomicU64,
    idle: AtomicU64,
    packets_in: AtomicU64,
    errors: AtomicU64,
}

impl Undelivered {
    /// Counts a message; arbitration updates are sent again until they are taken.
    pub(super) fn count(&self, update: &Update) {
        let (counter, n) = match update {
            Update::Arbitration(_) => return,
            Update::Digest(list) => (&self.digests, list.data.len()),
            Update::IdleTimeoutNotification(idle) => (&self.idle, idle.table_entry.len()),
            Update::Packet(_) => (&self.packets_in, 1),
            Update::Error(_) | Update::Other(_) => (&self.errors, 1),
        };
        counter.fetch_add(n as u64, Relaxed);
    }

    /// Counts digests for which there was no space among those that wait for a client.
    pub(super) fn count_digests(&self, n: u64) {
        self.digests.fetch_add(n, Relaxed);
    }

    /// Returns all counters, with the names of their kinds.
    pub(super) fn counts(&self) -> [(&'static str, u64); 4] {
        [
            ("digest", &self.digests),
            ("idle", &self.idle),
            ("packet_in", &self.packets_in),
            ("error", &self.errors),
        ]
        .map(|(kind, counter)| (kind, counter.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: usize) -> Update {
        Update::Packet(v1::PacketIn {
            payload: vec![0; bytes],
            metadata: vec![],
        })
    }

    #[test]
    fn messages_are_bounded_in_number_and_bytes() {
        let (outbox, _waiting) = outbox();
        let sent = (0..2000).filter(|_| outbox.send(packet(1))).count();
        assert_eq!(sent, MAX_MESSAGES);
        let (outbox, taken) = super::outbox();
        let sent = (0..100).filter(|_| outbox.send(packet(1 << 20))).count();
        assert_eq!(sent, 8);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let first = async { std::pin::pin!(taken).next().await };
        assert!(runtime.expect("a runtime").block_on(first).is_some());
        // The receiving end has been dropped with it.
        assert!(!outbox.has_room());
        assert_eq!(outbox.bytes.load(Relaxed) >> 20, 7);
    }
}
