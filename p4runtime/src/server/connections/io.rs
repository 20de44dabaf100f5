// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The byte stream of a connection, which the server can close.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::{Connection, Connections, Peer};

/// The delay after an error of `accept`.
const RETRY: Duration = Duration::from_millis(100);
/// The minimum interval between reports of such errors.
const REPORT: Duration = Duration::from_secs(10);

/// A stream whose peer is known.
pub(in crate::server) trait FromPeer {
    fn peer(&self) -> Peer;
}

impl FromPeer for TcpStream {
    fn peer(&self) -> Peer {
        match self.peer_addr() {
            Ok(address) => Peer::Address(address.ip().to_canonical()),
            Err(_) => Peer::Unknown,
        }
    }
}

impl FromPeer for UnixStream {
    fn peer(&self) -> Peer {
        self.peer_cred()
            .map_or(Peer::Unknown, |who| Peer::User(who.uid()))
    }
}

/// A connection that is counted while it exists.
pub(in crate::server) struct Counted<T> {
    inner: T,
    id: u64,
    connection: Arc<Connection>,
    all: Arc<Connections>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// The connection that a request arrived on.
#[derive(Clone)]
pub(in crate::server) struct ConnectionInfo(pub(in crate::server) Arc<Connection>);

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.all.gone(self.id);
    }
}

/// Admits connections up to the limits. An error of `accept`, such as for want of descriptors, ends
/// nothing: after a delay, the next connection is accepted.
pub(in crate::server) fn limited<T: FromPeer>(
    incoming: impl Stream<Item = io::Result<T>>,
    all: Arc<Connections>,
) -> impl Stream<Item = io::Result<Counted<T>>> {
    let mut reported: Option<Instant> = None;
    let incoming = incoming.then(move |accepted| {
        let now = Instant::now();
        if let Err(error) = &accepted {
            if reported.is_none_or(|last| now.duration_since(last) >= REPORT) {
                reported = Some(now);
                tracing::warn!("P4Runtime: a connection cannot be accepted: {error}");
            }
        }
        async move {
            if accepted.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            accepted.ok()
        }
    });
    incoming.filter_map(move |accepted| {
        let inner = accepted?;
        let peer = inner.peer();
        let Some((id, connection)) = all.admit(peer, Instant::now()) else {
            tracing::debug!(?peer, "P4Runtime: a connection is refused: all are in use");
            return None;
        };
        Some(Ok(Counted {
            inner,
            id,
            closed: Box::pin(connection.closed.clone().cancelled_owned()),
            connection,
            all: all.clone(),
        }))
    })
}

impl<T> Connected for Counted<T> {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        ConnectionInfo(self.connection.clone())
    }
}

impl<T> Counted<T> {
    /// Fails once the connection has been closed, which also wakes the task.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.closed.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_open(cx)?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_open(cx)?;
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.connection.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_open(cx)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_open(cx)?;
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.connection.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::server::Limits;

    struct Socket;

    impl FromPeer for Socket {
        fn peer(&self) -> Peer {
            Peer::Unknown
        }
    }

    #[test]
    fn an_error_of_accept_does_not_end_the_server() {
        let error = || Err(io::Error::other("too many open files"));
        let incoming = tokio_stream::iter([error(), error(), Ok(Socket), error(), Ok(Socket)]);
        let all = Arc::new(Connections::new(Limits::default()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let begin = Instant::now();
        let accepted: Vec<bool> = runtime.block_on(async {
            let admitted = pin!(limited(incoming, all));
            admitted.map(|c| c.is_ok()).collect().await
        });
        assert_eq!(accepted, [true, true]);
        assert!(begin.elapsed() >= 3 * RETRY);
    }
}
