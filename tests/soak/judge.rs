//! Judges what came of a request. Lost = neither an answer nor an error in the shape of the request's own API; a stream
//! must end whole or with an error event; a plain answer that breaks off must be cut, never ended as if it were whole.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::ask::{Api, Ask, Leave, Wish};
use crate::line::Line;

/// What lab engines send when they send garbage.
const GARBAGE: &[u8] = b"<<<garbage>>>";

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Answered in full.
    Whole,
    /// An error in the API's shape, with this status.
    Error(u16),
    /// A stream that ended with an error event.
    ErrorEvent,
    /// A whole stream with an error event behind its end: the engine broke off after its last word.
    WholeThenErrorEvent,
    /// A plain answer that was cut, and the client could tell.
    Cut,
    /// The engine's garbage came through.
    Garbage,
    /// Its own client left.
    Left,
    /// What must not be.
    Lost(String),
}

impl Ending {
    /// Its name in the report.
    pub fn words(&self) -> String {
        let words = match self {
            Ending::Error(status) => return format!("error {status}"),
            Ending::Whole => "answered whole",
            Ending::ErrorEvent => "stream ended by an error event",
            Ending::WholeThenErrorEvent => "stream whole, then an error event",
            Ending::Cut => "plain answer cut",
            Ending::Garbage => "engine's garbage",
            Ending::Left => "client left",
            Ending::Lost(_) => "lost",
        };
        words.to_owned()
    }
}

/// What was received.
struct Received {
    status: u16,
    body: Vec<u8>,
    /// How the body was cut, if it was.
    cut: Option<String>,
}

/// Sends a request and judges what comes.
pub async fn run(line: &mut Line, ask: &Ask) -> Ending {
    let patience = crate::common::PATIENCE * 4;
    let whole = tokio::time::timeout(patience, exchange(line, ask));
    let ended = match ask.leave {
        Leave::After(span) => tokio::select! {
            ended = whole => ended,
            () = tokio::time::sleep(span) => return Ending::Left,
        },
        _ => whole.await,
    };
    ended.unwrap_or_else(|_| Ending::Lost(format!("nothing for {patience:?}")))
}

async fn exchange(line: &mut Line, ask: &Ask) -> Ending {
    let mut answer = match line.send(ask).await {
        Ok(answer) => answer,
        Err(words) => return Ending::Lost(format!("no answer: {words}")),
    };
    if let Some(seen) = answer.headers.get("x-lab-body").and_then(|value| value.to_str().ok()) {
        let sent = format!("{}-{:016x}", ask.body.len(), xxh3_64(&ask.body));
        if seen != sent {
            return Ending::Lost(format!("the engine got body {seen}, sent was {sent}"));
        }
    }
    let mut received = Received { status: answer.status, body: Vec::new(), cut: None };
    let mut chunks = 0;
    loop {
        if ask.leave == Leave::Chunks(chunks) {
            return Ending::Left;
        }
        match answer.chunk().await {
            Ok(None) => break,
            Ok(Some(piece)) => received.body.extend_from_slice(&piece),
            Err(words) => {
                received.cut = Some(words);
                break;
            }
        }
        chunks += 1;
    }
    judge(ask, &received)
}

fn judge(ask: &Ask, received: &Received) -> Ending {
    let text = String::from_utf8_lossy(&received.body);
    let lost = |what: &str| {
        let end: String = text.chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
        Ending::Lost(format!("{what}: status {}, cut {:?}, ends {end:?}", received.status, received.cut))
    };
    if received.status >= 400 {
        let shaped = serde_json::from_str(&text).is_ok_and(|value| has_error_shape(ask.api, &value));
        return if shaped && received.cut.is_none() {
            Ending::Error(received.status)
        } else {
            lost("an error without its shape")
        };
    }
    if received.status != 200 {
        return lost("an unknown status");
    }
    if received.body.windows(GARBAGE.len()).any(|window| window == GARBAGE) {
        return Ending::Garbage;
    }
    match ask.wish {
        Wish::Error(_) => lost("answered what should be refused"),
        Wish::Stream => match stream_tokens(ask.api, &text) {
            Some(tokens) if tokens == ask.tokens as usize && has_error_event(ask.api, &text) => {
                Ending::WholeThenErrorEvent
            }
            Some(tokens) if tokens == ask.tokens as usize => Ending::Whole,
            Some(tokens) => lost(&format!("{tokens} tokens instead of {}", ask.tokens)),
            None if has_error_event(ask.api, &text) => Ending::ErrorEvent,
            None => lost("a stream without its end"),
        },
        Wish::Plain | Wish::Vector | Wish::Local => match (serde_json::from_str::<Value>(&text), &received.cut) {
            (Ok(value), _) if is_whole(ask, &value) => Ending::Whole,
            (_, Some(_)) => Ending::Cut,
            _ => lost("a broken document that claims to be whole"),
        },
    }
}

fn has_error_shape(api: Api, value: &Value) -> bool {
    match api {
        Api::OpenAi => value["error"]["message"].is_string(),
        Api::Ollama => value["error"].is_string(),
        Api::Anthropic => value["type"] == "error" && value["error"]["message"].is_string(),
    }
}

/// Tokens of a stream that has its proper end.
fn stream_tokens(api: Api, text: &str) -> Option<usize> {
    match api {
        // Chat has one event before its tokens, and both have one after them.
        Api::OpenAi => text.contains("data: [DONE]\n\n").then(|| {
            let around = if text.contains("chat.completion.chunk") { 2 } else { 1 };
            let events = text.matches("data: {").count() - text.matches("data: {\"error\"").count();
            events.saturating_sub(around)
        }),
        Api::Ollama => text.contains("\"done\":true").then(|| text.matches("\"done\":false").count()),
        Api::Anthropic => {
            text.contains("event: message_stop\n").then(|| text.matches("event: content_block_delta\n").count())
        }
    }
}

fn has_error_event(api: Api, text: &str) -> bool {
    let Some(last) = text.trim_end().lines().last() else { return false };
    let json = last.strip_prefix("data: ").unwrap_or(last);
    let shaped = serde_json::from_str(json).is_ok_and(|value| has_error_shape(api, &value));
    shaped && (api != Api::Anthropic || text.contains("event: error\n"))
}

fn is_whole(ask: &Ask, value: &Value) -> bool {
    let tokens = Value::from(ask.tokens);
    match (ask.wish, ask.api) {
        (Wish::Local, _) => value.is_object(),
        (Wish::Vector, _) => value["data"][0]["embedding"].is_array(),
        (_, Api::OpenAi) => value["usage"]["completion_tokens"] == tokens,
        (_, Api::Ollama) => value["eval_count"] == tokens,
        (_, Api::Anthropic) => value["usage"]["output_tokens"] == tokens,
    }
}
