//! The session shim: stands in for Pingora's downstream session once the body was read for routing.
//!
//! Pingora forwards only what it has not read yet, and keeps at most 64 KiB for a retry. The shim owns the body that
//! we read (`head`) and replays it from the first byte on every attempt, whatever its size. It also is the one
//! place that is polled all through the proxying, so the attempt's deadline lives here: one re-armed timer, none
//! per chunk.
//!
//! Why a hidden trait: `docs/adr/0002-session-shim.md`. Never shim upgrade or gRPC requests. Settings that Pingora
//! ignores on custom sessions (keep-alive, abort-on-close) must be made before [`install`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as CustomSession;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use tokio::time::{Instant, Sleep};

use super::control::Control;
use crate::upstream::herd::Cuts;

/// The error type of an attempt that ran out of time.
pub const DEADLINE: ErrorType = ErrorType::Custom("AttemptDeadline");

/// The error type of a request whose own total time ran out: nobody's fault but the limit's.
pub const TOTAL: ErrorType = ErrorType::Custom("TotalTime");

/// The error type of an attempt whose endpoint turned down while it ran.
pub const CUT: ErrorType = ErrorType::Custom("EndpointDown");

/// Where the real session returns to when the shim is dropped.
pub type Slot = Arc<Mutex<Option<ServerSession>>>;

/// The shim itself.
pub struct Shim {
    inner: Option<ServerSession>,
    slot: Slot,
    control: Arc<Control>,
    parts: [Bytes; 3],
    timer: Option<Pin<Box<Sleep>>>,
    cut: Option<Cuts>,
}

/// Puts the shim in the place of `session`, whose body was read whole.
pub fn install(session: &mut ServerSession, control: Arc<Control>) -> Slot {
    let slot = Slot::default();
    let inner = std::mem::replace(session, ServerSession::new_custom(Box::new(())));
    let parts = control.parts.lock().clone();
    let shim = Shim { inner: Some(inner), slot: slot.clone(), control, parts, timer: None, cut: None };
    *session = ServerSession::new_custom(Box::new(shim));
    slot
}

/// Puts the real session back: needed before the connection can be kept alive.
pub fn uninstall(session: &mut ServerSession, slot: &Slot) {
    *session = ServerSession::new_custom(Box::new(()));
    if let Some(inner) = slot.lock().take() {
        *session = inner;
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        *self.slot.lock() = self.inner.take();
    }
}

impl Shim {
    #[expect(clippy::expect_used, reason = "`inner` is taken only in drop")]
    fn real(&self) -> &ServerSession {
        self.inner.as_ref().expect("the shim holds its session until it is dropped")
    }

    #[expect(clippy::expect_used, reason = "`inner` is taken only in drop")]
    fn real_mut(&mut self) -> &mut ServerSession {
        self.inner.as_mut().expect("the shim holds its session until it is dropped")
    }

    fn body_left(&self) -> bool {
        self.parts.iter().any(|part| !part.is_empty())
    }

    /// A whole part at once: three at most. Pingora queues four pieces towards the engine; with more, it would stop
    /// asking us while the engine does not read, and neither deadline nor a leaving client would be noticed.
    fn next_piece(&mut self) -> Option<Bytes> {
        self.parts.iter_mut().find(|part| !part.is_empty()).map(std::mem::take)
    }

    /// Waits for the client to leave, or for the deadline. Called anew after each chunk: the timer is kept and only
    /// moved when the deadline came nearer, or when it fired early.
    async fn idle(&mut self) -> Result<Option<Bytes>> {
        loop {
            let at = self.control.give_up_at();
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if at < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(at);
            }
            let inner = self.inner.as_mut().ok_or_else(|| Error::new(ErrorType::InternalError))?;
            tokio::select! {
                biased;
                left = inner.read_body_or_idle(true) => return left,
                () = timer.as_mut() => {}
                () = turned_down(&mut self.cut) => {
                    return Err(Error::explain(CUT, "the endpoint turned down"));
                }
            }
            if self.control.give_up_at() <= Instant::now() && !self.control.goes_on() {
                self.control.clear();
                return Err(match self.control.is_total_over() {
                    true => Error::explain(TOTAL, "the request's total time ran out"),
                    false => Error::explain(DEADLINE, "no byte from the engine in time"),
                });
            }
        }
    }
}

/// Waits for the endpoint to turn down; for ever where nobody wants to know.
async fn turned_down(cut: &mut Option<Cuts>) {
    if let Some(cuts) = cut
        && cuts.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

#[async_trait]
impl CustomSession for Shim {
    fn enable_retry_buffering(&mut self) {
        self.cut = self.control.take_cut();
        self.parts = self.control.parts.lock().clone(); // once per attempt: replay from the first byte
    }
    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }
    fn retry_buffer_truncated(&self) -> bool {
        false
    }
    fn is_body_empty(&mut self) -> bool {
        self.control.parts.lock().iter().all(Bytes::is_empty)
    }
    fn is_body_done(&mut self) -> bool {
        !self.body_left()
    }
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(self.next_piece())
    }
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && self.body_left() {
            return Ok(self.next_piece());
        }
        self.idle().await
    }
    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let tasks = self.control.mend(tasks);
        let written = self.real_mut().response_duplex_vec(tasks).await;
        self.control.touch();
        written
    }
    async fn drain_request_body(&mut self) -> Result<()> {
        self.real_mut().drain_request_body().await
    }
    async fn write_response_header(&mut self, header: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.real_mut().write_response_header(header).await
    }
    async fn write_response_header_ref(&mut self, header: &ResponseHeader, _end: bool) -> Result<()> {
        self.real_mut().write_response_header_ref(header).await
    }
    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.real_mut().write_response_body(data, end).await
    }
    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.real_mut().write_response_trailers(trailers).await
    }
    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.real_mut().shutdown().await;
    }
    async fn finish(&mut self) -> Result<()> {
        self.real_mut().finish_body().await
    }
    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn req_header(&self) -> &RequestHeader {
        self.real().req_header()
    }
    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.real_mut().req_header_mut()
    }
    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.real_mut().set_read_timeout(timeout);
    }
    fn get_read_timeout(&self) -> Option<Duration> {
        self.real().get_read_timeout()
    }
    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.real_mut().set_write_timeout(timeout);
    }
    fn get_write_timeout(&self) -> Option<Duration> {
        self.real().get_write_timeout()
    }
    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.real_mut().set_total_drain_timeout(timeout);
    }
    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.real().get_total_drain_timeout()
    }
    fn request_summary(&self) -> String {
        self.real().request_summary()
    }
    fn response_written(&self) -> Option<&ResponseHeader> {
        self.real().response_written()
    }
    fn body_bytes_sent(&self) -> usize {
        self.real().body_bytes_sent()
    }
    fn body_bytes_read(&self) -> usize {
        self.real().body_bytes_read()
    }
    fn digest(&self) -> Option<&Digest> {
        self.real().digest()
    }
    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.real_mut().digest_mut()
    }
    fn client_addr(&self) -> Option<&SocketAddr> {
        self.real().client_addr()
    }
    fn server_addr(&self) -> Option<&SocketAddr> {
        self.real().server_addr()
    }
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.real().to_h1_raw()
    }
    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }
    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }
    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }
    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
