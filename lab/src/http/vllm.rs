//! What vLLM serves beside the shared APIs: health, version, tokenizer, server load and Prometheus metrics.
//!
//! Series carry `model_name` (the first served name) and `engine="0"`; latencies are virtual seconds. A non-streamed
//! reply carries a load report when the request asks for one with `endpoint-load-metrics-format`.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::ask::{Api, Ask};
use super::engine::Engine;
use super::spec::{Flavour, Kind};
use super::totals::Histogram;

/// The version it claims.
const VERSION: &str = "0.32.0";

type Shared = State<Arc<Engine>>;

pub(crate) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/health", get(|| async {}))
        .route("/ping", get(|| async {}).post(|| async {}))
        .route("/version", get(|| async { Json(json!({ "version": VERSION })) }))
        .route("/load", get(load))
        .route("/tokenize", post(tokenize))
        .route("/metrics", get(metrics))
}

async fn load(State(engine): Shared) -> Json<Value> {
    Json(json!({ "server_load": engine.stats.lock().in_flight }))
}

pub(crate) async fn tokenize(State(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match Ask::parse(&engine, Api::OpenAi, &headers, &body) {
        Ok(ask) => {
            let tokens: Vec<u32> = (0..ask.prompt_tokens).collect();
            let count = ask.prompt_tokens;
            Json(json!({ "count": count, "max_model_len": engine.spec.context_tokens, "tokens": tokens }))
                .into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Adds the load report to a reply that is not streamed, if the request asked and the engine is a vLLM.
pub(crate) fn with_load_report(engine: &Engine, headers: &HeaderMap, reply: impl IntoResponse) -> Response {
    let mut reply = reply.into_response();
    let wish = headers.get("endpoint-load-metrics-format").and_then(|value| value.to_str().ok());
    let readings = engine.readings();
    let (waiting, kv) = (readings.waiting as f64, readings.kv_used);
    let report = match wish.filter(|_| engine.spec.flavour == Flavour::Vllm) {
        Some("JSON") => {
            let metrics = json!({ "named_metrics": { "num_requests_waiting": waiting, "kv_cache_usage_perc": kv } });
            format!("JSON {metrics}")
        }
        Some("TEXT") => {
            format!("TEXT named_metrics.num_requests_waiting={waiting}, named_metrics.kv_cache_usage_perc={kv}")
        }
        _ => return reply,
    };
    if let Ok(value) = HeaderValue::from_str(&report) {
        reply.headers_mut().insert("endpoint-load-metrics", value);
    }
    reply
}

/// The page under construction, with the labels that every series carries.
struct Page {
    text: String,
    labels: String,
}

impl Page {
    fn single(&mut self, kind: &str, name: &str, help: &str, value: f64) {
        self.head(kind, name, help);
        self.sample(name, "", value);
    }

    fn head(&mut self, kind: &str, name: &str, help: &str) {
        let _infallible = writeln!(self.text, "# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}");
    }

    fn sample(&mut self, name: &str, more: &str, value: f64) {
        let _infallible = writeln!(self.text, "vllm:{name}{{{}{more}}} {value:?}", self.labels);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head("histogram", name, help);
        let mut below = 0;
        for (bound, count) in Histogram::BOUNDS.iter().zip(histogram.counts) {
            below += count;
            self.sample(&format!("{name}_bucket"), &format!(",le=\"{bound:?}\""), below as f64);
        }
        self.sample(&format!("{name}_bucket"), ",le=\"+Inf\"", histogram.total as f64);
        self.sample(&format!("{name}_sum"), "", histogram.sum);
        self.sample(&format!("{name}_count"), "", histogram.total as f64);
    }
}

async fn metrics(State(engine): Shared) -> Response {
    let readings = engine.readings();
    let totals = engine.totals();
    let name = engine.spec.kind.models().first().map(|spec| spec.name.to_string()).unwrap_or_default();
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    let mut page = Page { text: String::new(), labels: format!("engine=\"0\",model_name=\"{name}\"") };
    page.single("gauge", "num_requests_running", "Requests in the batch.", readings.running as f64);
    page.single("gauge", "num_requests_waiting", "Requests that wait.", readings.waiting as f64);
    page.head("gauge", "num_requests_waiting_by_reason", "Requests that wait, by reason.");
    page.sample("num_requests_waiting_by_reason", ",reason=\"capacity\"", readings.waiting as f64);
    page.sample("num_requests_waiting_by_reason", ",reason=\"deferred\"", 0.0);
    page.single("gauge", "kv_cache_usage_perc", "KV room in use, 0 to 1.", readings.kv_used);
    page.single("counter", "prefix_cache_queries_total", "Tokens looked up.", readings.prefix_queries as f64);
    page.single("counter", "prefix_cache_hits_total", "Tokens found.", readings.prefix_hits as f64);
    page.single("counter", "num_preemptions_total", "Sequences put back.", readings.preemptions as f64);
    page.single("counter", "prompt_tokens_total", "Prompt tokens taken.", totals.prompt_tokens as f64);
    page.single("counter", "generation_tokens_total", "Tokens put out.", totals.output_tokens as f64);
    page.histogram("time_to_first_token_seconds", "Time to first token.", &totals.first_token);
    page.histogram("e2e_request_latency_seconds", "Whole latency.", &totals.end_to_end);
    if let Kind::Vllm(spec) = &engine.spec.kind {
        let blocks = spec.kv_tokens / u64::from(spec.block_tokens.max(1));
        let shape = format!(",block_size=\"{}\",num_gpu_blocks=\"{blocks}\"", spec.block_tokens);
        page.head("gauge", "cache_config_info", "The cache's shape.");
        page.sample("cache_config_info", &shape, 1.0);
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.text).into_response()
}
