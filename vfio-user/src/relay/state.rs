// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The loop of a relay: orders, clients and their messages, the worker's end.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::net::{accept_with, socketpair, AddressFamily, SocketFlags, SocketType};

use super::absent::{answer, Answer};
use super::introduction::Link;
use super::message::{reply, Incoming, Message, Reply};
use super::record::Record;
use super::worker::pass;
use super::{IntroductionError, Lost, Order, Relay, END_TIMEOUT, REPLY_TIMEOUT};
use crate::header::{Command, Header};
use crate::transport::{End, UnixTransport};
use crate::{Config, Errno, ServerError, StopHandle};

/// The time for which a worker that has closed a client's connection may be about to die.
const LAST_BREATH: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// A worker: its end of the source, and that of the client.
#[derive(Default)]
struct Worker<'a> {
    source: Option<Arc<OwnedFd>>,
    link: Option<Link<'a>>,
    /// Set while one that was given up may not have ended.
    ends: bool,
}

/// The state of a running relay.
pub(super) struct State<'a> {
    relay: &'a mut Relay,
    stop: &'a StopHandle,
    worker: Worker<'a>,
    /// The worker before a switch that is not committed.
    before: Option<Worker<'a>>,
    paused: bool,
    client: Option<UnixTransport<'a>>,
    /// The time by which a new client must have sent its version.
    version_by: Option<Instant>,
    record: Record,
    /// The parts of the client's next message that have come.
    incoming: Incoming,
    /// A message that waits for a worker, or for the end of one.
    held: Option<Message>,
}

impl<'a> State<'a> {
    pub(super) fn new(relay: &'a mut Relay, stop: &'a StopHandle) -> Self {
        let record = Record::new(&relay.config);
        Self {
            relay,
            stop,
            worker: Worker::default(),
            before: None,
            paused: false,
            client: None,
            version_by: None,
            record,
            incoming: Incoming::default(),
            held: None,
        }
    }

    pub(super) fn run(mut self) -> Result<(), ServerError> {
        while !self.stop.is_stopped() {
            let _ = rustix::io::read(self.relay.wake.as_fd(), &mut [0; 8]);
            while let Ok(order) = self.relay.orders.try_recv() {
                self.carry_out(order);
            }
            let (client, link) = self.wait()?;
            if !client && !self.paused {
                self.check_client();
            }
            if self.stop.is_stopped() {
                break;
            }
            if self.answer_by().is_some_and(|by| by <= Instant::now()) {
                tracing::warn!("the worker is not known to have ended");
                self.ended();
                continue;
            }
            if link {
                self.link_closed();
            } else if client && self.client.is_none() {
                self.accept()?;
            } else if client {
                self.serve();
            }
        }
        Ok(())
    }

    /// Waits for something to do. Returns whether the client's socket, or the listening one, is ready,
    /// and whether the worker's end is.
    fn wait(&self) -> Result<(bool, bool), ServerError> {
        // A client that is not read is watched for its end.
        let open = !self.paused && self.held.is_none();
        let wanted = if open {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let front = match &self.client {
            Some(client) => PollFd::new(client, wanted),
            // A client that nobody can answer waits in the queue of the socket.
            None if open && self.worker.source.is_some() => {
                PollFd::new(&self.relay.listener, PollFlags::IN)
            }
            None => PollFd::new(&self.relay.listener, PollFlags::empty()),
        };
        let wake = PollFd::new(&self.relay.wake, PollFlags::IN);
        let stop = PollFd::new(self.stop, PollFlags::IN);
        let mut fds = vec![wake, stop, front];
        if let Some(link) = &self.worker.link {
            fds.push(PollFd::new(&link.transport, PollFlags::IN));
        } else if let (Some(source), None) = (&self.worker.source, &self.client) {
            fds.push(PollFd::new(source, PollFlags::IN));
        }
        // A client that connects and sends nothing, or a part of a message, would block others.
        let client_by = self.version_by.into_iter().chain(self.incoming.by());
        let by = client_by.filter(|_| open).chain(self.answer_by()).min();
        let timeout = by.map(|by| {
            let left = by.saturating_duration_since(Instant::now());
            Timespec::try_from(left).unwrap_or_default()
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(ServerError::Accept(errno)),
        }
        let ready = |n: usize| fds.get(n).is_some_and(|fd| !fd.revents().is_empty());
        Ok((ready(2), ready(3)))
    }

    /// The time by which a message is answered that waits for the end of a worker.
    fn answer_by(&self) -> Option<Instant> {
        let held = self.held.as_ref().filter(|_| self.worker.ends);
        held.map(|message| message.came + REPLY_TIMEOUT + END_TIMEOUT)
    }

    /// Disconnects a client that has sent nothing in time which it must send.
    fn check_client(&mut self) {
        let is_over = |by: Option<Instant>| by.is_some_and(|by| by <= Instant::now());
        if is_over(self.version_by) {
            tracing::info!("client gone: it sent no version");
            self.disconnect();
        } else if is_over(self.incoming.by()) {
            tracing::info!("client gone: {}", End::Stalled);
            self.disconnect();
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Connect(source) => {
                self.worker = Worker {
                    source: Some(Arc::new(source)),
                    ..Worker::default()
                };
                self.before = None;
                self.end_pause();
                if self.record.version.is_some() {
                    if let Err(error) = self.introduce(false) {
                        self.failed(&error);
                    }
                }
                self.release_held();
            }
            Order::Ended => self.ended(),
            Order::Pause(done) => {
                self.paused = true;
                let _ = done.send(());
            }
            Order::Switch(source, done) => {
                let next = Worker {
                    source: Some(Arc::new(source)),
                    ..Worker::default()
                };
                self.before = Some(std::mem::replace(&mut self.worker, next));
                let introduced = match self.record.version {
                    Some(_) => self.introduce(true),
                    None => Ok(()),
                };
                let _ = done.send(introduced);
            }
            Order::Commit(done) => {
                self.before = None;
                self.end_pause();
                self.release_held();
                let _ = done.send(());
            }
            Order::Revert(done) => {
                if let Some(before) = self.before.take() {
                    self.worker = before;
                }
                self.end_pause();
                self.release_held();
                let _ = done.send(());
            }
        }
    }

    fn end_pause(&mut self) {
        if std::mem::take(&mut self.paused) {
            // Nobody has read what the client has sent meanwhile.
            self.incoming.extend(self.relay.config.message_timeout);
        }
    }

    /// Connects the client to the worker. After a death (not `strict`) it also has the worker's
    /// configuration space continue.
    fn introduce(&mut self, strict: bool) -> Result<(), IntroductionError> {
        let io = |call| move |errno| IntroductionError::Io { call, errno };
        let Some(source) = &self.worker.source else {
            return Err(Lost::Gone.into());
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(io("socketpair"))?;
        let is_known = self.record.version.is_some();
        pass(source.as_fd(), theirs.as_fd(), is_known).map_err(|errno| match errno {
            Errno::PIPE | Errno::CONNRESET => Lost::Gone.into(),
            errno => io("sendmsg")(errno),
        })?;
        // The worker's end is the worker's alone: it is closed when that dies, whether it has received it or not.
        drop(theirs);
        let patient = Config {
            message_timeout: REPLY_TIMEOUT,
            ..self.relay.config.clone()
        };
        let transport = UnixTransport::new(ours, self.stop, &patient);
        let mut link = Link::new(transport, &self.relay.config, REPLY_TIMEOUT);
        if self.record.version.is_some() {
            link.introduce(&self.record, strict)?;
            if !strict {
                link.write_config(&mut self.record)?;
            }
            self.relay.stats.count_introduced(1);
        }
        self.worker.link = Some(link);
        Ok(())
    }

    /// Gives up a worker that does not do what it must.
    fn failed(&mut self, error: &IntroductionError) {
        tracing::warn!("client not introduced: {error}");
        let lost = match error {
            IntroductionError::Lost(lost) => *lost,
            _ => Lost::Silent(Command::Version),
        };
        self.lose(lost);
    }

    fn lose(&mut self, lost: Lost) {
        tracing::warn!("{lost}; the function is in reset");
        self.worker = Worker {
            ends: true,
            ..Worker::default()
        };
        self.relay.stats.count_workers_lost(1);
        (self.relay.lost)(lost);
    }

    /// Handles the end of the worker, which has perhaps not been noticed here.
    fn ended(&mut self) {
        if self.worker.source.is_some() {
            self.lose(Lost::Gone);
        }
        if std::mem::take(&mut self.worker.ends) && !self.paused {
            self.release_held();
        }
    }

    /// Handles the end of the worker's side: its death, or its decision about the client.
    fn link_closed(&mut self) {
        let Some(source) = &self.worker.source else {
            return;
        };
        let mut ended = [PollFd::new(source, PollFlags::IN)];
        match poll(&mut ended, Some(&LAST_BREATH)) {
            Ok(0) => {
                tracing::info!("the worker closed the client's connection");
                self.disconnect();
            }
            _ => self.lose(Lost::Gone),
        }
    }

    fn accept(&mut self) -> Result<(), ServerError> {
        let flags = SocketFlags::CLOEXEC;
        match accept_with(&self.relay.listener, flags) {
            Ok(socket) => {
                self.relay.stats.count_connections(1);
                tracing::info!("client connected");
                self.client = Some(UnixTransport::new(socket, self.stop, &self.relay.config));
                self.version_by = Some(Instant::now() + self.relay.config.message_timeout);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(()),
            Err(e @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                self.relay.stats.count_accept_failures(1);
                tracing::warn!("cannot accept a client, trying again: {e}");
                let _ = poll(
                    &mut [PollFd::new(self.stop, PollFlags::IN)],
                    Some(&LAST_BREATH),
                );
                Ok(())
            }
            Err(e) => Err(ServerError::Accept(e)),
        }
    }

    /// Forgets the client.
    fn disconnect(&mut self) {
        self.client = None;
        self.version_by = None;
        self.worker.link = None;
        self.incoming = Incoming::default();
        self.held = None;
        if let Some(before) = &mut self.before {
            before.link = None;
        }
        self.record = Record::new(&self.relay.config);
    }

    /// Takes what has come from the client and serves a message that is complete, or notices its end.
    fn serve(&mut self) {
        let Some(client) = &self.client else {
            return;
        };
        if self.paused || self.held.is_some() {
            // Only the end of the connection is reported now.
            tracing::info!("client gone");
            return self.disconnect();
        }
        let config = &self.relay.config;
        let limits = (config.max_message(), config.message_timeout);
        match self.incoming.receive(client, limits) {
            Ok(None) => {}
            Ok(Some(message)) => {
                self.version_by = None;
                self.handle(message);
            }
            Err(end) => {
                tracing::info!("client gone: {end}");
                self.disconnect();
            }
        }
    }

    /// Handles the message that has waited for a worker.
    fn release_held(&mut self) {
        if let Some(message) = self.held.take() {
            self.handle(message);
        }
    }

    fn handle(&mut self, message: Message) {
        self.relay.stats.count_messages(1);
        if message.header.message_type() == Header::TYPE_REPLY {
            self.relay.stats.count_stray_replies(1);
            return;
        }
        let Some(command) = Command::from_number(message.header.command) else {
            return self.answer(&message.header, &Err(Errno::INVAL));
        };
        if message.excess || message.header.message_type() != Header::TYPE_COMMAND {
            return self.answer(&message.header, &Err(Errno::INVAL));
        }
        if self.worker.link.is_none() && self.worker.source.is_some() {
            if let Err(error) = self.introduce(false) {
                self.failed(&error);
            }
        }
        if let Some(reply) = self.forward(command, &message) {
            return self.answer(&message.header, &reply);
        }
        let negotiated = self.record.version.is_some();
        if !negotiated && command != Command::Version {
            self.answer(&message.header, &Err(Errno::INVAL));
            return self.disconnect();
        }
        if self.worker.ends {
            // It may access what this message unmaps, or stop only with its process.
            self.held = Some(message);
            return;
        }
        let Message { payload, fds, .. } = &message;
        match answer(&mut self.record, &self.relay.config, command, payload, fds) {
            Answer::Reply(reply) => {
                self.relay.stats.count_answered_in_reset(1);
                self.answer(&message.header, &reply);
            }
            Answer::Hold => self.held = Some(message),
        }
    }

    /// Has the worker answer a message; `None` without a worker.
    fn forward(&mut self, command: Command, message: &Message) -> Option<Reply> {
        let Message { payload, fds, .. } = message;
        let link = self.worker.link.as_mut()?;
        match link.exchange(command, payload, fds) {
            Ok(Ok((data, fd))) => {
                let noted = (self.record).note(command, payload, fds, (&data, fd.as_ref()));
                let config_changed = noted.unwrap_or_else(|error| {
                    tracing::warn!(%error, "not recorded, and lost with this worker");
                    false
                });
                if config_changed || command == Command::Version {
                    match link.read_config() {
                        Ok(space) => self.record.config_space = space,
                        Err(lost) => self.lose(lost),
                    }
                }
                Some(Ok((data, fd)))
            }
            Ok(Err(errno)) => Some(Err(errno)),
            Err(lost) => {
                self.lose(lost);
                None
            }
        }
    }

    fn answer(&mut self, request: &Header, with: &Reply) {
        let Some(client) = &mut self.client else {
            return;
        };
        match reply(client, request, with) {
            Ok(()) => {}
            Err(end @ (End::Closed | End::Truncated)) => {
                tracing::info!("client gone: {end}");
                self.disconnect();
            }
            Err(end) => {
                tracing::warn!("client gone: {end}");
                self.disconnect();
            }
        }
    }
}
