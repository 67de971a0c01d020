//! What becomes of requests on an endpoint that turns down: by default they finish; with `on_down: cut` those without a
//! byte go elsewhere, and streams end with the error event of their API.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use common::{PATIENCE, Proxy, eventually};
use futures::channel::mpsc::unbounded;
use herd::{CHAT, pool_at, until_health};
use scripted::Pieces;
use serde_json::{Value, json};
use stage::{ask, post, until_the_end, whole};

const CHECKS: &str = "health: { every: 50ms, timeout: 1s, rise: 1, fall: 2, path: /well }, ejection: none";
const SSE: &str = "text/event-stream";

/// An engine that says by `/well` how it is, and whose answers the test writes: work goes on whatever the checks say.
struct Frail {
    url: String,
    well: Arc<AtomicU16>,
    asked: Arc<AtomicU16>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Frail {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Frail {
    /// Its first answers, in order, `None` = never; after them it answers everything at once.
    async fn with(answers: Vec<Option<Response>>) -> Frail {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (well, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(0)));
        let (status, count) = (well.clone(), asked.clone());
        let answers = Arc::new(std::sync::Mutex::new(answers.into_iter().collect::<std::collections::VecDeque<_>>()));
        let app = axum::Router::new().fallback(move |request: Request| {
            let (status, count, answers) = (status.clone(), count.clone(), answers.clone());
            async move {
                if request.uri().path() == "/well" {
                    let code = status.load(Ordering::SeqCst);
                    return axum::http::StatusCode::from_u16(code).unwrap().into_response();
                }
                if request.method() != "POST" {
                    return axum::http::StatusCode::NOT_FOUND.into_response();
                }
                // read to its end, or the connection's own end stays unseen behind it
                let _ = axum::body::to_bytes(request.into_body(), 1 << 20).await;
                count.fetch_add(1, Ordering::SeqCst);
                let next = answers.lock().unwrap().pop_front();
                match next {
                    Some(None) => std::future::pending().await,
                    Some(Some(answer)) => answer,
                    None => Json(json!({ "id": "x" })).into_response(),
                }
            }
        });
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Frail { url, well, asked, serving }
    }

    fn asked(&self) -> u16 {
        self.asked.load(Ordering::SeqCst)
    }

    async fn turns_down(&self, proxy: &Proxy) {
        self.well.store(500, Ordering::SeqCst);
        until_health(proxy, "a", "down").await;
    }
}

/// An answer that the test writes piece by piece.
fn dictated(content_type: &'static str) -> (Response, Pieces) {
    let (sender, pieces) = unbounded();
    let mut answer = Response::new(axum::body::Body::from_stream(pieces));
    answer.headers_mut().insert("content-type", content_type.parse().unwrap());
    (answer, sender)
}

async fn pair(a: &Frail, b: &Frail, pool: &str) -> Proxy {
    let pool = pool_at(&[a.url.clone(), b.url.clone()], &["models: [m]"; 2], &format!("{CHECKS}, {pool}"));
    let pool = pool.replace("engine: openai", "engine: ollama"); // which speaks all three APIs
    let text = format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, balance: first }}]\n");
    let proxy = Proxy::start(&text).await;
    until_health(&proxy, "a", "up").await;
    proxy
}

/// API, its content type, the beginning of a stream, and what follows the error event's border.
const STREAMS: [(&str, &str, &str); 3] = [
    (CHAT, SSE, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"),
    (
        "/v1/messages",
        SSE,
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n",
    ),
    (
        "/api/chat",
        "application/x-ndjson",
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n",
    ),
];

/// The error event is the last thing in the stream, whole, in the words of its API.
fn assert_error_event(path: &str, rest: &str) {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {rest}"));
    let message = match path {
        "/v1/messages" => {
            let data = rest.trim_end().strip_prefix("event: error\ndata: ").unwrap_or_else(|| panic!("{rest}"));
            assert!(rest.ends_with("\n\n"), "{rest:?}");
            assert_eq!(json(data)["type"], "error");
            json(data)["error"]["message"].clone()
        }
        "/api/chat" => {
            assert!(rest.ends_with('\n') && rest.trim_end().lines().count() == 1, "{rest:?}");
            json(rest)["error"].clone()
        }
        _ => {
            let data = rest.trim_end().strip_prefix("data: ").unwrap_or_else(|| panic!("{rest}"));
            assert!(rest.ends_with("\n\n"), "{rest:?}");
            assert_eq!(json(data)["error"]["type"], "server_error");
            json(data)["error"]["message"].clone()
        }
    };
    assert!(message.as_str().is_some_and(|words| !words.is_empty()), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_streams_end_with_the_error_event_of_their_api() {
    for (path, content_type, part) in STREAMS {
        let (answer, pieces) = dictated(content_type);
        let (a, b) = (Frail::with(vec![Some(answer)]).await, Frail::with(vec![]).await);
        let proxy = pair(&a, &b, "on_down: cut").await;
        pieces.unbounded_send(Ok(Bytes::from(part))).unwrap();
        let answer = post(proxy.url(path), "cut", &ask("m", true, 9)).await;
        assert_eq!((answer.status().as_u16(), a.asked()), (200, 1), "{path}");
        a.turns_down(&proxy).await;
        let (text, _) = until_the_end(answer).await;
        let rest = text.strip_prefix(part).unwrap_or_else(|| panic!("{path}: {text}"));
        assert_error_event(path, rest);
        assert_eq!(b.asked(), 0, "{path}: nothing is sent twice");
        let line = proxy.line("cut").await;
        assert_eq!(
            (&line["status"], &line["retries"], &line["endpoint"]),
            (&json!(200), &json!(0), &json!("a")),
            "{line}"
        );
        assert_eq!(line["end"].as_str().map(|end| &end[1..]), Some("D"), "{line}");
        assert!(eventually(async || pieces.is_closed()).await, "{path}: the engine is let go");
        assert_eq!(proxy.in_flight().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_streams_on_an_endpoint_that_is_down_finish() {
    for pool in ["", "on_down: finish"] {
        let (answer, pieces) = dictated(SSE);
        let (a, b) = (Frail::with(vec![Some(answer)]).await, Frail::with(vec![]).await);
        let proxy = pair(&a, &b, pool).await;
        let part = STREAMS[0].2;
        pieces.unbounded_send(Ok(Bytes::from(part))).unwrap();
        let answer = post(proxy.url(CHAT), "finish", &ask("m", true, 9)).await;
        a.turns_down(&proxy).await;
        assert_eq!(whole(post(proxy.url(CHAT), "next", &ask("m", false, 1)).await).await.0, 200);
        assert_eq!((a.asked(), b.asked()), (1, 1), "new requests go elsewhere");
        for _ in 0..3 {
            pieces.unbounded_send(Ok(Bytes::from(part))).unwrap();
        }
        pieces.unbounded_send(Ok(Bytes::from("data: [DONE]\n\n"))).unwrap();
        drop(pieces);
        assert_eq!(until_the_end(answer).await, (part.repeat(4) + "data: [DONE]\n\n", false));
        assert_eq!(proxy.line("finish").await["end"], "--");
    }
}

/// A request that waits for its first byte loses nothing by going elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn cut_requests_without_a_byte_go_elsewhere() {
    for stream in [false, true] {
        let never = Frail::with(vec![None]).await;
        let b = Frail::with(vec![]).await;
        let proxy = pair(&never, &b, "on_down: cut").await;
        let url = proxy.url(CHAT);
        let asking = tokio::spawn(async move { whole(post(url, "moved", &ask("m", stream, 1)).await).await });
        assert!(eventually(async || never.asked() == 1).await);
        never.turns_down(&proxy).await;
        let (status, text) = tokio::time::timeout(PATIENCE, asking).await.expect("an answer").unwrap();
        assert_eq!((status, text.as_str()), (200, "{\"id\":\"x\"}"));
        let line = proxy.line("moved").await;
        assert_eq!(
            (&line["endpoint"], &line["retries"], &line["end"]),
            (&json!("b"), &json!(1), &json!("--")),
            "{line}"
        );
        assert_eq!(proxy.metric("arriero_retries_total{cause=\"down\",route=\"r\"}").await, Some(1.0));
        assert_eq!(proxy.in_flight().await, 0);
    }
}

/// With nobody else the client is told, once.
#[tokio::test(flavor = "multi_thread")]
async fn cut_without_anybody_else_is_502() {
    let never = Frail::with(vec![None]).await;
    let b = Frail::with(vec![]).await;
    let proxy = pair(&never, &b, "on_down: cut, retries: 0").await;
    let url = proxy.url(CHAT);
    let asking = tokio::spawn(async move { whole(post(url, "alone", &ask("m", true, 1)).await).await });
    assert!(eventually(async || never.asked() == 1).await);
    never.turns_down(&proxy).await;
    let (status, text) = tokio::time::timeout(PATIENCE, asking).await.expect("an answer").unwrap();
    assert_eq!(status, 502, "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["error"]["type"], "server_error");
    assert_eq!((b.asked(), proxy.in_flight().await), (0, 0));
}
