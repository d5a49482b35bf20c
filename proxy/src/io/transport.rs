//! A connection's bytes, plain or through TLS, in the shape that Pingora's sessions want. A client that takes nothing of
//! what is written to it for too long makes the write fail, whatever protocol is spoken above.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest, UniqueID,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::flood::{Allowance, FrameWatch};
use crate::http::ChunkScanner;

/// A connection's bytes.
#[derive(Debug)]
pub(super) struct Transport {
    socket: Socket,
    id: i32,
    /// Looks at what is read, while that is a chunked body.
    chunks: Option<ChunkScanner>,
    /// Looks at what is read, where that is HTTP/2.
    allowance: Option<Box<Allowance>>,
}

#[derive(Debug)]
struct Socket {
    link: Link,
    /// How long the client may take nothing of what is written.
    patience: Duration,
    /// Runs while it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    pub(super) fn plain(socket: TcpStream, patience: Duration) -> Self {
        let id = socket.as_raw_fd();
        Self::over(Link::Plain(socket), id, patience)
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, patience: Duration) -> Self {
        let id = stream.get_ref().0.as_raw_fd();
        Self::over(Link::Tls(Box::new(stream)), id, patience)
    }

    fn over(link: Link, id: i32, patience: Duration) -> Self {
        Self { socket: Socket { link, patience, stalled: None }, id, chunks: None, allowance: None }
    }

    /// Fails the read of a chunked body that breaks a rule; `chunks` has seen what was read of it so far.
    pub(super) fn watch_chunks(&mut self, chunks: ChunkScanner) {
        self.chunks = Some(chunks);
    }

    /// Reads nothing more once it is flooded with frames of HTTP/2.
    pub(super) fn watch_frames(mut self, watch: FrameWatch) -> Self {
        self.allowance = Some(Box::new(Allowance::new(watch)));
        self
    }
}

impl Socket {
    /// What came of a write, unless the client has taken nothing for too long.
    fn within_patience<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The transport that a session of Pingora was given.
pub(super) fn into_transport(stream: Stream) -> Box<Transport> {
    stream.into_any().downcast::<Transport>().expect("every connection's stream is a transport")
}

macro_rules! on_link {
    ($this:ident, $link:ident => $call:expr) => {
        match &mut $this.link {
            Link::Plain($link) => $call,
            Link::Tls($link) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        on_link!(this, link => Pin::new(link).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = on_link!(this, link => Pin::new(link).poll_write(cx, buf));
        this.within_patience(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = on_link!(this, link => Pin::new(link).poll_write_vectored(cx, bufs));
        this.within_patience(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.link {
            Link::Plain(link) => link.is_write_vectored(),
            Link::Tls(link) => link.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = on_link!(this, link => Pin::new(link).poll_flush(cx));
        this.within_patience(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = on_link!(this, link => Pin::new(link).poll_shutdown(cx));
        this.within_patience(cx, shut)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.allowance.as_ref().is_some_and(|allowance| allowance.is_used_up()) {
            return Poll::Pending;
        }
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        if let Some(allowance) = &mut this.allowance {
            allowance.read(&buf.filled()[before..]);
        }
        if let Some(chunks) = &mut this.chunks
            && chunks.scan(&buf.filled()[before..]).is_err()
        {
            // What follows is read only to be thrown away.
            this.chunks = None;
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write(cx, buf))?;
        if let Some(allowance) = &mut this.allowance {
            allowance.wrote(written);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write_vectored(cx, bufs))?;
        if let Some(allowance) = &mut this.allowance {
            allowance.wrote(written);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Transport {
    async fn shutdown(&mut self) {
        // A client that left first makes this fail, which changes nothing.
        let _ = self.socket.shutdown().await;
    }
}

impl UniqueID for Transport {
    fn id(&self) -> i32 {
        self.id
    }
}

impl Ssl for Transport {}
impl Peek for Transport {}

impl GetTimingDigest for Transport {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Transport {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Transport {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
