//! Ollama's own API: chat and generate as NDJSON (streaming unless told otherwise), embeddings, lists, version.
//!
//! Durations are virtual nanoseconds: load = until the model is there, prompt_eval = slot to first token,
//! eval = first token to end, total = all of it. With `steady` they are nominal.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::ask::{Api, Ask, Refusal, find_model};
use super::engine::{Engine, InFlight, Reply, Step};
use super::stream::{NDJSON, line, stream};
use crate::model::{ModelSpec, Timing};

/// Every timestamp: replies stay equal from run to run.
const MOMENT: &str = "2026-01-01T00:00:00Z";
/// The version it claims.
const VERSION: &str = "0.33.0";
/// Length of an embedding.
pub(crate) const DIMENSIONS: usize = 32;

type Shared = State<Arc<Engine>>;

pub(crate) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/", get(|| async { "Ollama is running" }))
        .route("/api/version", get(|| async { Json(json!({ "version": VERSION })) }))
        .route("/api/tags", get(tags))
        .route("/api/ps", get(ps))
        .route("/api/show", post(show))
        .route("/api/chat", post(chat))
        .route("/api/generate", post(generate))
        .route("/api/embed", post(embed))
        .route("/api/embeddings", post(embeddings))
}

async fn chat(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let empty = |value: &Value| value["messages"].as_array().is_none_or(Vec::is_empty);
    text(engine, &headers, &body, empty, |content| ("message", json!({ "role": "assistant", "content": content })))
        .await
}

async fn generate(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let empty = |value: &Value| value["prompt"].as_str().is_none_or(str::is_empty);
    text(engine, &headers, &body, empty, |content| ("response", json!(content))).await
}

/// Chat and generate differ only in when they are empty and where the text goes.
async fn text(
    engine: Arc<Engine>,
    headers: &HeaderMap,
    body: &[u8],
    empty: fn(&Value) -> bool,
    put: fn(&str) -> (&'static str, Value),
) -> Response {
    let mut in_flight = InFlight::new(&engine);
    let ask = match Ask::parse(&engine, Api::Ollama, headers, body) {
        Ok(ask) => ask,
        Err(refusal) => {
            in_flight.answered();
            return refusal.into_response();
        }
    };
    if serde_json::from_slice(body).is_ok_and(|value| empty(&value)) {
        return load(engine, ask, in_flight, put).await;
    }
    let mut reply = engine.submit(ask.job(), in_flight);
    if !ask.stream {
        let Some(timing) = reply.end().await else { return Api::Ollama.busy().into_response() };
        let last = last_chunk(&engine, &ask, timing, put(&ask.words.text(ask.output_tokens)));
        return Json(last).into_response();
    }
    let first = reply.next().await;
    if matches!(first, Step::Rejected) {
        return Api::Ollama.busy().into_response();
    }
    reply.unread(first);
    stream(reply, NDJSON, move |step| match step {
        Step::Token(index) => vec![line(&chunk(&ask.name, false, put(ask.words.token(index))))],
        Step::Done(timing) => vec![line(&last_chunk(&engine, &ask, timing, put("")))],
        Step::Rejected => Vec::new(),
    })
}

/// An empty request loads the model; with `keep_alive: 0` it lets it go.
async fn load(
    engine: Arc<Engine>,
    ask: Ask,
    mut in_flight: InFlight,
    put: fn(&str) -> (&'static str, Value),
) -> Response {
    let mut reply = chunk(&ask.name, true, put(""));
    if ask.keep_alive.is_some_and(|span| span.is_zero()) {
        engine.unload(ask.model);
        in_flight.answered();
        reply["done_reason"] = json!("unload");
    } else {
        let mut loading: Reply = engine.submit(ask.load_job(), in_flight);
        if loading.end().await.is_none() {
            return Api::Ollama.busy().into_response();
        }
        reply["done_reason"] = json!("load");
    }
    Json(reply).into_response()
}

fn chunk(model: &str, done: bool, (key, value): (&str, Value)) -> Value {
    let mut fields = Map::new();
    fields.insert("model".into(), json!(model));
    fields.insert("created_at".into(), json!(MOMENT));
    fields.insert(key.into(), value);
    fields.insert("done".into(), json!(done));
    Value::Object(fields)
}

fn last_chunk(engine: &Engine, ask: &Ask, timing: Timing, text: (&str, Value)) -> Value {
    let durations = durations(engine, ask, timing);
    let mut chunk = chunk(&ask.name, true, text);
    chunk["done_reason"] = json!(if ask.cut { "length" } else { "stop" });
    chunk["total_duration"] = json!(durations.total);
    chunk["load_duration"] = json!(durations.load);
    chunk["prompt_eval_count"] = json!(ask.prompt_tokens);
    chunk["prompt_eval_duration"] = json!(durations.prompt);
    chunk["eval_count"] = json!(ask.output_tokens);
    chunk["eval_duration"] = json!(durations.eval);
    chunk
}

/// Nanoseconds.
struct Durations {
    load: u64,
    prompt: u64,
    eval: u64,
    total: u64,
}

fn durations(engine: &Engine, ask: &Ask, timing: Timing) -> Durations {
    if engine.spec.steady {
        let spec = &engine.spec.kind.models()[ask.model];
        let nanos = |tokens: u32, rate: f64| (f64::from(tokens) / rate * 1e9) as u64;
        let (prompt, eval) = (nanos(ask.prompt_tokens, spec.prefill_tps), nanos(ask.output_tokens, spec.decode_tps));
        return Durations { load: 0, prompt, eval, total: prompt + eval };
    }
    let nanos = |from: arriero_core::time::Time, to: arriero_core::time::Time| (to - from).as_nanos() as u64;
    Durations {
        load: nanos(timing.submitted, timing.ready),
        prompt: nanos(timing.started, timing.first_token),
        eval: nanos(timing.first_token, timing.done),
        total: nanos(timing.submitted, timing.done),
    }
}

async fn embed(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match vectors(&engine, Api::Ollama, &headers, &body).await {
        Ok((ask, timing, vectors)) => Json(json!({
            "model": ask.name, "embeddings": vectors,
            "total_duration": durations(&engine, &ask, timing).total,
            "load_duration": durations(&engine, &ask, timing).load,
            "prompt_eval_count": ask.prompt_tokens,
        }))
        .into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn embeddings(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match vectors(&engine, Api::Ollama, &headers, &body).await {
        Ok((ask, ..)) => Json(json!({ "embedding": ask.words.vector(DIMENSIONS) })).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Embeds every input of a request, in any API.
pub(crate) async fn vectors(
    engine: &Arc<Engine>,
    api: Api,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Ask, Timing, Vec<Vec<f64>>), Refusal> {
    let mut in_flight = InFlight::new(engine);
    let ask = match Ask::parse(engine, api, headers, body) {
        Ok(ask) => ask,
        Err(refusal) => {
            in_flight.answered();
            return Err(refusal);
        }
    };
    let mut reply = engine.submit(ask.embedding_job(), in_flight);
    let Some(timing) = reply.end().await else { return Err(api.busy()) };
    let vector = |text: &String| super::text::Words::of(&ask.name, text).vector(DIMENSIONS);
    let vectors = ask.inputs.iter().map(vector).collect();
    Ok((ask, timing, vectors))
}

fn details(spec: &ModelSpec) -> Value {
    json!({
        "format": "gguf", "family": "lab", "families": ["lab"],
        "parameter_size": format!("{:.1}B", spec.file_gb * 1.7), "quantization_level": "Q4_K_M", "parent_model": "",
    })
}

fn bytes_of(gigabytes: f64) -> u64 {
    (gigabytes * 1e9) as u64
}

fn row(spec: &ModelSpec) -> Value {
    let digest = xxhash_rust::xxh3::xxh3_64(spec.name.as_bytes());
    json!({ "name": &*spec.name, "model": &*spec.name, "digest": format!("{digest:064x}"), "details": details(spec) })
}

fn capabilities(spec: &ModelSpec) -> Value {
    if spec.embed { json!(["embedding"]) } else { json!(["completion", "tools"]) }
}

async fn tags(State(engine): Shared) -> Json<Value> {
    let rows = engine.spec.kind.models().iter().map(|spec| {
        let mut row = row(spec);
        row["modified_at"] = json!(MOMENT);
        row["size"] = json!(bytes_of(spec.file_gb));
        row["capabilities"] = capabilities(spec);
        row
    });
    Json(json!({ "models": rows.collect::<Vec<_>>() }))
}

async fn ps(State(engine): Shared) -> Json<Value> {
    let models = engine.spec.kind.models();
    let room = bytes_of(engine.spec.kind.vram_gb());
    let readings = engine.readings();
    let rows = readings.resident.iter().filter(|resident| resident.ready).map(|resident| {
        let spec = &models[resident.model];
        let mut row = row(spec);
        row["size"] = json!(bytes_of(spec.vram_gb));
        row["size_vram"] = json!(bytes_of(spec.vram_gb).min(room));
        row["context_length"] = json!(engine.spec.context_tokens);
        row["expires_at"] = json!(engine.expiry(resident.expires));
        row
    });
    Json(json!({ "models": rows.collect::<Vec<_>>() }))
}

async fn show(State(engine): Shared, body: Bytes) -> Response {
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = value["model"].as_str().or_else(|| value["name"].as_str()).unwrap_or_default();
    let Some(model) = find_model(&engine, name) else {
        return Api::Ollama.error(StatusCode::NOT_FOUND, &format!("model '{name}' not found"));
    };
    let spec = &engine.spec.kind.models()[model];
    Json(json!({
        "modelfile": "", "parameters": "", "template": "{{ .Prompt }}", "details": details(spec),
        "model_info": { "general.architecture": "lab", "lab.context_length": engine.spec.context_tokens },
        "capabilities": capabilities(spec), "modified_at": MOMENT,
    }))
    .into_response()
}
