// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of one connection, within bounds of length and time.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::message::MAX_REQUEST_LEN;

/// The maximum number of bytes that are read at a time, so that no client occupies the thread.
const MAX_READ: usize = 16 * 1024;
/// The capacity that an idle connection keeps.
const KEPT: usize = 4 * 1024;

/// The times that a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a request, from its first byte to its newline; and for the first one of a connection.
    pub request: Duration,
    /// For reading a reply.
    pub reply: Duration,
    /// Between a reply and the next request.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(5),
            reply: Duration::from_secs(10),
            idle: Duration::from_secs(300),
        }
    }
}

/// The event that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For the rest of a request, or for the first one.
    Request,
    /// For the next request.
    Idle,
    /// For its client to read the reply. No request is read meanwhile.
    Reply,
}

/// A line, or the reason that there will be none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A complete line, without its newline.
    Complete(Vec<u8>),
    /// The line is longer than a request may be; the rest of the stream is meaningless.
    TooLong,
}

/// The buffers of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    input: Vec<u8>,
    /// The number of bytes of the input that are known to have no newline.
    searched: usize,
    output: Vec<u8>,
    sent: usize,
    state: State,
    /// The time at which `state` was entered.
    since: Instant,
    /// Set if it ends when the output is sent.
    closing: bool,
    /// Set once the client sends nothing more.
    ended: bool,
}

impl Connection {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            input: Vec::new(),
            searched: 0,
            output: Vec::new(),
            sent: 0,
            state: State::Request,
            since: now,
            closing: false,
            ended: false,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The time at which the connection ends if nothing happens.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Instant {
        self.since
            + match self.state {
                State::Request => timeouts.request,
                State::Idle => timeouts.idle,
                State::Reply => timeouts.reply,
            }
    }

    /// Reads what is there, within a bound.
    ///
    /// # Errors
    /// Fails when the connection does.
    pub(super) fn receive(&mut self, from: &mut impl Read, now: Instant) -> io::Result<()> {
        let before = self.input.len();
        // One byte more than is permitted shows that a line is too long.
        let room = (MAX_REQUEST_LEN + 2).saturating_sub(before).min(MAX_READ);
        if room == 0 {
            return Ok(());
        }
        self.input.resize(before + room, 0);
        let read = loop {
            match from.read(&mut self.input[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                other => break Some(other),
            }
        };
        let len = match &read {
            Some(Ok(len)) => *len,
            _ => 0,
        };
        self.input.truncate(before + len);
        match read {
            None => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(0)) => {
                self.ended = true;
                Ok(())
            }
            Some(Ok(_)) => {
                if self.state == State::Idle {
                    self.enter(State::Request, now);
                }
                Ok(())
            }
        }
    }

    /// Takes the next line out of what was received.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        if self.state == State::Reply || self.closing {
            return None;
        }
        let new = &self.input[self.searched..];
        match new.iter().position(|byte| *byte == b'\n') {
            Some(at) if self.searched + at <= MAX_REQUEST_LEN => {
                let rest = self.input.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.input, rest);
                line.pop();
                self.searched = 0;
                Some(Line::Complete(line))
            }
            None if self.input.len() <= MAX_REQUEST_LEN => {
                self.searched = self.input.len();
                None
            }
            _ => Some(Line::TooLong),
        }
    }

    /// Adds a reply, which is to be sent before another request is read.
    pub(super) fn reply(&mut self, line: &[u8], now: Instant) {
        self.output.extend_from_slice(line);
        self.enter(State::Reply, now);
    }

    /// Ends the connection when the output is sent.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.input = Vec::new();
        self.searched = 0;
    }

    /// Sends what the client accepts.
    ///
    /// # Errors
    /// Fails when the connection does.
    pub(super) fn send(&mut self, to: &mut impl Write, now: Instant) -> io::Result<()> {
        while self.sent < self.output.len() {
            match to.write(&self.output[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.state == State::Reply {
            self.output.clear();
            self.output.shrink_to(KEPT);
            self.input.shrink_to(KEPT);
            self.sent = 0;
            let next = match self.input.is_empty() {
                true => State::Idle,
                false => State::Request,
            };
            self.enter(next, now);
        }
        Ok(())
    }

    /// Returns whether there is nothing more to do: all is sent and no request will follow.
    pub(super) fn is_over(&self) -> bool {
        self.state != State::Reply && (self.closing || (self.ended && !self.has_line()))
    }

    /// Returns whether a line can be taken without reading.
    pub(super) fn has_line(&self) -> bool {
        let waits = self.state != State::Reply && !self.closing;
        waits
            && (self.input.len() > MAX_REQUEST_LEN || self.input[self.searched..].contains(&b'\n'))
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that has sent some bytes and reads `room` more.
    struct Client<'a> {
        sent: &'a [u8],
        room: usize,
        seen: Vec<u8>,
    }

    impl Read for Client<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.sent.is_empty() {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => self.sent.read(buffer),
            }
        }
    }

    impl Write for Client<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            if len == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= len;
            self.seen.extend(&bytes[..len]);
            Ok(len)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn client(sent: &[u8]) -> Client<'_> {
        Client {
            sent,
            room: usize::MAX,
            seen: Vec::new(),
        }
    }

    #[test]
    fn lines_come_out_in_whatever_pieces_they_arrive() {
        let now = Instant::now();
        let mut connection = Connection::new(now);
        let mut lines = Vec::new();
        for byte in b"one\n\ntwo\nrest" {
            connection.receive(&mut client(&[*byte]), now).unwrap();
            lines.extend(connection.next_line());
        }
        let expected = ["one", "", "two"].map(|line| Line::Complete(line.into()));
        assert_eq!(lines, expected);
        // The rest of a client that is gone is no request.
        connection.receive(&mut io::empty(), now).unwrap();
        assert!(connection.is_over());
    }

    #[test]
    fn a_line_has_a_maximum_length() {
        let now = Instant::now();
        for (len, fits) in [(MAX_REQUEST_LEN, true), (MAX_REQUEST_LEN + 1, false)] {
            let mut line = vec![b'x'; len];
            line.push(b'\n');
            let mut connection = Connection::new(now);
            let mut client = client(&line);
            let found = loop {
                connection.receive(&mut client, now).unwrap();
                if let Some(line) = connection.next_line() {
                    break line;
                }
            };
            assert_eq!(found != Line::TooLong, fits);
            assert!(connection.input.capacity() < 4 * MAX_REQUEST_LEN);
        }
    }

    #[test]
    fn a_full_buffer_is_not_the_end_of_the_stream() {
        let now = Instant::now();
        let mut connection = Connection::new(now);
        let sent = vec![b'\n'; 3 * MAX_REQUEST_LEN];
        let mut client = client(&sent);
        for _ in 0..2 * MAX_REQUEST_LEN / MAX_READ {
            connection.receive(&mut client, now).unwrap();
        }
        assert_eq!(connection.input.len(), MAX_REQUEST_LEN + 2);
        for _ in 0..MAX_REQUEST_LEN + 2 {
            assert_eq!(connection.next_line(), Some(Line::Complete(Vec::new())));
        }
        assert!(!connection.is_over());
    }

    #[test]
    fn no_request_is_taken_before_the_reply_is_read() {
        let now = Instant::now();
        let mut connection = Connection::new(now);
        let mut peer = client(b"one\ntwo\n");
        connection.receive(&mut peer, now).unwrap();
        assert!(connection.next_line().is_some());
        connection.reply(b"a long reply\n", now);
        peer.room = 3;
        connection.send(&mut peer, now).unwrap();
        assert_eq!(connection.next_line(), None);
        assert!(!connection.is_over() && !connection.has_line());
        peer.room = 100;
        connection.send(&mut peer, now).unwrap();
        assert_eq!(peer.seen, b"a long reply\n");
        assert!(connection.has_line());
        assert_eq!(
            connection.next_line(),
            Some(Line::Complete(b"two".to_vec()))
        );
    }

    #[test]
    fn bytes_do_not_extend_the_time_of_a_request() {
        let start = Instant::now();
        let timeouts = Timeouts::default();
        let mut connection = Connection::new(start);
        let later = start + Duration::from_secs(3);
        connection.receive(&mut client(b"x"), later).unwrap();
        assert_eq!(connection.deadline(&timeouts), start + timeouts.request);
        connection.receive(&mut client(b"\n"), later).unwrap();
        connection.next_line().unwrap();
        connection.reply(b"reply", later);
        assert_eq!(connection.deadline(&timeouts), later + timeouts.reply);
        let end = later + Duration::from_secs(1);
        connection.send(&mut client(b""), end).unwrap();
        assert_eq!(connection.deadline(&timeouts), end + timeouts.idle);
        connection.receive(&mut client(b"{"), end).unwrap();
        assert_eq!(connection.deadline(&timeouts), end + timeouts.request);
    }

    #[test]
    fn a_closing_connection_sends_its_last_reply() {
        let now = Instant::now();
        let mut connection = Connection::new(now);
        connection.receive(&mut client(b"one\ntwo\n"), now).unwrap();
        connection.next_line().unwrap();
        connection.reply(b"no\n", now);
        connection.close();
        assert!(!connection.is_over());
        let mut peer = client(b"");
        connection.send(&mut peer, now).unwrap();
        assert!(connection.is_over());
        assert_eq!(
            (peer.seen.as_slice(), connection.next_line()),
            (&b"no\n"[..], None)
        );
    }
}
