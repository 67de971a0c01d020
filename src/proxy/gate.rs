//! The gate: wraps an accepted HTTP/1 connection and lets Pingora read one whole, well-formed request after another.
//!
//! A header is held back until it is whole, read strictly ([`strict`]) and only then handed on, followed by exactly its
//! body ([`chunks`]); what was read beyond stays here until [`Gate::next_request`]. Headers that are malformed, too
//! large (431) or too slow (408, from their first byte) are answered here and the connection ends. Usually a header comes
//! in one piece: then it is read in place, nothing is copied and no timer is made. HTTP/2 has the h2 library's limits.

pub mod chunks;
mod delegate;
pub mod refusal;
pub mod strict;

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pingora::protocols::Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use self::chunks::{Body, Progress};
use self::refusal::Refusal;
use self::strict::{Framing, HeaderEnd};

/// Bytes read at once into the gate's own buffer, and most bytes of a next request that are read while one is answered.
const STEP: usize = 4096;
/// What is still read, and thrown away, from a client that was refused: closing on unread bytes would lose the answer.
const LINGER_BYTES: usize = 1 << 20;
/// How long a refused client may take to close.
const LINGER: Duration = Duration::from_secs(1);

/// Limits of one request's header.
#[derive(Clone, Copy, Debug)]
pub struct HeaderLimits {
    /// From the first byte to the blank line.
    pub deadline: Duration,
    /// Request line and fields, in bytes.
    pub bytes: usize,
}

/// Told of each refusal, with the path as far as it is known.
pub type OnRefusal = Arc<dyn Fn(Refusal, &str) + Send + Sync>;

/// A connection that shows one request at a time.
pub struct Gate {
    inner: Stream,
    visit: Arc<ProxyDigest>,
    limits: HeaderLimits,
    on_refusal: OnRefusal,
    state: State,
    /// Bytes read but not handed on; those before `at` are gone, the next `passed` are checked.
    held: Vec<u8>,
    at: usize,
    passed: usize,
    /// How far the header in `held` was searched for its end.
    end: HeaderEnd,
    /// Runs while a header is in `held`, or while a refused client lingers.
    timer: Option<Pin<Box<Sleep>>>,
    /// The request offers an upgrade that was not answered yet.
    upgrade: bool,
    /// A reader to wake when the upgrade is granted.
    reader: Option<Waker>,
}

enum State {
    /// A header is next.
    Header,
    /// The header was handed on, its body is not at its end.
    Body(Body),
    /// The request was handed on whole; the next one must wait.
    Idle,
    /// Another protocol: everything passes.
    Through,
    /// Refusing: the answer and how much of it was written.
    Refusing(Vec<u8>, usize),
    /// Refused: how many more bytes are thrown away.
    Lingering(usize),
    /// Nothing more is read, for this reason.
    Broken(&'static str),
}

impl From<Progress> for Option<State> {
    fn from(progress: Progress) -> Option<State> {
        match progress {
            Progress::Open => None,
            Progress::Ended => Some(State::Idle),
            Progress::Broken(why) => Some(State::Broken(why)),
        }
    }
}

impl Gate {
    /// Guards `inner`, which carries `visit`. Call [`Gate::next_request`] before each request after the first.
    pub fn new(inner: Stream, visit: Arc<ProxyDigest>, limits: HeaderLimits, on_refusal: OnRefusal) -> Gate {
        Gate {
            inner,
            visit,
            limits,
            on_refusal,
            state: State::Header,
            held: Vec::new(),
            at: 0,
            passed: 0,
            end: HeaderEnd::default(),
            timer: None,
            upgrade: false,
            reader: None,
        }
    }

    /// The request before was answered: the next one may be read. A request that was not read to its end ends the
    /// connection: two readers disagreed about where that was.
    pub fn next_request(&mut self) {
        let broken = State::Broken("the request before was not read to its end");
        self.state = if self.is_idle() { State::Header } else { broken };
        self.end = HeaderEnd::default();
        self.upgrade = false;
    }

    /// A request was handed on to its end.
    fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle) && self.passed == 0
    }

    /// The header that `bytes` begin with, once it is whole: its length and how the body is framed.
    fn judge(limits: HeaderLimits, end: &mut HeaderEnd, bytes: &[u8]) -> Result<Option<(usize, Framing)>, Refusal> {
        let at_once = if end.is_new() { strict::read(bytes)? } else { None };
        let header = match at_once {
            Some(header) => Some(header),
            None => end.find(bytes)?.map(|length| strict::read(&bytes[..length])).transpose()?.flatten(),
        };
        let length = header.map_or(bytes.len(), |(length, _)| length);
        if length > limits.bytes { Err(Refusal::TOO_LARGE) } else { Ok(header) }
    }

    /// A header was let in: how many of the bytes behind it belong to its body.
    fn enter(&mut self, framing: Framing, behind: &[u8]) -> usize {
        let mut body = Body::of(framing);
        let taken = body.follow(behind);
        self.upgrade = framing.upgrade;
        self.state = Option::from(body.progress()).unwrap_or(State::Body(body));
        taken
    }

    fn refuse(&mut self, refusal: Refusal, header: &[u8]) {
        let path = strict::path(header);
        (self.on_refusal)(refusal, path);
        self.state = State::Refusing(refusal.answer(path), 0);
        self.drop_held();
        self.timer = None;
    }

    fn drop_held(&mut self) {
        (self.held, self.at, self.passed) = (Vec::new(), 0, 0);
    }

    /// More bytes into `held`; 0 at the end of the connection.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); STEP];
        let mut piece = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
        if self.at > 0 {
            self.held.drain(..self.at);
            self.at = 0;
        }
        self.held.extend_from_slice(piece.filled());
        Poll::Ready(Ok(piece.filled().len()))
    }

    /// Bytes were checked: into the reader's buffer with them.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.passed.min(buf.remaining());
        buf.put_slice(&self.held[self.at..self.at + count]);
        self.at += count;
        self.passed -= count;
        if self.at == self.held.len() {
            self.drop_held();
        }
    }

    /// Waits for a header. True: `buf` has what there is to have; false: look at the state again.
    fn poll_header(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        if !self.held.is_empty() {
            return self.poll_held_header(cx);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(true));
        }
        match Gate::judge(self.limits, &mut self.end, fresh) {
            Ok(Some((length, framing))) => {
                let taken = length + self.enter(framing, &fresh[length..]);
                self.held.extend_from_slice(&fresh[taken..]);
                buf.set_filled(before + taken);
                return Poll::Ready(Ok(true));
            }
            Ok(None) => self.held.extend_from_slice(fresh),
            Err(refusal) => self.refuse(refusal, fresh),
        }
        buf.set_filled(before);
        Poll::Ready(Ok(false))
    }

    /// The same for a header of which a part was read before: it is gathered in `held`.
    fn poll_held_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let held = std::mem::take(&mut self.held);
            let bytes = &held[self.at..];
            match Gate::judge(self.limits, &mut self.end, bytes) {
                Ok(Some((length, framing))) => {
                    self.timer = None;
                    self.passed = length + self.enter(framing, &bytes[length..]);
                    self.held = held;
                    return Poll::Ready(Ok(false));
                }
                Ok(None) => self.held = held,
                Err(refusal) => {
                    self.refuse(refusal, bytes);
                    return Poll::Ready(Ok(false));
                }
            }
            match self.poll_hold(cx) {
                Poll::Ready(read) => {
                    if read? == 0 {
                        return Poll::Ready(Ok(true));
                    }
                }
                Poll::Pending => {
                    let deadline = self.limits.deadline;
                    let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
                    ready!(timer.as_mut().poll(cx));
                    let held = std::mem::take(&mut self.held);
                    self.refuse(Refusal::TOO_SLOW, &held[self.at..]);
                    return Poll::Ready(Ok(false));
                }
            }
        }
    }

    /// The body: straight into `buf` where nothing is held. True and false as for the header.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let State::Body(body) = &mut self.state else { return Poll::Ready(Ok(false)) };
        let in_place = self.held.is_empty();
        let before = buf.filled().len();
        if in_place {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        }
        let bytes = if in_place { &buf.filled()[before..] } else { &self.held[self.at..] };
        let ended = bytes.is_empty();
        let taken = body.follow(bytes);
        if let Some(next) = Option::from(body.progress()) {
            self.state = next;
        }
        if !in_place {
            self.passed = taken;
            return Poll::Ready(Ok(false));
        }
        self.held.extend_from_slice(&buf.filled()[before + taken..]);
        buf.set_filled(before + taken);
        Poll::Ready(Ok(ended || taken > 0))
    }

    /// Nothing of this request is left to read. Pingora reads all the same, to see whether the client is still there:
    /// bytes of the next request are put aside, and only the connection's end is told.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Poll::Ready(read) = self.poll_hold(cx) {
            if read? == 0 {
                return Poll::Ready(Ok(()));
            }
            // Reading on would take memory, not reading would miss the client's end: nobody sends so much ahead.
            if self.held.len() - self.at >= STEP {
                return Poll::Ready(Err(io::Error::other("too much was sent ahead of an answer")));
            }
        }
        if self.upgrade {
            self.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Writes the refusal, then waits a little for the client to close.
    fn poll_refuse(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let State::Refusing(answer, written) = &mut self.state {
            if *written < answer.len() {
                match ready!(Pin::new(&mut self.inner).poll_write(cx, &answer[*written..])) {
                    Ok(count) if count > 0 => *written += count,
                    _ => self.state = State::Broken("refused"),
                }
                continue;
            }
            let _ = ready!(Pin::new(&mut self.inner).poll_flush(cx));
            let closed = ready!(Pin::new(&mut self.inner).poll_shutdown(cx));
            self.state = if closed.is_ok() { State::Lingering(LINGER_BYTES) } else { State::Broken("refused") };
            self.timer = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        while let State::Lingering(left) = self.state {
            self.drop_held();
            self.state = match self.poll_hold(cx) {
                Poll::Ready(Ok(count)) if (1..=left).contains(&count) => State::Lingering(left - count),
                Poll::Ready(_) => State::Broken("refused"),
                Poll::Pending => {
                    if let Some(timer) = &mut self.timer {
                        ready!(timer.as_mut().poll(cx));
                    }
                    State::Broken("refused")
                }
            };
        }
        self.drop_held();
        Poll::Ready(())
    }

    /// Looks at what goes out while an upgrade is offered: after `101` the connection is no longer HTTP.
    fn watch_answer(&mut self, bytes: &[u8]) {
        if bytes.starts_with(b"HTTP/1.1 101") {
            self.state = State::Through;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        // any other answer than an interim one is the refusal of the offer
        self.upgrade = bytes.starts_with(b"HTTP/1.1 1") && !matches!(self.state, State::Through);
    }
}

/// True of a read that failed because the body's framing is wrong: the client is still there to be told.
pub fn is_malformed(error: &pingora::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
}

impl AsyncRead for Gate {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        while gate.passed == 0 {
            let done = match gate.state {
                State::Header => ready!(gate.poll_header(cx, buf))?,
                State::Body(_) => ready!(gate.poll_body(cx, buf))?,
                State::Idle => return gate.poll_idle(cx),
                State::Through if gate.held.is_empty() => return Pin::new(&mut gate.inner).poll_read(cx, buf),
                State::Through => {
                    gate.passed = gate.held.len() - gate.at;
                    false
                }
                State::Refusing(..) | State::Lingering(_) => {
                    ready!(gate.poll_refuse(cx));
                    false
                }
                State::Broken(why) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why))),
            };
            if done {
                return Poll::Ready(Ok(()));
            }
        }
        gate.hand_over(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.upgrade {
            self.watch_answer(bytes);
        }
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
        if self.upgrade {
            self.watch_answer(slices.first().map_or(&[], |slice| slice));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
