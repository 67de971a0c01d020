//! The cast of black-box tests: lab engines of each kind with equal answers to equal requests, and requests to them.
//!
//! Rates are in tokens per second; a request without `max_tokens` is answered for as long as anybody listens.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use std::time::Duration;

use arriero_lab::http::{LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec, VllmSpec};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::common::{PATIENCE, reqwest_client};

/// Fast enough that a short answer takes no time.
pub const FAST: f64 = 20_000.0;
/// Slow enough that an answer of [`LONG`] tokens outlasts every test.
pub const SLOW: f64 = 50.0;
/// Tokens of an answer that nobody reads to its end.
pub const LONG: u32 = 500_000;

fn models(names: &[&str], rate: f64) -> Vec<ModelSpec> {
    names.iter().map(|name| ModelSpec::new(name, 0.001, 1.0, rate, 1e7)).collect()
}

fn even(spec: LabSpec) -> LabSpec {
    LabSpec { steady: true, output_tokens: LONG, keep_bodies: 100_000, ..spec }
}

/// A plain OpenAI engine with 64 slots.
pub fn openai(names: &[&str], rate: f64) -> LabSpec {
    even(LabSpec::openai(models(names, rate), 64))
}

/// An Ollama-like engine with 4 slots per model and room for all of them.
pub fn ollama(names: &[&str], rate: f64) -> LabSpec {
    let spec = OllamaSpec::new(models(names, rate));
    let load_fixed = Duration::from_millis(1);
    even(LabSpec::ollama(OllamaSpec { slots: 4, max_resident: names.len().max(1), load_fixed, ..spec }))
}

/// A vLLM-like engine; one token takes 1 ms.
pub fn vllm(names: &[&str]) -> LabSpec {
    let spec = VllmSpec::a100_8b(models(names, 1.0));
    even(LabSpec::vllm(VllmSpec { base_ms: 1.0, per_sequence_ms: 0.0, per_prefill_ms: 0.0, ..spec }))
}

pub async fn start(spec: LabSpec) -> LabEngine {
    LabEngine::start(spec).await.unwrap()
}

/// One pool `p` of these engines, with more keys for it, and one route with more keys.
pub fn config(engines: &[&LabEngine], pool: &str, route: &str) -> String {
    let urls: Vec<String> = engines.iter().map(|engine| format!("{:?}", engine.url())).collect();
    format!(
        "pools:\n  p: {{ endpoints: [{}], {pool} }}\nroutes:\n  - {{ name: r, pool: p, {route} }}\n",
        urls.join(", ")
    )
}

/// A request that every inference path of the lab understands.
pub fn ask(model: &str, stream: bool, tokens: u32) -> Value {
    json!({
        "model": model, "stream": stream, "max_tokens": tokens, "prompt": "Where does the herd sleep?",
        "messages": [{ "role": "user", "content": "Where does the herd sleep?" }],
    })
}

/// Posts a body; `id` goes along as `x-request-id` (access log) and `x-lab-id` (lab).
pub async fn post(url: String, id: &str, body: &Value) -> reqwest::Response {
    let request = reqwest_client().post(&url).header("x-request-id", id).header("x-lab-id", id).json(body);
    let sent = tokio::time::timeout(PATIENCE, request.send()).await;
    sent.unwrap_or_else(|_| panic!("{url} {id}: no answer")).unwrap_or_else(|error| panic!("{url} {id}: {error}"))
}

/// Status and body of an answer.
pub async fn whole(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let text = tokio::time::timeout(PATIENCE, answer.text()).await.expect("the answer ends");
    (status, text.expect("the answer is whole"))
}

/// Status and JSON of an answer.
pub async fn json_of(answer: reqwest::Response) -> (u16, Value) {
    let (status, text) = whole(answer).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Everything that comes until the stream ends or breaks, and whether it broke.
pub async fn until_the_end(answer: reqwest::Response) -> (String, bool) {
    let mut pieces = answer.bytes_stream();
    let mut text = Vec::new();
    let read = async {
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => text.extend_from_slice(&piece),
                Err(_) => return true,
            }
        }
        false
    };
    let broke = tokio::time::timeout(PATIENCE, read).await.expect("the stream ends");
    (String::from_utf8_lossy(&text).into_owned(), broke)
}
