//! Traps of the pinned Pingora that a user could meet, one test each: when the version changes, these tell what is new.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use axum::Json;
use axum::response::IntoResponse;
use bytes::Bytes;
use common::{PATIENCE, Proxy};
use futures::StreamExt;
use raw::Raw;
use scripted::Scripted;
use serde_json::json;
use stage::{FAST, ask, config, openai, post, start, whole};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const CHAT: &str = "/v1/chat/completions";
const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";

type H2 = (h2::client::SendRequest<Bytes>, JoinHandle<()>);

async fn h2(proxy: &Proxy) -> H2 {
    let stream = TcpStream::connect(("127.0.0.1", proxy.h2_port)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    (client.ready().await.unwrap(), driver)
}

fn chat_request() -> http::Request<()> {
    let request = http::Request::post(format!("http://arriero.test{CHAT}"));
    request.header("content-type", "application/json").body(()).unwrap()
}

async fn no_panic(proxy: &Proxy) {
    assert!(!proxy.stderr().contains("panicked"), "{}", proxy.stderr());
    let mut next = Raw::connect(proxy.port).await;
    next.write(HEALTH).await;
    assert!(next.reply().await.is_some(), "the proxy serves on");
}

/// Pingora sent the last chunk twice to an HTTP/1 engine when an HTTP/2 body ended with an empty frame: the next
/// request on that connection was spoiled (its issue 935).
#[tokio::test(flavor = "multi_thread")]
async fn an_h2_body_that_ends_in_an_empty_frame_spoils_no_connection() {
    let engine = Scripted::start(|seen| Json(json!({ "bytes": seen.body.len() })).into_response()).await;
    let proxy = Proxy::start(&engine.config("openai", "", "")).await;
    let (mut client, driver) = h2(&proxy).await;
    let body = ask("m", false, 1).to_string();
    for nth in 0..5 {
        let (answer, mut upload) = client.send_request(chat_request(), false).unwrap();
        upload.send_data(Bytes::from(body.clone()), false).unwrap();
        upload.send_data(Bytes::new(), true).unwrap();
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("in time").unwrap();
        assert_eq!(answer.status(), 200, "request {nth}");
    }
    driver.abort();
    let posts = engine.posts();
    assert_eq!(posts.len(), 5);
    for seen in posts {
        assert_eq!(seen.body, body.as_bytes());
        assert_eq!(seen.header("content-length"), Some(body.len().to_string().as_str()), "one length, no chunks");
        assert_eq!(seen.header("transfer-encoding"), None);
    }
}

/// Pingora waits for 24 bytes, without a limit, where HTTP/2 is also spoken.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_with_h2c_serves_short_requests_and_drops_silent_clients() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + "timeouts: { header: 500ms }\n")).await;
    let mut short = Raw::connect(proxy.h2_port).await;
    short.write("GET / HTTP/1.0\r\n\r\n").await;
    let answer = tokio::time::timeout(PATIENCE, short.reply()).await.expect("in time");
    assert_eq!(answer.expect("an answer to 18 bytes").status, 200);
    for start in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let mut silent = Raw::connect(proxy.h2_port).await;
        silent.write(start).await;
        assert!(tokio::time::timeout(PATIENCE, silent.ended()).await.expect("in time"), "{start:?}: dropped");
    }
}

/// Pingora takes what it can read in one way: no Host, the same length twice, bare LF, 255 fields.
#[tokio::test(flavor = "multi_thread")]
async fn what_pingora_would_let_in_is_refused() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let body = ask("m", false, 1).to_string();
    let length = body.len();
    let many = "x: 1\r\n".repeat(240);
    for (fields, status) in [
        (format!("content-length: {length}\r\n\r\n"), 400),
        (format!("host: a\r\ncontent-length: {length}\r\ncontent-length: {length}\r\n\r\n"), 400),
        (format!("host: a\ncontent-length: {length}\n\n"), 400),
        (format!("host: a\r\n{many}content-length: {length}\r\n\r\n"), 431),
    ] {
        let mut connection = Raw::connect(proxy.port).await;
        connection.write(format!("POST {CHAT} HTTP/1.1\r\n{fields}{body}")).await;
        let answer = connection.reply().await.expect("an answer");
        assert_eq!(answer.status, status, "{fields:?}: {}", answer.body);
        assert!(connection.ended().await);
    }
    assert_eq!(engine.stats().inference, 0);
}

/// Pingora resolves names by a call that blocks and panics.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_is_an_engine_that_is_down() {
    let text = "pools: { p: { endpoints: [{ url: \"http://no-such-engine.invalid:1\", engine: openai }] } }\n";
    let proxy = Proxy::start_degraded(text).await;
    let (status, text) = whole(post(proxy.url(CHAT), "dns", &ask("m", false, 1)).await).await;
    assert!(matches!(status, 502 | 503), "{status}: {text}");
    no_panic(&proxy).await;
}

/// Pingora panics if nobody says whether an error may be repeated.
#[tokio::test(flavor = "multi_thread")]
async fn engines_that_break_off_are_502_and_no_panic() {
    for answer in [
        "",
        "HTT",
        "HTTP/1.1 200 OK\r\nconte",
        "no HTTP at all\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ] {
        let engine = start(openai(&["m"], FAST)).await;
        // speaks to probes through the lab, and to clients in its own way
        let broken = breaking(engine.addr(), answer).await;
        let text = format!(
            "pools: {{ p: {{ endpoints: [{{ url: \"http://{}\", engine: openai }}] }} }}\nroutes: [{{ name: r, pool: p }}]\n",
            broken.0
        );
        let proxy = Proxy::start(&text).await;
        let (status, text) = whole(post(proxy.url(CHAT), "broken", &ask("m", false, 1)).await).await;
        assert_eq!(status, 502, "{answer:?}: {text}");
        no_panic(&proxy).await;
        broken.1.abort();
    }
}

/// A port that passes GET requests on to `lab` and answers each POST with these bytes and an end.
async fn breaking(lab: std::net::SocketAddr, answer: &'static str) -> (std::net::SocketAddr, JoinHandle<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut start = [0; 4];
                if client.read_exact(&mut start).await.is_err() {
                    return;
                }
                if &start == b"POST" {
                    let mut rest = vec![0; 64 * 1024];
                    let _ = client.read(&mut rest).await;
                    let _ = client.write_all(answer.as_bytes()).await;
                    return;
                }
                let mut engine = TcpStream::connect(lab).await.unwrap();
                engine.write_all(&start).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
            });
        }
    });
    (addr, serving)
}

/// An HTTP/2 client that still uploads got a stream error in place of the refusal.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_413_arrives_while_an_h2_client_uploads() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + "limits: { body: 64KiB }\n")).await;
    let (mut client, driver) = h2(&proxy).await;
    let (answer, mut upload) = client.send_request(chat_request(), false).unwrap();
    let feed = tokio::spawn(async move {
        let piece = Bytes::from(vec![b' '; 16 * 1024]);
        for _ in 0..64 {
            upload.reserve_capacity(piece.len());
            let Some(Ok(granted)) = std::future::poll_fn(|cx| upload.poll_capacity(cx)).await else { return };
            if upload.send_data(piece.slice(..granted.min(piece.len())), false).is_err() {
                return;
            }
        }
    });
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("an answer, no stream error");
    assert_eq!(answer.status(), 413);
    feed.abort();
    driver.abort();
    assert_eq!(engine.stats().inference, 0);
}

/// A request that follows while an answer streams ended that answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipelined_request_does_not_end_the_stream_before_it() {
    let engine = start(openai(&["m"], 200.0)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let body = ask("m", true, 60).to_string();
    let text = format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut connection = Raw::connect(proxy.port).await;
    connection.write(&text).await;
    let streams = common::eventually(|| async { engine.stats().in_flight == 1 });
    assert!(streams.await, "the first answer is under way");
    connection.write(format!("{text}GET /hea")).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await; // so that the rest is a read of its own
    connection.write("lth HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for nth in 0..2 {
        let answer = connection.reply().await.unwrap_or_else(|| panic!("no answer {nth}"));
        assert!(answer.body.contains("[DONE]"), "answer {nth} is whole: {}", answer.body);
    }
    assert_eq!(connection.reply().await.expect("the last answer").status, 200);
    assert_eq!((engine.stats().completed, engine.stats().cancels), (2, 0));
}

/// Pingora's default is a 64 KiB buffer for each connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_holds_little_memory() {
    const WARM: u64 = 20;
    const STREAMS: u64 = 200;
    let engine = Scripted::start(|_| {
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"data: {}\n\n"))]);
        let endless = first.chain(futures::stream::pending());
        ([("content-type", "text/event-stream")], axum::body::Body::from_stream(endless)).into_response()
    });
    let engine = engine.await;
    let proxy = Proxy::start(&engine.config("openai", "max_in_flight: 1000", "")).await;
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let body = ask("m", true, 1).to_string();
    let text = format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut streams = Vec::new();
    let mut before = 0;
    for nth in 0..WARM + STREAMS {
        if nth == WARM {
            before = resident();
        }
        let mut stream = Raw::connect(proxy.port).await;
        stream.write(&text).await;
        assert_eq!(stream.exactly(12).await, b"HTTP/1.1 200", "stream {nth}");
        streams.push(stream);
    }
    let each = resident().saturating_sub(before) / STREAMS;
    // a debug build takes more than a release build; 64 KiB more for each would be noticed
    assert!(each <= 160, "{each} KiB for each stream");
}
