// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The replies to requests.

use serde_json::Value;

use super::{Client, Devices, Peer, Server, Settings};
use crate::control::devices;
use crate::control::message::{Method, Request, Status, Welcome, MAX_REQUEST_LEN, VERSION};
use crate::protocol::{ErrorCode, VdevError};

const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The negotiated version and the permissions of a client.
#[derive(Debug)]
pub(super) struct Session {
    may_change: bool,
    state: Greeting,
}

#[derive(Debug, PartialEq, Eq)]
enum Greeting {
    Expected,
    Done,
    /// There is no common version, or the client did not ask for one.
    Failed,
}

impl Session {
    pub(super) fn new(may_change: bool) -> Self {
        Self {
            may_change,
            state: Greeting::Expected,
        }
    }

    /// Returns whether the client may use the methods that change something.
    pub(super) fn may_change(&self) -> bool {
        self.may_change
    }

    /// Returns whether no further request is possible.
    pub(super) fn is_over(&self) -> bool {
        self.state == Greeting::Failed
    }

    /// Checks whether the client may use a method now.
    pub(super) fn admit(&mut self, method: &Method, peer: &Peer) -> Result<(), VdevError> {
        match (&self.state, method) {
            (_, Method::Hello(hello)) if hello.version != VERSION => {
                self.state = Greeting::Failed;
                let text = format!(
                    "version {} of the control protocol is not supported: this daemon, release \
                     {RELEASE}, has version {VERSION}",
                    hello.version
                );
                Err(VdevError::new(ErrorCode::UnsupportedVersion, text))
            }
            (_, Method::Hello(_)) => {
                self.state = Greeting::Done;
                Ok(())
            }
            (Greeting::Expected | Greeting::Failed, _) => {
                self.state = Greeting::Failed;
                let text = format!(
                    "the first request of a connection is hello, with the version of the \
                     protocol, {VERSION}; this was {}",
                    method.name()
                );
                Err(VdevError::new(ErrorCode::UnsupportedVersion, text))
            }
            (Greeting::Done, _) if method.is_privileged() && !self.may_change => {
                let text = format!(
                    "user {} may not {}: root, the daemon's user, and the users and groups of \
                     the daemon's configuration (control.users, control.groups) may",
                    peer.uid,
                    method.name()
                );
                Err(VdevError::new(ErrorCode::PermissionDenied, text))
            }
            (Greeting::Done, _) => Ok(()),
        }
    }
}

impl<D: Devices> Server<D> {
    /// Executes a method that the client may use.
    pub(super) fn execute(&self, client: &mut Client, method: Method) -> Result<Value, VdevError> {
        let value = match method {
            Method::Hello(_) => serde_json::to_value(Welcome {
                version: VERSION,
                release: RELEASE.to_owned(),
                methods: Method::NAMES.map(str::to_owned).into(),
                may_change: client.session.may_change,
            }),
            Method::Status => serde_json::to_value(self.status()),
            method if method.is_privileged() => {
                let name = method.name();
                let Peer { uid, pid, .. } = client.peer;
                let result = devices::execute(&*self.devices, method, &mut client.file);
                tracing::info!(uid, pid, ok = result.is_ok(), "control: {name}");
                return result;
            }
            method => return devices::execute(&*self.devices, method, &mut client.file),
        };
        value.map_err(|error| VdevError::new(ErrorCode::System, format!("the result: {error}")))
    }

    fn status(&self) -> Status {
        let refused = &self.counters.refused;
        Status {
            release: RELEASE.to_owned(),
            pid: std::process::id(),
            devices: self.devices.list().len() as u64,
            connections: self.connected as u64,
            accepted: self.counters.accepted,
            requests: self.counters.requests,
            refused: refused
                .iter()
                .map(|(reason, n)| ((*reason).to_owned(), *n))
                .collect(),
        }
    }
}

/// Parses a request. An error comes with the request's number, if that could be read.
pub(super) fn parse(line: &[u8]) -> Result<(u64, Method), (Option<u64>, VdevError)> {
    let request: Request = serde_json::from_slice(line).map_err(|error| {
        let text = format!(
            "a request is an object on a line, such as {{\"id\":1,\"method\":\"list\"}}: {error}"
        );
        (None, VdevError::new(ErrorCode::BadRequest, text))
    })?;
    let id = request.id;
    let method = Method::parse(request).map_err(|error| (Some(id), error))?;
    Ok((id, method))
}

/// The error for a line that is too long.
pub(super) fn too_long() -> VdevError {
    let text = format!("the request has more than {MAX_REQUEST_LEN} bytes, which is the maximum");
    VdevError::new(ErrorCode::BadRequest, text)
}

/// The error for one connection too many.
pub(super) fn too_many(settings: &Settings, of_user: bool) -> VdevError {
    let text = match of_user {
        true => format!(
            "this user has {} connections to the daemon, which is the maximum for one user",
            settings.max_connections_per_user
        ),
        false => format!(
            "the daemon has {} connections, which is the maximum",
            settings.max_connections
        ),
    };
    VdevError::new(ErrorCode::TooManyConnections, text)
}
