//! Lab engines over real HTTP: streams, refusals, cancels, faults and counters, as a client sees them.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec, VllmSpec};
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

fn vllm() -> LabSpec {
    let spec = VllmSpec { max_sequences: 4, ..VllmSpec::a100_8b(vec![ModelSpec::new("qwen3:8b", 5.2, 6.0, 1.0, 1.0)]) };
    LabSpec { time_scale: 50.0, output_tokens: 6, ..LabSpec::vllm(spec) }
}

async fn get(engine: &LabEngine, path: &str) -> reqwest::Response {
    client().get(format!("{}{path}", engine.url())).send().await.expect("a reply")
}

async fn json_of(reply: reqwest::Response) -> Value {
    serde_json::from_str(&text(reply).await).expect("JSON")
}

#[tokio::test]
async fn the_limit_is_honoured_in_every_api() {
    let engine = LabEngine::start(ollama()).await.unwrap();
    let mut ask = hello("llama3.2:3b");
    ask["stream"] = json!(false);
    ask["max_tokens"] = json!(3);
    let reply = json_of(post(&engine, "/v1/chat/completions", ask.clone()).await).await;
    assert_eq!(reply["usage"]["completion_tokens"], json!(3));
    assert_eq!(reply["choices"][0]["finish_reason"], json!("length"));
    let reply = json_of(post(&engine, "/v1/messages", ask.clone()).await).await;
    assert_eq!((&reply["usage"]["output_tokens"], &reply["stop_reason"]), (&json!(3), &json!("max_tokens")));
    let ask = json!({ "model": "llama3.2:3b", "prompt": "hi", "stream": false, "options": { "num_predict": 2 } });
    let reply = json_of(post(&engine, "/api/generate", ask).await).await;
    assert_eq!((&reply["eval_count"], &reply["done_reason"]), (&json!(2), &json!("length")));
}

#[tokio::test]
async fn ollama_lists_and_residency() {
    let engine = LabEngine::start(ollama()).await.unwrap();
    assert_eq!(text(get(&engine, "/").await).await, "Ollama is running");
    assert_eq!(client().head(engine.url()).send().await.unwrap().status(), 200);
    assert!(json_of(get(&engine, "/api/version").await).await["version"].is_string());
    let tags = json_of(get(&engine, "/api/tags").await).await;
    assert_eq!(tags["models"].as_array().unwrap().len(), 3);
    let resident = async || json_of(get(&engine, "/api/ps").await).await["models"].as_array().unwrap().clone();
    assert!(resident().await.is_empty());
    let load = json!({ "model": "qwen3:8b" });
    assert_eq!(json_of(post(&engine, "/api/generate", load).await).await["done_reason"], json!("load"));
    let rows = resident().await;
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["name"], &rows[0]["context_length"]), (&json!("qwen3:8b"), &json!(8192)));
    let unload = json!({ "model": "qwen3:8b", "keep_alive": 0 });
    assert_eq!(json_of(post(&engine, "/api/generate", unload).await).await["done_reason"], json!("unload"));
    assert!(resident().await.is_empty());
    let embed = json!({ "model": "nomic-embed-text", "input": ["one", "two"] });
    assert_eq!(json_of(post(&engine, "/api/embed", embed).await).await["embeddings"].as_array().unwrap().len(), 2);
    let show = json_of(post(&engine, "/api/show", json!({ "model": "nomic-embed-text" })).await).await;
    assert_eq!(show["capabilities"], json!(["embedding"]));
}

#[tokio::test]
async fn unknown_models_are_refused_in_each_shape() {
    let engine = LabEngine::start(ollama()).await.unwrap();
    let shapes =
        [("/api/chat", "/error"), ("/v1/chat/completions", "/error/message"), ("/v1/messages", "/error/message")];
    for (path, message) in shapes {
        let reply = post(&engine, path, hello("nobody")).await;
        assert_eq!(reply.status(), 404, "{path}");
        let body = json_of(reply).await;
        assert!(body.pointer(message).unwrap().as_str().unwrap().contains("nobody"), "{path}: {body}");
    }
    assert!(engine.wait_for(LONG, |stats| stats.in_flight == 0).await);
    assert_eq!((engine.stats().cancels, engine.stats().completed), (0, 3));
    assert_eq!(post(&engine, "/api/pull", json!({ "model": "x" })).await.status(), 404);
}

#[tokio::test]
async fn anthropic_events_are_named_and_in_order() {
    let engine = LabEngine::start(vllm()).await.unwrap();
    let mut ask = hello("qwen3:8b");
    (ask["stream"], ask["max_tokens"]) = (json!(true), json!(2));
    let body = text(post(&engine, "/v1/messages", ask).await).await;
    let names: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let delta = "content_block_delta";
    let opening = ["message_start", "content_block_start", "ping"];
    let ending = ["content_block_stop", "message_delta", "message_stop"];
    assert_eq!(names, [&opening[..], &[delta, delta], &ending].concat());
}

#[tokio::test]
async fn vllm_shows_running_and_waiting_in_its_metrics() {
    let engine = LabEngine::start(LabSpec { time_scale: 1.0, output_tokens: 100_000, ..vllm() }).await.unwrap();
    let mut ask = hello("qwen3:8b");
    ask["stream"] = json!(true);
    let mut streams = Vec::new();
    for _ in 0..6 {
        streams.push(post(&engine, "/v1/chat/completions", ask.clone()).await.bytes_stream());
    }
    streams[0].next().await.unwrap().unwrap();
    // the batch takes them in step by step
    assert!(engine.wait_for(LONG, |stats| stats.max_running == 4).await);
    let page = text(get(&engine, "/metrics").await).await;
    let value = |series: &str| {
        let line = page.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series} in {page}"));
        assert!(line.contains("engine=\"0\"") && line.contains("model_name=\"qwen3:8b\""), "{line}");
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!((value("vllm:num_requests_running{"), value("vllm:num_requests_waiting{")), (4.0, 2.0));
    assert!(value("vllm:kv_cache_usage_perc{") > 0.0);
    assert_eq!(engine.stats().max_running, 4, "never more than the batch allows");
    assert_eq!(json_of(get(&engine, "/v1/models").await).await["data"][0]["max_model_len"], json!(8192));
    drop(streams);
    assert!(engine.wait_for(LONG, |stats| stats.cancels == 6).await);
    assert_eq!(engine.readings().running, 0);
}

#[tokio::test]
async fn vllm_reports_its_load_in_a_header_on_request() {
    let engine = LabEngine::start(vllm()).await.unwrap();
    let ask = client().post(format!("{}/v1/chat/completions", engine.url())).json(&hello("qwen3:8b"));
    let reply = ask.header("endpoint-load-metrics-format", "JSON").send().await.unwrap();
    let report = reply.headers()["endpoint-load-metrics"].to_str().unwrap().to_owned();
    assert!(report.starts_with("JSON {") && report.contains("\"num_requests_waiting\":0.0"), "{report}");
}

#[tokio::test]
async fn keys_and_hosts_are_checked() {
    let spec = LabSpec { api_key: Some("secret".to_owned()), check_host: true, ..vllm() };
    let engine = LabEngine::start(spec).await.unwrap();
    assert_eq!(get(&engine, "/v1/models").await.status(), 401);
    assert_eq!(get(&engine, "/health").await.status(), 200);
    let models = || client().get(format!("{}/v1/models", engine.url())).bearer_auth("secret");
    assert_eq!(models().send().await.unwrap().status(), 200);
    assert_eq!(models().header("host", "llm.example.com").send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn bodies_are_remembered_and_echoed() {
    let engine = LabEngine::start(LabSpec { echo_body_hash: true, ..ollama() }).await.unwrap();
    let padding = "x".repeat(3 << 20);
    let body = json!({ "padding": padding, "model": "nomic-embed-text", "input": "one" }).to_string();
    let ask = client().post(format!("{}/api/embed", engine.url())).header("x-lab-id", "big").body(body.clone());
    let reply = ask.send().await.unwrap();
    let hash = xxhash_rust::xxh3::xxh3_64(body.as_bytes());
    assert_eq!(reply.headers()["x-lab-body"], format!("{}-{hash:016x}", body.len()));
    let stats = engine.stats();
    let seen = stats.body("big").unwrap();
    assert_eq!((seen.length, seen.xxh3, seen.path.as_str()), (body.len() as u64, hash, "/api/embed"));
}

#[tokio::test]
async fn a_hanging_engine_counts_the_client_that_gives_up() {
    let engine = LabEngine::start(ollama()).await.unwrap();
    let fault = json!({ "kind": "hang" });
    assert_eq!(post(&engine, "/lab/fault", fault).await.status(), 200);
    let asking = post(&engine, "/api/chat", hello("qwen3:8b"));
    tokio::select! {
        _ = asking => panic!("it must not answer"),
        seen = engine.wait_for(LONG, |stats| stats.in_flight == 1) => assert!(seen),
    }
    assert!(engine.wait_for(LONG, |stats| stats.cancels == 1 && stats.in_flight == 0).await);
    assert_eq!(get(&engine, "/api/tags").await.status(), 200, "probes stay well");
}

#[tokio::test]
async fn garbage_and_errors_strike_as_often_as_asked() {
    let engine = LabEngine::start(ollama()).await.unwrap();
    engine.set_fault(Fault::always(FaultKind::Garbage));
    let body = post(&engine, "/api/chat", hello("llama3.2:3b")).await.bytes().await.unwrap();
    assert!(serde_json::from_slice::<Value>(body.split(|&byte| byte == b'\n').next().unwrap()).is_err());
    engine.set_fault(Fault::sometimes(FaultKind::Error, 0.5));
    let mut errors = 0;
    for _ in 0..60 {
        errors += u32::from(post(&engine, "/api/embed", json!({ "model": "nomic-embed-text" })).await.status() == 500);
    }
    assert!((15..=45).contains(&errors), "{errors} of 60");
}

#[tokio::test]
async fn a_slow_engine_takes_longer() {
    let engine = LabEngine::start(ollama()).await.unwrap();
    let eval = async || {
        let mut ask = hello("llama3.2:3b");
        ask["stream"] = json!(false);
        json_of(post(&engine, "/api/chat", ask).await).await["eval_duration"].as_f64().unwrap()
    };
    let well = eval().await;
    engine.set_fault(Fault::always(FaultKind::Slow { factor: 4.0 }));
    let ratio = eval().await / well;
    assert!((3.99..4.01).contains(&ratio), "{ratio}");
}

#[tokio::test]
async fn a_refusing_engine_cuts_streams_and_comes_back_on_its_port() {
    let engine = LabEngine::start(LabSpec { time_scale: 1.0, output_tokens: 100_000, ..ollama() }).await.unwrap();
    post(&engine, "/api/generate", json!({ "model": "llama3.2:3b" })).await;
    let mut stream = post(&engine, "/api/chat", hello("llama3.2:3b")).await.bytes_stream();
    stream.next().await.unwrap().unwrap();
    engine.set_fault(Fault::always(FaultKind::Refuse));
    let broken = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::time::timeout(LONG, broken).await.expect("the stream ends");
    assert!(client().get(engine.url()).send().await.is_err(), "nobody listens");
    engine.set_fault(Fault::none());
    let back = async {
        while client().get(engine.url()).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, back).await.expect("it listens again on the same port");
}

#[tokio::test]
async fn a_stopped_engine_is_gone() {
    let engine = LabEngine::start(ollama()).await.unwrap();
    let url = engine.url();
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200);
    engine.stop().await;
    assert!(client().get(&url).send().await.is_err());
}

#[tokio::test]
async fn slots_are_never_exceeded_and_every_job_is_accounted_for() {
    let spec = OllamaSpec { slots: 2, ..OllamaSpec::new(models()) };
    let engine =
        LabEngine::start(LabSpec { time_scale: 200.0, output_tokens: 20, ..LabSpec::ollama(spec) }).await.unwrap();
    let asks = (0..60).map(|index| post(&engine, "/api/chat", hello(["llama3.2:3b", "qwen3:8b"][index % 2])));
    let bodies = futures::future::join_all(asks.map(async |reply| text(reply.await).await)).await;
    assert!(bodies.iter().all(|body| lines(body).len() == 21));
    assert!(engine.wait_for(LONG, |stats| stats.in_flight == 0).await);
    let stats = engine.stats();
    assert_eq!((stats.completed, stats.cancels), (60, 0));
    assert_eq!(stats.per_model.values().copied().collect::<Vec<_>>(), [30, 30]);
    assert!((1..=4).contains(&stats.max_running), "two slots for each of two models: {}", stats.max_running);
}

#[tokio::test]
async fn the_demo_fleet_answers() {
    for spec in arriero_lab::demo::specs() {
        let engine = LabEngine::start(LabSpec { time_scale: 100.0, ..spec }).await.unwrap();
        let name = engine.spec().kind.models()[0].name.to_string();
        let reply = json_of(post(&engine, "/v1/chat/completions", hello(&name)).await).await;
        assert_eq!(reply["usage"]["completion_tokens"], json!(96));
    }
}
