//! Bounds at the edge: connections, memory for those who read or send slowly or not at all, sizes of header and body.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/secure.rs"]
mod secure;
#[path = "common/stage.rs"]
mod stage;
#[path = "common/wire.rs"]
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use common::{PATIENCE, Proxy, eventually, free_port, reqwest_client};
use raw::Raw;
use scripted::Scripted;
use secure::{Pair, Two, connect};
use stage::{FAST, ask, config, openai, start};
use wire::Way;

const CHAT: &str = "/v1/chat/completions";
const MIB: u64 = 1024 * 1024;

fn chat() -> String {
    let body = ask("m", false, 1).to_string();
    format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn answers(connection: &mut Raw) -> bool {
    connection.write(chat()).await && connection.reply().await.is_some_and(|reply| reply.status == 200)
}

/// True if a new connection is served; false if it is told that there are too many.
async fn is_let_in(port: u16) -> bool {
    let mut connection = Raw::connect(port).await;
    let unasked = tokio::time::timeout(Duration::from_millis(300), connection.reply()).await;
    let reply = match unasked {
        Ok(reply) => reply,
        Err(_) => {
            connection.write(chat()).await;
            connection.reply().await
        }
    };
    let reply = reply.expect("an answer");
    if reply.status == 200 {
        return true;
    }
    assert_eq!(reply.status, 503, "{}", reply.body);
    assert!(reply.head.contains("retry-after: 1") && reply.head.contains("connection: close"), "{}", reply.head);
    assert!(reply.body.contains("too many open connections") && connection.ended().await, "{}", reply.body);
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_told_so() {
    let engine = start(openai(&["m"], FAST)).await;
    let port = free_port();
    let text = |limit: u32| {
        format!("  few: {{ bind: \"127.0.0.1:{port}\", max_connections: {limit} }}\n") + &config(&[&engine], "", "")
    };
    let proxy = Proxy::start(&text(2)).await;
    let (mut first, mut second) = (Raw::connect(port).await, Raw::connect(port).await);
    assert!(answers(&mut first).await && answers(&mut second).await);
    for _ in 0..5 {
        assert!(!is_let_in(port).await);
    }
    assert!(answers(&mut first).await && answers(&mut second).await, "the others go on");
    assert!(answers(&mut Raw::connect(proxy.port).await).await, "each listener counts its own");
    drop(first);
    assert!(eventually(async || is_let_in(port).await).await, "the place is free again");
    proxy.reload(&text(4)).await;
    let mut more = [Raw::connect(port).await, Raw::connect(port).await];
    for connection in &mut more {
        assert!(answers(connection).await, "a reload lets more in");
    }
    proxy.reload(&text(1)).await;
    assert!(answers(&mut second).await && answers(&mut more[0]).await, "and throws nobody out");
    drop(more);
    assert!(!is_let_in(port).await);
}

/// A client that sends its request at once, as all do, reads the refusal: it is not cut off by a reset, nor told before it
/// has asked.
#[tokio::test(flavor = "multi_thread")]
async fn ordinary_clients_beyond_the_limit_read_their_503() {
    let engine = start(openai(&["m"], FAST)).await;
    let port = free_port();
    let listener = format!("  few: {{ bind: \"127.0.0.1:{port}\", max_connections: 1 }}\n");
    let _proxy = Proxy::start(&(listener + &config(&[&engine], "", ""))).await;
    let mut first = Raw::connect(port).await;
    assert!(answers(&mut first).await);
    for nth in 0..20 {
        let sent =
            reqwest_client().post(format!("http://127.0.0.1:{port}{CHAT}")).json(&ask("m", false, 1)).send().await;
        let answer = sent.unwrap_or_else(|error| panic!("{nth}: no answer: {error:?}"));
        let (status, head) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap_or_else(|error| panic!("{nth}: half an answer: {error:?}"));
        assert!(status == 503 && head["retry-after"] == "1" && text.contains("too many open connections"), "{text}");
    }
    assert!(answers(&mut first).await, "the first one goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_beyond_the_limit_is_told_to_go_away() {
    let engine = start(openai(&["m"], FAST)).await;
    let dir = tempfile::tempdir().unwrap();
    let (port, pair) = (free_port(), Pair::new(&["a.test"]).write(dir.path(), "a"));
    let listener = format!("  tls: {{ bind: \"127.0.0.1:{port}\", tls: {pair}, max_connections: 1 }}\n");
    let _proxy = Proxy::start(&(listener + &config(&[&engine], "", ""))).await;
    let first = Two::over(connect(port, "a.test", &["h2"]).await).await;
    let body = ask("m", false, 1).to_string();
    let request = || http::Request::post(format!("https://a.test{CHAT}"));
    assert_eq!(first.ask(request(), body.as_bytes()).await.0, 200);
    let (client, connection) = h2::client::handshake(connect(port, "a.test", &["h2"]).await).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, connection).await.expect("it ends").expect_err("with a reason");
    assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{ended:?}");
    drop(client);
    assert_eq!(first.ask(request(), body.as_bytes()).await.0, 200, "the first one goes on");
}

/// An engine whose streams never end and go as fast as they are read; counts the bytes that it got rid of.
async fn endless() -> (Scripted, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let piece =
        Bytes::from(format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "a".repeat(16_000)));
    let engine = Scripted::start(move |_| {
        let (count, piece) = (count.clone(), piece.clone());
        let pieces = futures::stream::repeat_with(move || {
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Ok::<_, std::io::Error>(piece.clone())
        });
        Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(pieces)).unwrap()
    });
    (engine.await, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_cost_bounded_memory() {
    const DEAF: usize = 16;
    let (engine, sent) = endless().await;
    let rest = engine.config("openai", "max_in_flight: 100", "") + "timeouts: { client_stall: 3s }\n";
    let proxy = Proxy::start(&rest).await;
    let before = proxy.resident_bytes();
    let body = ask("m", true, 1).to_string();
    let (mut raws, mut twos) = (Vec::new(), Vec::new());
    for nth in 0..DEAF {
        if nth % 2 == 0 {
            let mut connection = Raw::connect(proxy.port).await;
            let head = format!(
                "POST {CHAT} HTTP/1.1\r\nhost: a\r\nx-request-id: deaf-{nth}\r\ncontent-length: {}",
                body.len()
            );
            connection.write(format!("{head}\r\n\r\n{body}")).await;
            raws.push(connection);
        } else {
            let connection = Two::connect(proxy.h2_port).await;
            let request = http::Request::post(format!("http://a{CHAT}")).header("x-request-id", format!("deaf-{nth}"));
            twos.push((connection.send(request, body.as_bytes()).await, connection));
        }
    }
    let since = Instant::now();
    let mut most = before;
    let all_gone = async || {
        most = most.max(proxy.resident_bytes());
        proxy.lines().iter().filter(|line| line["id"].as_str().is_some_and(|id| id.starts_with("deaf"))).count() == DEAF
    };
    let mut all_gone = all_gone;
    while !all_gone().await && since.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for nth in 0..DEAF {
        let line = proxy.line(&format!("deaf-{nth}")).await;
        assert_eq!((&line["end"], &line["status"]), (&"cD".into(), &200.into()), "{line}");
        assert!(line["total_ms"].as_f64().unwrap() >= 2900.0, "not before its time: {line}");
    }
    let (grown, sent) = ((most - before) / MIB, sent.load(Ordering::Relaxed) / MIB);
    assert!(grown < 2 * DEAF as u64, "{grown} MiB more memory for {DEAF} streams");
    assert!(sent < 16 * DEAF as u64, "the engine was held back: {sent} MiB");
    assert_eq!(proxy.in_flight().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_or_stops_is_408() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + "timeouts: { client_stall: 500ms }\n")).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\nx-request-id: drips\r\ncontent-length: 100000\r\n\r\n");
    let mut connection = Raw::connect(proxy.port).await;
    connection.write(head + "{\"model\":\"m\",\"x\":\"").await;
    let since = Instant::now();
    let reply = loop {
        assert!(since.elapsed() < PATIENCE, "bytes that drip keep it waiting for ever");
        let dripped = connection.write("a").await; // never 500 ms without a byte, but far below 16 KiB/s
        let reply = tokio::time::timeout(Duration::from_millis(50), connection.reply()).await;
        match reply {
            Ok(reply) => break reply.expect("an answer"),
            Err(_) => assert!(dripped, "closed without an answer"),
        }
    };
    assert_eq!(reply.status, 408, "{}", reply.body);
    assert_eq!(proxy.line("drips").await["end"], "cR");
    // HTTP/2: the same words, and the connection's other streams go on
    let two = Two::connect(proxy.h2_port).await;
    let request = || http::Request::post(format!("http://a{CHAT}"));
    let (answer, _upload) = two.begin(request()).await;
    let body = ask("m", false, 1).to_string();
    assert_eq!(two.ask(request(), body.as_bytes()).await.0, 200);
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").expect("an answer");
    assert_eq!(answer.status(), 408);
    assert_eq!(two.ask(request(), body.as_bytes()).await.0, 200);
    assert_eq!(engine.stats().inference, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413_in_every_framing() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + "limits: { body: 64KiB }\n")).await;
    for way in Way::ALL {
        for size in [65_537, 300_000, 5_000_000] {
            let answer = wire::send(&proxy, way, CHAT, &wire::body("m", size, true), "large").await;
            assert_eq!(answer.status, 413, "{way:?} {size}: {}", answer.text());
            assert!(answer.text().contains("request_too_large"), "{way:?} {size}: {}", answer.text());
        }
        let fits = wire::send(&proxy, way, CHAT, &wire::body("m", 65_536, true), "fits").await;
        assert_eq!(fits.status, 200, "{way:?}: {}", fits.text());
    }
    assert_eq!(engine.stats().inference, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_targets_are_414_and_large_headers_431() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + "limits: { header: 32KiB }\n")).await;
    let long = format!("/{}", "p".repeat(20_000));
    let pad = "p".repeat(40_000);
    for (target, pad, expected) in [(long.as_str(), "", 414), ("/health", pad.as_str(), 431), ("/health", "", 200)] {
        let mut connection = Raw::connect(proxy.port).await;
        connection.write(format!("GET {target} HTTP/1.1\r\nhost: a\r\nx-pad: {pad}\r\n\r\n")).await;
        let reply = connection.reply().await.expect("an answer");
        assert_eq!(reply.status, expected, "HTTP/1: {}", reply.body);
        assert!(expected == 200 || reply.body.contains("header_too_large"), "{}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_limits_hold_for_http2() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + "limits: { header: 32KiB }\n")).await;
    let long = format!("/{}", "p".repeat(20_000));
    let pads = [40_000, 10_000].map(|size| "p".repeat(size));
    let mut got = Vec::new();
    for (target, pad) in [(long.as_str(), ""), ("/health", &pads[0]), ("/health", &pads[1])] {
        let two = Two::connect(proxy.h2_port).await;
        let request = http::Request::get(format!("http://a{target}")).header("x-pad", pad);
        got.push(two.ask(request, b"").await.0);
    }
    assert_eq!(got, [414, 431, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_cost_little() {
    const IDLE: u64 = 1000;
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    for _ in 0..50 {
        assert!(answers(&mut Raw::connect(proxy.port).await).await); // what every process needs once
    }
    let before = proxy.resident_bytes();
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        let mut connection = Raw::connect(proxy.port).await;
        assert!(answers(&mut connection).await);
        idle.push(connection);
    }
    let each = (proxy.resident_bytes().saturating_sub(before)) / IDLE;
    assert!(each < 64 * 1024, "{each} bytes for each idle connection");
    for connection in idle.iter_mut().step_by(100) {
        assert!(answers(connection).await, "they are still served");
    }
}
