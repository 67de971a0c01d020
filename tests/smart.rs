//! What the smart modules live on, from end to end: prompts that share a beginning find their engine again, a shadow is
//! asked and never followed, decisions are told with their reasons, what was learned outlives a restart, and an engine
//! that takes requests without answering is not waited for.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use common::{Proxy, eventually, reqwest_client};
use serde_json::{Value, json};
use stage::{FAST, ask, config, ollama, post, start, vllm, whole};

const CHAT: &str = "/v1/chat/completions";

async fn three_vllm() -> Vec<LabEngine> {
    let mut engines = Vec::new();
    for _ in 0..3 {
        engines.push(start(vllm(&["m"])).await);
    }
    engines
}

/// The endpoint that answered.
async fn owner(proxy: &Proxy, id: &str, body: &Value) -> String {
    let answer = post(proxy.url(CHAT), id, body).await;
    let endpoint = answer.headers()["x-arriero-endpoint"].to_str().unwrap().to_owned();
    let (status, text) = whole(answer).await;
    assert_eq!(status, 200, "{text}");
    endpoint
}

async fn status(proxy: &Proxy) -> Value {
    reqwest_client().get(proxy.admin("api/status")).send().await.unwrap().json().await.unwrap()
}

/// A conversation of `turns` turns that begins with a text of its own, about 4 KiB long.
fn conversation(number: usize, turns: usize) -> Value {
    let mut messages = vec![json!({ "role": "system", "content": format!("herd {number} ").repeat(500) })];
    for turn in 0..turns {
        messages.push(json!({ "role": "user", "content": format!("and then {turn}?").repeat(40) }));
        messages.push(json!({ "role": "assistant", "content": format!("then {turn}.").repeat(40) }));
    }
    json!({ "model": "m", "stream": false, "max_tokens": 2, "messages": messages })
}

/// By conversation, the endpoints that served its later turns, and all those that served anything.
async fn kept_where(balance: &str) -> (Vec<BTreeSet<String>>, BTreeSet<String>) {
    let engines = three_vllm().await;
    let route = format!("balance: {balance}");
    let proxy = Proxy::start(&config(&engines.iter().collect::<Vec<_>>(), "", &route)).await;
    let (mut later, mut all) = (vec![BTreeSet::new(); 5], BTreeSet::new());
    for turn in 0..5 {
        for (number, places) in later.iter_mut().enumerate() {
            let endpoint = owner(&proxy, &format!("c{number}-{turn}"), &conversation(number, turn)).await;
            all.insert(endpoint.clone());
            places.insert(endpoint);
        }
    }
    (later, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_find_the_engine_that_holds_their_beginning() {
    let (with, all) = kept_where("prefix-affinity").await;
    let homes: usize = with.iter().map(BTreeSet::len).sum();
    assert_eq!(homes, with.len(), "each conversation has one home: {with:?}");
    assert!(all.len() > 1, "but not all the same: {all:?}");
    let (without, _) = kept_where("round-robin").await;
    assert!(without.iter().all(|places| places.len() > 1), "round robin keeps nobody: {without:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_asked_for_each_request_and_routes_none() {
    let mut engines = Vec::new();
    for _ in 0..3 {
        engines.push(start(ollama(&["m"], FAST)).await);
    }
    let route = "balance: round-robin, shadow: { queue-aware: { theta: 0.5 } }";
    let proxy = Proxy::start(&config(&engines.iter().collect::<Vec<_>>(), "", route)).await;
    let mut shares = BTreeMap::<String, u32>::new();
    for number in 0..30 {
        *shares.entry(owner(&proxy, &format!("r{number}"), &ask("m", number % 2 == 0, 4)).await).or_default() += 1;
    }
    assert_eq!(shares.values().copied().collect::<Vec<_>>(), [10, 10, 10], "round robin's own shares: {shares:?}");
    let told = status(&proxy).await["routes"][0]["targets"][0]["shadow"].clone();
    let count = |key: &str| told[key].as_u64().unwrap();
    assert_eq!((count("asked"), told["module"].as_str()), (30, Some("queue-aware")), "{told}");
    assert_eq!(count("agreed") + count("differed") + count("waits"), 30, "{told}");
    assert!(told["estimated_saving_ms"].is_number() && told["off"] == false, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_told_in_the_log_and_on_request() {
    let (one, other) = (start(ollama(&["m"], FAST)).await, start(ollama(&["m"], FAST)).await);
    let rest = format!("log_decisions: 100%\n{}", config(&[&one, &other], "", "balance: queue-aware"));
    let proxy = Proxy::start(&rest).await;
    let plain = post(proxy.url(CHAT), "plain", &ask("m", false, 2)).await;
    assert!(!plain.headers().contains_key("x-arriero-reason"), "nobody asked");
    let decision = proxy.line("plain").await["decision"].clone();
    let candidates = decision.as_array().expect("the candidates");
    assert_eq!(candidates.len(), 2, "{decision}");
    for candidate in candidates {
        let terms = candidate["terms"].as_array().unwrap();
        let sum: f64 = terms.iter().map(|term| term["ms"].as_f64().unwrap()).sum();
        assert!((sum - candidate["total_ms"].as_f64().unwrap()).abs() < 1e-6 && !terms.is_empty(), "{candidate}");
        assert!(candidate["sample_age_ms"].is_number() && candidate["in_flight"].is_u64(), "{candidate}");
    }
    assert_eq!(candidates.iter().filter(|one| one["picked"] == true).count(), 1, "{decision}");
    let asked = reqwest_client().post(proxy.url(CHAT)).header("x-arriero-explain", "1").json(&ask("m", false, 2));
    let reason = asked.send().await.unwrap().headers()["x-arriero-reason"].to_str().unwrap().to_owned();
    assert!(reason.contains("wait") && reason.contains("decode"), "{reason}");
}

/// What is known of `m` on the first endpoint.
async fn learned(proxy: &Proxy) -> Value {
    status(proxy).await["pools"][0]["endpoints"][0]["learned"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_outlives_a_restart() {
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("learned.json");
    let engine = start(ollama(&["m"], 500.0)).await;
    let rest = format!("learned_file: {file:?}\n{}", config(&[&engine], "", "balance: queue-aware"));
    let first = Proxy::start(&rest).await;
    for number in 0..8 {
        owner(&first, &format!("r{number}"), &ask("m", true, 40)).await;
    }
    let before = learned(&first).await;
    assert_eq!(before["requests"], 8, "{before}");
    let decode = before["decode_ms_per_token"].as_f64().unwrap();
    assert!((1.0..4.0).contains(&decode), "500 tokens/s are 2 ms each: {before}");
    first.signal("TERM");
    assert!(eventually(|| async { file.exists() }).await, "it is written at the end");
    let second = Proxy::start(&rest).await;
    let after = learned(&second).await;
    assert_eq!(after["requests"], 8, "known before the first request: {after}");
    assert!((after["decode_ms_per_token"].as_f64().unwrap() - decode).abs() < 1e-6, "{after}");
    std::fs::write(&file, "no JSON").unwrap();
    let third = Proxy::start(&rest).await;
    assert!(learned(&third).await.is_null(), "a broken file teaches nothing");
    assert!(third.stderr().contains("nothing is known from before"), "{}", third.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_takes_requests_and_never_answers_is_not_waited_for() {
    let (sick, well) = (start(ollama(&["m"], FAST)).await, start(ollama(&["m"], FAST)).await);
    let proxy = Proxy::start(&config(&[&sick, &well], "ejection: none", "balance: round-robin")).await;
    for number in 0..16 {
        owner(&proxy, &format!("warm{number}"), &ask("m", true, 20)).await;
    }
    sick.set_fault(Fault::always(FaultKind::Hang));
    let expected = well.url().trim_start_matches("http://").to_owned();
    // of two requests in a row one begins at the sick one; its configured limit is five minutes
    for number in 0..2 {
        assert_eq!(owner(&proxy, &format!("late{number}"), &ask("m", true, 20)).await, expected);
    }
    // whoever is tried elsewhere takes a turn of the round, so the other may begin at the sick one, too
    let late = proxy.metric("arriero_retries_total{cause=\"first-byte\",route=\"r\"}").await;
    assert!(late.is_some_and(|late| (1.0..=2.0).contains(&late)), "{late:?} were late");
}
