// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A thread that serves `GET /metrics`, and nothing else, to one client at a time.
//!
//! Clients are not trusted: each gets [`MAX_REQUEST_LEN`] bytes and [`TIMEOUT`] for reading and
//! writing together. A slow client delays the next by that much at most, and never the device.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// The maximum length of a request including its headers, in bytes.
const MAX_REQUEST_LEN: usize = 8192;
const MAX_HEADERS: usize = 64;
/// The timeout of a client, from its connection to the last byte of the response.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after a failure to accept a connection (for example, for lack of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A running server; dropping it stops it and joins its thread.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Listens on `address` and responds with the result of `body`, which is called in the server's
    /// thread, once for each request.
    ///
    /// # Errors
    /// Fails when the server cannot listen on the address or spawn its thread.
    pub fn start(
        address: SocketAddr,
        body: impl Fn() -> String + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let responder = Responder {
            listener,
            stop: stop.clone(),
            body,
        };
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || responder.run())?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// The address on which the server listens, with the actual port if port 0 was requested.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        // An eventfd at 0 accepts a 1, and only this one is ever written to it.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Responder<F> {
    listener: TcpListener,
    stop: Arc<OwnedFd>,
    body: F,
}

impl<F: Fn() -> String> Responder<F> {
    fn run(&self) {
        while self.wait(&self.listener, PollFlags::IN, None).is_ok() {
            match self.listener.accept() {
                Ok((client, _)) => {
                    if let Err(error) = self.serve(client) {
                        tracing::debug!("metrics client: {error}");
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!("metrics: cannot accept a connection: {error}");
                    let _ = self.wait(&*self.stop, PollFlags::IN, Some(ACCEPT_PAUSE));
                }
            }
        }
    }

    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nonblocking(true)?;
        let deadline = Instant::now() + TIMEOUT;
        let reply = match self.read_request(&mut client, deadline)? {
            Request::Metrics { head_only } => respond("200 OK", "", &(self.body)(), head_only),
            Request::Refused(status, header) => respond(status, header, status, false),
        };
        let mut rest = reply.as_bytes();
        while !rest.is_empty() {
            match client.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if is_passing(&error) => {
                    self.wait_until(&client, PollFlags::OUT, deadline)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_request(&self, client: &mut TcpStream, deadline: Instant) -> io::Result<Request> {
        let mut buf = [0_u8; MAX_REQUEST_LEN];
        let mut len = 0;
        loop {
            match client.read(&mut buf[len..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => len += read,
                Err(error) if is_passing(&error) => {
                    self.wait_until(&*client, PollFlags::IN, deadline)?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if let Some(request) = parse(&buf[..len]) {
                return Ok(request);
            }
            if len == buf.len() {
                return Ok(Request::TOO_LARGE);
            }
        }
    }

    fn wait_until(&self, fd: impl AsFd, flags: PollFlags, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.wait(fd, flags, Some(left))
    }

    /// Waits for `fd`. Fails on timeout and when the server is to stop.
    fn wait(&self, fd: impl AsFd, flags: PollFlags, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: limit.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::new(&fd, flags),
            PollFd::new(&*self.stop, PollFlags::IN),
        ];
        match poll(&mut fds, limit.as_ref()) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if !fds[1].revents().is_empty() => Err(io::Error::other("stopping")),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// A parsed request.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Metrics {
        head_only: bool,
    },
    /// An HTTP status, and a header line to send with it.
    Refused(&'static str, &'static str),
}

impl Request {
    const TOO_LARGE: Self = Self::Refused("431 Request Header Fields Too Large", "");
}

/// Parses a request. Returns `None` while it is incomplete.
fn parse(bytes: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Some(Request::TOO_LARGE),
        Err(_) => return Some(Request::Refused("400 Bad Request", "")),
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Some(match (request.method.unwrap_or_default(), path) {
        (method @ ("GET" | "HEAD"), "/metrics") => Request::Metrics {
            head_only: method == "HEAD",
        },
        ("GET" | "HEAD", _) => Request::Refused("404 Not Found", ""),
        _ => Request::Refused("405 Method Not Allowed", "Allow: GET, HEAD\r\n"),
    })
}

fn respond(status: &str, header: &str, body: &str, head_only: bool) -> String {
    let len = body.len();
    let body = if head_only { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\n{header}Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted)
}

#[cfg(test)]
mod tests;
