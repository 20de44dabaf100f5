// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server on queue pairs of an ADI: a thread with a stack of its own for each.

mod spin;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_adi::Wakeup;
use adit_netstack::{Config, Mesh, Next, Port, Service, Socket, Stack};
use thiserror::Error;

use crate::date::DateText;
use crate::report::{Worker, Workers};
use crate::session::{self, Session, Stream};
use crate::{Counters, Shared};
use spin::Spin;

/// The maximum time to sleep, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(100);

/// The reason that a server on an ADI has ended before it was stopped.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The stack failed.
    #[error(transparent)]
    Stack(#[from] adit_netstack::Error),
    /// The driver requests the ADI back.
    #[error("the ADI is taken away")]
    Released,
    /// The device has stopped a queue.
    #[error("a queue of the ADI was stopped by a fault")]
    Fault,
    /// A socket of the kernel failed.
    #[error("a socket failed")]
    Sockets(#[source] std::io::Error),
    /// A thread could not be started.
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// A thread has panicked.
    #[error("a thread has panicked")]
    Panic,
}

/// The waiting and ending of the threads.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The cost of a sleep: a thread without work polls for as long before it sleeps, while that saves CPU
    /// time. `None` if it is to be measured.
    pub spin: Option<Duration>,
    /// The time that connections have to end when the server stops.
    pub grace: Duration,
}

/// HTTP for a stack.
pub struct Http {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    date: DateText,
}

impl Http {
    /// A server with counters of its own.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            counters: Arc::default(),
            date: DateText::new(),
        }
    }

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn worker(&mut self, now: Instant) -> session::Worker<'_> {
        session::Worker {
            shared: &self.shared,
            counters: &self.counters,
            date: &mut self.date,
            now,
        }
    }
}

impl Service for Http {
    type Session = Session;

    fn open(&mut self, peer: SocketAddr, local: SocketAddr, now: Instant) -> Session {
        Session::new(peer, local, &self.worker(now))
    }

    fn advance(&mut self, session: &mut Session, socket: &mut Socket<'_>, now: Instant) -> Next {
        session.advance(socket, &mut self.worker(now))
    }

    fn close(&mut self, _: Session) {
        self.counters.closed.add(1);
    }
}

impl Stream for Socket<'_> {
    fn receive(&mut self, f: impl FnOnce(&[u8]) -> usize) -> usize {
        Socket::receive(self, f)
    }

    fn received(&self) -> usize {
        Socket::received(self)
    }

    fn is_at_end(&self) -> bool {
        Socket::is_at_end(self)
    }

    fn send(&mut self, f: impl FnOnce(&mut [u8]) -> usize) -> usize {
        Socket::send(self, f)
    }
}

/// Serves on these ports, each with a thread, until the server is stopped ([`Shared::stop`]).
///
/// # Errors
/// Fails when a stack fails; the other threads are stopped then.
pub fn serve<P>(
    ports: Vec<P>,
    config: &Config,
    pace: Pace,
    shared: &Arc<Shared>,
    workers: &Workers,
) -> Result<(), ServeError>
where
    P: Port + Send,
    P::Frame: Send,
{
    let meshes: Vec<Option<Mesh>> = match ports.len() {
        1 => vec![None],
        _ => Mesh::connect(&ports)?.into_iter().map(Some).collect(),
    };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (port, mesh) in ports.into_iter().zip(meshes) {
            let mut stack = start(port, mesh, config, shared, workers);
            if let Some(first) = stack.as_mut().ok().filter(|_| threads.is_empty()) {
                first.announce(Instant::now());
            }
            let thread = stack.and_then(|stack| {
                let name = format!("http-{}", threads.len());
                let builder = std::thread::Builder::new().name(name);
                let work = move || {
                    let result = work(stack, pace, shared);
                    if result.is_err() {
                        shared.stop();
                    }
                    result
                };
                builder
                    .spawn_scoped(scope, work)
                    .map_err(ServeError::Thread)
            });
            if thread.is_err() {
                shared.stop();
            }
            threads.push(thread);
        }
        let joined = threads.into_iter().map(|thread| match thread?.join() {
            Ok(result) => result,
            Err(_) => Err(ServeError::Panic),
        });
        // All are joined, whichever failed first.
        let results: Vec<_> = joined.collect();
        results.into_iter().collect()
    })
}

fn start<P: Port>(
    port: P,
    mesh: Option<Mesh>,
    config: &Config,
    shared: &Arc<Shared>,
    workers: &Workers,
) -> Result<Stack<P, Http>, ServeError> {
    let http = Http::new(Arc::clone(shared));
    let counters = Arc::clone(http.counters());
    let stack = Stack::new(port, config.clone(), http, mesh)?;
    workers.add(Worker {
        http: counters,
        stack: Some(Arc::clone(stack.counters())),
    });
    Ok(stack)
}

fn work<P: Port>(mut stack: Stack<P, Http>, pace: Pace, shared: &Shared) -> Result<(), ServeError> {
    let sleep = pace.spin.unwrap_or_else(spin::sleep_cost);
    tracing::debug!(?sleep, "polling before a sleep lasts as long as that costs");
    let mut spin = Spin::new(sleep);
    let mut idle_since = None;
    let mut end = None;
    loop {
        let now = Instant::now();
        if end.is_none() && shared.is_stopping() {
            end = Some(now + pace.grace);
            stack.stop();
        }
        let busy = stack.turn(now)?;
        if let Some(end) = end {
            if stack.unfinished() == 0 || now >= end {
                return Ok(());
            }
        }
        if busy {
            if let Some(since) = idle_since.take() {
                spin.note(now.duration_since(since));
            }
            continue;
        }
        if now.duration_since(*idle_since.get_or_insert(now)) < spin.time() {
            std::hint::spin_loop();
            continue;
        }
        match stack.sleep(now, NAP)? {
            Wakeup::Released => return Err(ServeError::Released),
            Wakeup::Fault => return Err(ServeError::Fault),
            Wakeup::Ready | Wakeup::Timeout => {}
        }
    }
}
