//! An engine whose every answer the test writes itself, and which remembers the requests that it got.
//!
//! It lists one model, `m`, below any base path, in the ways of OpenAI and Ollama: name its `engine` in the configuration.
//! Below `/mute` it lists nothing.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use bytes::Bytes;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use serde_json::json;

/// What an answer is made of, piece by piece.
pub type Pieces = UnboundedSender<Result<Bytes, std::io::Error>>;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The engine. Dropping it ends it.
pub struct Scripted {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Scripted {
    /// Answers each POST with what `answer` makes of it.
    pub async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Scripted {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, notes) = (Arc::new(answer), seen.clone());
        let app = Router::new().fallback(move |request: Request| {
            let (answer, notes) = (answer.clone(), notes.clone());
            async move {
                let (parts, body) = request.into_parts();
                let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else {
                    return StatusCode::BAD_REQUEST.into_response();
                };
                let (method, target) = (parts.method, parts.uri.to_string());
                let seen = Seen { method, target, headers: parts.headers, body };
                notes.lock().unwrap().push(seen.clone());
                match seen.method {
                    Method::POST => answer(&seen),
                    _ if seen.target.starts_with("/mute/") => StatusCode::NOT_FOUND.into_response(),
                    _ if seen.target.ends_with("/v1/models") => {
                        Json(json!({ "object": "list", "data": [{ "id": "m", "object": "model" }] })).into_response()
                    }
                    _ if seen.target.ends_with("/api/tags") => {
                        Json(json!({ "models": [{ "name": "m:latest", "model": "m:latest" }] })).into_response()
                    }
                    _ if seen.target.ends_with("/api/version") => Json(json!({ "version": "0.33.0" })).into_response(),
                    _ if seen.target.ends_with("/api/ps") => Json(json!({ "models": [] })).into_response(),
                    _ => StatusCode::NOT_FOUND.into_response(),
                }
            }
        });
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Scripted { addr, seen, serving }
    }

    /// One answer with this content type; its pieces are sent by the test. An error piece cuts the connection.
    pub async fn streaming(content_type: &'static str) -> (Scripted, Pieces) {
        Scripted::dictated(vec![("content-type", content_type)]).await
    }

    /// The same with any headers.
    pub async fn dictated(headers: Vec<(&'static str, &'static str)>) -> (Scripted, Pieces) {
        let (sender, pieces) = unbounded();
        let once: Mutex<Option<UnboundedReceiver<_>>> = Mutex::new(Some(pieces));
        let engine = Scripted::start(move |_| {
            let Some(pieces) = once.lock().unwrap().take() else {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            };
            let mut answer = Response::new(Body::from_stream(pieces));
            for (name, value) in &headers {
                answer.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            answer
        });
        (engine.await, sender)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A pool `p` of this engine alone, of the kind `engine`, with more keys for endpoint and pool.
    pub fn config(&self, engine: &str, endpoint: &str, pool: &str) -> String {
        let url = self.url();
        format!(
            "pools:\n  p: {{ endpoints: [{{ url: {url:?}, engine: {engine}, {endpoint} }}], {pool} }}\n\
             routes:\n  - {{ name: r, pool: p }}\n"
        )
    }

    /// The POST requests so far.
    pub fn posts(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.method == Method::POST).cloned().collect()
    }

    /// Every request so far, probes too.
    pub fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
