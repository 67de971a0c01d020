//! Anthropic's messages API, as the engines serve it: one JSON reply, or named server-sent events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::ask::{Api, Ask};
use super::engine::{Engine, InFlight, Step};
use super::stream::{SSE, stream};

type Shared = State<Arc<Engine>>;

pub(crate) fn routes() -> Router<Arc<Engine>> {
    Router::new().route("/v1/messages", post(messages)).route("/v1/messages/count_tokens", post(count))
}

async fn messages(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let mut in_flight = InFlight::new(&engine);
    let ask = match Ask::parse(&engine, Api::Anthropic, &headers, &body) {
        Ok(ask) => ask,
        Err(refusal) => {
            in_flight.answered();
            return refusal.into_response();
        }
    };
    let mut reply = engine.submit(ask.job(), in_flight);
    if !ask.stream {
        if reply.end().await.is_none() {
            return Api::Anthropic.busy().into_response();
        }
        let mut message = message(&ask, ask.output_tokens);
        message["content"] = json!([{ "type": "text", "text": ask.words.text(ask.output_tokens) }]);
        message["stop_reason"] = json!(stop_reason(&ask));
        return Json(message).into_response();
    }
    if !engine.spec.flavour.batches() {
        let first = reply.next().await;
        if matches!(first, Step::Rejected) {
            return Api::Anthropic.busy().into_response();
        }
        reply.unread(first);
    }
    stream(reply, SSE, move |step| events(&ask, step))
}

async fn count(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match Ask::parse(&engine, Api::Anthropic, &headers, &body) {
        Ok(ask) => Json(json!({ "input_tokens": ask.prompt_tokens })).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn stop_reason(ask: &Ask) -> &'static str {
    if ask.cut { "max_tokens" } else { "end_turn" }
}

fn message(ask: &Ask, output_tokens: u32) -> Value {
    json!({
        "id": format!("msg_{}", ask.words.id()), "type": "message", "role": "assistant", "model": ask.name,
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": ask.prompt_tokens, "output_tokens": output_tokens },
    })
}

/// An event whose name is its `type`.
fn event(value: &Value) -> Bytes {
    Bytes::from(format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default()))
}

fn events(ask: &Ask, step: Step) -> Vec<Bytes> {
    match step {
        Step::Token(index) => {
            let mut events = Vec::new();
            if index == 0 {
                let block = json!({ "type": "text", "text": "" });
                events.push(event(&json!({ "type": "message_start", "message": message(ask, 0) })));
                events.push(event(&json!({ "type": "content_block_start", "index": 0, "content_block": block })));
                events.push(event(&json!({ "type": "ping" })));
            }
            let delta = json!({ "type": "text_delta", "text": ask.words.token(index) });
            events.push(event(&json!({ "type": "content_block_delta", "index": 0, "delta": delta })));
            events
        }
        Step::Done(_) => {
            let delta = json!({ "stop_reason": stop_reason(ask), "stop_sequence": null });
            let usage = json!({ "input_tokens": ask.prompt_tokens, "output_tokens": ask.output_tokens });
            vec![
                event(&json!({ "type": "content_block_stop", "index": 0 })),
                event(&json!({ "type": "message_delta", "delta": delta, "usage": usage })),
                event(&json!({ "type": "message_stop" })),
            ]
        }
        Step::Rejected => Vec::new(),
    }
}
