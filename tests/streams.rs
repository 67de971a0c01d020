//! Streams and answers pass unchanged and at once; what the access log and the headers say of them is true; and what
//! an engine sees of a request is what it is meant to see.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use axum::Json;
use axum::response::IntoResponse;
use bytes::Bytes;
use common::{PATIENCE, Proxy, reqwest_client};
use futures::StreamExt;
use scripted::Scripted;
use serde_json::json;
use stage::{FAST, LONG, SLOW, ask, config, ollama, openai, post, start, vllm, whole};

const OPENAI: [&str; 2] = ["/v1/chat/completions", "/v1/completions"];

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_byte_identical_to_direct_ones() {
    let cases = [
        (openai(&["m"], FAST), OPENAI.to_vec()),
        (vllm(&["m"]), [&OPENAI[..], &["/v1/messages"]].concat()),
        (ollama(&["m"], FAST), [&OPENAI[..], &["/v1/messages", "/api/chat", "/api/generate"]].concat()),
    ];
    for (spec, paths) in cases {
        let (flavour, engine) = (spec.flavour, start(spec).await);
        let proxy = Proxy::start(&config(&[&engine], "", "")).await;
        for path in paths {
            for stream in [false, true] {
                for usage in [false, true] {
                    let mut body = ask("m", stream, 50);
                    body["stream_options"] = json!({ "include_usage": usage });
                    let id = format!("{flavour:?} {path} stream {stream} usage {usage}").replace(' ', "_");
                    let direct = post(engine.url() + path, &id, &body).await;
                    let through = post(proxy.url(path), &id, &body).await;
                    assert_eq!(through.headers()["content-type"], direct.headers()["content-type"], "{id}");
                    assert_eq!(through.headers().get("content-encoding"), None, "{id}");
                    let (direct, through) = (whole(direct).await, whole(through).await);
                    assert_eq!(direct.0, 200, "{id}: {}", direct.1);
                    assert_eq!(through, direct, "{id}");
                    assert!(!stream || through.1.lines().count() >= 50, "{id}: a stream has its events: {}", through.1);
                }
            }
        }
    }
}

/// Each piece is sent only when the client has the one before: any buffering would end in a standstill.
#[tokio::test(flavor = "multi_thread")]
async fn every_piece_is_passed_on_before_the_next_is_written() {
    let cases = [
        ("text/event-stream", "/v1/chat/completions", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"),
        ("application/x-ndjson", "/api/chat", "{\"message\":{\"content\":\"a\"},\"done\":false}\n"),
    ];
    for (content_type, path, piece) in cases {
        let (engine, pieces) = Scripted::streaming(content_type).await;
        let proxy = Proxy::start(&engine.config("ollama", "", "")).await;
        pieces.unbounded_send(Ok(Bytes::from(piece))).unwrap();
        let mut answer = post(proxy.url(path), "lockstep", &ask("m", true, 9)).await.bytes_stream();
        for nth in 0..30 {
            let mut got = Vec::new();
            while got.len() < piece.len() {
                let next = tokio::time::timeout(PATIENCE, answer.next()).await;
                got.extend_from_slice(&next.unwrap_or_else(|_| panic!("piece {nth} is held back")).unwrap().unwrap());
            }
            assert_eq!(got, piece.as_bytes(), "piece {nth}");
            pieces.unbounded_send(Ok(Bytes::from(piece))).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_event_comes_while_the_engine_is_at_work() {
    for (spec, path) in [(openai(&["m"], SLOW), "/v1/chat/completions"), (ollama(&["m"], SLOW), "/api/chat")] {
        let engine = start(spec).await;
        let proxy = Proxy::start(&config(&[&engine], "", "")).await;
        let mut answer = post(proxy.url(path), "first", &ask("m", true, LONG)).await.bytes_stream();
        for _ in 0..5 {
            let piece = tokio::time::timeout(PATIENCE, answer.next()).await.expect("a piece").unwrap().unwrap();
            assert!(!piece.is_empty());
        }
        assert_eq!((engine.stats().completed, engine.stats().in_flight), (0, 1), "{path}");
        assert_eq!(proxy.in_flight().await, 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_tells_tokens_and_times() {
    let engine = start(ollama(&["m"], 2000.0)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "balance: round-robin")).await;
    for (path, stream, usage, tokens) in [
        ("/v1/chat/completions", true, true, 40),
        ("/v1/chat/completions", true, false, 41),
        ("/v1/chat/completions", false, false, 42),
        ("/api/chat", true, false, 43),
        ("/api/generate", false, false, 44),
        ("/v1/messages", true, false, 45),
        ("/v1/messages", false, false, 46),
    ] {
        let id = format!("log-{tokens}");
        let mut body = ask("m", stream, tokens);
        body["stream_options"] = json!({ "include_usage": usage });
        let answer = post(proxy.url(path), &id, &body).await;
        assert_eq!(answer.headers()["x-request-id"], id.as_str());
        assert_eq!(answer.headers()["x-arriero-route"], "r");
        assert_eq!(answer.headers()["x-arriero-endpoint"], engine.addr().to_string().as_str());
        let sent = whole(answer).await.1;
        let line = proxy.line(&id).await;
        let told = path != "/v1/chat/completions" || usage || !stream;
        assert_eq!(line["output_tokens"], json!(tokens), "{line}");
        assert_eq!(line["estimated"].as_bool().unwrap_or(false), !told, "{line}");
        assert_eq!(line["prompt_tokens"].is_u64(), told, "{line}");
        assert_eq!((&line["status"], &line["end"], &line["retries"]), (&json!(200), &json!("--"), &json!(0)), "{line}");
        assert_eq!((&line["model"], &line["route"]), (&json!("m"), &json!("r")), "{line}");
        assert_eq!(
            (&line["module"], &line["endpoint"]),
            (&json!("round-robin"), &json!(engine.addr().to_string())),
            "{line}"
        );
        assert_eq!(line["bytes_out"], json!(sent.len()), "{line}");
        assert_eq!(line["bytes_in"], json!(body.to_string().len()), "{line}");
        let time = |key: &str| line[key].as_f64().unwrap_or_else(|| panic!("{key} in {line}"));
        assert!(time("ttft_ms") <= time("total_ms") && time("connect_ms") <= time("ttft_ms"), "{line}");
        let writing = f64::from(tokens - 1) / 2.0;
        assert!(!stream || time("total_ms") - time("ttft_ms") > writing * 0.5, "TTFT is the first token's: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_sees_what_it_is_meant_to_see() {
    let engine = Scripted::start(|_| Json(json!({ "choices": [] })).into_response()).await;
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("engine.key");
    std::fs::write(&key_file, "sk-engine\n").unwrap();
    let options = format!("api_key_file: {key_file:?}, headers: {{ x-team: mules }}, name: box");
    let config = engine.config("openai", &options, "").replace(&engine.url(), &format!("{}/base/v1", engine.url()));
    let proxy = Proxy::start(&config).await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = reqwest_client().post(proxy.url("/v1/chat/completions?api=1")).json(&ask("m", false, 1));
    let request = request
        .header("host", "front.example.com")
        .header("authorization", "Bearer sk-client")
        .header("x-team", "clients")
        .header("accept-encoding", "gzip, br")
        .header("traceparent", traceparent)
        .header("tracestate", "a=b")
        .header("x-own", "kept");
    let answer = request.send().await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!((answer.status().as_u16(), id.len()), (200, 32), "an id is made where the client sent none");
    assert_eq!(answer.headers()["x-arriero-endpoint"], "box");
    let posts = engine.posts();
    assert_eq!(posts.len(), 1);
    let seen = &posts[0];
    assert_eq!(seen.target, "/base/v1/chat/completions?api=1", "the base path's version is not repeated");
    assert_eq!(seen.header("authorization"), Some("Bearer sk-engine"));
    assert_eq!(seen.header("x-team"), Some("mules"));
    assert_eq!(seen.headers.get_all("authorization").iter().count(), 1);
    assert_eq!(seen.headers.get_all("x-team").iter().count(), 1);
    assert_eq!(seen.header("host"), Some(engine.addr.to_string().as_str()));
    assert_eq!(seen.header("accept-encoding"), None);
    assert_eq!(seen.header("traceparent"), Some(traceparent));
    assert_eq!(seen.header("tracestate"), Some("a=b"));
    assert_eq!(seen.header("x-own"), Some("kept"));
    assert_eq!(seen.header("x-request-id"), Some(id.as_str()));
    assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
    assert!(engine.all().len() > 1, "it was probed");
    for probe in engine.all() {
        assert!(probe.target.starts_with("/base/"), "below the base path: {}", probe.target);
        let expected = (Some("Bearer sk-engine"), Some("mules"));
        assert_eq!((probe.header("authorization"), probe.header("x-team")), expected, "{}", probe.target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_that_is_not_sane_is_replaced() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let long = "x".repeat(129);
    for (given, kept) in [("a-b_c.1", true), ("two words", false), (long.as_str(), false), (&long[..128], true)] {
        let answer = post(proxy.url("/v1/chat/completions"), given, &ask("m", false, 1)).await;
        assert_eq!(answer.headers()["x-request-id"] == given, kept, "{given}");
    }
}
