//! A tap on an answer's bytes in passing: when the first token came, how many events, what it cost.
//!
//! It never changes a byte. Until the first token each event is parsed; after it a chunk costs a look for line ends
//! and a place in a bounded tail of shared chunks, which is joined and parsed once at the end. SSE comments and pings are no events. Without a
//! usage figure the output tokens are the events with content, marked `estimated`.

use std::collections::VecDeque;

use arriero_core::Usage;
use bytes::Bytes;
use serde_json::{Value, json};

use super::errors::{ErrorKind, error_body, openai_error};
use super::paths::Dialect;
use super::usage;

/// Bytes of the answer's end that are kept, and at most the chunk in which they begin.
const TAIL: usize = 4 * 1024;
/// Bytes of one line that are kept until the first token; a longer one counts as content.
const FIRST_LINE: usize = 64 * 1024;
/// Bytes of one line that are kept after it: enough for the field's and the event's name.
const LATER_LINE: usize = 64;
/// Events at the end that are looked at for having no content.
const LAST_EVENTS: usize = 4;

/// How an answer is cut into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`.
    Sse,
    /// One JSON object per line.
    Ndjson,
    /// One JSON document.
    Json,
    /// Anything else.
    Opaque,
}

impl Framing {
    /// By content type; by what the API does where the type says nothing.
    pub fn of(dialect: Dialect, content_type: Option<&str>, streamed: bool) -> Framing {
        let essence = content_type.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match essence.as_str() {
            "text/event-stream" => Framing::Sse,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Framing::Ndjson,
            "" | "text/plain" if streamed && dialect == Dialect::Ollama => Framing::Ndjson,
            "" | "text/plain" if streamed => Framing::Sse,
            "application/json" => Framing::Json,
            _ => Framing::Opaque,
        }
    }
}

/// Reads one answer in passing.
#[derive(Debug)]
pub struct Tap {
    dialect: Dialect,
    framing: Framing,
    /// The current line's first bytes.
    line: Vec<u8>,
    /// Bytes of the current line, line ends left out.
    line_len: usize,
    /// True at the start and after an empty line.
    at_border: bool,
    /// SSE: the name of the current event says that it has content; `None` if it has no name.
    named_content: Option<bool>,
    /// SSE: some event had a name.
    has_names: bool,
    first_token: bool,
    events: u64,
    /// Anthropic: the usage that the first event gave.
    start: Value,
    tail: VecDeque<Bytes>,
    tail_len: usize,
}

impl Tap {
    /// A tap on an answer with this `content-type`; `streamed` = the request asked for a stream.
    pub fn new(dialect: Dialect, content_type: Option<&str>, streamed: bool) -> Tap {
        Tap {
            dialect,
            framing: Framing::of(dialect, content_type, streamed),
            line: Vec::new(),
            line_len: 0,
            at_border: true,
            named_content: None,
            has_names: false,
            first_token: false,
            events: 0,
            start: Value::Null,
            tail: VecDeque::new(),
            tail_len: 0,
        }
    }

    /// Takes the next bytes. True exactly once: when they hold the first token (of an answer that is no stream of
    /// events: its first byte).
    pub fn pass(&mut self, chunk: &Bytes) -> bool {
        let before = self.first_token;
        match self.framing {
            Framing::Sse | Framing::Ndjson => self.lines(chunk),
            Framing::Json | Framing::Opaque => self.first_token |= !chunk.is_empty(),
        }
        if self.framing != Framing::Opaque {
            self.keep_tail(chunk);
        }
        self.first_token && !before
    }

    /// [`Tap::pass`], for bytes that are not shared.
    pub fn feed(&mut self, chunk: &[u8]) -> bool {
        self.pass(&Bytes::copy_from_slice(chunk))
    }

    /// How the answer is cut into events.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// True once the first token came.
    pub fn first_token(&self) -> bool {
        self.first_token
    }

    /// Events with content so far (the last ones may turn out to have none).
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What the answer cost, as far as it said. To be asked at its end.
    pub fn usage(&self) -> Usage {
        let tail = self.tail();
        let mut usage = usage::read(self.dialect, &self.start, &tail);
        if usage.output_tokens.is_none() && self.events > 0 {
            let events = self.events.saturating_sub(self.empty_last_events(&tail));
            usage.output_tokens = Some(u32::try_from(events).unwrap_or(u32::MAX));
            usage.estimated = true;
        }
        usage
    }

    /// True if the stream said itself that it is whole: nothing may be put behind its last event.
    pub fn is_whole(&self) -> bool {
        let tail = self.tail();
        let mut lines = tail.rsplit(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let Some(last) = lines.next() else { return false };
        let holds = |text: &[u8]| last.windows(text.len()).any(|window| window == text);
        match self.framing {
            Framing::Sse => {
                last.strip_prefix(b"data:").is_some_and(|data| data.trim_ascii() == b"[DONE]")
                    || holds(b"\"type\":\"message_stop\"")
                    || holds(b"\"type\": \"message_stop\"")
                    || holds(b"\"type\":\"response.completed\"")
            }
            Framing::Ndjson => self.line_len == 0 && (holds(b"\"done\":true") || holds(b"\"done\": true")),
            Framing::Json | Framing::Opaque => false,
        }
    }

    /// The bytes that end a broken answer so that the client learns of it: an error event in the API's own framing,
    /// after the line ends that close a line cut short. Empty where the framing has no such thing: then only cutting
    /// the connection tells.
    pub fn end_event(&self, kind: ErrorKind, message: &str) -> Bytes {
        let border = match (self.framing, self.line_len, self.at_border) {
            (Framing::Ndjson, 0, _) | (Framing::Sse, _, true) => "",
            (Framing::Ndjson, ..) | (Framing::Sse, 0, _) => "\n",
            (Framing::Sse, ..) => "\n\n",
            (Framing::Json | Framing::Opaque, ..) => return Bytes::new(),
        };
        end_event(self.dialect, self.framing, self.has_names, border, kind, message)
    }

    fn lines(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let limit = if self.first_token { LATER_LINE } else { FIRST_LINE };
            let room = limit.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.line_len += text.len();
            self.at_border &= text.is_empty();
            if ends {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        // one carriage return before the line feed is no text
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        let blank = text.is_empty();
        if blank {
            self.named_content = None;
        } else if self.framing == Framing::Ndjson {
            self.event(text);
        } else if let Some(name) = text.strip_prefix(b"event:") {
            let name = String::from_utf8_lossy(name);
            let name = name.trim();
            self.has_names = true;
            self.named_content = Some(name.ends_with("delta") && name != "message_delta");
        } else if let Some(data) = text.strip_prefix(b"data:") {
            self.event(data.trim_ascii());
        }
        self.at_border = blank;
        self.line_len = 0;
        // the buffer is worth keeping only while lines are short
        self.line = line;
        self.line.clear();
        self.line.shrink_to(1024);
    }

    fn event(&mut self, data: &[u8]) {
        if data == b"[DONE]" || data.is_empty() {
            return;
        }
        if self.first_token {
            self.events += u64::from(self.named_content.unwrap_or(true));
            return;
        }
        let cut = data.len() + 16 > FIRST_LINE;
        let content = match serde_json::from_slice::<Value>(data) {
            Ok(mut event) => {
                if event["type"] == "message_start" {
                    self.start = event["message"]["usage"].take();
                }
                usage::has_content(&event)
            }
            Err(_) => cut && self.named_content.unwrap_or(true),
        };
        if content {
            self.first_token = true;
            self.events = 1;
        }
    }

    /// How many of the last events had no content (the finish reason, the usage).
    fn empty_last_events(&self, tail: &[u8]) -> u64 {
        if self.has_names {
            return 0;
        }
        let lines = tail.rsplit(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let events = lines.filter_map(|line| match self.framing {
            Framing::Sse => line.strip_prefix(b"data:").map(<[u8]>::trim_ascii).filter(|data| *data != b"[DONE]"),
            _ => Some(line),
        });
        let parsed = events.take(LAST_EVENTS).map_while(|event| serde_json::from_slice::<Value>(event).ok());
        parsed.take_while(|event| !usage::has_content(event)).count() as u64
    }

    fn keep_tail(&mut self, chunk: &Bytes) {
        if chunk.len() >= TAIL {
            // a piece of its own: it must not keep a large chunk alive
            self.tail.clear();
            self.tail.push_back(Bytes::copy_from_slice(&chunk[chunk.len() - TAIL..]));
            self.tail_len = TAIL;
            return;
        }
        if chunk.is_empty() {
            return;
        }
        self.tail.push_back(chunk.clone());
        self.tail_len += chunk.len();
        while let Some(first) = self.tail.front().filter(|first| self.tail_len - first.len() >= TAIL) {
            self.tail_len -= first.len();
            self.tail.pop_front();
        }
    }

    /// The last bytes in one piece.
    fn tail(&self) -> Bytes {
        match self.tail.len() {
            0 | 1 => self.tail.front().cloned().unwrap_or_default(),
            _ => self.tail.iter().flat_map(|chunk| chunk.iter().copied()).collect(),
        }
    }
}

fn end_event(dialect: Dialect, framing: Framing, named: bool, border: &str, kind: ErrorKind, message: &str) -> Bytes {
    let text = match (framing, dialect) {
        (Framing::Ndjson, _) => format!("{border}{}\n", json!({ "error": message })),
        (_, Dialect::Anthropic) => {
            let body = error_body(Dialect::Anthropic, kind, message);
            format!("{border}event: error\ndata: {}\n\n", String::from_utf8_lossy(&body))
        }
        // Responses: an event with a name; `error` inside it is what SDKs of the chat API look for
        _ if named => {
            let error = json!({ "type": "error", "code": kind.code(), "message": message, "param": null,
                "error": openai_error(kind, message)["error"] });
            format!("{border}event: error\ndata: {error}\n\n")
        }
        _ => format!("{border}data: {}\n\n", openai_error(kind, message)),
    };
    Bytes::from(text)
}

#[cfg(test)]
mod tests;
