//! Which route takes a request, what it makes of the model's name, and what it tells the client.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use common::{Proxy, eventually, reqwest_client};
use serde_json::{Value, json};
use stage::{FAST, LONG, SLOW, ask, config, json_of, ollama, openai, post, start, whole};

const CHAT: &str = "/v1/chat/completions";

fn pools(engines: &[&LabEngine]) -> String {
    let rows = engines.iter().enumerate();
    let rows: Vec<String> =
        rows.map(|(nth, engine)| format!("  p{nth}: {{ endpoints: [{:?}] }}\n", engine.url())).collect();
    format!("pools:\n{}", rows.concat())
}

async fn route_of(proxy: &Proxy, path: &str, header: Option<(&str, &str)>, body: &Value) -> (u16, String) {
    let mut request = reqwest_client().post(proxy.url(path)).json(body);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    let route = answer.headers().get("x-arriero-route").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), route.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_route_that_matches_takes_it() {
    let names = ["chat-7b", "chat-70b", "embed-1"];
    let engines = [start(ollama(&names, FAST)).await, start(ollama(&names, FAST)).await];
    let text = pools(&[&engines[0], &engines[1]])
        + "routes:\n  - { name: batch, match: { model: \"chat-*\", header: { x-tier: \"batch*\" } }, pool: p1 }\n  \
           - { name: small, match: { model: \"chat-7?\" }, pool: p0 }\n  \
           - { name: native, match: { path: \"/api/*\" }, pool: p1 }\n  \
           - { name: rest, pool: p0, aliases: { nick: chat-70b } }\n";
    let proxy = Proxy::start(&text).await;
    let batch = Some(("x-tier", "batch-night"));
    for (path, header, model, route) in [
        (CHAT, batch, "chat-7b", "batch"),
        (CHAT, batch, "embed-1", "rest"),
        (CHAT, Some(("x-tier", "live")), "chat-7b", "small"),
        (CHAT, None, "chat-7b", "small"),
        (CHAT, None, "chat-70b", "rest"),
        ("/api/chat", None, "chat-7b", "small"),
        ("/api/chat", None, "chat-70b", "native"),
        (CHAT, None, "nick", "rest"),
    ] {
        assert_eq!(
            route_of(&proxy, path, header, &ask(model, false, 1)).await,
            (200, route.to_owned()),
            "{path} {model}"
        );
    }
    assert_eq!(json!(engines[1].stats().per_model), json!({ "chat-7b": 1, "chat-70b": 1 }));
    assert_eq!(route_of(&proxy, CHAT, None, &ask("nobody", false, 1)).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_matching_route_it_is_404() {
    let engine = start(openai(&["a", "b"], FAST)).await;
    let text = pools(&[&engine]) + "routes:\n  - { name: only-a, match: { model: a }, pool: p0 }\n";
    let proxy = Proxy::start(&text).await;
    assert_eq!(route_of(&proxy, CHAT, None, &ask("a", false, 1)).await, (200, "only-a".to_owned()));
    let (status, body) = json_of(post(proxy.url(CHAT), "b", &ask("b", false, 1)).await).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")), "{body}");
    assert_eq!(engine.stats().inference, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_uses_the_name_of_its_engine() {
    let engines = [start(openai(&["first/name"], FAST)).await, start(openai(&["second/much/longer/name"], FAST)).await];
    let text = format!(
        "pools:\n  p:\n    endpoints:\n      - {{ url: {:?}, models: {{ public: first/name }} }}\n      \
         - {{ url: {:?}, models: {{ public: second/much/longer/name }} }}\n\
         routes:\n  - {{ name: r, pool: p, balance: round-robin }}\n",
        engines[0].url(),
        engines[1].url()
    );
    let proxy = Proxy::start(&text).await;
    engines[0].set_fault(Fault::always(FaultKind::Busy));
    for stream in [true, false] {
        let (status, text) = whole(post(proxy.url(CHAT), "spliced", &ask("public", stream, 3)).await).await;
        assert_eq!(status, 200, "{text}");
    }
    assert_eq!(json!(engines[1].stats().per_model), json!({ "second/much/longer/name": 2 }));
    assert!(engines[0].stats().faulted >= 1, "the other one was tried first");
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_told_as_far_as_switched_on() {
    let engine = start(openai(&["m"], FAST)).await;
    for (switches, told) in [
        ("", [true, true, false]),
        ("headers: { endpoint: false, route: false }\n", [false, false, false]),
        ("headers: { reason: true }\n", [true, true, true]),
    ] {
        let proxy = Proxy::start(&(config(&[&engine], "", "balance: queue-aware") + switches)).await;
        for path in [CHAT, "/v1/models"] {
            let answer = match path {
                CHAT => post(proxy.url(path), "told", &ask("m", false, 1)).await,
                _ => reqwest_client().get(proxy.url(path)).send().await.unwrap(),
            };
            let headers = ["x-arriero-endpoint", "x-arriero-route", "x-arriero-reason"];
            let seen = headers.map(|name| answer.headers().contains_key(name));
            assert_eq!(seen, if path == CHAT { told } else { [false; 3] }, "{switches} {path}");
        }
    }
    let proxy = Proxy::start(&config(&[&engine], "", "balance: queue-aware")).await;
    let request = reqwest_client().post(proxy.url(CHAT)).header("x-arriero-explain", "1").json(&ask("m", false, 1));
    let answer = request.send().await.unwrap();
    let reason = answer.headers()["x-arriero-reason"].to_str().unwrap();
    assert!(reason.contains(&engine.addr().to_string()) && reason.contains("ms"), "{reason}");
}

/// The time for a whole request runs while it waits, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_total_time_bounds_the_queue() {
    let engine = start(openai(&["m"], SLOW)).await;
    let bounded = |total: &str| {
        let pool =
            format!("defaults: {{ max_in_flight: 1 }}, timeouts: {{ total: {total} }}, queue: {{ timeout: 20s }}");
        config(&[&engine], &pool, "")
    };
    let proxy = Proxy::start(&bounded("none")).await;
    let _held = post(proxy.url(CHAT), "held", &ask("m", true, LONG)).await;
    proxy.write_config(&bounded("1s"));
    proxy.signal("HUP");
    assert!(eventually(async || proxy.metric("arriero_config_generation").await == Some(2.0)).await);
    let (status, text) = whole(post(proxy.url(CHAT), "waits", &ask("m", false, 1)).await).await;
    let line = proxy.line("waits").await;
    assert!([503, 504].contains(&status), "{status} {text} {line}");
    assert!((1000.0..10_000.0).contains(&line["total_ms"].as_f64().unwrap()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ollamas_own_requests_go_by_their_model() {
    let engines = [start(ollama(&["a"], FAST)).await, start(ollama(&["b"], FAST)).await];
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], "", "")).await;
    for (model, nth) in [("a", 0), ("b", 1)] {
        let (status, show) = json_of(post(proxy.url("/api/show"), "show", &json!({ "model": model })).await).await;
        assert_eq!(status, 200, "{show}");
        let embed = json!({ "model": model, "input": ["x", "y"] });
        let (status, embeddings) = json_of(post(proxy.url("/api/embed"), "embed", &embed).await).await;
        assert_eq!((status, embeddings["embeddings"].as_array().unwrap().len()), (200, 2));
        let load = json_of(post(proxy.url("/api/generate"), "load", &json!({ "model": model })).await).await;
        assert_eq!((load.0, &load.1["done_reason"]), (200, &json!("load")));
        let resident = || engines[nth].readings().resident.len();
        assert_eq!(resident(), 1);
        let unload = json!({ "model": model, "keep_alive": 0 });
        let unload = json_of(post(proxy.url("/api/generate"), "unload", &unload).await).await;
        assert_eq!((unload.0, &unload.1["done_reason"]), (200, &json!("unload")));
        assert!(eventually(async || resident() == 0).await);
    }
}

/// Engines with several models need to be told which.
#[tokio::test(flavor = "multi_thread")]
async fn a_routes_own_model_serves_requests_that_name_none() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "default_model: m")).await;
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 1 });
    let (status, text) = whole(post(proxy.url(CHAT), "none", &body).await).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(engine.stats().per_model["m"], 1);
    assert_eq!(proxy.line("none").await["model"], "m");
}
