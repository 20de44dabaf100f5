// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The listening sockets of the server, which runs in threads of its own.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_stream::StreamExt;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::connections::{limited, Connections, Limits};
use super::outbox::Undelivered;
use super::requests::Bounds;
use super::service::Service;
use super::{Server, MAX_REQUEST, TURN};
use crate::proto::v1::p4_runtime_server::P4RuntimeServer;

/// The maximum number of concurrent requests on one connection.
const MAX_STREAMS: u32 = 64;
/// The timeout of a request, which includes its reception.
const CALL: Duration = Duration::from_secs(60);
/// The interval and the timeout of keepalive pings.
const ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// The interval of checks for idle connections.
const LOOK: Duration = Duration::from_millis(250);
/// The time for which calls go on when the server ends.
const GRACE: Duration = Duration::from_secs(1);
/// The maximum number of threads for blocking work: more than there are concurrent reads.
const MAX_THREADS: usize = 16;

/// An address to listen on: `HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A UNIX socket. One that an ended process has left there is replaced.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Address::Unix(path.into())),
            None => text
                .parse()
                .map(Address::Tcp)
                .map_err(|e| format!("`{text}` is neither HOST:PORT nor unix:PATH: {e}")),
        }
    }
}

/// Binds a UNIX socket. One whose process has ended without removing it refuses connections, and is
/// replaced.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let refused = match std::os::unix::net::UnixStream::connect(path) {
                Err(probe) => probe.kind() == io::ErrorKind::ConnectionRefused,
                Ok(_) => false,
            };
            if !refused || !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Certificates, as PEM.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The server's certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// The CA certificates for clients; if set, clients without a certificate are rejected.
    pub clients: Option<Vec<u8>>,
}

/// A running server, which stops when this is dropped.
pub struct Listening {
    /// The address that it listens on.
    pub address: String,
    counters: Counters,
    stop: Option<DropGuard>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Counters of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were closed because no request was under way on them.
    pub closed_idle: u64,
    /// Connections that were closed because replies were not received.
    pub closed_stalled: u64,
    /// Connections that were refused because all others were in use.
    pub refused: u64,
    /// Messages for clients that none of them took, by kind; each digest and idle entry counts.
    pub undelivered: [(&'static str, u64); 4],
}

/// A handle to the counters of a server.
#[derive(Clone)]
pub struct Counters {
    connections: Arc<Connections>,
    undelivered: Arc<Undelivered>,
}

impl Counters {
    /// Returns the current counters.
    pub fn counts(&self) -> Counts {
        let (closed_idle, refused) = self.connections.counts();
        Counts {
            closed_idle,
            closed_stalled: self.connections.stalled(),
            refused,
            undelivered: self.undelivered.counts(),
        }
    }
}

impl Listening {
    /// Returns the server's counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a server, with the default [`Limits`].
pub fn listen(
    server: impl Into<Arc<Server>>,
    address: &Address,
    tls: Option<Tls>,
) -> std::io::Result<Listening> {
    listen_with(server, address, tls, Limits::default(), Routes::default())
}

/// Starts a server. It has further services beside P4Runtime, to whose connections and requests the
/// same limits apply.
pub fn listen_with(
    server: impl Into<Arc<Server>>,
    address: &Address,
    tls: Option<Tls>,
    limits: Limits,
    further: Routes,
) -> std::io::Result<Listening> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(MAX_THREADS)
        .thread_name("p4runtime")
        .enable_all()
        .build()?;
    let mut builder = tonic::transport::Server::builder()
        .concurrency_limit_per_connection(MAX_STREAMS as usize)
        .max_concurrent_streams(MAX_STREAMS)
        .timeout(CALL)
        .http2_keepalive_interval(Some(ALIVE.0))
        .http2_keepalive_timeout(Some(ALIVE.1));
    if let Some(tls) = tls {
        let mut config =
            ServerTlsConfig::new().identity(Identity::from_pem(tls.certificate, tls.key));
        if let Some(clients) = tls.clients {
            config = config.client_ca_root(Certificate::from_pem(clients));
        }
        builder = builder.tls_config(config).map_err(std::io::Error::other)?;
    }
    let server = server.into();
    let connections = Arc::new(Connections::new(limits));
    let counters = Counters {
        connections: connections.clone(),
        undelivered: server.undelivered.clone(),
    };
    let service = P4RuntimeServer::new(Service::new(server.clone(), limits.first_request))
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(usize::MAX);
    let router = builder
        .layer(Bounds::new(limits.first_request))
        .add_routes(further.add_service(service));
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let ending = stop.clone();
    enum Socket {
        Tcp(TcpListener),
        Unix(UnixListener),
    }
    let (socket, shown) = match address {
        Address::Tcp(address) => {
            let socket = runtime.block_on(TcpListener::bind(address))?;
            let shown = socket.local_addr()?.to_string();
            (Socket::Tcp(socket), shown)
        }
        Address::Unix(path) => {
            let _inside = runtime.enter();
            let socket = bind_unix(path)?;
            (Socket::Unix(socket), format!("unix:{}", path.display()))
        }
    };
    let thread = std::thread::Builder::new()
        .name("p4runtime".to_owned())
        .spawn(move || {
            runtime.spawn(async move {
                let mut primaries = Vec::new();
                let mut turns = tokio::time::interval(TURN);
                loop {
                    turns.tick().await;
                    server.turn(&mut primaries);
                }
            });
            let all = connections.clone();
            runtime.spawn(async move {
                let mut looks = tokio::time::interval(LOOK);
                loop {
                    looks.tick().await;
                    all.close_idle(Instant::now());
                }
            });
            let served = async move {
                match socket {
                    Socket::Tcp(socket) => {
                        let incoming = TcpListenerStream::new(socket).map(|accepted| {
                            // Small replies are sent without delay. That fails only if the client
                            // has disconnected already.
                            accepted.inspect(|s| drop(s.set_nodelay(true)))
                        });
                        let incoming = limited(incoming, connections);
                        router.serve_with_incoming_shutdown(incoming, stopped).await
                    }
                    Socket::Unix(socket) => {
                        let incoming = limited(UnixListenerStream::new(socket), connections);
                        router.serve_with_incoming_shutdown(incoming, stopped).await
                    }
                }
            };
            // Streams of clients that go on would otherwise keep the server.
            let late = async {
                ending.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            let served = runtime.block_on(async {
                tokio::select! {
                    served = served => served,
                    () = late => Ok(()),
                }
            });
            if let Err(error) = served {
                tracing::error!("P4Runtime: {error}");
            }
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
    Ok(Listening {
        address: shown,
        counters,
        stop: Some(stop.drop_guard()),
        thread: Some(thread),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_replaced_only_if_its_process_has_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p4rt.sock");
        let first = bind_unix(&path).expect("a free path");
        let error = bind_unix(&path).expect_err("it is in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(path.exists());
        bind_unix(&path).expect("nobody listens");
        std::fs::remove_file(&path).expect("the file");
        std::fs::write(&path, "").expect("a file");
        bind_unix(&path).expect_err("it is another kind of file");
        assert!(path.exists());
    }
}
