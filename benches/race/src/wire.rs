//! What the race's client and origin say to each other: requests, answers, events, and how a client reads them.
//!
//! HTTP/1.1 over plain sockets. Stamps are nanoseconds of the machine's clock (both ends run on one machine), 20
//! digits, inside each event's `id`, so that a client knows how long an event was under way.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use tokio::sync::Semaphore;

/// The model that every request names and every configuration routes by.
pub const MODEL: &str = "race-7b";

/// Stands before the stamp in an event.
const STAMP: &[u8] = b"\"id\":\"chatcmpl-";
const STAMP_DIGITS: usize = 20;

/// Nanoseconds of the machine's clock.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The pace of a stream whose events wait for [`TAKEN`]. One such stream at a time, in the client's own process.
pub const LOCKSTEP: u64 = 999_999_999;

/// Events of a stream in lockstep that the client has taken.
pub static TAKEN: Semaphore = Semaphore::const_new(0);

/// A stream that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Events, the closing `[DONE]` not counted.
    pub events: u64,
    /// Microseconds between two events; 0 = as fast as they are taken; [`LOCKSTEP`] = each when the client has the
    /// last one.
    pub pace_us: u64,
}

/// A chat completion request, head and body, whose body has `size` bytes; `model` is the first field, as the clients of
/// OpenAI send it, and the prompt has an escape about every 35 bytes, as code and chats have.
pub fn request(size: usize, stream: Option<Ask>) -> Vec<u8> {
    let mut body = format!("{{\"model\":\"{MODEL}\",\"stream\":{},", stream.is_some());
    if let Some(Ask { events, pace_us }) = stream {
        body.push_str(&format!("\"max_tokens\":{events},\"seed\":{pace_us},"));
    }
    body.push_str("\"messages\":[{\"role\":\"user\",\"content\":\"");
    let close = "\"}]}";
    let text = "Shorten this to one sentence; keep the word \\\"lot\\\" and whatever stands between brackets.\\n";
    while body.len() + text.len() + close.len() <= size {
        body.push_str(text);
    }
    while body.len() + close.len() < size {
        body.push('.');
    }
    body.push_str(close);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: race.local\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\n\
         User-Agent: OpenAI/Python 3.54.0\r\nAuthorization: Bearer sk-race\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// The stream that a body asks for, read without a parser: routers may have put its fields into another order.
pub fn asked(body: &[u8]) -> Option<Ask> {
    let after = |name: &str| memmem::find(body, name.as_bytes()).map(|at| body[at + name.len()..].trim_ascii_start());
    after("\"stream\":").filter(|rest| rest.starts_with(b"true"))?;
    let number = |name: &str| after(name).map_or(0, digits);
    // Some routers write the one name for the other.
    let events = number("\"max_tokens\":").max(number("\"max_completion_tokens\":"));
    Some(Ask { events, pace_us: number("\"seed\":") })
}

fn digits(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'))
}

/// The origin's answer to anything but a stream: about 300 bytes of JSON.
pub fn answer() -> String {
    format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"{MODEL}\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"A short and honest answer.\"}},\
         \"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":512,\"completion_tokens\":7,\"total_tokens\":519}}}}"
    )
}

/// One event with the present moment in it.
pub fn event() -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-{:0STAMP_DIGITS$}\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\
         \"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word\"}},\"logprobs\":null,\
         \"finish_reason\":null}}]}}\n\n",
        now_ns()
    )
}

/// The stamps of the whole events at the front of `text`, which are taken off it.
pub fn take_stamps(text: &mut Vec<u8>, mut each: impl FnMut(u64)) {
    let mut done = 0;
    while let Some(length) = memmem::find(&text[done..], b"\n\n") {
        let event = &text[done..done + length];
        if let Some(at) = memmem::find(event, STAMP) {
            each(digits(&event[at + STAMP.len()..]));
        }
        done += length + 2;
    }
    text.drain(..done);
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head.
    pub length: usize,
    /// Bytes of the body; `None` = in chunks.
    pub content_length: Option<usize>,
    /// The connection is to be closed after it.
    pub close: bool,
}

/// Reads the head of an answer; `None` = there is more to come. Anything but 200 is an error.
pub fn head(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = parsed.parse(bytes).context("the answer's head")? else {
        return Ok(None);
    };
    let rest = String::from_utf8_lossy(&bytes[length..]);
    ensure!(parsed.code == Some(200), "status {:?}: {rest}", parsed.code);
    let field = |name: &str| parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let content_length = field("content-length").map(|field| digits(field.value) as usize);
    let chunked = field("transfer-encoding").is_some_and(|field| field.value.eq_ignore_ascii_case(b"chunked"));
    ensure!(content_length.is_some() || chunked, "an answer without a length");
    let close = field("connection").is_some_and(|field| field.value.eq_ignore_ascii_case(b"close"));
    Ok(Some(Head { length, content_length, close }))
}

/// Takes a body out of its chunks.
#[derive(Default)]
pub struct Chunks {
    state: State,
}

#[derive(Default)]
enum State {
    /// In the line with the size so far; `true` once an extension began.
    #[default]
    Begin,
    Size(usize, bool),
    Data(usize),
    /// Before the line end after a chunk.
    End,
    /// After the last chunk, in a line of so many bytes.
    Trailer(usize),
    Done,
}

impl Chunks {
    /// Takes the next bytes; true once the body is whole.
    pub fn take(&mut self, mut input: &[u8], body: &mut Vec<u8>) -> anyhow::Result<bool> {
        while let Some((&byte, rest)) = input.split_first() {
            if let State::Data(left) = self.state {
                let (now, later) = input.split_at(left.min(input.len()));
                body.extend_from_slice(now);
                input = later;
                self.state = if left == now.len() { State::End } else { State::Data(left - now.len()) };
                continue;
            }
            self.state = self.step(byte)?;
            input = rest;
        }
        Ok(matches!(self.state, State::Done))
    }

    fn step(&self, byte: u8) -> anyhow::Result<State> {
        Ok(match (&self.state, byte) {
            (State::Size(0, _), b'\n') => State::Trailer(0),
            (State::Size(size, _), b'\n') => State::Data(*size),
            (State::Size(size, extended), b'\r') => State::Size(*size, *extended),
            (State::Size(size, _), b';') => State::Size(*size, true),
            (State::Size(size, true), _) => State::Size(*size, true),
            (State::Begin, digit) => State::Size(hex(digit)?, false),
            (State::Size(size, false), digit) => State::Size(size * 16 + hex(digit)?, false),
            (State::End, b'\r') => State::End,
            (State::End, b'\n') => State::Begin,
            (State::Trailer(0), b'\n') => State::Done,
            (State::Trailer(_), b'\n') => State::Trailer(0),
            (State::Trailer(length), b'\r') => State::Trailer(*length),
            (State::Trailer(length), _) => State::Trailer(length + 1),
            _ => bail!("ill-formed chunks"),
        })
    }
}

fn hex(digit: u8) -> anyhow::Result<usize> {
    Ok(char::from(digit).to_digit(16).context("a chunk's size")? as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_size_asked_for_and_says_its_stream() {
        for (size, stream) in [(2048, None), (65536, Some(Ask { events: 90, pace_us: 11_000 }))] {
            let request = request(size, stream);
            let at = memmem::find(&request, b"\r\n\r\n").expect("a head") + 4;
            assert_eq!(request.len() - at, size);
            let parsed: serde_json::Value = serde_json::from_slice(&request[at..]).expect("JSON");
            assert_eq!(parsed["model"], MODEL);
            assert_eq!(asked(&request[at..]), stream);
        }
    }

    #[test]
    fn chunks_are_put_together_wherever_the_bytes_were_split() {
        let sent = b"5\r\nhello\r\n1;x=y\r\n \r\nA\r\nworldworld\r\n0\r\nt: v\r\n\r\n";
        for split in 0..sent.len() {
            let (mut chunks, mut body) = (Chunks::default(), Vec::new());
            assert!(!chunks.take(&sent[..split], &mut body).expect("well-formed"));
            assert!(chunks.take(&sent[split..], &mut body).expect("well-formed"));
            assert_eq!(body, b"hello worldworld");
        }
        assert!(Chunks::default().take(b"x\r\n", &mut Vec::new()).is_err());
    }

    #[test]
    fn stamps_are_read_from_whole_events_only() {
        let before = now_ns();
        let mut text = (event() + "data: {\"id\":\"chatc").into_bytes();
        let mut stamps = Vec::new();
        take_stamps(&mut text, |stamp| stamps.push(stamp));
        assert_eq!((stamps.len(), text.len()), (1, 18));
        assert!(stamps[0] >= before && stamps[0] <= now_ns());
    }
}
