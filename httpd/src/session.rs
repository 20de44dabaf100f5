// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A connection's requests and responses, without I/O.

mod answer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use adit_netstack::Next;

use crate::date::DateText;
use crate::limits::PROGRESS;
use crate::path;
use crate::request::{self, Bad, Head, Method};
use crate::response::{self, After};
use crate::site::Entry;
use crate::{Counters, Shared};
use answer::Echo;

/// Requests that a connection may make before others take their turn.
pub(crate) const REQUESTS: usize = 32;
/// The capacity of buffers that a connection keeps between requests.
const KEPT: usize = 16 << 10;

/// A connection's bytes.
pub trait Stream {
    /// Passes received bytes to `f`, which returns how many of them it has taken. Returns that number,
    /// and 0 without a call when there are none.
    fn receive(&mut self, f: impl FnOnce(&[u8]) -> usize) -> usize;

    /// Returns the number of bytes that wait to be received.
    fn received(&self) -> usize;

    /// Returns whether the peer has sent its last byte and it was received.
    fn is_at_end(&self) -> bool;

    /// Passes space to `f`, which returns how many bytes it has written there. Returns that number, and 0
    /// without a call when there is no space.
    fn send(&mut self, f: impl FnOnce(&mut [u8]) -> usize) -> usize;
}

/// The parts of a worker that its sessions borrow.
pub(crate) struct Worker<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) counters: &'a Counters,
    pub(crate) date: &'a mut DateText,
    pub(crate) now: Instant,
}

/// The body of a response.
#[derive(Debug)]
struct Body {
    entry: Arc<Entry>,
    at: u64,
}

#[derive(Debug)]
enum State {
    /// The head of the next request is read.
    Head,
    /// So many bytes of a body are read, for an echo, or to be discarded.
    Body { left: u64, echo: Option<Echo> },
    /// The response is sent.
    Reply,
}

/// A connection: one request after the other, each with its response.
#[derive(Debug)]
pub struct Session {
    peer: SocketAddr,
    local: SocketAddr,
    state: State,
    /// Received bytes of a head that was not complete, and what came with it.
    pending: Vec<u8>,
    /// The head of a response and a body that is not a file's, of which `out_at` bytes are sent.
    out: Vec<u8>,
    out_at: usize,
    body: Option<Body>,
    close: bool,
    /// Set for the response to a HEAD request, which has no body.
    omit_body: bool,
    deadline: Instant,
    /// Bytes sent since the deadline of a response was set; `None` while the client takes everything.
    progress: Option<usize>,
}

/// The result of reading a head.
enum Read {
    More,
    Head,
}

impl Session {
    /// Begins a connection.
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr, worker: &Worker<'_>) -> Self {
        worker.counters.connections.add(1);
        Self {
            peer,
            local,
            state: State::Head,
            pending: Vec::new(),
            out: Vec::new(),
            out_at: 0,
            body: None,
            close: false,
            omit_body: false,
            deadline: worker.now + worker.shared.limits.head_time,
            progress: None,
        }
    }

    /// Goes on as far as the stream allows.
    pub(crate) fn advance(&mut self, stream: &mut impl Stream, worker: &mut Worker<'_>) -> Next {
        let limits = &worker.shared.limits;
        let mut budget = REQUESTS;
        loop {
            match self.flush(stream, worker.counters) {
                Some(true) => self.progress = None,
                Some(false) => return self.blocked(worker),
                None => {
                    worker.counters.cut_responses.add(1);
                    return Next::Abort;
                }
            }
            match &mut self.state {
                State::Reply => {
                    if self.close {
                        return Next::Done;
                    }
                    self.state = State::Head;
                    let begun = !self.pending.is_empty() || stream.received() > 0;
                    let time = if begun { limits.head_time } else { limits.idle };
                    self.deadline = worker.now + time;
                    budget -= 1;
                    if budget == 0 {
                        return Next::Again;
                    }
                }
                State::Head => {
                    let empty = self.pending.is_empty();
                    if let Read::Head = self.read_head(stream, worker) {
                        continue;
                    }
                    if stream.is_at_end() {
                        if !self.pending.is_empty() {
                            worker.counters.closed_in_request.add(1);
                        }
                        return Next::Done;
                    }
                    if self.pending.is_empty() {
                        if worker.shared.is_stopping() {
                            worker.counters.closed_stopping.add(1);
                            return Next::Done;
                        }
                        if worker.now >= self.deadline {
                            worker.counters.closed_idle.add(1);
                            return Next::Done;
                        }
                    } else if empty {
                        self.deadline = self.deadline.min(worker.now + limits.head_time);
                    } else if worker.now >= self.deadline {
                        worker.counters.closed_head_time.add(1);
                        self.refuse(response::TIMEOUT, worker);
                        continue;
                    }
                    return Next::Wait(self.deadline);
                }
                State::Body { echo, .. } => {
                    let is_echo = echo.is_some();
                    if self.read_body(stream, worker) {
                        continue;
                    }
                    if stream.is_at_end() {
                        worker.counters.closed_in_request.add(1);
                        return Next::Done;
                    }
                    if worker.now >= self.deadline {
                        worker.counters.closed_body_time.add(1);
                        if !is_echo {
                            // The request has its response already.
                            return Next::Done;
                        }
                        self.refuse(response::TIMEOUT, worker);
                        continue;
                    }
                    return Next::Wait(self.deadline);
                }
            }
        }
    }

    /// Waits for space, but not for a client that takes next to nothing.
    fn blocked(&mut self, worker: &Worker<'_>) -> Next {
        let begins = self.progress.is_none_or(|progress| progress >= PROGRESS);
        if begins {
            self.progress = Some(0);
            self.deadline = worker.now + worker.shared.limits.send_time;
        } else if worker.now >= self.deadline {
            worker.counters.closed_send_time.add(1);
            return Next::Abort;
        }
        Next::Wait(self.deadline)
    }

    /// Sends what there is to send. Returns whether all of it is on its way; `None` if a file cannot be
    /// read.
    fn flush(&mut self, stream: &mut impl Stream, counters: &Counters) -> Option<bool> {
        while self.out_at < self.out.len() {
            let rest = &self.out[self.out_at..];
            let sent = stream.send(|space| {
                let len = rest.len().min(space.len());
                space[..len].copy_from_slice(&rest[..len]);
                len
            });
            if sent == 0 {
                return Some(false);
            }
            self.sent(sent, counters);
            self.out_at += sent;
        }
        while let Some(body) = &mut self.body {
            let left = body.entry.len - body.at;
            if left == 0 {
                self.body = None;
                break;
            }
            let mut failed = false;
            let sent = stream.send(|space| {
                let len = usize::try_from(left).map_or(space.len(), |left| left.min(space.len()));
                let read = body.entry.read_at(&mut space[..len], body.at);
                let read = read.unwrap_or(0);
                failed = read == 0;
                read
            });
            if failed {
                return None;
            }
            if sent == 0 {
                return Some(false);
            }
            body.at += sent as u64;
            self.sent(sent, counters);
        }
        self.out_at = 0;
        self.out.clear();
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        Some(true)
    }

    fn sent(&mut self, len: usize, counters: &Counters) {
        counters.sent_bytes.add(len as u64);
        if let Some(progress) = &mut self.progress {
            *progress += len;
        }
    }

    /// Reads a head, from the stream if it is there as a whole, which is the usual case.
    fn read_head(&mut self, stream: &mut impl Stream, worker: &mut Worker<'_>) -> Read {
        let limit = worker.shared.limits.head;
        if self.pending.is_empty() {
            let mut read = Read::More;
            stream.receive(|bytes| match self.take_head(bytes, worker) {
                Some(len) => {
                    read = Read::Head;
                    len
                }
                None => {
                    self.pending.extend_from_slice(bytes);
                    bytes.len()
                }
            });
            if let Read::Head = read {
                return read;
            }
        } else if let Some(len) = self.take_pending(worker) {
            self.pending.drain(..len);
            return Read::Head;
        }
        loop {
            let pending = &mut self.pending;
            let got = stream.receive(|bytes| {
                // A byte more than the limit shows that it is exceeded.
                let room = (limit + 1).saturating_sub(pending.len());
                let len = bytes.len().min(room);
                pending.extend_from_slice(&bytes[..len]);
                len
            });
            if got == 0 {
                return Read::More;
            }
            if let Some(len) = self.take_pending(worker) {
                self.pending.drain(..len);
                if self.pending.is_empty() && self.pending.capacity() > KEPT {
                    self.pending = Vec::new();
                }
                return Read::Head;
            }
        }
    }

    fn take_pending(&mut self, worker: &mut Worker<'_>) -> Option<usize> {
        let pending = std::mem::take(&mut self.pending);
        let len = self.take_head(&pending, worker);
        self.pending = pending;
        len
    }

    /// Reads a head at the start of `bytes` and begins its response. Returns the length of the head;
    /// `None` if it is not complete.
    fn take_head(&mut self, bytes: &[u8], worker: &mut Worker<'_>) -> Option<usize> {
        let limit = worker.shared.limits.head;
        let counters = worker.counters;
        self.omit_body = false;
        let (status, counter) = match request::read(bytes) {
            Ok(Some((head, len))) if len <= limit => {
                counters.requests.add(1);
                self.respond(&head, worker);
                return Some(len);
            }
            Ok(None) if bytes.len() <= limit => return None,
            Ok(_) | Err(Bad::Fields) => (response::FIELDS_TOO_LARGE, &counters.refused_head_size),
            Err(Bad::Syntax) => (response::BAD_REQUEST, &counters.refused_syntax),
            Err(Bad::Version) => (response::VERSION, &counters.refused_syntax),
            Err(Bad::Expectation) => (response::EXPECTATION, &counters.refused_syntax),
            Err(Bad::Chunked) => (response::LENGTH_REQUIRED, &counters.refused_transfer_coding),
            Err(Bad::Coding) => (response::NOT_IMPLEMENTED, &counters.refused_transfer_coding),
        };
        counter.add(1);
        self.refuse(status, worker);
        // What follows is not understood, and is discarded with the connection.
        Some(bytes.len())
    }

    /// Begins the response to a head.
    fn respond(&mut self, head: &Head<'_>, worker: &mut Worker<'_>) {
        let path = path::normalise(head.target);
        let reads = matches!(head.method, Method::Get | Method::Head);
        let is_echo = path.as_deref() == Some("/echo") && (reads || head.method == Method::Post);
        let has_body = head.content_length > 0;
        // The response is final: the client need not send the body, and may do so nevertheless.
        let is_final = head.expects_continue && has_body && !is_echo;
        let keep = head.keep_alive && !is_final && !worker.shared.is_stopping();
        let after = match (keep, head.is_old) {
            (true, false) => After::Keep,
            (true, true) => After::KeepOld,
            (false, _) => After::Close,
        };
        self.close = !keep;
        self.omit_body = head.method == Method::Head;
        if head.content_length > worker.shared.limits.body as u64 {
            worker.counters.refused_body_size.add(1);
            self.refuse(response::TOO_LARGE, worker);
            return;
        }
        let Some(path) = path else {
            worker.counters.refused_path.add(1);
            self.refuse(response::BAD_REQUEST, worker);
            return;
        };
        let mut echo = None;
        if is_echo {
            echo = Some(Echo {
                method: head.method,
                target: head.target.into(),
                after,
                body: Vec::new(),
            });
        } else {
            self.serve(&path, head, after, worker);
        }
        if !has_body || is_final {
            if let Some(echo) = echo {
                self.echo(&echo, worker);
            }
            self.state = State::Reply;
            return;
        }
        if head.expects_continue {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.deadline = worker.now + worker.shared.limits.body_time;
        let left = head.content_length;
        self.state = State::Body { left, echo };
    }

    /// Reads a body as far as it is there. Returns whether it is complete; then its response has begun.
    fn read_body(&mut self, stream: &mut impl Stream, worker: &mut Worker<'_>) -> bool {
        let State::Body { left, echo } = &mut self.state else {
            return false;
        };
        let mut take = |bytes: &[u8]| {
            let len = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            if let Some(echo) = echo {
                echo.body.extend_from_slice(&bytes[..len]);
            }
            *left -= len as u64;
            len
        };
        let len = take(&self.pending);
        self.pending.drain(..len);
        while stream.receive(&mut take) > 0 {}
        if *left > 0 {
            return false;
        }
        if let State::Body {
            echo: Some(echo), ..
        } = std::mem::replace(&mut self.state, State::Reply)
        {
            self.echo(&echo, worker);
        }
        true
    }
}

#[cfg(test)]
mod tests;
