//! Reads a request's body whole, before the endpoint is chosen: bounded per request and in sum, timed, never
//! cut at Pingora's 64 KiB.
//!
//! HTTP/1 bodies have a 60 s read timer inside Pingora, HTTP/2 bodies none: the stall limit here covers both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::Error;
use pingora::protocols::http::ServerSession;

use crate::dialect::fields::{FieldError, Fields, Scanner};

/// All request bodies held in memory at once, in bytes.
#[derive(Debug)]
pub struct BodyBudget {
    used: AtomicU64,
    limit: AtomicU64,
}

impl BodyBudget {
    /// At most `limit` bytes over all requests.
    pub fn new(limit: u64) -> Arc<BodyBudget> {
        Arc::new(BodyBudget { used: AtomicU64::new(0), limit: AtomicU64::new(limit) })
    }

    /// A reload changed the limit.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let taken = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= limit;
        if !taken {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        taken
    }
}

/// The bytes that one request holds of the budget; given back on drop.
#[derive(Debug)]
pub struct Held {
    budget: Arc<BodyBudget>,
    bytes: u64,
}

impl Held {
    /// Nothing yet.
    pub fn none(budget: &Arc<BodyBudget>) -> Held {
        Held { budget: budget.clone(), bytes: 0 }
    }

    fn more(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes as u64);
        if taken {
            self.bytes += bytes as u64;
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a body could not be read.
#[derive(Debug)]
pub enum BodyError {
    /// Larger than the limit: 413.
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// All bodies together are at their limit: 503.
    NoMemory,
    /// The client stopped sending: 408.
    Stalled,
    /// The client left or broke its framing.
    Broken(Box<Error>),
    /// Not the JSON that this path takes: 400.
    Fields(FieldError),
}

/// Limits of one body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub bytes: u64,
    /// Longest pause between two pieces.
    pub stall: Duration,
}

/// Reads the body to its end. With `scanner`, also its routing fields, in the same pass.
pub async fn read(
    session: &mut ServerSession,
    limits: BodyLimits,
    held: &mut Held,
    mut scanner: Option<Scanner>,
) -> Result<(Bytes, Option<Fields>), BodyError> {
    let announced = content_length(session);
    if announced.is_some_and(|length| length > limits.bytes) {
        return Err(BodyError::TooLarge { limit: limits.bytes });
    }
    invite(session).await?;
    let mut pieces = Pieces::new(announced);
    while let Some(piece) = next_piece(session, limits.stall).await? {
        if pieces.len as u64 + piece.len() as u64 > limits.bytes {
            return Err(BodyError::TooLarge { limit: limits.bytes });
        }
        if !held.more(piece.len()) {
            return Err(BodyError::NoMemory);
        }
        if let Some(scanner) = scanner.as_mut() {
            scanner.push(&piece).map_err(BodyError::Fields)?;
        }
        pieces.push(piece);
    }
    let fields = scanner.map(Scanner::finish).transpose().map_err(BodyError::Fields)?;
    Ok((pieces.join(), fields))
}

/// The announced length, if there is a well-formed one.
pub fn content_length(session: &ServerSession) -> Option<u64> {
    session.get_header(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Answers `Expect: 100-continue` ourselves: Pingora would close the connection after it, or never answer.
async fn invite(session: &mut ServerSession) -> Result<(), BodyError> {
    let expects = session.get_header(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expects {
        session.set_close_on_response_before_downstream_finish(false);
        session.write_continue_response().await.map_err(BodyError::Broken)?;
        session.set_close_on_response_before_downstream_finish(true);
        session.req_header_mut().remove_header(&header::EXPECT);
    }
    Ok(())
}

async fn next_piece(session: &mut ServerSession, stall: Duration) -> Result<Option<Bytes>, BodyError> {
    loop {
        let read = tokio::time::timeout(stall, session.read_request_body()).await;
        match read.map_err(|_| BodyError::Stalled)?.map_err(BodyError::Broken)? {
            Some(piece) if piece.is_empty() && !session.is_body_done() => {}
            Some(piece) if piece.is_empty() => return Ok(None),
            piece => return Ok(piece),
        }
    }
}

/// The body as it arrives: one piece is kept as it is, more are joined once.
struct Pieces {
    first: Option<Bytes>,
    rest: BytesMut,
    announced: usize,
    len: usize,
}

impl Pieces {
    /// Largest buffer reserved on the client's word alone.
    const TRUST: u64 = 256 * 1024;

    fn new(announced: Option<u64>) -> Pieces {
        let announced = announced.unwrap_or(0).min(Pieces::TRUST) as usize;
        Pieces { first: None, rest: BytesMut::new(), announced, len: 0 }
    }

    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if self.len == piece.len() {
            self.first = Some(piece);
            return;
        }
        if let Some(first) = self.first.take() {
            self.rest.reserve(self.announced.max(self.len));
            self.rest.extend_from_slice(&first);
        }
        self.rest.extend_from_slice(&piece);
    }

    fn join(self) -> Bytes {
        self.first.unwrap_or_else(|| self.rest.freeze())
    }
}
