// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client of the control protocol.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use super::message::{Hello, Method, Named, Outcome, Reply, Restore, Status, Swap};
use super::message::{Trace, TraceParams, Welcome, MAX_REQUEST_LEN, VERSION};
use super::passed;
use crate::protocol::{Spec, VdevError, VdevInfo, VdevStats};

/// The timeout for a reply.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum length of a reply in bytes.
const MAX_REPLY_LEN: u64 = 64 << 20;

/// The reason for which a request had no result.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no connection.
    #[error("cannot connect to the daemon at {path}{hint}")]
    Connect {
        /// The path of the socket.
        path: PathBuf,
        /// A possible remedy.
        hint: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection to the daemon")]
    Io(#[from] io::Error),
    /// The reply is not what the protocol defines.
    #[error("the daemon's reply to {method}")]
    Reply {
        /// The request's method.
        method: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
    /// The daemon refused the request.
    #[error(transparent)]
    Refused(#[from] VdevError),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    last_id: u64,
    welcome: Welcome,
}

impl Client {
    /// Connects to the daemon whose socket is `path`, and agrees on the version.
    ///
    /// # Errors
    /// Fails when no daemon listens there, or it refuses the client.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| ClientError::Connect {
            path: path.to_owned(),
            hint: hint(source.kind()),
            source,
        })?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut client = Self {
            stream: BufReader::new(stream),
            last_id: 0,
            welcome: Welcome {
                version: VERSION,
                release: String::new(),
                methods: Vec::new(),
                may_change: false,
            },
        };
        client.welcome = client.call(&Method::Hello(Hello { version: VERSION }))?;
        Ok(client)
    }

    /// The daemon's reply to `hello`.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Composes a device.
    ///
    /// # Errors
    /// Fails when the daemon refuses that, or the connection fails; so do the other methods.
    pub fn create(&mut self, spec: Spec) -> Result<VdevInfo, ClientError> {
        self.call(&Method::Create(Box::new(spec)))
    }

    /// Lists the devices.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn list(&mut self) -> Result<Vec<VdevInfo>, ClientError> {
        self.call(&Method::List)
    }

    /// Shows one device.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn show(&mut self, name: &str) -> Result<VdevInfo, ClientError> {
        self.call(&Method::Show(named(name)))
    }

    /// Destroys a device.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn destroy(&mut self, name: &str) -> Result<(), ClientError> {
        self.call(&Method::Destroy(named(name)))
    }

    /// Returns a device's counters.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn stats(&mut self, name: &str) -> Result<VdevStats, ClientError> {
        self.call(&Method::Stats(named(name)))
    }

    /// Returns the entries of a device's trace after a number.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn trace(&mut self, name: &str, after: u64) -> Result<Trace, ClientError> {
        let name = name.to_owned();
        self.call(&Method::Trace(TraceParams { name, after }))
    }

    /// Replaces the ADI of a device's virtual port; several ADIs are a group, its leader first.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn swap(
        &mut self,
        name: &str,
        vport: u16,
        adis: &[String],
    ) -> Result<VdevInfo, ClientError> {
        self.call(&Method::Swap(Swap::new(name, vport, adis)))
    }

    /// Suspends a device and returns its state, a JSON document.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn save(&mut self, name: &str) -> Result<Value, ClientError> {
        self.call(&Method::Save(named(name)))
    }

    /// Composes a device with a saved state.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn restore(&mut self, spec: Spec, state: Value) -> Result<VdevInfo, ClientError> {
        let restore = |state| Method::Restore(Box::new(Restore { spec, state }));
        let text = state.to_string();
        if text.len() <= MAX_REQUEST_LEN / 2 {
            return self.call(&restore(state));
        }
        let file = passed::file_of(text.as_bytes())?;
        self.call_with(&restore(Value::Null), Some(file.as_fd()))
    }

    /// Ends the suspension of a device.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn resume(&mut self, name: &str) -> Result<(), ClientError> {
        self.call(&Method::Resume(named(name)))
    }

    /// Lists the names of the ADIs that can be opened.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn adis(&mut self) -> Result<Vec<String>, ClientError> {
        self.call(&Method::Adis)
    }

    /// Returns the state of the daemon.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.call(&Method::Status)
    }

    fn call<T: DeserializeOwned>(&mut self, method: &Method) -> Result<T, ClientError> {
        self.call_with(method, None)
    }

    /// Sends a request, and with it a file.
    fn call_with<T: DeserializeOwned>(
        &mut self,
        method: &Method,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<T, ClientError> {
        let name = method.name();
        let reply_error = |source| ClientError::Reply {
            method: name,
            source,
        };
        self.last_id += 1;
        let request = method.request(self.last_id).map_err(reply_error)?;
        let mut line = serde_json::to_vec(&request).map_err(reply_error)?;
        line.push(b'\n');
        // A daemon that refuses the connection says why, and closes it: the reply is read even if
        // the request cannot be written.
        let written = match file {
            Some(file) => passed::write(self.stream.get_ref(), &line, file),
            None => self.stream.get_mut().write_all(&line),
        };
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_REPLY_LEN);
        let read = limited.read_until(b'\n', &mut line);
        if !line.ends_with(b"\n") {
            written?;
            read?;
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let reply: Reply = serde_json::from_slice(&line).map_err(reply_error)?;
        match reply.outcome {
            Outcome::Error(error) => Err(error.into()),
            Outcome::Result(_) if reply.id != Some(self.last_id) => {
                let text = format!("it has number {:?}, not {}", reply.id, self.last_id);
                Err(reply_error(serde::de::Error::custom(text)))
            }
            Outcome::Result(value) => serde_json::from_value(value).map_err(reply_error),
        }
    }
}

fn named(name: &str) -> Named {
    Named {
        name: name.to_owned(),
    }
}

/// A possible remedy when a connection fails.
fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            " (adit-vdcm does not run, or has another --control)"
        }
        io::ErrorKind::PermissionDenied => " (permitted are root and the socket's group)",
        _ => "",
    }
}
