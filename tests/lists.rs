//! What the herd says of itself: merged lists, health, readiness; and that each model's requests go only where it is,
//! under the names that clients use.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use common::{Proxy, eventually, reqwest_client};
use serde_json::{Value, json};
use stage::{FAST, ask, config, json_of, ollama, openai, post, start, vllm, whole};

const CHAT: &str = "/v1/chat/completions";

async fn get(proxy: &Proxy, path: &str) -> (u16, Value) {
    json_of(reqwest_client().get(proxy.url(path)).send().await.unwrap()).await
}

/// The values of `key` in the rows of a list, in its order.
fn column(list: &Value, rows: &str, key: &str) -> Vec<String> {
    let rows = list[rows].as_array().unwrap_or_else(|| panic!("no {rows} in {list}"));
    rows.iter().map(|row| row[key].as_str().unwrap_or_else(|| panic!("no {key} in {row}")).to_owned()).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// An Ollama-like, a vLLM-like and a plain engine; `shared` is on the first two.
async fn mixed() -> [LabEngine; 3] {
    let ollama = start(ollama(&["qwen3:latest", "llama3.2:3b", "shared"], FAST)).await;
    [ollama, start(vllm(&["org/big", "shared"])).await, start(openai(&["gpt-lab"], FAST)).await]
}

async fn front(engines: &[LabEngine; 3], route: &str) -> Proxy {
    Proxy::start(&config(&[&engines[0], &engines[1], &engines[2]], "", route)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_merged_over_all_kinds_of_engines() {
    let engines = mixed().await;
    let proxy = front(&engines, "").await;
    let every = ["gpt-lab", "llama3.2:3b", "org/big", "qwen3:latest", "shared"];
    let whole_list = async || sorted(column(&get(&proxy, "/v1/models").await.1, "data", "id")) == every;
    assert!(eventually(whole_list).await, "{}", get(&proxy, "/v1/models").await.1);
    let (status, models) = get(&proxy, "/v1/models").await;
    assert_eq!((status, &models["object"]), (200, &json!("list")));
    assert_eq!(column(&models, "data", "object"), ["model"; 5]);
    for id in every {
        let (status, model) = get(&proxy, &format!("/v1/models/{id}")).await;
        assert_eq!((status, &model["id"], &model["object"]), (200, &json!(id), &json!("model")), "{model}");
    }
    assert_eq!(get(&proxy, "/v1/models/org%2Fbig").await.1["id"], "org/big");
    let (status, missing) = get(&proxy, "/v1/models/nobody").await;
    assert_eq!((status, &missing["error"]["code"]), (404, &json!("model_not_found")));
    let (status, tags) = get(&proxy, "/api/tags").await;
    assert_eq!(status, 200);
    assert_eq!(sorted(column(&tags, "models", "name")), ["llama3.2:3b", "qwen3:latest", "shared"]);
    assert_eq!(column(&tags, "models", "model"), column(&tags, "models", "name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_clients_get_their_own_list() {
    let engines = mixed().await;
    let proxy = front(&engines, "").await;
    let list = async || {
        let request = reqwest_client().get(proxy.url("/v1/models")).header("anthropic-version", "2023-06-01");
        json_of(request.send().await.unwrap()).await.1
    };
    assert!(eventually(async || list().await["data"].as_array().is_some_and(|rows| rows.len() == 5)).await);
    let list = list().await;
    assert_eq!(column(&list, "data", "type"), ["model"; 5]);
    assert_eq!(column(&list, "data", "display_name").len(), 5);
    assert_eq!(list["has_more"], json!(false), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn loaded_models_and_versions_are_told() {
    let engines = mixed().await;
    let proxy = front(&engines, "").await;
    let (status, version) = get(&proxy, "/api/version").await;
    assert_eq!((status, &version["version"]), (200, &json!("0.33.0")));
    assert_eq!(get(&proxy, "/api/ps").await, (200, json!({ "models": [] })));
    let status = whole(post(proxy.url("/api/generate"), "load", &json!({ "model": "qwen3" })).await).await.0;
    assert_eq!(status, 200);
    let resident = async || column(&get(&proxy, "/api/ps").await.1, "models", "name") == ["qwen3:latest"];
    assert!(eventually(resident).await, "the next poll tells");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_greets_like_ollama() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let (status, text) = whole(reqwest_client().get(proxy.url("/")).send().await.unwrap()).await;
    assert_eq!((status, text.as_str()), (200, "Ollama is running"));
    for path in ["/", "/api/version", "/v1/models", "/api/tags", "/health"] {
        let head = reqwest_client().head(proxy.url(path)).send().await.unwrap();
        assert_eq!(head.status(), 200, "HEAD {path}");
        assert_eq!(whole(head).await.1, "", "HEAD {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_engines() {
    let engines = [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let checks = "health: { every: 100ms, rise: 1, fall: 2, timeout: 1s }";
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], checks, "")).await;
    let report = async |status: u16, word: &str, nodes: u64| {
        let report = get(&proxy, "/api/health").await;
        let ready = get(&proxy, "/ready").await.0;
        let admin = reqwest_client().get(proxy.admin("ready")).send().await.unwrap().status();
        report.0 == status
            && report.1["status"] == word
            && report.1["healthy_nodes"] == nodes
            && (ready, admin.as_u16()) == if nodes > 0 { (200, 200) } else { (503, 503) }
    };
    let told = async |status, word, nodes| eventually(async || report(status, word, nodes).await).await;
    assert!(told(200, "ok", 2).await);
    assert_eq!(get(&proxy, "/api/health").await.1["models"], json!(["m"]));
    engines[0].set_fault(Fault::always(FaultKind::Refuse));
    assert!(told(200, "degraded", 1).await, "{}", get(&proxy, "/api/health").await.1);
    engines[1].set_fault(Fault::always(FaultKind::Refuse));
    assert!(told(503, "unavailable", 0).await, "{}", get(&proxy, "/api/health").await.1);
    assert_eq!(get(&proxy, "/health").await.0, 200, "the process itself is well");
    let up = format!("arriero_endpoint_up{{endpoint=\"{}\"}}", engines[1].addr());
    assert_eq!(proxy.metric(&up).await, Some(0.0));
    engines[1].set_fault(Fault::none());
    assert!(told(200, "degraded", 1).await, "{}", get(&proxy, "/api/health").await.1);
    assert_eq!(proxy.metric(&up).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_model_is_served_only_where_it_is() {
    let engines = mixed().await;
    let proxy = front(&engines, "balance: least-connection").await;
    for nth in 0..8 {
        for (model, path) in [
            ("llama3.2:3b", "/api/chat"),
            ("llama3.2:3b", CHAT),
            ("qwen3", "/api/chat"),
            ("qwen3:latest", CHAT),
            ("org/big", CHAT),
            ("org/big", "/v1/messages"),
            ("gpt-lab", CHAT),
            ("shared", CHAT),
            ("shared", "/api/chat"),
        ] {
            let id = format!("{model}-{nth}");
            let (status, text) = whole(post(proxy.url(path), &id, &ask(model, false, 2)).await).await;
            assert_eq!(status, 200, "{model} {path}: {text}");
        }
    }
    let counts: Vec<Value> = engines.iter().map(|engine| json!(engine.stats().per_model)).collect();
    assert_eq!((&counts[0]["llama3.2:3b"], &counts[0]["qwen3:latest"]), (&json!(16), &json!(16)), "{counts:?}");
    assert_eq!(counts[1]["org/big"], json!(16), "{counts:?}");
    assert_eq!(counts[2], json!({ "gpt-lab": 8 }), "{counts:?}");
    let shared = |nth: usize| counts[nth]["shared"].as_u64().unwrap_or(0);
    assert_eq!(shared(0) + shared(1), 16, "{counts:?}");
    assert!(shared(0) >= 8, "the engine that speaks /api/chat got at least those: {counts:?}");
    assert_eq!(counts[1]["qwen3:latest"], Value::Null);
    let refused = post(proxy.url("/api/chat"), "unspoken", &ask("org/big", false, 1)).await;
    assert_eq!(json_of(refused).await.0, 404, "no engine with this model speaks /api/chat");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_names_hide_what_engines_call_their_models() {
    let engines = [start(openai(&["local-a"], FAST)).await, start(ollama(&["local-b", "secret"], FAST)).await];
    let text = format!(
        "pools:\n  p:\n    endpoints:\n      - {{ url: {:?}, models: {{ public: local-a }} }}\n      \
         - {{ url: {:?}, models: {{ public: local-b, second: local-b }} }}\n\
         routes:\n  - {{ name: r, pool: p, balance: round-robin, aliases: {{ gpt-4o: public }} }}\n",
        engines[0].url(),
        engines[1].url()
    );
    let proxy = Proxy::start(&text).await;
    for (nth, model) in ["public", "public", "gpt-4o", "gpt-4o", "public", "gpt-4o"].into_iter().enumerate() {
        let id = format!("{model}-{nth}");
        let (status, text) = whole(post(proxy.url(CHAT), &id, &ask(model, true, 2)).await).await;
        assert_eq!(status, 200, "{model}: {text}");
        assert_eq!(proxy.line(&id).await["model"], model, "the log keeps the client's word");
    }
    assert_eq!(json!(engines[0].stats().per_model), json!({ "local-a": 3 }));
    assert_eq!(json!(engines[1].stats().per_model), json!({ "local-b": 3 }));
    let list = async || sorted(column(&get(&proxy, "/v1/models").await.1, "data", "id"));
    assert!(eventually(async || list().await == ["public", "second"]).await, "{:?}", list().await);
    assert_eq!(column(&get(&proxy, "/api/tags").await.1, "models", "name").len(), 2);
    for hidden in ["local-a", "local-b", "secret"] {
        let (status, body) = json_of(post(proxy.url(CHAT), hidden, &ask(hidden, false, 1)).await).await;
        let message = body["error"]["message"].as_str().unwrap();
        assert_eq!(status, 404, "{hidden}: {body}");
        assert!(message.contains("gpt-4o, public, second"), "{hidden}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_engine_is_asked_with_its_key() {
    let locked = |spec: LabSpec| LabSpec { api_key: Some("sesame".to_owned()), ..spec };
    let engines = [start(locked(openai(&["m"], FAST))).await, start(locked(vllm(&["n"]))).await];
    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("key");
    std::fs::write(&file, "sesame\n").unwrap();
    let pool = format!("defaults: {{ api_key_file: {file:?} }}");
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], &pool, "")).await;
    for model in ["m", "n"] {
        let (status, text) = whole(post(proxy.url(CHAT), model, &ask(model, false, 1)).await).await;
        assert_eq!(status, 200, "{model}: {text}");
    }
    assert_eq!(json!(engines[0].stats().per_model), json!({ "m": 1 }));
    assert_eq!(sorted(column(&get(&proxy, "/v1/models").await.1, "data", "id")), ["m", "n"]);
}

/// Its list says 401, which is not the same as an empty list: declared models are served, and errors are its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_engine_without_a_key_does_not_look_empty() {
    let engine = start(LabSpec { api_key: Some("sesame".to_owned()), ..openai(&["m"], FAST) }).await;
    let proxy = Proxy::start_degraded(&config(&[&engine], "", "")).await;
    let request = async || {
        let request = reqwest_client().post(proxy.url(CHAT)).bearer_auth("sesame").json(&ask("m", false, 1));
        whole(request.send().await.unwrap()).await.0
    };
    assert!(eventually(async || request().await == 200).await, "the client's own key opens it");
    let (status, text) = whole(post(proxy.url(CHAT), "keyless", &ask("m", false, 1)).await).await;
    assert_eq!(status, 401, "the engine's own answer passes: {text}");
}
