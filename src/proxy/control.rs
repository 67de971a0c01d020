//! What the proxy's filters and the shim tell each other while a request is proxied: the body of the attempt, when to
//! give up, and the answer that passes through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use pingora::protocols::http::HttpTask;
use tokio::time::Instant;

use crate::dialect::errors::ErrorKind;
use crate::dialect::stream::Tap;
use crate::upstream::herd::Cuts;

/// What the proxy's filters tell the shim while it is installed: the body of this attempt, and when to give up.
#[derive(Debug)]
pub struct Control {
    pub(super) parts: Mutex<[Bytes; 3]>,
    start: Instant,
    /// Milliseconds since `start`; 0 = none.
    at_ms: AtomicU64,
    gap_ms: AtomicU64,
    total_ms: AtomicU64,
    /// When to look whether somebody else answers sooner; 0 = never.
    patience_ms: AtomicU64,
    patience: Mutex<Option<Patience>>,
    answer: Mutex<Answer>,
    /// Tells the running attempt that its endpoint turned down.
    cut: Mutex<Option<Cuts>>,
}

/// How long an attempt is waited for, by what was learned of its endpoint, while there is somebody else to ask.
pub struct Patience {
    /// From the connection to the first byte.
    pub within: Duration,
    /// True if the request could be tried elsewhere now.
    pub may_leave: Box<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Patience {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.within)
    }
}

/// The answer that is passing through.
#[derive(Debug, Default)]
pub struct Answer {
    /// Watches it; `None` until its head came.
    pub tap: Option<Tap>,
    /// It has no length: a stream that may be ended by an event of ours.
    pub open_ended: bool,
    /// Who sends it.
    pub engine: Option<Arc<str>>,
    /// The engine broke off, and the client was told: why.
    pub broke: Option<String>,
}

impl Default for Control {
    /// For a request that started now.
    fn default() -> Control {
        Control {
            parts: Mutex::default(),
            start: Instant::now(),
            at_ms: AtomicU64::new(0),
            gap_ms: AtomicU64::new(0),
            total_ms: AtomicU64::new(0),
            patience_ms: AtomicU64::new(0),
            patience: Mutex::default(),
            answer: Mutex::default(),
            cut: Mutex::default(),
        }
    }
}

impl Control {
    /// The request may take this long in all.
    pub fn set_total(&self, total: Option<Duration>) {
        self.total_ms.store(total.map_or(0, |total| millis(total).max(1)), Ordering::Relaxed);
    }

    /// The next attempt ends when its endpoint turns down; `None`: it does not.
    pub fn set_cut(&self, cut: Option<Cuts>) {
        *self.cut.lock() = cut;
    }

    /// How long the next attempt is waited for; `None`: as long as its limit says.
    pub fn set_patience(&self, patience: Option<Patience>) {
        *self.patience.lock() = patience;
    }

    pub(super) fn take_cut(&self) -> Option<Cuts> {
        self.cut.lock().take()
    }

    /// The body to send in the next attempt, in up to three parts (the middle one is a replaced model name).
    pub fn set_body(&self, parts: [Bytes; 3]) {
        *self.parts.lock() = parts;
    }

    /// The length of that body, in bytes.
    pub fn body_len(&self) -> usize {
        self.parts.lock().iter().map(Bytes::len).sum()
    }

    /// The answer that is passing through.
    pub fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock()
    }

    /// An engine that breaks off its stream: the client gets the rest, then an error event in its API's own framing
    /// (or only the proper end, if the stream had said that it is whole), and keeps its connection.
    pub(super) fn mend(&self, mut tasks: Vec<HttpTask>) -> Vec<HttpTask> {
        if !matches!(tasks.last(), Some(HttpTask::Failed(_))) {
            return tasks;
        }
        let mut answer = self.answer.lock();
        let Some(tap) = answer.tap.as_ref().filter(|_| answer.open_ended) else { return tasks };
        let last_words = format!("{} broke off", answer.engine.as_deref().unwrap_or("the engine"));
        let event = if tap.is_whole() { Bytes::new() } else { tap.end_event(ErrorKind::BadGateway, &last_words) };
        if event.is_empty() && !tap.is_whole() {
            return tasks;
        }
        if let Some(HttpTask::Failed(error)) = tasks.pop() {
            answer.broke = Some(error.to_string());
        }
        if !event.is_empty() {
            tasks.push(HttpTask::Body(Some(event), false));
        }
        tasks.push(HttpTask::Done);
        tasks
    }

    /// The attempt must have its first byte within `limit`.
    pub fn first_byte(&self, limit: Option<Duration>) {
        self.gap_ms.store(0, Ordering::Relaxed);
        self.arm(limit);
        let within = self.patience.lock().as_ref().map(|patience| patience.within);
        self.patience_ms.store(within.map_or(0, |within| self.in_ms(within)), Ordering::Relaxed);
    }

    /// The first byte came: from now on at most `gap` between chunks.
    pub fn streaming(&self, gap: Option<Duration>) {
        self.gap_ms.store(gap.map_or(0, millis), Ordering::Relaxed);
        self.patience_ms.store(0, Ordering::Relaxed);
        self.arm(gap);
    }

    /// No deadline but the total one.
    pub fn clear(&self) {
        self.at_ms.store(0, Ordering::Relaxed);
        self.patience_ms.store(0, Ordering::Relaxed);
    }

    /// Patience ended, nothing else did, and there is nobody else to ask: the attempt goes on.
    pub(super) fn goes_on(&self) -> bool {
        let over = |limit: &AtomicU64| {
            let at = limit.load(Ordering::Relaxed);
            at > 0 && self.start + Duration::from_millis(at) <= Instant::now()
        };
        if over(&self.at_ms) || over(&self.total_ms) {
            return false;
        }
        self.patience_ms.store(0, Ordering::Relaxed);
        !self.patience.lock().as_ref().is_some_and(|patience| (patience.may_leave)())
    }

    /// A chunk went out to the client: the gap starts anew (a slow client is not the engine's fault).
    pub(super) fn touch(&self) {
        let gap = self.gap_ms.load(Ordering::Relaxed);
        if gap > 0 {
            self.at_ms.store(millis(self.start.elapsed()) + gap, Ordering::Relaxed);
        }
    }

    fn arm(&self, limit: Option<Duration>) {
        self.at_ms.store(limit.map_or(0, |limit| self.in_ms(limit)), Ordering::Relaxed);
    }

    /// So long from now, as it is stored.
    fn in_ms(&self, span: Duration) -> u64 {
        millis(self.start.elapsed() + span).max(1)
    }

    pub(super) fn is_total_over(&self) -> bool {
        let total = self.total_ms.load(Ordering::Relaxed);
        total > 0 && self.start + Duration::from_millis(total) <= Instant::now()
    }

    /// When to give up; an hour from now where there is no limit.
    pub(super) fn give_up_at(&self) -> Instant {
        let limits = [&self.at_ms, &self.total_ms, &self.patience_ms].map(|limit| limit.load(Ordering::Relaxed));
        let earliest = limits.into_iter().filter(|at| *at > 0).min();
        earliest.map_or_else(|| Instant::now() + Duration::from_secs(3600), |at| self.start + Duration::from_millis(at))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
