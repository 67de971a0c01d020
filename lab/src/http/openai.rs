//! The OpenAI API: chat, completions and embeddings, plain or as SSE, with a usage event when asked for.
//!
//! Every flavour serves these paths. Where the engine can refuse (Ollama's full queue) the status waits for the first
//! token; vLLM and SGLang send their head at once.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::ask::{Api, Ask, find_model};
use super::engine::{Engine, InFlight, Step};
use super::ollama::vectors;
use super::spec::Flavour;
use super::stream::{SSE, data, stream};
use super::vllm::with_load_report;
use crate::model::ModelSpec;

/// Every `created`: replies stay equal from run to run. Seconds since 1970.
pub(crate) const CREATED: u64 = 1_767_225_600;

type Shared = State<Arc<Engine>>;

pub(crate) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
}

/// How chat and completions name their parts.
#[derive(Clone, Copy)]
struct Form {
    id: &'static str,
    whole: &'static str,
    part: &'static str,
    chat: bool,
}

const CHAT: Form = Form { id: "chatcmpl", whole: "chat.completion", part: "chat.completion.chunk", chat: true };
const COMPLETION: Form = Form { id: "cmpl", whole: "text_completion", part: "text_completion", chat: false };

impl Form {
    fn envelope(self, engine: &Engine, ask: &Ask, object: &str, choices: Value) -> Value {
        json!({
            "id": format!("{}-{}", self.id, ask.words.id()), "object": object, "created": CREATED,
            "model": ask.name, "system_fingerprint": engine.spec.name, "choices": choices,
        })
    }

    fn whole(self, engine: &Engine, ask: &Ask) -> Value {
        let text = ask.words.text(ask.output_tokens);
        let mut choice = json!({ "index": 0, "finish_reason": finish(ask), "logprobs": null });
        if self.chat {
            choice["message"] = json!({ "role": "assistant", "content": text });
        } else {
            choice["text"] = json!(text);
        }
        let mut whole = self.envelope(engine, ask, self.whole, json!([choice]));
        whole["usage"] = usage(ask);
        whole
    }

    fn part(self, engine: &Engine, ask: &Ask, delta: Value, text: &str, finish: Option<&str>) -> Value {
        let mut choice = json!({ "index": 0, "finish_reason": finish, "logprobs": null });
        if self.chat {
            choice["delta"] = delta;
        } else {
            choice["text"] = json!(text);
        }
        self.envelope(engine, ask, self.part, json!([choice]))
    }

    /// The events of one step.
    fn events(self, engine: &Engine, ask: &Ask, step: Step) -> Vec<Bytes> {
        match step {
            Step::Token(index) => {
                let text = ask.words.token(index);
                let mut events = Vec::new();
                if index == 0 && self.chat {
                    let opening = json!({ "role": "assistant", "content": "" });
                    events.push(data(&self.part(engine, ask, opening, "", None)));
                }
                events.push(data(&self.part(engine, ask, json!({ "content": text }), text, None)));
                events
            }
            Step::Done(_) => {
                let mut events = vec![data(&self.part(engine, ask, json!({}), "", Some(finish(ask))))];
                if ask.include_usage {
                    let mut last = self.envelope(engine, ask, self.part, json!([]));
                    last["usage"] = usage(ask);
                    events.push(data(&last));
                }
                events.push(Bytes::from_static(b"data: [DONE]\n\n"));
                events
            }
            Step::Rejected => Vec::new(),
        }
    }
}

fn finish(ask: &Ask) -> &'static str {
    if ask.cut { "length" } else { "stop" }
}

fn usage(ask: &Ask) -> Value {
    let (prompt, output) = (ask.prompt_tokens, ask.output_tokens);
    json!({ "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output })
}

async fn chat(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    text(engine, &headers, &body, CHAT).await
}

async fn completions(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    text(engine, &headers, &body, COMPLETION).await
}

async fn text(engine: Arc<Engine>, headers: &HeaderMap, body: &[u8], form: Form) -> Response {
    let mut in_flight = InFlight::new(&engine);
    let ask = match Ask::parse(&engine, Api::OpenAi, headers, body) {
        Ok(ask) => ask,
        Err(refusal) => {
            in_flight.answered();
            return refusal.into_response();
        }
    };
    let mut reply = engine.submit(ask.job(), in_flight);
    if !ask.stream {
        if reply.end().await.is_none() {
            return Api::OpenAi.busy().into_response();
        }
        drop(reply);
        return with_load_report(&engine, headers, Json(form.whole(&engine, &ask)));
    }
    if !engine.spec.flavour.batches() {
        let first = reply.next().await;
        if matches!(first, Step::Rejected) {
            return Api::OpenAi.busy().into_response();
        }
        reply.unread(first);
    }
    stream(reply, SSE, move |step| form.events(&engine, &ask, step))
}

async fn embeddings(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match vectors(&engine, Api::OpenAi, &headers, &body).await {
        Ok((ask, _, vectors)) => {
            let row = |(index, vector)| json!({ "object": "embedding", "index": index, "embedding": vector });
            let rows: Vec<Value> = vectors.into_iter().enumerate().map(row).collect();
            let usage = json!({ "prompt_tokens": ask.prompt_tokens, "total_tokens": ask.prompt_tokens });
            Json(json!({ "object": "list", "data": rows, "model": ask.name, "usage": usage })).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn model_row(engine: &Engine, spec: &ModelSpec) -> Value {
    let owner = match engine.spec.flavour {
        Flavour::Ollama => "library",
        Flavour::Vllm => "vllm",
        Flavour::Sglang => "sglang",
        Flavour::OpenAi => "lab",
    };
    let mut row = json!({ "id": &*spec.name, "object": "model", "created": CREATED, "owned_by": owner });
    if engine.spec.flavour.batches() {
        row["root"] = json!(&*spec.name);
        row["max_model_len"] = json!(engine.spec.context_tokens);
    }
    row
}

async fn models(State(engine): Shared) -> Json<Value> {
    let rows: Vec<Value> = engine.spec.kind.models().iter().map(|spec| model_row(&engine, spec)).collect();
    Json(json!({ "object": "list", "data": rows }))
}

async fn model(State(engine): Shared, Path(id): Path<String>) -> Response {
    match find_model(&engine, &id) {
        Some(index) => Json(model_row(&engine, &engine.spec.kind.models()[index])).into_response(),
        None => Api::OpenAi.error(StatusCode::NOT_FOUND, &format!("The model `{id}` does not exist.")),
    }
}
