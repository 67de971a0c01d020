//! Clients that are slow or old: one that stops sending or reading is let go, and HTTP/1.0 gets what it can read.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{PATIENCE, Proxy, eventually};
use raw::Raw;
use scripted::Scripted;
use stage::{FAST, ask, config, openai, start};

const CHAT: &str = "/v1/chat/completions";
const STALL: &str = "timeouts: { client_stall: 500ms }\n";

fn request(version: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {CHAT} HTTP/{version}\r\nhost: a\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_sending_is_408() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + STALL)).await;
    let whole = request("1.1", "x-request-id: stalls\r\n", &ask("m", false, 1).to_string());
    let mut connection = Raw::connect(proxy.port).await;
    let since = Instant::now();
    connection.write(&whole[..whole.len() - 10]).await;
    let reply = connection.reply().await.expect("an answer");
    assert_eq!(reply.status, 408, "{}", reply.body);
    assert!(reply.body.contains("\"request_timeout\""), "{}", reply.body);
    assert!(since.elapsed() >= Duration::from_millis(450), "after {:?}", since.elapsed());
    assert!(connection.ended().await);
    assert_eq!(proxy.line("stalls").await["end"], "cR");
    assert_eq!((engine.stats().inference, proxy.in_flight().await), (0, 0));
}

/// The socket's buffers are filled and nobody reads: the engine is not kept busy for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_let_go() {
    let (engine, pieces) = Scripted::streaming("text/event-stream").await;
    let proxy = Proxy::start(&(engine.config("openai", "", "") + STALL)).await;
    let mut connection = Raw::connect(proxy.port).await;
    connection.write(request("1.1", "x-request-id: deaf\r\n", &ask("m", true, 1).to_string())).await;
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "a".repeat(100_000));
    for _ in 0..400 {
        let _ = pieces.unbounded_send(Ok(Bytes::from(event.clone()))); // 40 MB: more than any buffer takes
    }
    assert!(eventually(async || pieces.is_closed()).await, "the engine's connection is closed");
    let line = proxy.line("deaf").await;
    assert!(["CD", "cD"].contains(&line["end"].as_str().unwrap()), "{line}");
    assert!(line["bytes_out"].as_u64().unwrap() < 40_000_000, "{line}");
    assert_eq!(proxy.in_flight().await, 0);
}

/// Slow is not deaf: a client that keeps reading gets everything, however long that takes in all. (A sender learns of
/// free room in steps of a third of its buffer, so the pace must not be too slow for the limits.)
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_everything() {
    let (engine, pieces) = Scripted::streaming("text/event-stream").await;
    let text = engine.config("openai", "", "timeouts: { between_chunks: 2s }") + "timeouts: { client_stall: 2s }\n";
    let proxy = Proxy::start(&text).await;
    let mut connection = Raw::connect(proxy.port).await;
    connection.write(request("1.1", "", &ask("m", true, 1).to_string())).await;
    let event = format!("data: {}\n\n", "a".repeat(100_000));
    for _ in 0..400 {
        pieces.unbounded_send(Ok(Bytes::from(event.clone()))).unwrap();
    }
    drop(pieces);
    let since = Instant::now();
    let (got, broke) = connection.sip(Duration::from_millis(4), 64 * 1024).await;
    assert!(got > 40_000_000 && !broke, "{got} bytes, broke {broke}");
    assert!(since.elapsed() > Duration::from_secs(2), "longer than any single limit: {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_http_1_0_are_answered_and_closed() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let mut connection = Raw::connect(proxy.port).await;
    connection.write(request("1.0", "", &ask("m", false, 2).to_string())).await;
    let reply = tokio::time::timeout(PATIENCE, connection.reply()).await.unwrap().expect("an answer");
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains("\"choices\""), "{}", reply.body);
    assert!(connection.ended().await, "nobody asked to keep it");
}

/// HTTP/1.0 knows no chunks: a stream to such a client ends with its connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_http_1_0_is_not_chunked() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let body = ask("m", true, 5);
    let direct = stage::whole(stage::post(engine.url() + CHAT, "direct", &body).await).await.1;
    let mut connection = Raw::connect(proxy.port).await;
    connection.write(request("1.0", "", &body.to_string())).await;
    let answer = connection.rest().await;
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(text, direct);
}
