//! Traffic that is no request with an answer: a WebSocket that sends back what it hears, and gRPC calls of any method
//! that get their own bytes back.
//!
//! Both count as inference requests in flight for as long as they last; one that breaks off counts as cancelled. Their
//! bodies are passed on as they come and not remembered. A stopped or refusing engine ends its WebSockets.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::any;
use futures::{StreamExt, stream};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Frame;

use super::engine::{Engine, InFlight};

/// Where the WebSocket is.
pub(crate) const REALTIME: &str = "/v1/realtime";

pub(crate) fn routes() -> Router<Arc<Engine>> {
    Router::new().route(REALTIME, any(realtime))
}

/// True for a call in gRPC, whatever its method.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

async fn realtime(State(engine): State<Arc<Engine>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| echo(engine, socket))
}

/// Sends text and binary messages back until the client closes.
async fn echo(engine: Arc<Engine>, mut socket: WebSocket) {
    let mut in_flight = InFlight::new(&engine);
    let mut refuse = engine.refuse.subscribe();
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            _ = refuse.wait_for(|refusing| *refusing) => return,
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) => return in_flight.answered(),
            Some(Err(_)) | None => return,
        }
    }
}

/// Answers with the call's own messages as they come, and at the end with a status in the trailers: 0, or what the
/// request's `x-lab-grpc-status` says.
pub(crate) fn grpc_echo(engine: &Arc<Engine>, request: Request) -> Response {
    let in_flight = InFlight::new(engine);
    let (parts, body) = request.into_parts();
    let status = parts.headers.get("x-lab-grpc-status").cloned().unwrap_or(HeaderValue::from_static("0"));
    let data = BodyStream::new(body).filter_map(|frame| async {
        match frame {
            Ok(frame) => frame.into_data().ok().map(|data| Ok(Frame::data(data))),
            Err(error) => Some(Err(error)),
        }
    });
    let end = stream::once(async move {
        let mut in_flight = in_flight;
        in_flight.answered();
        Ok(Frame::trailers(HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), status)])))
    });
    let mut reply = Response::new(Body::new(StreamBody::new(data.chain(end))));
    let kind = parts.headers.get(CONTENT_TYPE).cloned().unwrap_or(HeaderValue::from_static("application/grpc"));
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}
