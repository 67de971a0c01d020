//! The door: headers that are too slow or too large, connections that are used again, and requests that two readers
//! could read in two ways.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use arriero_lab::http::LabEngine;
use common::Proxy;
use raw::Raw;
use stage::{FAST, ask, config, openai, post, start, whole};

const CHAT: &str = "/v1/chat/completions";
const HEADER_LIMIT: usize = 5000;

async fn front(rest: &str) -> (LabEngine, Proxy) {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + rest)).await;
    (engine, proxy)
}

/// A chat request whose header is `size` bytes long.
fn padded(size: usize, body: &str) -> (String, String) {
    let start = format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\nx-pad: ", body.len());
    let pad = "p".repeat(size - start.len() - 4);
    (format!("{start}{pad}\r\n\r\n"), body.to_owned())
}

fn request(body: &str) -> String {
    let (head, body) = padded(200, body);
    head + &body
}

fn chat() -> String {
    ask("m", false, 1).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_header_is_408() {
    let (engine, proxy) = front("timeouts: { header: 500ms }\n").await;
    let whole_request = request(&chat());
    for part in [1, 4, 60, 150, 198, 199] {
        let mut connection = Raw::connect(proxy.port).await;
        let start = Instant::now();
        connection.write(&whole_request.as_bytes()[..part]).await;
        let reply = connection.reply().await.unwrap_or_else(|| panic!("{part} bytes: no answer"));
        assert_eq!(reply.status, 408, "{part} bytes: {}", reply.body);
        assert!(reply.body.contains("\"error\""), "{}", reply.body);
        assert!(start.elapsed() >= Duration::from_millis(450), "{part} bytes: after {:?}", start.elapsed());
        assert!(connection.ended().await, "{part} bytes: nothing follows");
    }
    assert_eq!(engine.stats().inference, 0);
}

/// The deadline is for the header as a whole: bytes that keep trickling in do not move it.
#[tokio::test(flavor = "multi_thread")]
async fn a_trickling_header_is_408_too() {
    let (_engine, proxy) = front("timeouts: { header: 500ms }\n").await;
    let mut connection = Raw::connect(proxy.port).await;
    let start = Instant::now();
    connection.write(format!("POST {CHAT} HTTP/1.1\r\nx-pad: ")).await;
    while start.elapsed() < Duration::from_secs(3) && connection.write("p").await {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(3), "the connection still takes bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_hold_nobody_else_up() {
    let (engine, proxy) = front("timeouts: { header: 20s }\n").await;
    let mut slow = Vec::new();
    for nth in 0..100 {
        let mut connection = Raw::connect(proxy.port).await;
        connection.write(&request(&chat()).as_bytes()[..nth + 1]).await;
        slow.push(connection);
    }
    for _ in 0..20 {
        assert_eq!(whole(post(proxy.url(CHAT), "quick", &ask("m", false, 1)).await).await.0, 200);
    }
    for (nth, connection) in slow.iter_mut().enumerate() {
        connection.write(&request(&chat()).as_bytes()[nth + 1..]).await;
        assert_eq!(connection.reply().await.expect("an answer").status, 200, "slow, but in time");
    }
    assert_eq!(engine.stats().completed, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_over_the_limit_is_431_in_any_split() {
    let (engine, proxy) = front(&format!("limits: {{ header: {HEADER_LIMIT}B }}\n")).await;
    for size in [HEADER_LIMIT + 1, HEADER_LIMIT + 4, 2 * HEADER_LIMIT, 20 * HEADER_LIMIT] {
        for split in [16, 1000, HEADER_LIMIT - 1, HEADER_LIMIT, HEADER_LIMIT + 1, usize::MAX] {
            let mut connection = Raw::connect(proxy.port).await;
            let (head, body) = padded(size, &chat());
            connection.write_split((head + &body).as_bytes(), split).await;
            // a client that still writes may see a reset instead of the answer
            if let Some(reply) = connection.reply().await {
                assert_eq!(reply.status, 431, "{size} in {split}: {}", reply.body);
                assert!(reply.body.contains("\"error\""), "{}", reply.body);
            } else {
                assert!(size > HEADER_LIMIT + 4 + split.min(HEADER_LIMIT), "{size} in {split}: no answer");
            }
        }
    }
    assert_eq!(engine.stats().inference, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_within_the_limit_passes_in_any_split() {
    let (engine, proxy) = front(&format!("limits: {{ header: {HEADER_LIMIT}B }}\n")).await;
    let large = ask("m", false, 1).to_string().replace("herd sleep", &"sleep ".repeat(4000));
    let mut sent = 0;
    for size in [200, 1024, HEADER_LIMIT - 1, HEADER_LIMIT] {
        for body in [chat(), large.clone()] {
            for split in [101, 1000, HEADER_LIMIT, usize::MAX] {
                let mut connection = Raw::connect(proxy.port).await;
                let (head, body) = padded(size, &body);
                connection.write_split((head + &body).as_bytes(), split).await;
                let reply = connection.reply().await.unwrap_or_else(|| panic!("{size} in {split}: no answer"));
                assert_eq!(reply.status, 200, "{size} in {split}: {}", reply.body);
                sent += 1;
            }
        }
    }
    assert_eq!(engine.stats().completed, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_many_requests() {
    let (engine, proxy) = front("timeouts: { header: 300ms }\nlimits: { body: 64KiB }\n").await;
    let mut connection = Raw::connect(proxy.port).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let stream = ask("m", true, 20).to_string();
    for round in 0..3 {
        for (text, status) in [
            (request(&chat()), 200),
            (get("/health"), 200),
            (request(&stream), 200),
            (request("{\"model\":\"nobody\"}"), 404),
            (request("not json"), 400),
            (get("/v1/models"), 200),
            (get("/no/such"), 404),
            (request("{\"model\":\"m\",\"model\":\"m\"}"), 400),
            (request(&chat()), 200),
        ] {
            assert!(connection.write(&text).await, "{round}: closed before {text}");
            let reply = connection.reply().await.unwrap_or_else(|| panic!("{round}: no answer to {text}"));
            assert_eq!(reply.status, status, "{round}: {text}: {}", reply.body);
        }
        // idle for longer than a header may take: the clock starts with the first byte
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(engine.stats().completed, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let (engine, proxy) = front("").await;
    let named =
        |id: &str, body: &str| request(body).replace("host: a\r\n", &format!("host: a\r\nx-request-id: {id}\r\n"));
    let stream = ask("m", true, 30).to_string();
    let texts = [
        named("p-0", &chat()),
        named("p-1", &stream),
        "GET /health HTTP/1.1\r\nhost: a\r\nx-request-id: p-2\r\n\r\n".to_owned(),
        named("p-3", &stream),
        named("p-4", &chat()),
    ];
    for split in [usize::MAX, 700, 333, 64] {
        let mut connection = Raw::connect(proxy.port).await;
        connection.write_split(texts.concat().as_bytes(), split).await;
        for nth in 0..texts.len() {
            let reply = connection.reply().await.unwrap_or_else(|| panic!("in {split}: no answer {nth}"));
            assert_eq!(reply.status, 200, "in {split}: {nth}: {}", reply.body);
            assert!(reply.head.contains(&format!("x-request-id: p-{nth}")), "in {split}: {nth}: {}", reply.head);
        }
    }
    assert_eq!((engine.stats().completed, proxy.in_flight().await), (16, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_header_is_watched_like_the_first() {
    let (_engine, proxy) =
        front(&format!("timeouts: {{ header: 500ms }}\nlimits: {{ header: {HEADER_LIMIT}B }}\n")).await;
    for large in [true, false] {
        let mut connection = Raw::connect(proxy.port).await;
        connection.write(request(&chat())).await;
        assert_eq!(connection.reply().await.unwrap().status, 200);
        let text = if large { padded(HEADER_LIMIT + 1, "").0 } else { "GET / HT".to_owned() };
        connection.write(text).await;
        let reply = connection.reply().await.expect("an answer");
        assert_eq!(reply.status, if large { 431 } else { 408 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_continue_is_answered_and_the_connection_lives_on() {
    let (engine, proxy) = front("").await;
    let mut connection = Raw::connect(proxy.port).await;
    for _ in 0..3 {
        let (head, body) = padded(200, &chat());
        connection.write(head.replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n")).await;
        assert_eq!(connection.reply().await.expect("an invitation").status, 100);
        connection.write(body).await;
        assert_eq!(connection.reply().await.expect("an answer").status, 200);
    }
    assert_eq!(engine.stats().completed, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_host_is_400() {
    let (engine, proxy) = front("").await;
    let mut connection = Raw::connect(proxy.port).await;
    connection.write(request(&chat()).replace("host: a\r\n", "")).await;
    let reply = connection.reply().await.expect("an answer");
    assert_eq!(reply.status, 400, "{}", reply.body);
    assert!(reply.body.contains("Host"), "{}", reply.body);
    assert_eq!(engine.stats().inference, 0);
    let mut old = Raw::connect(proxy.port).await;
    old.write("GET /health HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.reply().await.expect("an answer").status, 200, "HTTP/1.0 has no need of it");
}

/// What two readers could cut in two ways is refused or ends with its connection: the second request never runs.
#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_framing_smuggles_nothing() {
    let (engine, proxy) = front("").await;
    let body = chat();
    let hidden = request(&ask("m", false, 2).to_string());
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let head = |lines: &str| format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n");
    for (lines, body) in [
        (format!("content-length: {}\r\ntransfer-encoding: chunked", chunked.len()), chunked.clone()),
        (format!("transfer-encoding: chunked\r\ncontent-length: {}", body.len()), chunked.clone()),
        (format!("content-length: {}\r\ncontent-length: {}", body.len(), body.len() + hidden.len()), body.clone()),
        (format!("content-length: +{}", body.len()), body.clone()),
        ("transfer-encoding: chunked, identity".to_owned(), chunked.clone()),
        ("transfer-encoding: xchunked".to_owned(), chunked),
    ] {
        let before = engine.stats().inference;
        let mut connection = Raw::connect(proxy.port).await;
        connection.write(head(&lines) + &body + &hidden).await;
        let first = connection.reply().await;
        let second = if first.is_some() { connection.reply().await } else { None };
        assert!(second.as_ref().is_none_or(|reply| reply.status >= 400), "{lines}: {first:?}, then {second:?}");
        assert!(engine.stats().inference <= before + 1, "{lines}");
    }
}

/// The body's bytes are not the header's, wherever the packets are cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_inside_the_blank_line_counts_no_body_bytes() {
    let (_engine, proxy) = front(&format!("limits: {{ header: {HEADER_LIMIT}B }}\n")).await;
    let body = ask("m", false, 1).to_string().replace("herd sleep", &"sleep ".repeat(4000));
    for before in 1..=4 {
        let (head, body) = padded(HEADER_LIMIT, &body);
        let all = head.clone() + &body;
        let mut connection = Raw::connect(proxy.port).await;
        connection.write(&all.as_bytes()[..head.len() - before]).await;
        tokio::time::sleep(Duration::from_millis(50)).await; // so that it is read by itself
        connection.write(&all.as_bytes()[head.len() - before..]).await;
        let reply = connection.reply().await.unwrap_or_else(|| panic!("{before} bytes before the end: no answer"));
        assert_eq!(reply.status, 200, "{before} bytes before the end: {}", reply.body);
    }
}

/// A header that came together with the request before it is known already: what follows is its body.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_behind_a_pipelined_header_counts_as_no_header() {
    let (_engine, proxy) = front(&format!("limits: {{ header: {HEADER_LIMIT}B }}\n")).await;
    let mut connection = Raw::connect(proxy.port).await;
    let (head, body) = padded(300, &ask("m", false, 1).to_string().replace("herd sleep", &"sleep ".repeat(4000)));
    connection.write(request(&chat()) + &head).await;
    assert_eq!(connection.reply().await.expect("the first answer").status, 200);
    connection.write(&body).await;
    let reply = connection.reply().await.expect("the second answer");
    assert_eq!(reply.status, 200, "{}", reply.body);
}
