//! Engines with slots that tell of cached tokens, and no batching engine beside them: conversations return to the engine
//! that computed them before, since what engines tell reaches the modules.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/scripted.rs"]
mod scripted;

use std::collections::BTreeSet;
use std::sync::Mutex;

use axum::Json;
use axum::response::IntoResponse;
use common::{Proxy, reqwest_client};
use scripted::Scripted;
use serde_json::{Value, json};

/// An engine that caches all prompts that it ever saw, and tells how much of each it had.
async fn caching() -> Scripted {
    let prompts: Mutex<Vec<String>> = Mutex::default();
    Scripted::start(move |seen| {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        let prompt = body["messages"].as_array().unwrap().iter().map(|turn| turn["content"].as_str().unwrap());
        let prompt = prompt.collect::<Vec<_>>().join("\n");
        let mut known = prompts.lock().unwrap();
        let begins = |old: &String| old.bytes().zip(prompt.bytes()).take_while(|(old, new)| old == new).count();
        let cached = known.iter().map(begins).max().unwrap_or(0);
        let tokens = prompt.len() / 4;
        known.push(prompt);
        let usage = json!({
            "prompt_tokens": tokens, "completion_tokens": 2, "total_tokens": tokens + 2,
            "prompt_tokens_details": { "cached_tokens": cached / 4 },
        });
        let choice =
            json!({ "index": 0, "message": { "role": "assistant", "content": "ok" }, "finish_reason": "stop" });
        Json(json!({ "id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage }))
            .into_response()
    })
    .await
}

/// A conversation of `turns` turns that begins with a text of its own.
fn conversation(number: usize, turns: usize) -> Value {
    let system = json!({ "role": "system", "content": format!("herd {number} ").repeat(2000) });
    let more = (0..turns).map(|turn| json!({ "role": "user", "content": format!("and then {turn}?").repeat(40) }));
    json!({ "model": "m", "stream": false, "messages": std::iter::once(system).chain(more).collect::<Vec<_>>() })
}

/// By conversation, the endpoints that served it; and the reason given for the latest request.
async fn homes(balance: &str, turns: std::ops::Range<usize>) -> (Vec<BTreeSet<String>>, String) {
    let engines = [caching().await, caching().await, caching().await];
    let endpoint = |engine: &Scripted| format!("{{ url: {:?}, engine: openai }}", engine.url());
    let endpoints = engines.iter().map(endpoint).collect::<Vec<_>>().join(", ");
    let rest = format!(
        "pools:\n  p: {{ endpoints: [{endpoints}] }}\nroutes:\n  - {{ name: r, pool: p, balance: {balance} }}\n"
    );
    let proxy = Proxy::start(&rest).await;
    let (mut places, mut reason) = (vec![BTreeSet::new(); 5], String::new());
    for turn in 0..turns.end {
        for (number, places) in places.iter_mut().enumerate() {
            let asked = reqwest_client().post(proxy.url("/v1/chat/completions")).header("x-arriero-explain", "1");
            let answer = asked.json(&conversation(number, turn)).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            reason = header("x-arriero-reason");
            if turns.contains(&turn) {
                places.insert(header("x-arriero-endpoint"));
            }
        }
    }
    (places, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_return_once_an_engine_told_of_its_cache() {
    for balance in ["prefix-affinity", "model-affinity"] {
        // in its first turns nothing is told yet: there are three engines to tell
        let (places, reason) = homes(balance, 6..10).await;
        assert!(places.iter().all(|places| places.len() == 1), "{balance}: each has one home: {places:?}");
        let all: BTreeSet<_> = places.iter().flatten().collect();
        assert!(all.len() > 1, "{balance}: not all the same: {places:?}");
        assert!(reason.contains("cached"), "{balance}: {reason}");
    }
    let (places, reason) = homes("round-robin", 6..10).await;
    assert!(places.iter().all(|places| places.len() > 1), "round robin keeps nobody: {places:?}");
    assert!(!reason.contains("cached"), "{reason}");
}
