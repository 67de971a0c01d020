//! What strategies need to know reaches them: counts, weights, residency, learned speeds. Their own rules are tested in
//! their crates; here only that the whole binary behaves by them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, OllamaSpec};
use common::{PATIENCE, Proxy, eventually};
use stage::{FAST, ask, config, ollama, openai, post, start, whole};

const CHAT: &str = "/v1/chat/completions";

async fn pair() -> [LabEngine; 2] {
    [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await]
}

/// One pool of endpoints with options of their own.
fn endpoints(engines: &[(&LabEngine, &str)], pool: &str, balance: &str) -> String {
    let rows = engines.iter().map(|(engine, options)| format!("{{ url: {:?}, {options} }}", engine.url()));
    let rows: Vec<String> = rows.collect();
    format!(
        "pools: {{ p: {{ endpoints: [{}], {pool} }} }}\nroutes: [{{ pool: p, balance: {balance} }}]\n",
        rows.join(", ")
    )
}

async fn ask_one(proxy: &Proxy, model: &str, tokens: u32) {
    let (status, text) = whole(post(proxy.url(CHAT), "one", &ask(model, false, tokens)).await).await;
    assert_eq!(status, 200, "{model}: {text}");
}

/// `clients` clients that ask one after the other until `requests` are done.
async fn closed_loop(proxy: &Proxy, clients: u32, requests: u32, tokens: u32) {
    let left = Arc::new(AtomicU32::new(requests));
    let ask_on = |left: Arc<AtomicU32>, url: String| async move {
        while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            let (status, text) = whole(post(url.clone(), "loop", &ask("m", false, tokens)).await).await;
            assert_eq!(status, 200, "{text}");
        }
    };
    let running: Vec<_> = (0..clients).map(|_| tokio::spawn(ask_on(left.clone(), proxy.url(CHAT)))).collect();
    for client in running {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn least_connection_avoids_an_engine_that_hangs() {
    let [well, stuck] = pair().await;
    let proxy = Proxy::start(&config(&[&stuck, &well], "", "balance: least-connection")).await;
    stuck.set_fault(Fault::always(FaultKind::Hang));
    let mut asking = Vec::new();
    for nth in 1..=20 {
        let url = proxy.url(CHAT);
        asking.push(tokio::spawn(async move { post(url, "one", &ask("m", false, 1)).await.status() }));
        let dealt = || async { well.stats().completed + stuck.stats().in_flight as u64 == nth };
        assert!(eventually(dealt).await, "request {nth} is dealt with");
        assert!(eventually(async || proxy.in_flight().await == stuck.stats().in_flight as u64).await);
    }
    assert_eq!((stuck.stats().inference, well.stats().completed), (1, 19), "one hangs, nobody joins it");
    asking.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_deals_by_weight() {
    let [three, one] = pair().await;
    let none = start(openai(&["m"], FAST)).await;
    let text = endpoints(&[(&three, "weight: 3"), (&one, "weight: 1"), (&none, "weight: 0")], "", "round-robin");
    let proxy = Proxy::start(&text).await;
    for _ in 0..40 {
        ask_one(&proxy, "m", 1).await;
    }
    assert_eq!([three.stats().inference, one.stats().inference, none.stats().inference], [30, 10, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_works_only_while_nobody_else_can() {
    let [main, backup] = pair().await;
    let checks = "health: { every: 100ms, rise: 1, fall: 2, timeout: 1s }";
    let proxy = Proxy::start(&endpoints(&[(&main, ""), (&backup, "backup: true")], checks, "least-connection")).await;
    let by_main = async || {
        let answer = post(proxy.url(CHAT), "one", &ask("m", false, 1)).await;
        assert_eq!(answer.status(), 200);
        answer.headers()["x-arriero-endpoint"] == main.addr().to_string()
    };
    closed_loop(&proxy, 8, 40, 20).await;
    assert_eq!(backup.stats().inference, 0);
    main.set_fault(Fault::always(FaultKind::Refuse));
    assert!(eventually(async || !by_main().await).await, "the backup takes over, and no request is lost on the way");
    main.set_fault(Fault::none());
    assert!(eventually(by_main).await, "and hands back");
    let so_far = backup.stats().inference;
    closed_loop(&proxy, 8, 40, 20).await;
    assert_eq!(backup.stats().inference, so_far);
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_hold_under_pressure() {
    let engines = [start(openai(&["m"], 2000.0)).await, start(openai(&["m"], 2000.0)).await];
    for balance in ["round-robin", "least-connection", "queue-aware", "model-affinity"] {
        let before: u64 = engines.iter().map(|engine| engine.stats().completed).sum();
        let text = endpoints(&[(&engines[0], "max_in_flight: 2"), (&engines[1], "max_in_flight: 3")], "", balance);
        let proxy = Proxy::start(&text).await;
        closed_loop(&proxy, 30, 150, 20).await;
        assert_eq!(engines.iter().map(|engine| engine.stats().completed).sum::<u64>(), before + 150, "{balance}");
        let most = [engines[0].stats().max_in_flight, engines[1].stats().max_in_flight];
        assert_eq!(most, [2, 3], "{balance}: full, never more");
        assert_eq!(proxy.in_flight().await, 0);
    }
}

/// Engines with room for one of the two models `a` and `b`, a slot each; a load takes 0.8 s.
async fn cramped() -> [LabEngine; 2] {
    let spec = || {
        let models = ["a", "b"].map(|name| ModelSpec::new(name, 0.5, 20.0, 500.0, 1e6)).to_vec();
        let load_fixed = Duration::from_millis(500);
        LabSpec::ollama(OllamaSpec {
            slots: 1,
            max_resident: 1,
            load_fixed,
            load_gb_per_s: 1e6,
            ..OllamaSpec::new(models)
        })
    };
    [start(spec()).await, start(spec()).await]
}

fn loads(engines: &[LabEngine; 2]) -> u64 {
    engines.iter().map(|engine| engine.stats().loads).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn affinity_keeps_each_model_where_it_is_loaded() {
    let engines = cramped().await;
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], "poll: 100ms", "balance: model-affinity")).await;
    for _ in 0..15 {
        ask_one(&proxy, "a", 5).await;
        ask_one(&proxy, "b", 5).await;
    }
    assert_eq!(loads(&engines), 2, "each model was loaded once");
    for engine in &engines {
        assert_eq!(engine.stats().per_model.len(), 1, "{:?}", engine.stats().per_model);
    }
}

/// Where nobody minds residency the same requests load again and again: the test above could fail.
#[tokio::test(flavor = "multi_thread")]
async fn without_affinity_models_push_each_other_out() {
    let engines = cramped().await;
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], "poll: 100ms", "balance: round-robin")).await;
    for model in ["a", "b", "b", "a"].repeat(3) {
        ask_one(&proxy, model, 5).await;
    }
    assert!(loads(&engines) > 4, "{}", loads(&engines));
}

#[tokio::test(flavor = "multi_thread")]
async fn affinity_copies_a_model_that_many_wait_for() {
    let engines = cramped().await;
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], "poll: 100ms", "balance: model-affinity")).await;
    for _ in 0..5 {
        ask_one(&proxy, "a", 150).await; // so that lengths and speeds are learned
    }
    assert_eq!(loads(&engines), 1);
    let asking: Vec<_> = (0..40)
        .map(|_| {
            let url = proxy.url(CHAT);
            tokio::spawn(async move { whole(post(url, "many", &ask("a", false, 150)).await).await.0 })
        })
        .collect();
    for status in asking {
        assert_eq!(status.await.unwrap(), 200);
    }
    assert_eq!(loads(&engines), 2, "one copy, and once is enough");
    for engine in &engines {
        assert!(engine.stats().per_model["a"] >= 2, "both work: {:?}", engine.stats().per_model);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_aware_learns_who_is_faster() {
    let engine = |rate: f64| {
        let spec = openai(&["m"], rate);
        async move { start(spec).await }
    };
    let (fast, slow) = (engine(800.0).await, engine(200.0).await);
    let text = endpoints(&[(&slow, "slots: 1"), (&fast, "slots: 1")], "", "queue-aware");
    let proxy = Proxy::start(&text).await;
    closed_loop(&proxy, 2, 20, 40).await;
    let before = (fast.stats().completed, slow.stats().completed);
    closed_loop(&proxy, 6, 100, 40).await;
    let (fast, slow) = (fast.stats().completed - before.0, slow.stats().completed - before.1);
    assert_eq!(fast + slow, 100);
    // 80 of 100 finish first; even shares would take 2.5 times as long
    assert!((65..=95).contains(&fast), "{fast} on the fast engine, {slow} on the slow one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_kind_is_found_out_and_its_slots_are_known() {
    let engine = start(ollama(&["m:latest"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "balance: queue-aware")).await;
    assert!(engine.wait_for(PATIENCE, |stats| stats.requests > 3).await, "it was asked what it is");
    ask_one(&proxy, "m", 1).await;
    ask_one(&proxy, "m:latest", 1).await;
    assert_eq!(engine.stats().per_model["m:latest"], 2);
}
