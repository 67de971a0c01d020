//! What SGLang serves beside the shared APIs: health, its own and its model's description, tokenizer and loads.
//!
//! One data-parallel rank. KV figures are tokens of the engine model's KV room; throughput is not modelled, so 0.
//! `/metrics` is 404, as without `--enable-metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::engine::Engine;
use super::spec::Kind;
use super::vllm;

/// The version it claims.
const VERSION: &str = "0.5.9";

type Shared = State<Arc<Engine>>;

pub(crate) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/health", get(|| async {}))
        .route("/health_generate", get(|| async {}))
        .route("/v1/loads", get(loads))
        .route("/get_load", get(old_load))
        .route("/server_info", get(server_info))
        .route("/get_server_info", get(server_info))
        .route("/model_info", get(model_info))
        .route("/get_model_info", get(model_info))
        .route("/tokenize", post(vllm::tokenize))
}

/// Tokens of KV room in all, and those in use.
fn tokens(engine: &Engine) -> (u64, u64) {
    let Kind::Vllm(spec) = &engine.spec.kind else { return (0, 0) };
    (spec.kv_tokens, (engine.readings().kv_used * spec.kv_tokens as f64).round() as u64)
}

async fn loads(State(engine): Shared) -> Json<Value> {
    let readings = engine.readings();
    let (room, used) = tokens(&engine);
    let hit_rate = readings.prefix_hits as f64 / readings.prefix_queries.max(1) as f64;
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    let rank = json!({
        "dp_rank": 0, "timestamp": now, "num_running_reqs": readings.running, "num_waiting_reqs": readings.waiting,
        "num_total_reqs": readings.running + readings.waiting, "num_used_tokens": used, "max_total_num_tokens": room,
        "max_running_requests": readings.slots, "token_usage": readings.kv_used, "utilization": 0.0,
        "gen_throughput": 0.0, "cache_hit_rate": hit_rate,
    });
    Json(json!({ "timestamp": now, "version": VERSION, "dp_rank_count": 1, "loads": [rank] }))
}

async fn old_load(State(engine): Shared) -> Json<Value> {
    let readings = engine.readings();
    let requests = readings.running + readings.waiting;
    let (_, used) = tokens(&engine);
    Json(json!([{ "dp_rank": 0, "num_reqs": requests, "num_waiting_reqs": readings.waiting, "num_tokens": used }]))
}

fn model_name(engine: &Engine) -> String {
    engine.spec.kind.models().first().map(|spec| spec.name.to_string()).unwrap_or_default()
}

async fn server_info(State(engine): Shared) -> Json<Value> {
    let (room, _) = tokens(&engine);
    let name = model_name(&engine);
    Json(json!({
        "model_path": name, "served_model_name": name, "version": VERSION, "max_total_num_tokens": room,
        "context_length": engine.spec.context_tokens, "dp_size": 1, "tp_size": 1, "internal_states": [{}],
    }))
}

async fn model_info(State(engine): Shared) -> Json<Value> {
    let name = model_name(&engine);
    Json(json!({ "model_path": name, "tokenizer_path": name, "is_generation": true }))
}
