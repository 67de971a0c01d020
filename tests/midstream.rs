//! What breaks or stalls after the first byte is told to the client in the words of its protocol; what takes too long
//! before it is answered with 504. Over HTTP/1 the connection is cut after the error event: whether the last chunk came is
//! not looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;
#[path = "common/wire.rs"]
mod wire;

use std::io;
use std::time::{Duration, Instant};

use arriero_lab::http::{Fault, FaultKind};
use bytes::Bytes;
use common::{PATIENCE, Proxy, eventually};
use scripted::Scripted;
use serde_json::{Value, json};
use stage::{FAST, LONG, SLOW, ask, config, json_of, ollama, openai, post, start, until_the_end, vllm};

const CHAT: &str = "/v1/chat/completions";
const SSE: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";

/// The last event of a stream: its name, if it has one, and its JSON.
fn last_event(text: &str) -> (Option<String>, Value) {
    let block = text.trim_end().rsplit("\n\n").next().unwrap();
    let line = |field: &str| block.lines().find_map(|line| Some(line.strip_prefix(field)?.trim().to_owned()));
    let data = line("data:").unwrap_or_else(|| block.lines().last().unwrap_or_default().to_owned());
    (line("event:"), serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn assert_openai(text: &str) {
    let (name, event) = last_event(text);
    assert_eq!(name, None, "{text}");
    assert!(event["error"]["message"].is_string() && event["error"]["type"] == "server_error", "{text}");
    assert!(!text.contains("[DONE]"), "a broken stream is not done: {text}");
}

fn assert_anthropic(text: &str) {
    let (name, event) = last_event(text);
    assert_eq!((name.as_deref(), &event["type"]), (Some("error"), &json!("error")), "{text}");
    assert!(event["error"]["message"].is_string() && event["error"]["type"].is_string(), "{text}");
}

fn assert_ollama(text: &str) {
    let event: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(event["error"].is_string(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_ends_with_an_error_event() {
    let cases: [(_, _, fn(&str)); 5] = [
        (openai(&["m"], FAST), CHAT, assert_openai),
        (openai(&["m"], FAST), "/v1/completions", assert_openai),
        (vllm(&["m"]), "/v1/messages", assert_anthropic),
        (ollama(&["m"], FAST), "/api/chat", assert_ollama),
        (ollama(&["m"], FAST), "/api/generate", assert_ollama),
    ];
    for (spec, path, check) in cases {
        let engine = start(spec).await;
        let proxy = Proxy::start(&config(&[&engine], "", "")).await;
        let (full, _) = until_the_end(post(engine.url() + path, "full", &ask("m", true, 50)).await).await;
        for chunks in [1, 7, 30] {
            engine.set_fault(Fault::always(FaultKind::Reset { after_chunks: chunks }));
            let id = format!("cut-{chunks}");
            let (text, _) = until_the_end(post(proxy.url(path), &id, &ask("m", true, 50)).await).await;
            check(&text);
            let same = text.bytes().zip(full.bytes()).take_while(|(ours, direct)| ours == direct).count();
            let borders = full[..same].matches('\n').count();
            assert!(borders >= chunks as usize, "{path}: {chunks} chunks came through unchanged: {text}");
            let line = proxy.line(&id).await;
            assert_eq!((&line["end"], &line["status"]), (&json!("SD"), &json!(200)), "{path}: {line}");
        }
        assert_eq!(proxy.in_flight().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_cut_in_its_middle_is_closed_before_the_error() {
    for (content_type, path, part) in [
        (SSE, CHAT, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"cho"),
        (SSE, CHAT, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n"),
        (NDJSON, "/api/chat", "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"mess"),
    ] {
        let (engine, pieces) = Scripted::streaming(content_type).await;
        let proxy = Proxy::start(&engine.config("ollama", "", "")).await;
        pieces.unbounded_send(Ok(Bytes::from(part))).unwrap();
        let url = proxy.url(path);
        let answer = post(url, "torn", &ask("m", true, 9)).await;
        pieces.unbounded_send(Err(io::Error::other("cut"))).unwrap();
        let (text, _) = until_the_end(answer).await;
        assert!(text.starts_with(part), "{text}");
        let rest = &text[part.len()..];
        let event = rest.trim_start_matches('\n').trim_end();
        let event = event.strip_prefix("data:").unwrap_or(event);
        assert!(rest.starts_with('\n'), "the torn line is closed: {text}");
        assert!(serde_json::from_str::<Value>(event).unwrap()["error"].is_string() || path == CHAT, "{text}");
        assert!(
            serde_json::from_str::<Value>(event).unwrap()["error"]["message"].is_string() || path != CHAT,
            "{text}"
        );
    }
}

/// One JSON document: the client sees by itself that the answer is not whole; words in it would be taken for the answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_stream_is_cut() {
    const PART: usize = 1_000_000; // answers with a length may be held back while they are small
    for length in [Some("2000000"), None] {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(length.map(|length| ("content-length", length)));
        let (engine, pieces) = Scripted::dictated(headers).await;
        let proxy = Proxy::start(&engine.config("openai", "", "")).await;
        pieces.unbounded_send(Ok(Bytes::from(vec![b' '; PART]))).unwrap();
        let answer = post(proxy.url(CHAT), "short", &ask("m", false, 1)).await;
        assert_eq!(answer.status(), 200);
        pieces.unbounded_send(Err(io::Error::other("cut"))).unwrap();
        let (text, broke) = until_the_end(answer).await;
        assert!(broke && text.len() <= PART && text.trim().is_empty(), "length {length:?}: broke {broke}: {text}");
        assert_eq!(proxy.line("short").await["end"], "SD");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_clients_are_told_too() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    engine.set_fault(Fault::always(FaultKind::Reset { after_chunks: 5 }));
    for way in [wire::Way::H2Length, wire::Way::H2Open] {
        let answer = wire::send(&proxy, way, CHAT, ask("m", true, 50).to_string().as_bytes(), "h2").await;
        assert_eq!(answer.status, 200);
        assert_openai(&answer.text());
    }
    assert_eq!(proxy.in_flight().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_between_chunks_ends_the_stream() {
    for (content_type, path, first, check) in [
        (SSE, CHAT, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", assert_openai as fn(&str)),
        (
            SSE,
            "/v1/messages",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n",
            assert_anthropic,
        ),
        (NDJSON, "/api/chat", "{\"message\":{\"content\":\"a\"},\"done\":false}\n", assert_ollama),
    ] {
        let (engine, pieces) = Scripted::streaming(content_type).await;
        let proxy = Proxy::start(&engine.config("ollama", "", "timeouts: { between_chunks: 300ms }")).await;
        pieces.unbounded_send(Ok(Bytes::from(first))).unwrap();
        let answer = post(proxy.url(path), "stall", &ask("m", true, 9)).await;
        let start = Instant::now();
        let (text, _) = until_the_end(answer).await;
        assert!(text.starts_with(first), "{text}");
        check(&text);
        assert!(start.elapsed() >= Duration::from_millis(250), "{path}: not before its time: {:?}", start.elapsed());
        assert_eq!(proxy.line("stall").await["end"], "sD", "{path}");
        assert!(eventually(|| async { pieces.is_closed() }).await, "{path}: the engine's connection is closed");
        assert_eq!(proxy.in_flight().await, 0);
    }
}

/// The gap is counted from piece to piece, not from the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_steady_stream_outlives_the_gap_many_times_over() {
    let engine = start(openai(&["m"], SLOW)).await;
    let proxy = Proxy::start(&config(&[&engine], "timeouts: { between_chunks: 1s, first_byte: 1s }", "")).await;
    let (text, broke) = until_the_end(post(proxy.url(CHAT), "steady", &ask("m", true, 150)).await).await;
    assert!(!broke && text.trim_end().ends_with("[DONE]"), "{text}");
    assert_eq!(proxy.line("steady").await["end"], "--");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_first_byte_is_504_in_the_shape_of_the_api() {
    let engine = start(ollama(&["m"], FAST)).await;
    let timeouts = "timeouts: { first_byte: 300ms, connect: 100ms }";
    let proxy = Proxy::start(&config(&[&engine], timeouts, "")).await;
    engine.set_fault(Fault::always(FaultKind::Hang));
    for stream in [true, false] {
        for (path, message) in [(CHAT, "/error/message"), ("/api/chat", "/error"), ("/v1/messages", "/error/message")] {
            let id = format!("late{}{stream}", path.replace('/', "-"));
            let cancels = engine.stats().cancels;
            let (status, body) = json_of(post(proxy.url(path), &id, &ask("m", stream, 1)).await).await;
            assert_eq!(status, 504, "{path}: {body}");
            assert!(body.pointer(message).is_some_and(Value::is_string), "{path}: {body}");
            let line = proxy.line(&id).await;
            assert_eq!((&line["end"], &line["retries"]), (&json!("sH"), &json!(0)), "{path}: {line}");
            assert!(line["total_ms"].as_f64().unwrap() >= 300.0, "{path}: {line}");
            assert!(engine.wait_for(PATIENCE, |stats| stats.cancels > cancels).await, "{path}: the engine is let go");
        }
    }
    assert_eq!(proxy.in_flight().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_total_time_bounds_even_a_lively_stream() {
    let engine = start(openai(&["m"], SLOW)).await;
    let proxy = Proxy::start(&config(&[&engine], "timeouts: { total: 1s }", "")).await;
    let (text, _) = until_the_end(post(proxy.url(CHAT), "total", &ask("m", true, LONG)).await).await;
    assert_openai(&text);
    let line = proxy.line("total").await;
    assert!((1000.0..10_000.0).contains(&line["total_ms"].as_f64().unwrap()), "{line}");
    assert_eq!(line["end"], "PT", "{line}");
    assert!(engine.wait_for(PATIENCE, |stats| stats.cancels == 1).await, "the engine is let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_passes_as_it_is() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    engine.set_fault(Fault::always(FaultKind::Garbage));
    for stream in [true, false] {
        let direct = post(engine.url() + CHAT, "direct", &ask("m", stream, 20)).await.bytes().await.unwrap();
        let through = post(proxy.url(CHAT), "garbage", &ask("m", stream, 20)).await.bytes().await.unwrap();
        assert_eq!(through, direct, "stream {stream}");
    }
    assert_eq!(proxy.in_flight().await, 0);
}
