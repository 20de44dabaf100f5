// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A connection: its socket and its session, and the way in which it ends.

use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::socket::Socket;
use crate::limits::PROGRESS;
use crate::session::{Session, Worker};
use crate::Next;

/// Buffers of requests or of a response that a connection may use before others take their turn.
const ROUNDS: usize = 4;
/// The time that the peer has to close the connection when it was sent everything.
const LINGER: Duration = Duration::from_secs(2);

/// The reason that a connection does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// It waits for its socket, or for its deadline.
    Wait,
    /// It has had its turn.
    Turn,
    /// It has ended.
    End,
}

pub(super) struct Connection {
    pub(super) socket: Socket,
    session: Session,
    pub(super) deadline: Instant,
    /// Set when the session is done: bytes that the peer has taken since the deadline was set.
    closing: Option<usize>,
    /// Set when the peer was sent everything: only its end is awaited.
    shut: bool,
    /// Set while the socket is watched for space, and not for bytes.
    pub(super) waits_for_space: bool,
    /// Set while it is in the list of connections that have had their turn.
    pub(super) listed: bool,
}

impl Connection {
    pub(super) fn new(socket: Socket, session: Session, deadline: Instant) -> Self {
        Self {
            socket,
            session,
            deadline,
            closing: None,
            shut: false,
            waits_for_space: false,
            listed: false,
        }
    }

    /// Goes on for one turn.
    pub(super) fn go_on(&mut self, worker: &mut Worker<'_>, readable: bool) -> io::Result<Pause> {
        if self.closing.is_some() {
            return self.close(worker);
        }
        let mut more = readable && self.socket.fill()?;
        for _ in 0..ROUNDS {
            match self.session.advance(&mut self.socket, worker) {
                Next::Wait(until) => self.deadline = until,
                Next::Again => more = true,
                Next::Done => {
                    self.closing = Some(0);
                    self.deadline = worker.now + worker.shared.limits.send_time;
                    return self.close(worker);
                }
                Next::Abort => return Ok(Pause::End),
            }
            let sent = self.socket.unsent() > 0;
            if !self.socket.drain()? {
                return Ok(Pause::Wait);
            }
            // There is space again for a response that is longer than the buffer.
            if more {
                more = self.socket.fill()? || crate::Stream::received(&self.socket) > 0;
            } else if !sent {
                return Ok(Pause::Wait);
            }
        }
        Ok(Pause::Turn)
    }

    /// Sends what is left, and waits for the peer's end.
    fn close(&mut self, worker: &Worker<'_>) -> io::Result<Pause> {
        let unsent = self.socket.unsent();
        let drained = self.socket.drain()?;
        if !drained {
            // As in a session, the peer has some time for each so many bytes.
            let taken = self.closing.unwrap_or(0) + unsent - self.socket.unsent();
            self.closing = Some(taken);
            if taken >= PROGRESS {
                self.closing = Some(0);
                self.deadline = worker.now + worker.shared.limits.send_time;
            } else if worker.now >= self.deadline {
                worker.counters.closed_send_time.add(1);
                return Ok(Pause::End);
            }
            return Ok(Pause::Wait);
        }
        if !self.shut {
            self.shut = true;
            self.deadline = worker.now + LINGER;
            self.socket.stream.shutdown(Shutdown::Write)?;
        }
        let ended = self.socket.discard()? || worker.now >= self.deadline;
        Ok(if ended { Pause::End } else { Pause::Wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::DateText;
    use crate::session::REQUESTS;
    use crate::{Counters, Limits, Shared, Site};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use rustix::net::sockopt;

    struct Lab {
        shared: Shared,
        counters: Counters,
        date: DateText,
        start: Instant,
        client: TcpStream,
        connection: Connection,
    }

    impl Lab {
        /// A connection on sockets with small buffers, to a server with a file of this length.
        fn new(big: u64) -> Self {
            let root = tempfile::tempdir().unwrap();
            std::fs::write(root.path().join("index.html"), "home").unwrap();
            std::fs::write(root.path().join("big"), vec![b'b'; big as usize]).unwrap();
            let site = Site::open(root.path(), 100 << 20).unwrap();
            let shared = Shared::new("test".into(), site, Limits::default());
            let (counters, mut date) = (Counters::default(), DateText::new());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, peer) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            sockopt::set_socket_send_buffer_size(&stream, 64 << 10).unwrap();
            sockopt::set_socket_recv_buffer_size(&client, 64 << 10).unwrap();
            let start = Instant::now();
            let worker = Worker {
                shared: &shared,
                counters: &counters,
                date: &mut date,
                now: start,
            };
            let session = Session::new(peer, peer, &worker);
            let connection = Connection::new(Socket::new(stream), session, start);
            Self {
                shared,
                counters,
                date,
                start,
                client,
                connection,
            }
        }

        fn go_on(&mut self, seconds: u64) -> Pause {
            let mut worker = Worker {
                shared: &self.shared,
                counters: &self.counters,
                date: &mut self.date,
                now: self.start + Duration::from_secs(seconds),
            };
            self.connection.go_on(&mut worker, true).unwrap()
        }
    }

    #[test]
    fn a_client_with_many_requests_gets_only_so_many_answers_in_a_turn() {
        let mut lab = Lab::new(1);
        let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        // As many as the kernel has space for.
        lab.client
            .write_all(request.repeat(1500).as_bytes())
            .unwrap();
        let (mut done, mut turns) = (0, 0);
        while done < 1500 {
            turns += u64::from(lab.go_on(0) == Pause::Turn);
            let new = lab.counters.snapshot().requests - done;
            assert!((1..=(ROUNDS * REQUESTS) as u64).contains(&new), "{new}");
            done += new;
            let _ = lab.client.read(&mut [0; 1 << 16]).unwrap();
        }
        assert!(turns >= 10, "{turns}");
    }

    const BIG: &str = "GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

    /// Returns a connection whose session is done, while its client has taken nothing and the kernel has
    /// no space for the rest.
    fn full() -> (Lab, usize) {
        let until_full = |lab: &mut Lab| {
            lab.client.write_all(BIG.as_bytes()).unwrap();
            while lab.go_on(0) == Pause::Turn {}
            let sent = lab.counters.snapshot().sent_bytes as usize;
            sent - lab.connection.socket.unsent()
        };
        let taken = until_full(&mut Lab::new(20 << 20));
        let len = taken + (16 << 10);
        let mut lab = Lab::new(len as u64);
        until_full(&mut lab);
        assert!(lab.connection.closing.is_some() && lab.connection.socket.unsent() > 0);
        (lab, len)
    }

    #[test]
    fn a_slow_client_gets_the_end_of_its_response() {
        let (mut lab, len) = full();
        let (mut got, mut bytes) = (0, vec![0; 1 << 20]);
        while !lab.connection.shut {
            assert_eq!(lab.go_on(29), Pause::Wait);
            got += lab.client.read(&mut bytes).unwrap();
        }
        assert_eq!(lab.go_on(30), Pause::Wait);
        assert_eq!(lab.go_on(31), Pause::End);
        drop(lab.connection);
        got += lab.client.read_to_end(&mut bytes).unwrap();
        assert!(got > len, "{got} of {len} bytes and a head");
    }

    #[test]
    fn a_client_that_does_not_take_the_end_of_its_response_is_closed_and_counted() {
        let (mut lab, _) = full();
        assert_eq!(lab.go_on(29), Pause::Wait);
        assert_eq!(lab.go_on(30), Pause::End);
        assert_eq!(lab.counters.snapshot().closed_send_time, 1);
    }
}
