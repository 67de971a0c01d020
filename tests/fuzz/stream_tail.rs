//! The tap on passing answers: how the bytes are cut changes nothing, little is kept, what the answer cost is found.
//!
//! Three kinds of input: whole answers in the form of each API (what they cost is known here, so it must be found),
//! the same with a few changes, and any bytes. Wherever an answer breaks off, a client must read the event that ends it
//! as the last one.

use arriero::dialect::stream::Framing;
use arriero::dialect::{Dialect, ErrorKind, Tap};
use serde_json::Value;

use crate::answers::{Answer, WORDS, answer};
use crate::input::{Dice, changed, plain_text, seed_of, soup, splits};

/// Up to here all of an answer is in the tail, so that its figures do not depend on how it was cut.
const TAIL: usize = 4 * 1024;
/// More than any answer may make a tap keep: a tail of single bytes and a long first line, as `Debug` writes them.
const MOST_KEPT: usize = 10 * TAIL + 6 * 64 * 1024;

pub(crate) fn check(input: &[u8]) {
    let seed = seed_of(input);
    if let Some(text) = plain_text(input) {
        return any_bytes(kind_of(text, seed), text, seed);
    }
    let mut dice = Dice::new(input);
    match dice.byte() % 4 {
        0 => any_bytes(any_kind(seed), &soup(dice, &WORDS), seed),
        1 => {
            let whole = answer(&mut dice);
            any_bytes(whole.kind(), &changed(&whole.text, 3, &mut dice, &WORDS), seed);
        }
        _ => {
            let whole = answer(&mut dice);
            any_bytes(whole.kind(), &whole.text, seed);
            costs(&whole, seed);
        }
    }
}

/// What a tap is told before the first byte.
pub(crate) type Kind = (Dialect, Option<&'static str>, bool);

/// What a text looks like; any kind if it looks like none.
fn kind_of(text: &[u8], seed: u64) -> Kind {
    let holds = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    match text.first() {
        Some(b'd' | b'e' | b':') if holds(b"message_start") => (Dialect::Anthropic, Some("text/event-stream"), true),
        Some(b'd' | b'e' | b':') => (Dialect::OpenAi, Some("text/event-stream"), true),
        Some(b'{') => (Dialect::Ollama, Some("application/x-ndjson"), true),
        _ => any_kind(seed),
    }
}

fn any_kind(seed: u64) -> Kind {
    let types = [
        Some("text/event-stream"),
        Some("application/x-ndjson"),
        Some("Text/Event-Stream; charset=utf-8"),
        Some("application/json"),
        Some("audio/mpeg"),
        None,
    ];
    let bytes = seed.to_be_bytes();
    let mut dice = Dice::new(&bytes);
    let dialect = [Dialect::OpenAi, Dialect::Ollama, Dialect::Anthropic][dice.below(3)];
    (dialect, types[dice.below(types.len())], dice.one_in(2))
}

fn tap((dialect, content_type, streamed): Kind) -> Tap {
    Tap::new(dialect, content_type, streamed)
}

fn any_bytes(kind: Kind, text: &[u8], seed: u64) {
    let whole = fed(kind, &[text]);
    for pieces in splits(text, seed) {
        let split = fed(kind, &pieces);
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        assert_eq!(passing(&split), passing(&whole), "in pieces of {lengths:?}");
        if text.len() <= TAIL {
            assert_eq!(
                (split.usage(), split.is_whole()),
                (whole.usage(), whole.is_whole()),
                "in pieces of {lengths:?}"
            );
        }
    }
    let cut = seed as usize % (text.len() + 1);
    ends_well(kind, &text[..cut]);
    ends_well(kind, text);
    if seed.is_multiple_of(128) {
        keeps_little(kind, text);
    }
}

/// A tap that was given the pieces; the first token is told once.
fn fed(kind: Kind, pieces: &[&[u8]]) -> Tap {
    let mut tap = tap(kind);
    let told = pieces.iter().filter(|piece| tap.feed(piece)).count();
    assert_eq!(told, usize::from(tap.first_token()), "the first token is told once");
    tap
}

/// What is known without the tail.
fn passing(tap: &Tap) -> (bool, u64, String) {
    let end = tap.end_event(ErrorKind::Unavailable, "gone");
    (tap.first_token(), tap.events(), String::from_utf8_lossy(&end).into_owned())
}

/// A client that reads on after the bytes takes the end event for what it is.
fn ends_well(kind: Kind, text: &[u8]) {
    let tap = fed(kind, &[text]);
    let message = "it broke\n\"off\"";
    let end = tap.end_event(ErrorKind::Unavailable, message);
    let seen = [text, &end].concat();
    let last = match tap.framing() {
        Framing::Sse => last_event(&seen),
        Framing::Ndjson => {
            seen.strip_suffix(b"\n").and_then(|seen| seen.rsplit(|byte| *byte == b'\n').next()).map(<[u8]>::to_vec)
        }
        Framing::Json | Framing::Opaque => return assert!(end.is_empty(), "nothing can be put behind it"),
    };
    let event: Value = serde_json::from_slice(&last.expect("a last event")).expect("an event of JSON");
    let told = [&event["error"], &event["error"]["message"], &event["message"]];
    assert!(told.iter().any(|told| **told == message), "no error in {event}");
}

/// The data of the last event that a client of server-sent events dispatches.
fn last_event(text: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut last, mut data) = (None, String::new());
    // behind the last line end there is no line, but the rest of a broken one
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        if line.is_empty() {
            last = Some(std::mem::take(&mut data)).filter(|data| !data.is_empty()).or(last);
        } else if let Some(more) = line.strip_prefix("data:") {
            data.push_str(more.strip_prefix(' ').unwrap_or(more));
            data.push('\n');
        }
    }
    last.map(String::into_bytes)
}

/// The same bytes again and again: as many lines, as one line without an end, as nothing at all.
fn keeps_little(kind: Kind, text: &[u8]) {
    let line: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\n').collect();
    for piece in [text, &line, &[]] {
        let mut tap = tap(kind);
        for _ in 0..(256 * 1024 / piece.len().max(1)) {
            tap.feed(piece);
        }
        let kept = format!("{tap:?}").len();
        assert!(kept < MOST_KEPT, "{kept} bytes to show what is kept");
        tap.usage();
        tap.is_whole();
    }
}

/// What the answer says it cost is what the tap says; also if there is much text before it.
fn costs(answer: &Answer, seed: u64) {
    let check = |tap: &Tap, what: &str| {
        let usage = tap.usage();
        assert_eq!(usage.prompt_tokens, answer.prompt, "prompt tokens {what}");
        assert_eq!(usage.output_tokens, answer.output, "output tokens {what}");
        assert_eq!(usage.estimated, answer.estimated, "estimated {what}");
        let times = [usage.load_ms, usage.prefill_ms, usage.decode_ms];
        assert!(times.iter().flatten().all(|time| time.is_finite() && *time >= 0.0), "times {what}: {times:?}");
    };
    check(&fed(answer.kind(), &[&answer.text]), "at once");
    for pieces in splits(&answer.text, seed) {
        check(&fed(answer.kind(), &pieces), "in pieces");
    }
}
