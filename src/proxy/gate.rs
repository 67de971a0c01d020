//! The gate: wraps an accepted connection and watches each request's header as raw bytes.
//!
//! Pingora has no total header deadline and caps headers at 1 MiB. The gate counts the bytes from the first one of
//! a request to the blank line: too many are answered with 431, too slow ones with 408, both by the gate itself,
//! and the connection ends. HTTP/1 only: HTTP/2 has its own limits in the h2 library.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

const TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n\
content-length: 90\r\nconnection: close\r\n\r\n\
{\"error\":{\"message\":\"request header too large\",\"type\":\"invalid_request_error\",\"code\":431}}";
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n\
content-length: 94\r\nconnection: close\r\n\r\n\
{\"error\":{\"message\":\"request header took too long\",\"type\":\"invalid_request_error\",\"code\":408}}";

/// Limits of one request's header.
#[derive(Clone, Copy, Debug)]
pub struct HeaderLimits {
    /// From the first byte to the blank line.
    pub deadline: Duration,
    /// Request line and fields, in bytes.
    pub bytes: usize,
}

/// Tells the gate of a connection that the next bytes are a new request's header.
#[derive(Clone, Debug, Default)]
pub struct Rearm(Arc<AtomicU8>);

const NOTHING_NEW: u8 = 0;
const NEXT_REQUEST: u8 = 1;
const INSIDE_A_HEADER: u8 = 2;
const AT_A_LINE_START: u8 = 3;

impl Rearm {
    /// The next bytes start a header.
    pub fn next_request(&self) {
        self.0.store(NEXT_REQUEST, Ordering::Relaxed);
    }

    /// The next bytes go on with a header whose beginning was read before, maybe up to the start of a line: its time
    /// runs from now.
    pub fn inside_a_header(&self, at_line_start: bool) {
        self.0.store(if at_line_start { AT_A_LINE_START } else { INSIDE_A_HEADER }, Ordering::Relaxed);
    }
}

/// A connection with a watched header.
pub struct Gate {
    inner: Stream,
    limits: HeaderLimits,
    rearm: Rearm,
    state: State,
}

enum State {
    /// No byte of the header yet.
    Waiting,
    /// Inside the header: bytes so far, how much of the blank line was seen, when it must be whole.
    Header { bytes: usize, end: BlankLine, timer: Pin<Box<Sleep>> },
    /// The body, or nothing: not watched.
    Open,
    /// Refusing: what is left to write.
    Refusing(&'static [u8]),
    /// Answered by us: reads end, writes vanish.
    Closed,
}

/// Recognises the end of a header (an empty line, with or without CR) over any split of the bytes.
/// Empty lines before the first one count as nothing, as the parser behind sees it.
#[derive(Clone, Copy, Default)]
struct BlankLine {
    begun: bool,
    line_is_empty: bool,
}

impl BlankLine {
    /// How many of `bytes` belong to the header, if it ends in them.
    fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.begun && self.line_is_empty => return Some(at + 1),
                b'\n' => self.line_is_empty = true,
                b'\r' => {}
                _ => (self.begun, self.line_is_empty) = (true, false),
            }
        }
        None
    }
}

impl Gate {
    /// Watches `inner`. Call [`Rearm::next_request`] before each request after the first.
    pub fn new(inner: Stream, limits: HeaderLimits) -> (Gate, Rearm) {
        let rearm = Rearm::default();
        (Gate { inner, limits, rearm: rearm.clone(), state: State::Waiting }, rearm)
    }

    /// Looks at bytes just read; true if the header grew too large.
    fn watch(&mut self, fresh: &[u8]) -> bool {
        if matches!(self.state, State::Waiting) && !fresh.is_empty() {
            self.begin_header(BlankLine::default());
        }
        let State::Header { bytes, end, .. } = &mut self.state else { return false };
        let ends = end.end_in(fresh);
        *bytes += ends.unwrap_or(fresh.len());
        let too_large = *bytes > self.limits.bytes;
        if ends.is_some() {
            self.state = State::Open;
        }
        too_large
    }

    fn begin_header(&mut self, end: BlankLine) {
        let timer = Box::pin(tokio::time::sleep_until(Instant::now() + self.limits.deadline));
        self.state = State::Header { bytes: 0, end, timer };
    }

    fn poll_refuse(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let State::Refusing(left) = self.state {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, left)) {
                Ok(n) if n > 0 && n < left.len() => self.state = State::Refusing(&left[n..]),
                _ => self.state = State::Closed,
            }
        }
        let _ = Pin::new(&mut self.inner).poll_flush(cx);
        Poll::Ready(())
    }
}

impl AsyncRead for Gate {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        match gate.rearm.0.swap(NOTHING_NEW, Ordering::Relaxed) {
            _ if !matches!(gate.state, State::Open) => {}
            NEXT_REQUEST => gate.state = State::Waiting,
            INSIDE_A_HEADER => gate.begin_header(BlankLine { begun: true, line_is_empty: false }),
            AT_A_LINE_START => gate.begin_header(BlankLine { begun: true, line_is_empty: true }),
            _ => {}
        }
        if matches!(gate.state, State::Open | State::Waiting | State::Header { .. }) {
            let before = buf.filled().len();
            let read = Pin::new(&mut gate.inner).poll_read(cx, buf);
            match read {
                Poll::Ready(Ok(())) => {
                    if !gate.watch(&buf.filled()[before..]) {
                        return Poll::Ready(Ok(()));
                    }
                    buf.set_filled(before);
                    gate.state = State::Refusing(TOO_LARGE);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let State::Header { timer, .. } = &mut gate.state else { return Poll::Pending };
                    ready!(timer.as_mut().poll(cx));
                    gate.state = State::Refusing(TOO_SLOW);
                }
            }
        }
        ready!(gate.poll_refuse(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "header refused")))
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.state {
            State::Closed => Poll::Ready(Ok(bytes.len())),
            _ => Pin::new(&mut self.inner).poll_write(cx, bytes),
        }
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
        match self.state {
            State::Closed => Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum())),
            _ => Pin::new(&mut self.inner).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.inner).finish()
    }
}

#[async_trait]
impl Shutdown for Gate {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Gate {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Gate {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

#[async_trait]
impl Peek for Gate {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buf).await
    }
}

impl GetTimingDigest for Gate {
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

impl GetProxyDigest for Gate {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for Gate {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}
