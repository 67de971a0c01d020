//! Hostile requests on raw sockets: each is refused with its status, its connection ends, no engine hears of it, and the
//! next client is served.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::LabEngine;
use common::{PATIENCE, Proxy, eventually};
use raw::Raw;
use stage::{FAST, ask, config, openai, start};

const HIDDEN: &str = "GET /v1/models HTTP/1.1\r\nhost: a\r\nx-hidden: 1\r\n\r\n";

/// What comes after the request line, and the status.
const FIELDS: &[(&str, u16)] = &[
    ("\r\n", 400),
    ("Host:\r\n\r\n", 400),
    ("Host:  \t \r\n\r\n", 400),
    ("Host: a\r\nHost: a\r\n\r\n", 400),
    ("Host: a\r\nHost: b\r\n\r\n", 400),
    ("Host: a b\r\n\r\n", 400),
    ("Host: a,b\r\n\r\n", 400),
    ("Host: a/../b\r\n\r\n", 400),
    ("Host: user@a\r\n\r\n", 400),
    ("Host: a:80:80\r\n\r\n", 400),
    ("Host: a:port\r\n\r\n", 400),
    ("Host: [::1\r\n\r\n", 400),
    ("Host : a\r\n\r\n", 400),
    (" Host: a\r\n\r\n", 400),
    ("Host: a\0\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: +4\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: -4\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: 4,4\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: 4 4\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: 4.0\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: 0x4\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: four\r\n\r\n", 400),
    ("Host: a\r\nContent-Length:\r\n\r\n", 400),
    ("Host: a\r\nContent-Length : 4\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
    ("Host: a\r\nContent-Length: 18446744073709551620\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ("Host: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding\t: chunked\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    ("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("Host: a\r\nX: 1\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("Host: a\nX: 1\n\n", 400),
    ("Host: a\r\n\n", 400),
    ("Host: a\r\nX: 1\rContent-Length: 4\r\n\r\n", 400),
    ("Host: a\r\nX: 1\r\n folded\r\n\r\n", 400),
    ("Host: a\r\nX: 1\r\n\tfolded\r\n\r\n", 400),
    ("Host: a\r\nX: \x01\r\n\r\n", 400),
    ("Host: a\r\nX: \x7f\r\n\r\n", 400),
    ("Host: a\r\nX\0: 1\r\n\r\n", 400),
    ("Host: a\r\nX(: 1\r\n\r\n", 400),
    ("Host: a\r\n: 1\r\n\r\n", 400),
    ("Host: a\r\nno colon\r\n\r\n", 400),
];

/// A request line, and the status. Fields are as they should be.
const LINES: &[(&str, u16)] = &[
    ("POST http://b/v1/chat/completions HTTP/1.1", 400),
    ("POST http://u@a/v1/chat/completions HTTP/1.1", 400),
    ("POST ftp://a/v1/chat/completions HTTP/1.1", 400),
    ("POST v1/chat/completions HTTP/1.1", 400),
    ("POST * HTTP/1.1", 400),
    ("POST  /v1/chat/completions HTTP/1.1", 400),
    ("POST /v1/chat/completions  HTTP/1.1", 400),
    ("POST /v1/chat/completions HTTP/1.1 ", 400),
    ("POST /v1/chat/comple tions HTTP/1.1", 400),
    ("POST /v1/chat/completions\tHTTP/1.1", 400),
    ("POST /v1/chat/completions#x HTTP/1.1", 400),
    ("POST /v1/chat\\completions HTTP/1.1", 400),
    ("POST /v1/\u{e9} HTTP/1.1", 400),
    ("POST /v1/chat/completions", 400),
    ("POST", 400),
    (" POST /v1/chat/completions HTTP/1.1", 400),
    ("PO ST /v1/chat/completions HTTP/1.1", 400),
    ("PO(ST /v1/chat/completions HTTP/1.1", 400),
    ("POST /v1/chat/completions http/1.1", 400),
    ("POST /v1/chat/completions HTTP/11", 400),
    ("POST /v1/chat/completions HTTP/1.9", 505),
    ("POST /v1/chat/completions HTTP/3.0", 505),
    ("CONNECT a:443 HTTP/1.1", 405),
    ("CONNECT / HTTP/1.1", 405),
    ("\x16\x03\x01\x02\0\x01", 400),
];

/// A chunked body that is none: found out when it is read.
const CHUNKS: &[&str] = &[
    "zz\r\n{}\r\n0\r\n\r\n",
    "2\n{}\r\n0\r\n\r\n",
    "2\r\n{}\n0\r\n\r\n",
    "2\r\n{}xx0\r\n\r\n",
    " 2\r\n{}\r\n0\r\n\r\n",
    "2 \r\n{}\r\n0\r\n\r\n",
    "+2\r\n{}\r\n0\r\n\r\n",
    "0x2\r\n{}\r\n0\r\n\r\n",
    "10000000000000002\r\n{}\r\n0\r\n\r\n",
    "2;\x01\r\n{}\r\n0\r\n\r\n",
    "2;a\n\r\n{}\r\n0\r\n\r\n",
    "\r\n2\r\n{}\r\n0\r\n\r\n",
    "2\r\n{}\r\n0\r\nx y: 1\r\n\r\n",
    "2\r\n{}\r\n0\r\nx: 1\n\r\n",
];

async fn front() -> (LabEngine, Proxy) {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    (engine, proxy)
}

/// Sends it, with one more request hidden behind; then somebody else is served.
async fn refused(proxy: &Proxy, request: &str, status: u16) {
    let mut hostile = Raw::connect(proxy.port).await;
    hostile.write(format!("{request}{HIDDEN}")).await;
    let answer = tokio::time::timeout(PATIENCE, hostile.reply()).await.expect("in time");
    let answer = answer.unwrap_or_else(|| panic!("no answer to {request:?}"));
    assert_eq!(answer.status, status, "{request:?}: {}", answer.body);
    assert!(answer.head.contains("connection: close") && answer.body.contains("\"error\""), "{request:?}: {answer:?}");
    assert!(hostile.ended().await, "{request:?}: nothing follows");
    let mut next = Raw::connect(proxy.port).await;
    next.write("GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(next.reply().await.expect("the next client is served").status, 200, "after {request:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_headers_are_refused_and_reach_no_engine() {
    let (engine, proxy) = front().await;
    for (fields, status) in FIELDS {
        refused(&proxy, &format!("POST /v1/chat/completions HTTP/1.1\r\n{fields}"), *status).await;
    }
    for (line, status) in LINES {
        refused(&proxy, &format!("{line}\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), *status).await;
    }
    let old = "POST /v1/chat/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(&proxy, old, 400).await;
    let long = "p".repeat(16 * 1024);
    refused(&proxy, &format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414).await;
    let many = "X: 1\r\n".repeat(300);
    refused(&proxy, &format!("GET /health HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431).await;
    let stats = engine.stats();
    assert_eq!((stats.inference, stats.bodies.len()), (0, 0), "no engine was bothered");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_chunks_are_refused_and_reach_no_engine() {
    let (engine, proxy) = front().await;
    for chunks in CHUNKS {
        let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        refused(&proxy, &format!("{head}{chunks}"), 400).await;
    }
    assert_eq!(engine.stats().inference, 0, "no engine was bothered");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_seen_in_log_and_metrics() {
    let (_engine, proxy) = front().await;
    refused(&proxy, "POST /v1/embeddings?key=secret HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400).await;
    let find = || proxy.lines().into_iter().find(|line| line["path"] == "/v1/embeddings");
    assert!(eventually(|| async { find().is_some() }).await, "a log line");
    let line = find().unwrap();
    assert_eq!((&line["status"], &line["end"]), (&serde_json::json!(400), &serde_json::json!("PR")), "{line}");
    assert!(line["reason"].as_str().unwrap().contains("Host") && !line.to_string().contains("secret"), "{line}");
    let text = common::reqwest_client().get(proxy.admin("metrics")).send().await.unwrap().text().await.unwrap();
    let counted = text.lines().find(|line| line.starts_with("arriero_requests_total{") && line.contains("end=\"PR\""));
    assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{counted:?}");
}

/// What looks odd but has one meaning only.
#[tokio::test(flavor = "multi_thread")]
async fn odd_but_clear_requests_are_served() {
    let (engine, proxy) = front().await;
    let body = ask("m", false, 1).to_string();
    let length = body.len();
    let chunked = format!("{length:04X};note=\"1\"\r\n{body}\r\n000;last\r\nx-sum: 1\r\n\r\n");
    for text in [
        format!("\r\n\r\nPOST /v1/chat/completions HTTP/1.1\r\nHOST:a\r\ncontent-LENGTH:\t{length} \t\r\n\r\n{body}"),
        format!("POST http://a:1/v1/chat/completions HTTP/1.1\r\nhost: a:1\r\ncontent-length: 0{length}\r\n\r\n{body}"),
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: [::1]:80\r\ntransfer-encoding: Chunked\r\n\r\n{chunked}"),
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-name: caf\u{e9}\r\nx-empty:\r\ncontent-length: {length}\r\n\r\n{body}"
        ),
    ] {
        let mut connection = Raw::connect(proxy.port).await;
        connection.write(text.repeat(2)).await;
        for nth in 0..2 {
            let answer = connection.reply().await.unwrap_or_else(|| panic!("no answer {nth} to {text:?}"));
            assert_eq!(answer.status, 200, "{text:?}: {}", answer.body);
        }
    }
    assert_eq!(engine.stats().completed, 8);
}
