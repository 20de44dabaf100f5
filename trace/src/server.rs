// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The service. Clients are untrusted: requests are small, clients, packets in a second and packets that
//! wait are bounded, and messages are made outside of the data path.

use std::sync::Arc;
use std::time::Duration;

use adit_pipeline::p4::Engine;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::filter::Filter;
use crate::proto::trace_server::{Trace, TraceServer};
use crate::proto::{self, WatchResponse};
use crate::record::Record;
use crate::translate::{plain, Translator};
use crate::watcher::{Received, Watcher, DEFAULT_RATE, MAX_RATE};

/// The maximum size of a request: a packet of the largest size, or all filters with as many IPv6 addresses as
/// they can have.
const MAX_REQUEST: usize = 1 << 20;
/// The maximum number of filters of a client beside the first.
const MAX_FURTHER: usize = 31;
/// The interval at which losses are reported, and at which clients that are gone are noticed.
const TURN: Duration = Duration::from_millis(250);

/// A packet to be injected.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The port that receives it.
    pub port: u32,
    /// The transmit queue, of a virtual port.
    pub queue: u16,
    /// The packet from its Ethernet header on.
    pub data: Vec<u8>,
}

/// The reason why a data path refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has as many clients as it has places for.
    #[error("{0} clients trace packets, the limit: try again")]
    Clients(usize),
    /// It has traced as many packets in this second as its limit allows.
    #[error("{0} packets were traced in this second, the limit: try again")]
    Rate(u32),
    /// It is about to be replaced by another process.
    #[error("the NIC is being updated: try again")]
    Frozen,
    /// There is no such port to receive the packet.
    #[error("port {0:#x} is neither a wire nor a virtual port of this NIC")]
    Port(u32),
    /// No frame has this length.
    #[error("the packet has {length} bytes: a frame has {least} to {most}")]
    Length {
        /// The length in bytes.
        length: usize,
        /// The smallest one.
        least: usize,
        /// The largest one.
        most: usize,
    },
}

/// A data path whose packets can be traced.
pub trait Tap: Send + Sync + 'static {
    /// Adds a client; returns its number.
    ///
    /// # Errors
    /// When there are too many.
    fn add(&self, watcher: Watcher) -> Result<u64, Refused>;
    /// Removes a client.
    fn remove(&self, client: u64);
    /// Sends a packet through the data path, and returns its trace.
    ///
    /// # Errors
    /// When there is no such port, no place for it, or the data path is frozen.
    fn inject(&self, injection: &Injection) -> Result<Record, Refused>;
    /// The date at the time zero of the data path's clock, as the time since 1970.
    fn start_date(&self) -> Duration;
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        let text = refused.to_string();
        match refused {
            Refused::Clients(_) | Refused::Rate(_) => Status::resource_exhausted(text),
            Refused::Frozen => Status::unavailable(text),
            Refused::Port(_) | Refused::Length { .. } => Status::invalid_argument(text),
        }
    }
}

/// The service of a data path.
struct Service(Arc<dyn Tap>);

/// Returns the gRPC service of a data path, for a server of `tonic`.
pub fn service(tap: impl Tap) -> TraceServer<impl Trace> {
    TraceServer::new(Service(Arc::new(tap))).max_decoding_message_size(MAX_REQUEST)
}

/// Removes a client when its stream ends.
struct Client {
    tap: Arc<dyn Tap>,
    number: u64,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tap.remove(self.number);
    }
}

/// Makes messages, with the names of the program that a packet has gone through.
#[derive(Default)]
struct Messages {
    translator: Option<Translator>,
    number: u64,
}

impl Messages {
    fn packet(&mut self, record: &Record, start: Duration) -> proto::Packet {
        self.number += 1;
        let number = self.number;
        let translator = record.engine.as_ref().and_then(|engine| self.names(engine));
        match translator {
            Some(translator) => translator.packet(record, number, start),
            None => plain(record, number, start),
        }
    }

    fn names(&mut self, engine: &Arc<Engine>) -> Option<&Translator> {
        let is_its = |t: &Translator| Arc::ptr_eq(t.pipeline().engine(), engine);
        if !self.translator.as_ref().is_some_and(is_its) {
            self.translator = Translator::new(engine).ok();
        }
        self.translator.as_ref()
    }
}

#[tonic::async_trait]
impl Trace for Service {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let read = |filter: &proto::Filter| {
            Filter::try_from(filter).map_err(|bad| Status::invalid_argument(bad.to_string()))
        };
        let filter = read(&request.filter.unwrap_or_default())?;
        if request.further.len() > MAX_FURTHER {
            let given = request.further.len();
            let text = format!("`further` has {given} filters, the most are {MAX_FURTHER}");
            return Err(Status::invalid_argument(text));
        }
        let further = request.further.iter().map(read);
        let further = further.collect::<Result<Vec<_>, _>>()?;
        let rate = match request.rate {
            0 => DEFAULT_RATE,
            rate @ 1..=MAX_RATE => rate,
            rate => {
                let text = format!("`rate` is {rate}, the largest is {MAX_RATE}");
                return Err(Status::invalid_argument(text));
            }
        };
        let (watcher, received) = Watcher::new(filter, request.count, rate);
        let watcher = watcher.or(further);
        let client = Client {
            number: self.0.add(watcher)?,
            tap: self.0.clone(),
        };
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(pass_on(client, received, request.count, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn inject(
        &self,
        request: Request<proto::InjectRequest>,
    ) -> Result<Response<proto::InjectResponse>, Status> {
        let request = request.into_inner();
        let queue = u16::try_from(request.queue).map_err(|_| {
            let text = format!("`queue` is {}, the largest is {}", request.queue, u16::MAX);
            Status::invalid_argument(text)
        })?;
        let record = self.0.inject(&Injection {
            port: request.port,
            queue,
            data: request.data,
        })?;
        let packet = Messages::default().packet(&record, self.0.start_date());
        Ok(Response::new(proto::InjectResponse {
            packet: Some(packet),
        }))
    }
}

/// Passes a client's packets on, until there were `count`, or the client is gone.
async fn pass_on(
    client: Client,
    mut received: Received,
    count: u64,
    sender: mpsc::Sender<Result<WatchResponse, Status>>,
) {
    let start = client.tap.start_date();
    let mut messages = Messages::default();
    while count == 0 || messages.number < count {
        let next = tokio::time::timeout(TURN, received.queue.recv()).await;
        let packet = match next {
            Ok(Some(record)) => Some(messages.packet(&record, start)),
            // The data path is gone.
            Ok(None) => return,
            Err(_) => None,
        };
        let lost = received.lost();
        if sender.is_closed() {
            return;
        }
        let response = WatchResponse { packet, lost };
        if response.packet.is_none() && lost == 0 {
            continue;
        }
        if sender.send(Ok(response)).await.is_err() {
            return;
        }
    }
}
