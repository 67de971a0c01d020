//! Ways round the gate that were once open: empty lines before a request, an early byte of the next one, HTTP/1 on a
//! listener that also takes HTTP/2; and connections that must not go on after a body that did not end properly.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::LabEngine;
use common::{PATIENCE, Proxy};
use raw::{Raw, Reply};
use stage::{FAST, ask, config, openai, start};

async fn front(rest: &str) -> (LabEngine, Proxy) {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + rest)).await;
    (engine, proxy)
}

async fn reply(connection: &mut Raw) -> Reply {
    tokio::time::timeout(PATIENCE, connection.reply()).await.expect("in time").expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_lines_before_a_request_do_not_open_the_gate() {
    let (_engine, proxy) = front("timeouts: { header: 500ms }\nlimits: { header: 4KiB }\n").await;
    let mut slow = Raw::connect(proxy.port).await;
    slow.write("\r\n\r\nGET /v1/mod").await;
    assert_eq!(reply(&mut slow).await.status, 408);
    let mut large = Raw::connect(proxy.port).await;
    large.write(format!("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nx-pad: {}", "p".repeat(9000))).await;
    assert_eq!(reply(&mut large).await.status, 431);
    let mut fine = Raw::connect(proxy.port).await;
    fine.write("\r\nGET /health HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(reply(&mut fine).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_byte_of_the_next_request_does_not_open_the_gate() {
    let (_engine, proxy) = front("timeouts: { header: 500ms }\n").await;
    for early in ["G", "\r\n\r\nG", "GET /health HTTP/1.1\r\n"] {
        let mut connection = Raw::connect(proxy.port).await;
        connection.write(format!("GET /health HTTP/1.1\r\nhost: a\r\n\r\n{early}")).await;
        assert_eq!(reply(&mut connection).await.status, 200);
        assert_eq!(reply(&mut connection).await.status, 408, "{early:?}: the rest of the second header did not come");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelined_header_cut_in_its_blank_line_counts_no_body() {
    let (engine, proxy) = front("limits: { header: 4KiB }\n").await;
    let body = format!("{{\"model\":\"m\",\"max_tokens\":1,\"x\":\"{}\"}}", "a".repeat(20_000));
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n", body.len());
    let mut connection = Raw::connect(proxy.port).await;
    connection.write(format!("GET /health HTTP/1.1\r\nhost: a\r\n\r\n{head}")).await;
    assert_eq!(reply(&mut connection).await.status, 200);
    connection.write(format!("\r\n{body}")).await;
    assert_eq!(reply(&mut connection).await.status, 200);
    assert_eq!(engine.stats().completed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_on_an_h2c_listener_is_watched_too() {
    let (_engine, proxy) = front("timeouts: { header: 500ms }\nlimits: { header: 4KiB }\n").await;
    let mut slow = Raw::connect(proxy.h2_port).await;
    slow.write("GET /health HTTP/1.1\r\nhost: a\r\nx-slow: 1").await;
    assert_eq!(reply(&mut slow).await.status, 408);
    let mut fine = Raw::connect(proxy.h2_port).await;
    fine.write("GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(reply(&mut fine).await.status, 200);
    for start in ["GET", "P", "PRIX / HTTP/1.1\r\n"] {
        let mut slow = Raw::connect(proxy.h2_port).await;
        slow.write(start).await;
        if start != "P" {
            assert_eq!(reply(&mut slow).await.status, 408, "{start:?}");
        }
        assert!(tokio::time::timeout(PATIENCE, slow.ended()).await.expect("in time"), "{start:?}: not held for ever");
    }
    let mut silent = Raw::connect(proxy.h2_port).await;
    assert!(tokio::time::timeout(PATIENCE, silent.ended()).await.expect("in time"), "not held for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_proper_end_ends_the_connection() {
    let (engine, proxy) = front("limits: { body: 8KiB }\n").await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n";
    for (framing, body, status) in [
        ("transfer-encoding: chunked", "5\r\n{\"mod\r\nZZ\r\n".to_owned(), 400),
        ("transfer-encoding: chunked", format!("4000\r\n{{\"a\":\"{}\r\n", "a".repeat(0x4000 - 6)), 413),
        ("content-length: 2000000", "{".to_owned(), 413),
    ] {
        let mut connection = Raw::connect(proxy.port).await;
        connection.write(format!("{head}{framing}\r\n\r\n{body}")).await;
        let answer = reply(&mut connection).await;
        assert_eq!(answer.status, status, "{framing}: {}", answer.body);
        assert!(answer.head.to_lowercase().contains("connection: close"), "{framing}: {}", answer.head);
        assert!(connection.ended().await, "{framing}: nothing is read behind it");
    }
    assert_eq!(engine.stats().inference, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_to_upgrade_is_passed_over() {
    let (engine, proxy) = front("").await;
    let body = ask("m", false, 1).to_string();
    let mut connection = Raw::connect(proxy.port).await;
    let offer = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__";
    let length = body.len();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n{offer}\r\ncontent-length: {length}\r\n\r\n");
    connection.write(head + &body).await;
    let answer = reply(&mut connection).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(engine.stats().completed, 1);
}
