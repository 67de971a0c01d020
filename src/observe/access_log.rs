//! One JSON line per request, written by a thread of its own so that a slow disk or pipe delays no request.
//! Lines are collected for 20 ms and written at once: a system call per line would cost more than the line.
//!
//! A full buffer drops lines and counts them: the log never holds up the proxy. Keys, bodies and query strings are
//! never logged.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arriero_core::Explanation;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::config::AccessLogPlan;

/// What is told of a request. Times in milliseconds since arrival; absent = never reached.
#[derive(Debug, Default)]
pub struct Line<'a> {
    /// Unix time of arrival, in milliseconds.
    pub time: u64,
    /// The `x-request-id`.
    pub id: &'a str,
    /// Configuration generation.
    pub generation: u64,
    /// Client address.
    pub client: Option<Cow<'a, str>>,
    /// Client name, by its key.
    pub user: Option<&'a str>,
    /// Method.
    pub method: &'a str,
    /// Path without query.
    pub path: &'a str,
    /// Status sent to the client; 0 = none.
    pub status: u16,
    /// Route.
    pub route: Option<&'a str>,
    /// Model, as the client named it.
    pub model: Option<&'a str>,
    /// Endpoint of the last attempt.
    pub endpoint: Option<&'a str>,
    /// The endpoint's configured labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// The trace id of the client's `traceparent`.
    pub trace: Option<&'a str>,
    /// Module that chose it.
    pub module: Option<&'a str>,
    /// In the queue.
    pub queue_ms: f64,
    /// Requests that waited in its pool when it began to wait.
    pub queue_before: Option<u32>,
    /// Connecting, in the last attempt.
    pub connect_ms: Option<f64>,
    /// From the connection to the head of the answer, in the last attempt.
    pub response_ms: Option<f64>,
    /// To the first token of a stream, to the first byte of any other answer.
    pub ttft_ms: Option<f64>,
    /// The longest pause between two parts of the answer.
    pub gap_ms: Option<f64>,
    /// To the end.
    pub total_ms: f64,
    /// Prompt tokens.
    pub prompt_tokens: Option<u32>,
    /// Output tokens.
    pub output_tokens: Option<u32>,
    /// The output tokens are a count of stream events.
    pub estimated: bool,
    /// Attempts beyond the first.
    pub retries: u32,
    /// Bytes received and sent.
    pub bytes_in: u64,
    /// Bytes of body sent to the client.
    pub bytes_out: u64,
    /// Two letters: who ended it, and in which phase (`docs` table in README).
    pub end: &'a str,
    /// Why, where something went wrong or was asked for.
    pub reason: Option<&'a str>,
    /// The candidates and their prices, where the line was drawn to tell them (`log_decisions`).
    pub decision: Option<&'a Explanation>,
}

/// The log: cheap to share.
pub struct AccessLog {
    desk: Option<Arc<Desk>>,
    dropped: AtomicU64,
}

/// Where lines wait for the writer.
#[derive(Default)]
struct Desk {
    state: Mutex<Waiting>,
    /// The first line came, or somebody cannot wait.
    wake: Condvar,
    /// Everything handed in is written.
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Somebody waits for the lines to be written.
    hurry: bool,
    /// The writer has taken lines and not written them yet.
    writing: bool,
    /// The log was dropped.
    closed: bool,
}

/// Bytes of lines that may wait for the writer.
const WAITING_BYTES: usize = 4 << 20;

/// How long the writer collects lines before it writes them at once.
const COLLECT: Duration = Duration::from_millis(20);

impl AccessLog {
    /// The log that the plan wants.
    ///
    /// # Errors
    /// Says which file cannot be opened, and why.
    pub fn open(plan: &AccessLogPlan) -> Result<AccessLog, String> {
        let opened = match plan {
            AccessLogPlan::Off => return Ok(AccessLog::none()),
            AccessLogPlan::Stdout => AccessLog::to(Box::new(std::io::stdout())),
            AccessLogPlan::File(path) => {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
                let opened = file.and_then(|file| AccessLog::to(Box::new(file)));
                return opened.map_err(|error| format!("access log {}: {error}", path.display()));
            }
        };
        opened.map_err(|error| format!("access log: {error}"))
    }

    /// Writes nowhere.
    pub fn none() -> AccessLog {
        AccessLog { desk: None, dropped: AtomicU64::new(0) }
    }

    /// Writes to `out` from a thread of its own, which ends with the log.
    pub fn to(out: Box<dyn Write + Send>) -> std::io::Result<AccessLog> {
        let desk = Arc::new(Desk::default());
        let theirs = desk.clone();
        std::thread::Builder::new().name("access-log".into()).spawn(move || theirs.write_all(out))?;
        Ok(AccessLog { desk: Some(desk), dropped: AtomicU64::new(0) })
    }

    /// Hands one line to the writer.
    pub fn write(&self, line: &Line<'_>) {
        thread_local!(static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        let Some(desk) = &self.desk else { return };
        TEXT.with_borrow_mut(|text| {
            text.clear();
            line.write_to(text);
            text.push(b'\n');
            let mut waiting = desk.state.lock();
            if waiting.lines.len() + text.len() > WAITING_BYTES {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let first = waiting.lines.is_empty();
            waiting.lines.extend_from_slice(text);
            drop(waiting);
            if first {
                desk.wake.notify_one();
            }
        });
    }

    /// Returns when all lines so far are written, or after a second.
    pub fn flush(&self) {
        let Some(desk) = &self.desk else { return };
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut waiting = desk.state.lock();
        while !waiting.lines.is_empty() || waiting.writing {
            waiting.hurry = true;
            desk.wake.notify_one();
            if desk.written.wait_until(&mut waiting, deadline).timed_out() {
                return;
            }
        }
    }

    /// Lines dropped because the writer was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(desk) = &self.desk {
            desk.state.lock().closed = true;
            desk.wake.notify_one();
        }
    }
}

impl Desk {
    /// The writer's life: waits for a line, collects more for a moment, writes them in one go.
    fn write_all(&self, mut out: Box<dyn Write + Send>) {
        let mut taken = Vec::new();
        let mut waiting = self.state.lock();
        loop {
            while waiting.lines.is_empty() && !waiting.closed {
                self.wake.wait(&mut waiting);
            }
            if waiting.lines.is_empty() {
                return;
            }
            let until = Instant::now() + COLLECT;
            while !waiting.hurry && !waiting.closed && !self.wake.wait_until(&mut waiting, until).timed_out() {}
            std::mem::swap(&mut waiting.lines, &mut taken);
            (waiting.hurry, waiting.writing) = (false, true);
            let written = MutexGuard::unlocked(&mut waiting, || out.write_all(&taken).and_then(|()| out.flush()));
            if let Err(error) = written {
                log::debug!("the access log cannot be written: {error}");
            }
            taken.clear();
            taken.shrink_to(WAITING_BYTES / 16);
            waiting.writing = false;
            self.written.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    #[allow(clippy::expect_used, reason = "a test")]
    fn every_line_is_written_once_and_in_order() {
        let paper = Paper::default();
        let log = AccessLog::to(Box::new(paper.clone())).expect("a thread");
        for id in 0..1000 {
            log.write(&Line { id: &id.to_string(), ..Line::default() });
            if id % 100 == 0 {
                log.flush();
            }
        }
        log.flush();
        let text = String::from_utf8(paper.0.lock().clone()).expect("text");
        let ids = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let ids: Vec<u64> = ids.filter_map(|line| line["id"].as_str()?.parse().ok()).collect();
        assert_eq!(ids, (0..1000).collect::<Vec<_>>());
        assert_eq!(log.dropped(), 0);
    }
}
