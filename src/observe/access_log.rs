//! One JSON line per request, written by a thread of its own so that a slow disk or pipe delays no request.
//!
//! A full buffer drops lines and counts them: the log never holds up the proxy. Keys, bodies and query strings are
//! never logged.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use serde::Serialize;

use crate::config::AccessLogPlan;

/// What is told of a request. Times in milliseconds since arrival; absent = never reached.
#[derive(Debug, Default, Serialize)]
pub struct Line<'a> {
    /// Unix time of arrival, in milliseconds.
    pub time: u64,
    /// The `x-request-id`.
    pub id: &'a str,
    /// Configuration generation.
    pub generation: u64,
    /// Client address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Method.
    pub method: &'a str,
    /// Path without query.
    pub path: &'a str,
    /// Status sent to the client; 0 = none.
    pub status: u16,
    /// Route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// Model, as the client named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// Endpoint of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<&'a str>,
    /// The endpoint's configured labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// The trace id of the client's `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<&'a str>,
    /// Module that chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<&'a str>,
    /// In the queue.
    pub queue_ms: f64,
    /// Connecting, in the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<f64>,
    /// To the first token of a stream, to the first byte of any other answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// To the end.
    pub total_ms: f64,
    /// Prompt tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u32>,
    /// Output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u32>,
    /// The output tokens are a count of stream events.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// The log: cheap to share.
pub struct AccessLog {
    sender: Option<SyncSender<Message>>,
    dropped: AtomicU64,
}

enum Message {
    Line(Vec<u8>),
    /// Answer when everything before is written.
    Flush(SyncSender<()>),
}

/// Lines that may wait for the writer.
const WAITING_LINES: usize = 8192;

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
        AccessLog { sender: None, dropped: AtomicU64::new(0) }
    }

    /// Writes to `out` from a thread of its own, which ends with the log.
    pub fn to(mut out: Box<dyn Write + Send>) -> std::io::Result<AccessLog> {
        let (sender, messages) = sync_channel::<Message>(WAITING_LINES);
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            while let Ok(first) = messages.recv() {
                let more = std::iter::from_fn(|| messages.try_recv().ok()).take(WAITING_LINES);
                let batch = std::iter::once(first).chain(more);
                let mut done = Vec::new();
                let mut written = Ok(());
                for message in batch {
                    match message {
                        Message::Line(line) => written = written.and_then(|()| out.write_all(&line)),
                        Message::Flush(answer) => done.push(answer),
                    }
                }
                if let Err(error) = written.and_then(|()| out.flush()) {
                    log::debug!("the access log cannot be written: {error}");
                }
                for answer in done {
                    let _ = answer.send(());
                }
            }
        })?;
        Ok(AccessLog { sender: Some(sender), dropped: AtomicU64::new(0) })
    }

    /// Hands one line to the writer.
    pub fn write(&self, line: &Line<'_>) {
        let Some(sender) = &self.sender else { return };
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if let Err(TrySendError::Full(_)) = sender.try_send(Message::Line(text)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when all lines so far are written, or after a second.
    pub fn flush(&self) {
        let Some(sender) = &self.sender else { return };
        let (answer, answered) = sync_channel(1);
        if sender.try_send(Message::Flush(answer)).is_ok() {
            let _ = answered.recv_timeout(std::time::Duration::from_secs(1));
        }
    }

    /// Lines dropped because the writer was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
