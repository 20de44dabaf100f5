// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The byte stream of a connection, which the server can close.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::{Connection, Connections, Peer};

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

/// Admits connections up to the limits.
pub(in crate::server) fn limited<T: FromPeer>(
    incoming: impl Stream<Item = io::Result<T>>,
    all: Arc<Connections>,
) -> impl Stream<Item = io::Result<Counted<T>>> {
    incoming.filter_map(move |accepted| match accepted {
        Ok(inner) => {
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
        }
        Err(error) => Some(Err(error)),
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
        Pin::new(&mut self.inner).poll_write(cx, buf)
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
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
