//! Lab engines over real HTTP: streams, refusals, cancels, faults and counters, as a client sees them.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec};
use futures::StreamExt;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(20);

fn client() -> reqwest::Client {
    let _already = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

fn models() -> Vec<ModelSpec> {
    vec![
        ModelSpec::new("llama3.2:3b", 2.0, 3.0, 190.0, 9000.0),
        ModelSpec::new("qwen3:8b", 5.2, 6.0, 112.0, 3865.0),
        ModelSpec::new("nomic-embed-text:latest", 0.3, 0.5, 1000.0, 20000.0).for_embeddings(),
    ]
}

fn ollama() -> LabSpec {
    LabSpec { time_scale: 50.0, output_tokens: 8, ..LabSpec::ollama(OllamaSpec::new(models())) }
}

async fn post(engine: &LabEngine, path: &str, body: Value) -> reqwest::Response {
    client().post(format!("{}{path}", engine.url())).json(&body).send().await.expect("a reply")
}

async fn text(reply: reqwest::Response) -> String {
    reply.text().await.expect("a body")
}

fn lines(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn events(body: &str) -> Vec<&str> {
    body.split("\n\n").filter(|event| !event.is_empty()).map(|event| event.strip_prefix("data: ").unwrap()).collect()
}

fn hello(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hello there" }] })
}

#[tokio::test]
async fn ollama_chat_streams_lines_by_default() {
    let engine = LabEngine::start(ollama()).await.unwrap();
    let reply = post(&engine, "/api/chat", hello("qwen3:8b")).await;
    assert_eq!(reply.headers()["content-type"], "application/x-ndjson");
    let chunks = lines(&text(reply).await);
    assert_eq!(chunks.len(), 9);
    let last = &chunks[8];
    assert_eq!((last["done"].as_bool(), last["eval_count"].as_u64()), (Some(true), Some(8)));
    assert!(last["load_duration"].as_u64().unwrap() >= 1_500_000_000, "a cold model loads: {last}");
    let streamed: String = chunks.iter().map(|chunk| chunk["message"]["content"].as_str().unwrap()).collect();

    let mut whole = hello("qwen3:8b");
    whole["stream"] = json!(false);
    let whole: Value = serde_json::from_str(&text(post(&engine, "/api/chat", whole).await).await).unwrap();
    assert_eq!(whole["message"]["content"].as_str().unwrap(), streamed);
    assert_eq!(whole["load_duration"], json!(0), "the second request finds it resident");
    let stats = engine.stats();
    assert_eq!((stats.loads, stats.inference, stats.cancels), (1, 2, 0));
}

#[tokio::test]
async fn openai_stream_ends_with_usage_and_done() {
    let spec = LabSpec { time_scale: 50.0, output_tokens: 5, ..LabSpec::openai(models(), 4) };
    let engine = LabEngine::start(spec).await.unwrap();
    let mut ask = hello("qwen3:8b");
    ask["stream"] = json!(true);
    ask["stream_options"] = json!({ "include_usage": true });
    let body = text(post(&engine, "/v1/chat/completions", ask.clone()).await).await;
    let events = events(&body);
    assert_eq!(events.len(), 1 + 5 + 1 + 1 + 1, "role, tokens, finish, usage, done");
    assert_eq!(events[8], "[DONE]");
    let usage: Value = serde_json::from_str(events[7]).unwrap();
    assert_eq!((usage["choices"].clone(), usage["usage"]["completion_tokens"].clone()), (json!([]), json!(5)));
    let again = text(post(&engine, "/v1/chat/completions", ask).await).await;
    assert_eq!(body, again, "equal requests get equal bytes");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_job() {
    let spec = LabSpec { time_scale: 1.0, output_tokens: 100_000, ..LabSpec::openai(models(), 1) };
    let engine = LabEngine::start(spec).await.unwrap();
    let mut ask = hello("qwen3:8b");
    ask["stream"] = json!(true);
    let mut chunks = post(&engine, "/v1/chat/completions", ask).await.bytes_stream();
    chunks.next().await.expect("a first chunk").unwrap();
    assert_eq!((engine.stats().in_flight, engine.readings().running), (1, 1));
    drop(chunks);
    assert!(engine.wait_for(LONG, |stats| stats.cancels == 1 && stats.in_flight == 0).await);
    assert_eq!(engine.readings().running, 0);
}

#[tokio::test]
async fn faults_strike_and_heal() {
    let engine = LabEngine::start(ollama()).await.unwrap();
    engine.set_fault(Fault::always(FaultKind::Busy));
    let busy = post(&engine, "/api/chat", hello("qwen3:8b")).await;
    assert_eq!(busy.status(), 503);
    assert!(text(busy).await.contains("server busy"));
    engine.set_fault(Fault::always(FaultKind::Reset { after_chunks: 2 }));
    let cut: Vec<_> = post(&engine, "/api/chat", hello("qwen3:8b")).await.bytes_stream().collect().await;
    assert!(cut.last().unwrap().is_err(), "the stream breaks");
    assert!(cut.len() > 1, "after something came");
    engine.set_fault(Fault::none());
    assert_eq!(post(&engine, "/api/chat", hello("qwen3:8b")).await.status(), 200);
}
