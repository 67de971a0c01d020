//! A reply as a body: each token becomes one or more frames, each frame its own piece of the stream.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use serde_json::Value;

use super::engine::{Reply, Step};

/// NDJSON, Ollama's way.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// Server-sent events.
pub(crate) const SSE: &str = "text/event-stream; charset=utf-8";

/// Streams a reply; `format` turns each step into frames. The reply ends before its last frames go out.
pub(crate) fn stream<F>(reply: Reply, content_type: &'static str, format: F) -> Response
where
    F: FnMut(Step) -> Vec<Bytes> + Send + 'static,
{
    let frames = stream::unfold((Some(reply), VecDeque::<Bytes>::new(), format), |(reply, frames, format)| async {
        let (mut reply, mut frames, mut format) = (reply, frames, format);
        while frames.is_empty() {
            let step = reply.as_mut()?.next().await;
            frames.extend(format(step));
            if !matches!(step, Step::Token(_)) {
                reply = None;
            }
        }
        let frame = frames.pop_front()?;
        Some((Ok::<Bytes, Infallible>(frame), (reply, frames, format)))
    });
    ([(CONTENT_TYPE, content_type)], Body::from_stream(frames)).into_response()
}

/// One NDJSON line.
pub(crate) fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

/// One unnamed event.
pub(crate) fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}
