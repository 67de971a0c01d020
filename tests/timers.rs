//! Limits of time and memory at their edges: an address that swallows connections, a model that has to be loaded first,
//! bodies that together are too much.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;

use std::net::SocketAddr;
use std::time::Duration;

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec};
use common::{PATIENCE, Proxy, eventually, reqwest_client};
use serde_json::{Value, json};
use stage::{FAST, ask, config, json_of, openai, post, start};

const CHAT: &str = "/v1/chat/completions";

/// An address whose queue of connections is full: a further one is never answered.
async fn silent_address() -> (SocketAddr, Vec<tokio::net::TcpStream>, tokio::net::TcpListener) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    let short = Duration::from_millis(300);
    while let Ok(Ok(stream)) = tokio::time::timeout(short, tokio::net::TcpStream::connect(address)).await {
        held.push(stream);
        assert!(held.len() < 16, "the queue does not fill");
    }
    (address, held, listener)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_swallows_connections_costs_the_connect_limit_only() {
    let (address, _held, _listener) = silent_address().await;
    let pool = "health: none, retries: 0, timeouts: { connect: 400ms }";
    let endpoint = format!("{{ url: \"http://{address}\", engine: openai, models: [m] }}");
    let text = format!("pools: {{ p: {{ endpoints: [{endpoint}], {pool} }} }}\nroutes:\n  - {{ name: r, pool: p }}\n");
    let proxy = Proxy::start_degraded(&text).await;
    let (status, body) = json_of(post(proxy.url(CHAT), "slow", &ask("m", false, 1)).await).await;
    assert_eq!(status, 502, "{body}");
    let line = proxy.line("slow").await;
    assert_eq!(line["end"], "SC", "{line}");
    assert!((400.0..10_000.0).contains(&line["total_ms"].as_f64().unwrap()), "{line}");
    // a client that leaves meanwhile: its slot is free within the connect limit
    let leaving = reqwest_client().post(proxy.url(CHAT)).json(&ask("m", false, 1));
    let leaving = tokio::spawn(async move { leaving.send().await });
    assert!(eventually(|| async { proxy.in_flight().await == 1 }).await);
    leaving.abort();
    assert!(eventually(|| async { proxy.in_flight().await == 0 }).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_model_gets_its_load_allowance_and_no_other_does() {
    for (allowance, expected) in [("60s", 200), ("0s", 504)] {
        let model = ModelSpec::new("m:latest", 0.1, 1.0, 1e5, 1e7);
        let spec = OllamaSpec { load_fixed: Duration::from_millis(1500), ..OllamaSpec::new(vec![model]) };
        let engine = LabEngine::start(LabSpec { output_tokens: 1, ..LabSpec::ollama(spec) }).await.unwrap();
        let endpoint = format!("{{ url: {:?}, load_allowance: {allowance} }}", engine.url());
        let text = format!("pools: {{ p: {{ endpoints: [{endpoint}], timeouts: {{ first_byte: 500ms }} }} }}\n");
        let proxy = Proxy::start(&text).await;
        let (status, body) = json_of(post(proxy.url(CHAT), "cold", &ask("m", false, 1)).await).await;
        assert_eq!(status, expected, "allowance {allowance}: {body}");
        let line = proxy.line("cold").await;
        assert_eq!(line["end"], if expected == 200 { "--" } else { "sH" }, "{line}");
        let total = line["total_ms"].as_f64().unwrap();
        assert!(expected == 200 || (500.0..1_400.0).contains(&total), "first_byte runs alone: {line}");
    }
}

fn held(proxy: &Proxy, id: &'static str, body: Value) -> tokio::task::JoinHandle<u16> {
    let url = proxy.url("/v1/completions");
    tokio::spawn(async move { post(url, id, &body).await.status().as_u16() })
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_together_stay_within_their_limit() {
    let engine = start(openai(&["m"], FAST)).await;
    let text = config(&[&engine], "", "") + "limits: { body: 2MiB, bodies: 2MiB }\n";
    let proxy = Proxy::start(&text).await;
    engine.set_fault(Fault::always(FaultKind::Hang));
    let large = |size: usize| json!({ "model": "m", "max_tokens": 1, "prompt": "a".repeat(size) });
    let first = held(&proxy, "first", large(1_500_000));
    assert!(engine.wait_for(PATIENCE, |stats| stats.in_flight == 1).await, "the first one is held");
    assert!(proxy.metric("arriero_body_buffer_bytes").await.unwrap() >= 1_500_000.0);
    let second = post(proxy.url("/v1/completions"), "second", &large(1_000_000)).await;
    assert_eq!(second.status(), 503);
    assert!(second.headers().contains_key("retry-after"));
    let small = held(&proxy, "small", large(1_000));
    assert!(engine.wait_for(PATIENCE, |stats| stats.in_flight == 2).await, "a small one still fits");
    first.abort();
    small.abort();
    engine.set_fault(Fault::none());
    let empty = || async { proxy.metric("arriero_body_buffer_bytes").await == Some(0.0) };
    assert!(eventually(empty).await, "what was held comes back");
    let (status, body) = json_of(post(proxy.url("/v1/completions"), "third", &large(1_000_000)).await).await;
    assert_eq!(status, 200, "{body}");
}
