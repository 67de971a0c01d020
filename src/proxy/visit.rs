//! What is known of a connection before its first request: the listener that took it, who is at its other end, TLS.
//! It rides along as the connection's proxy digest, which Pingora hands to every request of it, HTTP/1 and HTTP/2 alike.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::edge::connections::Open;

/// One connection.
#[derive(Debug)]
pub struct Visit {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The other end; `None` if it is no IP address.
    pub peer: Option<IpAddr>,
    /// The same with its port, for the log.
    pub address: Option<Box<str>>,
    /// The address alone, as `X-Forwarded-For` shows it.
    pub forwarded_for: Option<HeaderValue>,
    /// It came over TLS.
    pub by_tls: bool,
    /// Its place among the listener's connections.
    pub open: Open,
}

impl Visit {
    /// As Pingora carries it.
    pub fn into_digest(self) -> pingora::Result<Arc<ProxyDigest>> {
        let nothing = ResponseHeader::build(200, Some(0))?;
        Ok(Arc::new(ProxyDigest::new(Box::new(nothing), Some(Box::new(self)))))
    }

    /// The connection that a request came by.
    pub fn of(session: &ServerSession) -> Option<&Visit> {
        session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }
}

/// An HTTP/2 connection that carries its [`Visit`]; of HTTP/1 the gate does it.
#[derive(Debug)]
pub struct Carried {
    inner: Stream,
    visit: Arc<ProxyDigest>,
    /// Runs until the client has begun to speak: the library would wait for ever.
    begin: Option<Pin<Box<Sleep>>>,
}

impl Carried {
    /// Puts `visit` to the connection. A client that has sent nothing after `patience` is given up.
    pub fn new(inner: Stream, visit: Arc<ProxyDigest>, patience: Duration) -> Carried {
        Carried { inner, visit, begin: Some(Box::pin(tokio::time::sleep(patience))) }
    }
}

impl GetProxyDigest for Carried {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.visit.clone())
    }
}

impl AsyncRead for Carried {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.begin = None;
        }
        match self.begin.as_mut().map(|timer| timer.as_mut().poll(cx)) {
            Some(Poll::Ready(())) if read.is_pending() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            _ => read,
        }
    }
}

impl AsyncWrite for Carried {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Carried {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Carried {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Carried {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

#[async_trait]
impl Peek for Carried {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buffer).await
    }
}

impl GetTimingDigest for Carried {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }
    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetSocketDigest for Carried {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}
