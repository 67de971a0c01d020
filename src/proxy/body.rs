//! Reads a request's body whole, before the endpoint is chosen: bounded per request and in sum, timed, never
//! cut at Pingora's 64 KiB.
//!
//! HTTP/1 bodies have a 60 s read timer inside Pingora, HTTP/2 bodies none: the stall limit here covers both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::Error;
use pingora::protocols::http::ServerSession;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::dialect::fields::{FieldError, Fields, Scanner};

/// All request bodies held in memory at once: a semaphore, one permit per KiB. Nobody waits for it while holding some:
/// a body that finds it spent is refused at once.
#[derive(Debug)]
pub struct BodyBudget {
    free: Arc<Semaphore>,
    limit_kib: AtomicUsize,
}

const KIB: u64 = 1024;

fn kib(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(KIB)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

impl BodyBudget {
    /// At most `limit` bytes over all requests.
    pub fn new(limit: u64) -> Arc<BodyBudget> {
        let limit = kib(limit);
        Arc::new(BodyBudget { free: Arc::new(Semaphore::new(limit)), limit_kib: AtomicUsize::new(limit) })
    }

    /// A reload changed the limit. A lower one takes only what is free now: what is in use comes back to the budget.
    pub fn set_limit(&self, limit: u64) {
        let (new, old) = (kib(limit), self.limit_kib.load(Ordering::Acquire));
        if new >= old {
            self.free.add_permits(new - old);
            self.limit_kib.store(new, Ordering::Release);
        } else {
            let taken = self.free.forget_permits(old - new);
            self.limit_kib.store(old - taken, Ordering::Release);
        }
    }

    /// Bytes held now, in whole KiB.
    pub fn used(&self) -> u64 {
        let limit = self.limit_kib.load(Ordering::Acquire);
        limit.saturating_sub(self.free.available_permits()) as u64 * KIB
    }
}

/// The share of the budget that one request holds; given back on drop.
#[derive(Debug)]
pub struct Held {
    budget: Arc<BodyBudget>,
    permit: Option<OwnedSemaphorePermit>,
    left: u64,
}

impl Held {
    /// Nothing yet.
    pub fn none(budget: &Arc<BodyBudget>) -> Held {
        Held { budget: budget.clone(), permit: None, left: 0 }
    }

    /// Gives everything back.
    pub fn let_go(&mut self) {
        (self.permit, self.left) = (None, 0);
    }

    /// Room for a piece that just came; refused at once where there is none.
    fn take(&mut self, bytes: u64) -> Result<(), BodyError> {
        if self.left < bytes {
            let permits = u32::try_from(kib(bytes.max(STEP))).unwrap_or(u32::MAX);
            let permit = self.budget.free.clone().try_acquire_many_owned(permits).ok();
            self.keep(permit, u64::from(permits) * KIB)?;
        }
        self.left -= bytes;
        Ok(())
    }

    fn keep(&mut self, permit: Option<OwnedSemaphorePermit>, bytes: u64) -> Result<(), BodyError> {
        let permit = permit.ok_or(BodyError::NoMemory)?;
        self.left += bytes;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }
}

/// Memory taken at once, in bytes: what is announced is not believed, only what came is counted.
const STEP: u64 = 64 * KIB;

/// The slowest upload that is waited for, in bytes per second, after the first `stall`.
const SLOWEST: u64 = 16 * KIB;

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
    let begun = Instant::now();
    while let Some(piece) = next_piece(session, limits.stall).await? {
        if begun.elapsed() > limits.stall + Duration::from_secs(pieces.len as u64 / SLOWEST) {
            return Err(BodyError::Stalled);
        }
        if pieces.len as u64 + piece.len() as u64 > limits.bytes {
            return Err(BodyError::TooLarge { limit: limits.bytes });
        }
        held.take(piece.len() as u64)?;
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
    let expects =
        session.get_header(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expects {
        session.set_close_on_response_before_downstream_finish(false);
        session.write_continue_response().await.map_err(BodyError::Broken)?;
        session.set_close_on_response_before_downstream_finish(true);
        session.req_header_mut().remove_header(&header::EXPECT);
    }
    Ok(())
}

async fn next_piece(session: &mut ServerSession, stall: Duration) -> Result<Option<Bytes>, BodyError> {
    let reading = async {
        loop {
            match session.read_request_body().await.map_err(BodyError::Broken)? {
                Some(piece) if piece.is_empty() && !session.is_body_done() => {} // says nothing, buys no time
                Some(piece) if piece.is_empty() => return Ok(None),
                piece => return Ok(piece),
            }
        }
    };
    tokio::time::timeout(stall, reading).await.unwrap_or(Err(BodyError::Stalled))
}

/// The body as it arrives: one piece is kept as it is, more are joined once.
struct Pieces {
    first: Option<Bytes>,
    rest: BytesMut,
    announced: usize,
    len: usize,
}

impl Pieces {
    /// Largest buffer reserved on the client's word alone. Who has sent as much is believed the rest.
    const TRUST: usize = 256 * 1024;

    fn new(announced: Option<u64>) -> Pieces {
        let announced = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        Pieces { first: None, rest: BytesMut::new(), announced, len: 0 }
    }

    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if self.len == piece.len() {
            self.first = Some(piece);
            return;
        }
        if let Some(first) = self.first.take() {
            self.rest.reserve(self.announced.min(Pieces::TRUST).max(self.len));
            self.rest.extend_from_slice(&first);
        }
        if self.len > self.rest.capacity() && self.len > Pieces::TRUST {
            self.rest.reserve(self.announced.max(self.len) - self.rest.len());
        }
        self.rest.extend_from_slice(&piece);
    }

    fn join(self) -> Bytes {
        self.first.unwrap_or_else(|| self.rest.freeze())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn pieces_are_refused_when_nothing_is_left_and_all_is_given_back() {
        let budget = BodyBudget::new(128 * KIB);
        let mut held = Held::none(&budget);
        (0..128).for_each(|_| held.take(KIB).expect("fits"));
        assert!(matches!(held.take(1), Err(BodyError::NoMemory)));
        assert_eq!(budget.used(), 128 * KIB);
        drop(held);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn pieces_are_joined_in_order() {
        for pieces in [vec![], vec!["abc"], vec!["a", "bc", "def"]] {
            let mut joined = Pieces::new(Some(6));
            pieces.iter().for_each(|piece| joined.push(Bytes::from_static(piece.as_bytes())));
            assert_eq!(joined.join(), pieces.concat());
        }
    }
}
