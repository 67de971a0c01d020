//! Streams of real shape, cut at every place.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const CHAT: &str = "\
: ping\n\n\
data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n\
: ping\n\n\
data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"}}]}\n\n\
data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const CHAT_USAGE: &str = "\
data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":4}},\
\"timings\":{\"cache_n\":4,\"prompt_n\":5,\"prompt_ms\":12.5,\"predicted_n\":5,\"predicted_ms\":30.25}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

const MESSAGES: &str = "\
event: message_start\n\
data: {\"type\":\"message_start\",\"message\":{\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":7,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\n\
event: content_block_start\n\
data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
event: ping\ndata: {\"type\": \"ping\"}\n\n\
event: content_block_delta\n\
data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n\
event: content_block_delta\n\
data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"!\"}}\n\n\
event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
const MESSAGES_END: &str = "\
event: message_delta\n\
data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":12}}\n\n\
event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

const OLLAMA: &str = "\
{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"done\":false}\n\
{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"!\"},\"done\":false}\n";
const OLLAMA_END: &str = "\
{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"total_duration\":9000000,\
\"load_duration\":2500000,\"prompt_eval_count\":26,\"prompt_eval_duration\":1000000,\"eval_count\":2,\"eval_duration\":4000000}\n";

fn sse(dialect: Dialect) -> Tap {
    Tap::new(dialect, Some("text/event-stream; charset=utf-8"), true)
}

fn ndjson() -> Tap {
    Tap::new(Dialect::Ollama, Some("application/x-ndjson"), true)
}

/// Feeds `text` in pieces of `size` bytes; the offset of the piece with the first token.
fn feed(tap: &mut Tap, text: &str, size: usize) -> Option<usize> {
    let mut first = None;
    for (piece, bytes) in text.as_bytes().chunks(size).enumerate() {
        if tap.feed(bytes) {
            assert_eq!(first, None, "told twice");
            first = Some(piece * size);
        }
    }
    first
}

#[test]
fn chat_tells_first_token_and_usage_at_any_cut() {
    for text in [format!("{CHAT}{CHAT_USAGE}{DONE}"), format!("{CHAT}{CHAT_USAGE}{DONE}").replace('\n', "\r\n")] {
        for size in 1..text.len() {
            let mut tap = sse(Dialect::OpenAi);
            let first = feed(&mut tap, &text, size).unwrap();
            let place = text.find("Hel").unwrap();
            let line_end = place + text[place..].find('\n').unwrap();
            assert!((first..first + size).contains(&line_end), "size {size}: {first}");
            let expected = Usage {
                prompt_tokens: Some(9),
                cached_tokens: Some(4),
                output_tokens: Some(5),
                prefill_ms: Some(12.5),
                decode_ms: Some(30.25),
                ..Usage::default()
            };
            assert_eq!(tap.usage(), expected, "size {size}");
        }
    }
}

#[test]
fn without_usage_events_are_counted() {
    for size in 1..CHAT.len() {
        let mut tap = sse(Dialect::OpenAi);
        feed(&mut tap, &format!("{CHAT}{DONE}"), size);
        assert_eq!(tap.usage(), Usage { output_tokens: Some(2), estimated: true, ..Usage::default() }, "size {size}");
    }
    let mut tap = sse(Dialect::Anthropic);
    feed(&mut tap, MESSAGES, 9);
    let usage = tap.usage();
    assert_eq!((usage.output_tokens, usage.estimated, usage.prompt_tokens), (Some(2), true, Some(10)));
    let mut tap = ndjson();
    feed(&mut tap, &format!("{OLLAMA}{{\"message\":{{\"role\":\"assistant\",\"content\":\"\"}},\"done\":true}}\n"), 7);
    assert_eq!((tap.usage().output_tokens, tap.usage().estimated), (Some(2), true));
    assert_eq!(sse(Dialect::OpenAi).usage(), Usage::default());
}

#[test]
fn anthropic_adds_up_head_and_tail() {
    let text = format!("{MESSAGES}{MESSAGES_END}");
    for size in [1, 2, 3, 50, 1000] {
        let mut tap = sse(Dialect::Anthropic);
        let first = feed(&mut tap, &text, size).unwrap();
        assert!(first + size > text.find("\"Hi\"").unwrap(), "pings and starts are no tokens");
        let expected =
            Usage { prompt_tokens: Some(10), cached_tokens: Some(3), output_tokens: Some(12), ..Usage::default() };
        assert_eq!(tap.usage(), expected);
    }
}

#[test]
fn ollama_durations_become_milliseconds() {
    let text = format!("{OLLAMA}{OLLAMA_END}");
    let expected = Usage {
        prompt_tokens: Some(26),
        output_tokens: Some(2),
        load_ms: Some(2.5),
        prefill_ms: Some(1.0),
        decode_ms: Some(4.0),
        ..Usage::default()
    };
    for size in 1..text.len() {
        let mut tap = ndjson();
        feed(&mut tap, &text, size);
        assert_eq!(tap.usage(), expected);
    }
    // a last object longer than the tail
    let context = vec!["12345"; 20_000].join(",");
    let mut tap = ndjson();
    feed(&mut tap, &text.replace("\"done\":true", &format!("\"done\":true,\"context\":[{context}]")), 4096);
    assert_eq!(tap.usage(), expected);
}

#[test]
fn responses_and_completions_are_understood() {
    let mut tap = sse(Dialect::OpenAi);
    assert!(
        !tap.feed(b"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n")
    );
    let delta =
        b"event: response.output_text.delta\ndata: {\"delta\":\"Hi\",\"type\":\"response.output_text.delta\"}\n\n";
    assert!(tap.feed(delta));
    assert!(!tap.feed(delta));
    tap.feed(b"event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\"}\n\n");
    assert_eq!(tap.usage(), Usage { output_tokens: Some(2), estimated: true, ..Usage::default() });
    tap.feed(b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3,\
        \"input_tokens_details\":{\"cached_tokens\":1},\"output_tokens\":2}}}\n\n");
    let expected = Usage { prompt_tokens: Some(3), cached_tokens: Some(1), output_tokens: Some(2), ..Usage::default() };
    assert_eq!(tap.usage(), expected);
    assert!(sse(Dialect::OpenAi).feed(b"data: {\"choices\":[{\"text\":\"a\"}]}\n"));
    assert!(sse(Dialect::OpenAi).feed(b"data:{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n"));
    assert!(sse(Dialect::OpenAi).feed(b"data: {\"content\":\"a\",\"stop\":false}\n"));
    assert!(!sse(Dialect::OpenAi).feed(b"data: {\"error\":{\"message\":\"no\"}}\n"));
    assert!(ndjson().feed(b"{\"response\":\"a\",\"done\":false}\n"));
}

#[test]
fn whole_answers_are_read_too() {
    let mut tap = Tap::new(Dialect::OpenAi, Some("application/json"), false);
    let long = "x\\\"usage\\\":{}".repeat(10_000);
    let body = format!(
        r#"{{"choices":[{{"message":{{"content":"{long}"}}}}],"usage":{{"prompt_tokens":1,"completion_tokens":2}},"id":"x"}}"#
    );
    assert_eq!(feed(&mut tap, &body, 1000), Some(0));
    assert_eq!((tap.usage().output_tokens, tap.usage().prompt_tokens), (Some(2), Some(1)));
    assert!(!tap.usage().estimated);
    let mut tap = Tap::new(Dialect::Ollama, Some("application/json; charset=utf-8"), false);
    tap.feed(OLLAMA_END.as_bytes());
    assert_eq!(tap.usage().load_ms, Some(2.5));
    let mut tap = Tap::new(Dialect::OpenAi, Some("audio/mpeg"), false);
    assert!(tap.feed(&[0, 255]));
    assert_eq!(tap.usage(), Usage::default());
}

#[test]
fn framing_follows_the_type_then_the_api() {
    let of = |dialect, kind, streamed| Framing::of(dialect, kind, streamed);
    assert_eq!(of(Dialect::Ollama, Some("Text/Event-Stream"), false), Framing::Sse);
    assert_eq!(of(Dialect::Ollama, None, true), Framing::Ndjson);
    assert_eq!(of(Dialect::OpenAi, None, true), Framing::Sse);
    assert_eq!(of(Dialect::OpenAi, None, false), Framing::Opaque);
    assert_eq!(of(Dialect::OpenAi, Some("application/json"), true), Framing::Json);
}

#[test]
fn the_error_event_closes_whatever_was_open() {
    let message = "the engine\nfailed";
    for cut in 0..CHAT.len() {
        let mut tap = sse(Dialect::OpenAi);
        tap.feed(&CHAT.as_bytes()[..cut]);
        let text =
            format!("{}{}", &CHAT[..cut], String::from_utf8_lossy(&tap.end_event(ErrorKind::BadGateway, message)));
        let last = text.strip_suffix("\n\n").unwrap().rsplit("\n\n").next().unwrap();
        let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(error["error"]["message"], message);
        assert!(!text.contains("\n\n\n"), "cut {cut}");
    }
    let text = format!("{OLLAMA}{OLLAMA_END}");
    for cut in 0..text.len() {
        let mut tap = ndjson();
        tap.feed(&text.as_bytes()[..cut]);
        let end =
            format!("{}{}", &text[..cut], String::from_utf8_lossy(&tap.end_event(ErrorKind::BadGateway, message)));
        let last = end.strip_suffix('\n').unwrap().rsplit('\n').next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(last).unwrap(), json!({"error": message}));
        assert!(!end.contains("\n\n"));
    }
}

#[test]
fn the_error_event_speaks_the_api() {
    let mut tap = sse(Dialect::Anthropic);
    tap.feed(b"event: ping\r\ndata: {}\r\n\r");
    tap.feed(b"\n");
    let event = tap.end_event(ErrorKind::GatewayTimeout, "slow");
    let expected =
        "event: error\ndata: {\"error\":{\"message\":\"slow\",\"type\":\"timeout_error\"},\"type\":\"error\"}\n\n";
    let value = |text: &str| {
        serde_json::from_str::<Value>(text.lines().nth(1).unwrap().strip_prefix("data: ").unwrap()).unwrap()
    };
    let text = String::from_utf8(event.to_vec()).unwrap();
    assert!(text.starts_with("event: error\ndata: {") && text.ends_with("}\n\n"), "{text:?}");
    assert_eq!(value(&text), value(expected));
    let mut tap = sse(Dialect::OpenAi);
    tap.feed(b"event: response.created\ndata: {}\n\n");
    assert!(tap.end_event(ErrorKind::BadGateway, "x").starts_with(b"event: error\ndata: "));
    let mut tap = Tap::new(Dialect::OpenAi, Some("application/json"), false);
    tap.feed(b"{\"choices\"");
    assert!(tap.end_event(ErrorKind::BadGateway, "x").is_empty());
}

proptest! {
    #[test]
    fn noise_never_panics_and_memory_stays_bounded(chunks: Vec<Vec<u8>>, repeat in 1..50usize, ollama: bool) {
        let mut tap = if ollama { ndjson() } else { sse(Dialect::OpenAi) };
        for chunk in chunks.iter().cycle().take(chunks.len() * repeat) {
            tap.feed(chunk);
        }
        prop_assert!(tap.tail().len() < 2 * TAIL && tap.line.len() <= FIRST_LINE);
        tap.usage();
        tap.end_event(ErrorKind::BadGateway, "x");
    }

    #[test]
    fn the_tail_holds_the_last_bytes(sizes in prop::collection::vec(0..40_000usize, 1..12)) {
        let mut tap = Tap::new(Dialect::OpenAi, Some("application/json"), false);
        let mut all = Vec::new();
        for (seed, size) in sizes.into_iter().enumerate() {
            let chunk: Vec<u8> = (0..size).map(|n| (n * 7 + seed) as u8).collect();
            tap.feed(&chunk);
            all.extend_from_slice(&chunk);
        }
        prop_assert!(all.ends_with(&tap.tail()));
        prop_assert!(tap.tail().len() >= all.len().min(TAIL));
    }
}

#[test]
fn a_stream_that_said_its_end_is_whole() {
    let whole = |dialect, kind: &str, text: &str| {
        let mut tap = Tap::new(dialect, Some(kind), true);
        tap.feed(text.as_bytes());
        tap.is_whole()
    };
    let sse = "text/event-stream";
    assert!(whole(Dialect::OpenAi, sse, "data: {\"choices\":[]}\n\ndata: [DONE]\n\n"));
    assert!(!whole(Dialect::OpenAi, sse, "data: {\"choices\":[{\"delta\":{\"content\":\"[DONE]\"}}]}\n\n"));
    assert!(whole(Dialect::Anthropic, sse, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    assert!(!whole(Dialect::Anthropic, sse, "event: ping\ndata: {\"type\":\"ping\"}\n\n"));
    let ndjson = "application/x-ndjson";
    assert!(whole(Dialect::Ollama, ndjson, "{\"done\":false}\n{\"done\":true,\"eval_count\":3}\n"));
    assert!(!whole(Dialect::Ollama, ndjson, "{\"done\":false}\n"));
    assert!(!whole(Dialect::Ollama, ndjson, "{\"done\":true,\"eval_co"), "the line itself broke off");
}
