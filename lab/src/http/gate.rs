//! What every request passes before an API sees it: the body read whole and remembered, key and host checked, the
//! fault of the moment applied. WebSockets and gRPC calls pass with key and host checked only.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use xxhash_rust::xxh3::xxh3_64;

use super::ask::Api;
use super::engine::{Engine, InFlight};
use super::fault::FaultKind;
use super::stats::BodySeen;
use super::wires;

/// Longest body, bytes.
const MAX_BODY: usize = 64 << 20;

/// The layer around every route.
pub(crate) async fn gate(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/lab/") {
        return next.run(request).await;
    }
    engine.stats.lock().requests += 1;
    let api = Api::of(request.uri().path());
    let is_grpc = wires::is_grpc(request.headers());
    if is_grpc || request.uri().path() == wires::REALTIME {
        // The body, if there is one, is a conversation: it is not read ahead.
        return match forbidden(&engine, api, request.headers(), request.uri()) {
            Some(refusal) => refusal,
            None if is_grpc => wires::grpc_echo(&engine, request),
            None => next.run(request).await,
        };
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return api.error(StatusCode::PAYLOAD_TOO_LARGE, "request body too large or cut off");
    };
    let hash = xxh3_64(&body);
    let length = body.len() as u64;
    if parts.method == Method::POST {
        let id = header(&parts.headers, "x-lab-id").map(str::to_owned);
        let seen = BodySeen { id, path: parts.uri.path().to_owned(), length, xxh3: hash };
        engine.stats.lock().remember(seen, engine.spec.keep_bodies);
    }
    let mut reply = if let Some(refusal) = forbidden(&engine, api, &parts.headers, &parts.uri) {
        refusal
    } else {
        let inference = parts.method == Method::POST && is_inference(parts.uri.path());
        let request = Request::from_parts(parts, Body::from(body));
        if inference { with_fault(&engine, api, request, next).await } else { next.run(request).await }
    };
    if engine.spec.echo_body_hash
        && let Ok(value) = HeaderValue::from_str(&format!("{length}-{hash:016x}"))
    {
        reply.headers_mut().insert("x-lab-body", value);
    }
    reply
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn is_inference(path: &str) -> bool {
    const PATHS: [&str; 8] = [
        "/api/chat",
        "/api/generate",
        "/api/embed",
        "/api/embeddings",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
    ];
    PATHS.contains(&path)
}

/// The refusal for a missing key (every path but the open ones) or a foreign host.
fn forbidden(engine: &Engine, api: Api, headers: &HeaderMap, uri: &Uri) -> Option<Response> {
    if let Some(key) = &engine.spec.api_key {
        let open = ["/health", "/version", "/metrics"].contains(&uri.path());
        let bearer = header(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
        let given = bearer.or_else(|| header(headers, "x-api-key"));
        if !open && given != Some(key) {
            return Some(api.error(StatusCode::UNAUTHORIZED, "Unauthorized"));
        }
    }
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).or_else(|| uri.host()).unwrap_or_default();
    if engine.spec.check_host && !is_near(host) {
        let mut refusal = Response::new(Body::empty());
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        return Some(refusal);
    }
    None
}

/// Loopback, private or local names, as Ollama allows them.
fn is_near(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let name = bare.unwrap_or_else(|| host.rsplit_once(':').map_or(host, |(name, _)| name));
    let local = ["", "localhost"].contains(&name);
    let suffix = [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end));
    let address = name.parse::<IpAddr>().is_ok_and(|ip| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unspecified(),
    });
    local || suffix || address
}

async fn with_fault(engine: &Arc<Engine>, api: Api, request: Request, next: Next) -> Response {
    let fault = engine.fault();
    let harmless = matches!(fault.kind, FaultKind::None | FaultKind::Slow { .. } | FaultKind::Refuse);
    if harmless || engine.random.lock().f64() >= fault.p {
        return next.run(request).await;
    }
    engine.stats.lock().faulted += 1;
    match fault.kind {
        FaultKind::Busy | FaultKind::Error => {
            let mut in_flight = InFlight::new(engine);
            tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
            in_flight.answered();
            if fault.kind == FaultKind::Busy {
                api.busy().into_response()
            } else {
                api.error(StatusCode::INTERNAL_SERVER_ERROR, "an error was encountered while running the model")
            }
        }
        FaultKind::Hang => {
            let _in_flight = InFlight::new(engine);
            std::future::pending().await
        }
        FaultKind::Reset { after_chunks } => cut_after(next.run(request).await, after_chunks),
        FaultKind::Garbage => spoil(next.run(request).await),
        FaultKind::None | FaultKind::Slow { .. } | FaultKind::Refuse => next.run(request).await,
    }
}

/// Lets some chunks through, then breaks the connection; the pause lets the chunks reach the wire first.
fn cut_after(reply: Response, chunks: u32) -> Response {
    let (mut parts, body) = reply.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let through = body.into_data_stream().take(chunks as usize).map(|chunk| chunk.map_err(std::io::Error::other));
    let cut = stream::once(async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Err(std::io::Error::other("cut off by a fault"))
    });
    Response::from_parts(parts, Body::from_stream(through.chain(cut)))
}

/// Replaces every chunk by bytes that no client can read.
fn spoil(reply: Response) -> Response {
    let (mut parts, body) = reply.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let garbage = Bytes::from_static(b"\xff\xfe{\"lab\": <<<garbage>>> \x00\n\n");
    let spoiled = body.into_data_stream().map(move |chunk| chunk.map(|_| garbage.clone()));
    Response::from_parts(parts, Body::from_stream(spoiled))
}
