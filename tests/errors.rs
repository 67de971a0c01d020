//! Every refusal speaks the client's API, carries the right status, and says what would help.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::{Fault, FaultKind, LabSpec};
use common::{Proxy, eventually, free_port, reqwest_client};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use stage::{FAST, LONG, SLOW, ask, config, ollama, openai, post, start, whole};

const PATHS: [&str; 3] = ["/v1/chat/completions", "/api/chat", "/v1/messages"];

/// Method, path, body; the status of the refusal, OpenAI's code and Anthropic's type.
type Case<'a> = (Method, &'a str, &'a str, u16, (&'a str, &'a str));

/// An answer's head as far as errors go, and its JSON.
struct Refused {
    status: u16,
    retry_after: Option<u32>,
    body: Value,
}

impl Refused {
    fn message(&self) -> &str {
        let message = self.body["error"]["message"].as_str().or(self.body["error"].as_str());
        message.unwrap_or_else(|| panic!("no message in {}", self.body))
    }

    /// Checks status and shape. `kinds`: OpenAI's code, Anthropic's type.
    fn assert(&self, path: &str, status: u16, kinds: (&str, &str)) {
        let what = format!("{path} {status}: {}", self.body);
        assert_eq!(self.status, status, "{what}");
        assert!(!self.message().is_empty(), "{what}");
        if path.starts_with("/api/") {
            assert_eq!(self.body, json!({ "error": self.message() }), "{what}");
        } else if path.starts_with("/v1/messages") {
            assert_eq!((&self.body["type"], &self.body["error"]["type"]), (&json!("error"), &json!(kinds.1)), "{what}");
        } else {
            assert_eq!(self.body["error"]["code"], json!(kinds.0), "{what}");
            assert!(self.body["error"]["type"].is_string() && self.body["error"].get("param").is_some(), "{what}");
        }
    }
}

async fn ask_for(proxy: &Proxy, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Refused {
    let request = reqwest_client().request(method, proxy.url(path)).header("x-request-id", "refused").body(body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "refused");
    assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
    let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    let (status, text) = whole(answer).await;
    let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path} {status}: {error}: {text}"));
    Refused { status, retry_after, body }
}

async fn ask_model(proxy: &Proxy, path: &str, model: &str) -> Refused {
    ask_for(proxy, Method::POST, path, ask(model, false, 1).to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_before_an_engine_have_the_shape_of_each_api() {
    let engine = start(ollama(&["m", "other"], FAST)).await;
    let proxy = Proxy::start(&(config(&[&engine], "", "") + "limits: { body: 2KiB }\n")).await;
    let large = json!({ "model": "m", "filler": "x".repeat(4096) }).to_string();
    let bad = "invalid_request_error";
    for path in PATHS {
        let cases: [Case<'_>; 9] = [
            (Method::POST, path, "{\"model\":", 400, ("invalid_request", bad)),
            (Method::POST, path, "", 400, ("invalid_request", bad)),
            (Method::POST, path, "{\"messages\":[]}", 400, ("model_missing", bad)),
            (Method::POST, path, "{\"model\":\"m\",\"model\":\"m\"}", 400, ("model_ambiguous", bad)),
            (Method::POST, path, "{\"model\":\"nobody\"}", 404, ("model_not_found", "not_found_error")),
            (Method::POST, &format!("{path}/no/such"), "{}", 404, ("not_found", "not_found_error")),
            (Method::GET, path, "", 405, ("method_not_allowed", bad)),
            (Method::PUT, path, "{\"model\":\"m\"}", 405, ("method_not_allowed", bad)),
            (Method::POST, path, &large, 413, ("request_too_large", "request_too_large")),
        ];
        for (method, path, body, status, kinds) in cases {
            ask_for(&proxy, method, path, body.to_owned()).await.assert(path, status, kinds);
        }
    }
    let unknown = ask_model(&proxy, PATHS[0], "nobody").await;
    assert!(unknown.message().contains("nobody") && unknown.message().contains("m, other"), "{}", unknown.body);
    assert_eq!(engine.stats().inference, 0, "no engine was bothered");
    assert_eq!(proxy.line("refused").await["end"], "PR");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anthropic_header_decides_the_shape_where_the_path_does_not() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let request = reqwest_client().post(proxy.url(PATHS[0])).header("anthropic-version", "2023-06-01").body("{");
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
}

#[tokio::test(flavor = "multi_thread")]
async fn control_endpoints_are_closed_unless_a_route_opens_them() {
    let engine = start(ollama(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let body = json!({ "model": "m", "name": "m" }).to_string();
    let mut seen = engine.stats().bodies.len();
    for (method, path, name) in [
        (Method::POST, "/api/pull", "pull"),
        (Method::POST, "/api/create", "create"),
        (Method::POST, "/api/copy", "copy"),
        (Method::DELETE, "/api/delete", "delete"),
        (Method::POST, "/api/push", "push"),
        (Method::POST, "/api/blobs/sha256:0", "blobs"),
        (Method::POST, "/API/Pull", "pull"),
        (Method::POST, "/api//pull", "pull"),
        (Method::POST, "/api/%70ull", "pull"),
        (Method::POST, "/x/../api/pull", "pull"),
        (Method::GET, "/slots", "slots"),
        (Method::GET, "/props", "props"),
        (Method::POST, "/v1/load_lora_adapter", "lora"),
        (Method::POST, "/sleep", "sleep"),
        (Method::GET, "/metrics", "metrics"),
        (Method::POST, "/v1/files", "files"),
    ] {
        let refused = ask_for(&proxy, method, path, body.clone()).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.body);
        assert!(refused.message().contains(&format!("`allow: [{name}]`")), "{path}: {}", refused.body);
        assert_eq!(engine.stats().bodies.len(), seen, "{path}: nothing passed");
    }
    let open = Proxy::start(&config(&[&engine], "", "allow: [pull, delete]")).await;
    seen = engine.stats().bodies.len();
    let answer = post(open.url("/api/pull"), "pull", &json!({ "model": "new" })).await;
    assert_eq!(answer.headers()["x-arriero-endpoint"], engine.addr().to_string().as_str(), "the engine answered");
    assert_eq!(engine.stats().bodies.len(), seen + 1);
    assert_eq!(ask_for(&open, Method::POST, "/api/push", body).await.status, 403, "only what is named is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_429_and_a_long_wait_503() {
    let engine = start(ollama(&["m"], SLOW)).await;
    for (queue, status, kinds, end) in [
        ("queue: { max_requests: 0 }", 429, ("rate_limit_exceeded", "rate_limit_error"), "PQ"),
        ("queue: { timeout: 200ms }", 503, ("engine_unavailable", "overloaded_error"), "sQ"),
    ] {
        let pool = format!("defaults: {{ max_in_flight: 1 }}, {queue}");
        let proxy = Proxy::start(&config(&[&engine], &pool, "")).await;
        let before = engine.stats().inference;
        let mut held = post(proxy.url(PATHS[1]), "held", &ask("m", true, LONG)).await.bytes_stream();
        held.next().await.unwrap().unwrap();
        for path in PATHS {
            let refused = ask_model(&proxy, path, "m").await;
            refused.assert(path, status, kinds);
            assert!(refused.retry_after.is_some_and(|seconds| seconds >= 1), "{path}: when to come again");
        }
        let ends = || proxy.lines().into_iter().filter(|line| line["id"] == "refused").collect::<Vec<_>>();
        assert!(eventually(async || ends().len() == PATHS.len()).await, "{:?}", ends());
        assert!(ends().iter().all(|line| line["end"] == end), "{:?}", ends());
        assert_eq!(engine.stats().inference, before + 1, "only the held one came");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_is_404_only_when_every_inventory_is_known() {
    let here = start(openai(&["here"], FAST)).await;
    let port = free_port();
    let text = format!(
        "pools: {{ p: {{ health: {{ every: 250ms, rise: 1 }}, endpoints: [{:?}, \"http://127.0.0.1:{port}\"] }} }}\n",
        here.url()
    );
    let proxy = Proxy::start_degraded(&text).await;
    assert!(eventually(async || ask_here(&proxy, "here").await == 200).await, "one engine is enough to start");
    for path in [PATHS[0], "/v1/completions", "/v1/embeddings"] {
        let refused = ask_model(&proxy, path, "there").await;
        refused.assert(path, 503, ("engine_unavailable", ""));
        assert!(refused.retry_after.is_some_and(|seconds| seconds >= 1), "{path}: when to come again");
        assert!(!refused.message().contains("known models"), "{}", refused.body);
    }
    assert_eq!(proxy.line("refused").await["end"], "SQ");
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let there = start(LabSpec { listen, ..openai(&["there"], FAST) }).await;
    assert!(eventually(async || ask_here(&proxy, "there").await == 200).await, "it is found when it comes");
    let unknown = ask_model(&proxy, PATHS[0], "nowhere").await;
    unknown.assert(PATHS[0], 404, ("model_not_found", ""));
    assert!(unknown.message().contains("here, there"), "{}", unknown.body);
    assert_eq!(there.stats().per_model.get("here"), None);
}

async fn ask_here(proxy: &Proxy, model: &str) -> u16 {
    whole(post(proxy.url(PATHS[0]), "here", &ask(model, false, 1)).await).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_engine_down_it_is_503() {
    let text = format!("pools: {{ p: {{ endpoints: [\"http://127.0.0.1:{}\"] }} }}\n", free_port());
    let proxy = Proxy::start_degraded(&text).await;
    let gone = eventually(async || ask_model(&proxy, PATHS[0], "m").await.status == 503);
    assert!(gone.await);
    for path in PATHS {
        let refused = ask_model(&proxy, path, "m").await;
        refused.assert(path, 503, ("engine_unavailable", "overloaded_error"));
        assert!(refused.retry_after.is_some_and(|seconds| seconds >= 1), "{path}: when to come again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_only_engine_is_down_is_503() {
    let engines = [start(openai(&["here"], FAST)).await, start(openai(&["there"], FAST)).await];
    let checks = "health: { every: 100ms, fall: 2, timeout: 1s }";
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], checks, "")).await;
    engines[1].set_fault(Fault::always(FaultKind::Refuse));
    let down = format!("arriero_endpoint_up{{endpoint=\"{}\"}}", engines[1].addr());
    assert!(eventually(async || proxy.metric(&down).await == Some(0.0)).await);
    let refused = ask_model(&proxy, PATHS[0], "there").await;
    refused.assert(PATHS[0], 503, ("engine_unavailable", ""));
    assert!(refused.retry_after.is_some_and(|seconds| seconds >= 1));
    assert_eq!(ask_here(&proxy, "here").await, 200);
}
