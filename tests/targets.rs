//! Where a route sends its requests: by listener, among labelled endpoints, in shares over several pools, past caps.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/secure.rs"]
mod secure;
#[path = "common/stage.rs"]
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use common::{PATIENCE, Proxy, eventually, free_port, reqwest_client};
use secure::Two;
use serde_json::{Value, json};
use stage::{FAST, LONG, SLOW, ask, json_of, openai, post, start, whole};

const CHAT: &str = "/v1/chat/completions";

fn served(engines: &[LabEngine]) -> Vec<u64> {
    engines.iter().map(|engine| engine.stats().completed).collect()
}

/// One pool per engine, `p0`, `p1`, ..., with quick checks.
fn pools(engines: &[LabEngine]) -> String {
    let health = "health: { every: 100ms, rise: 1, fall: 1 }";
    let rows = engines.iter().enumerate();
    let rows = rows.map(|(nth, engine)| format!("  p{nth}: {{ endpoints: [{:?}], {health} }}\n", engine.url()));
    format!("pools:\n{}", rows.collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_has_its_routes() {
    let engines =
        [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let (left, right) = (free_port(), free_port());
    let text = format!(
        "  left: {{ bind: \"127.0.0.1:{left}\", h2c: true }}\n  right: {{ bind: \"127.0.0.1:{right}\", h2c: true }}\n{}\
         routes:\n  - {{ name: l, match: {{ listener: left }}, pool: p0 }}\n  \
         - {{ name: r, match: {{ listener: [right, h2], model: m }}, pool: p1 }}\n  - {{ name: rest, pool: p2 }}\n",
        pools(&engines)
    );
    let proxy = Proxy::start(&text).await;
    let body = ask("m", false, 1);
    for (port, route) in [(left, "l"), (right, "r"), (proxy.h2_port, "r"), (proxy.port, "rest")] {
        let answer = post(format!("http://127.0.0.1:{port}{CHAT}"), route, &body).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["x-arriero-route"]), (200, &route.parse().unwrap()));
        if port != proxy.port {
            let request = http::Request::post(format!("http://a{CHAT}"));
            let (status, head, _) = Two::connect(port).await.ask(request, body.to_string().as_bytes()).await;
            assert_eq!((status, &head["x-arriero-route"]), (200, &route.parse().unwrap()), "HTTP/2");
        }
        assert_eq!(proxy.line(route).await["route"], route);
    }
    assert_eq!(served(&engines), [2, 4, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_keeps_a_route_to_its_labels() {
    let mut engines = Vec::new();
    for models in [["m", "quick"], ["m", "quick"], ["m", "heavy"], ["m", "heavy"]] {
        engines.push(start(openai(&models, FAST)).await);
    }
    let labels = ["host: fast, zone: a", "host: fast, zone: b", "host: slow, zone: a", "host: slow, zone: b"];
    let rows = engines.iter().zip(labels);
    let rows: Vec<String> =
        rows.map(|(engine, labels)| format!("{{ url: {:?}, labels: {{ {labels} }} }}", engine.url())).collect();
    let route = |name: &str, among: &str| {
        format!(
            "  - {{ name: {name}, match: {{ header: {{ x-way: {name} }} }}, pool: p, where: {{ {among} }}, balance: round-robin }}\n"
        )
    };
    let text = format!(
        "pools: {{ p: {{ endpoints: [{}] }} }}\nroutes:\n{}{}  - {{ name: all, pool: p, balance: round-robin }}\n",
        rows.join(", "),
        route("fast", "host: fast"),
        route("one", "host: slow, zone: b"),
    );
    let proxy = Proxy::start(&text).await;
    let send = async |way: &str, model: &str| {
        let request = reqwest_client().post(proxy.url(CHAT)).header("x-way", way).json(&ask(model, false, 1));
        json_of(request.send().await.unwrap()).await
    };
    let mut before = served(&engines);
    for (way, shares) in [("all", [5, 5, 5, 5]), ("fast", [10, 10, 0, 0]), ("one", [0, 0, 0, 20])] {
        for _ in 0..20 {
            assert_eq!(send(way, "m").await.0, 200);
        }
        let after = served(&engines);
        let got: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        assert_eq!(got, shares, "{way}");
        before = after;
    }
    // what is there, but not among them, is not there
    for (way, model, status) in
        [("all", "heavy", 200), ("fast", "quick", 200), ("fast", "heavy", 404), ("one", "quick", 404)]
    {
        let (got, body) = send(way, model).await;
        assert_eq!(got, status, "{way} {model}: {body}");
        assert!(status == 200 || body["error"]["code"] == "model_not_found", "{body}");
    }
    let known = send("fast", "nobody").await.1["error"]["message"].as_str().unwrap().to_owned();
    assert!(known.contains("quick") && !known.contains("heavy"), "only what the route can reach is named: {known}");
}

/// Sends `count` requests, 16 at a time; all are answered.
async fn many(proxy: &Proxy, count: u32) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let left = Arc::new(AtomicU32::new(count));
    let running: Vec<_> = (0..16)
        .map(|_| {
            let (client, left, url) = (client.clone(), left.clone(), proxy.url(CHAT));
            tokio::spawn(async move {
                while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    let answer = client.post(&url).json(&ask("m", false, 1)).send().await.unwrap();
                    let (status, text) = whole(answer).await;
                    assert_eq!(status, 200, "{text}");
                }
            })
        })
        .collect();
    for client in running {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_of_pools_are_kept() {
    let engines =
        [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let text = pools(&engines) + "routes: [{ name: split, pool: { p0: 95, p1: 5, p2: 0 } }]\n";
    let proxy = Proxy::start(&text).await;
    many(&proxy, 2000).await;
    let got = served(&engines);
    assert_eq!(got[0] + got[1], 2000);
    // 100 of 2 000 are expected, with a standard deviation of 9.7: seven of them on either side
    assert!((32..=168).contains(&got[1]), "{got:?}");
    assert_eq!(got[2], 0, "no share, nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_nobody_ready_hands_on() {
    let engines =
        [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let text = pools(&engines) + "routes: [{ name: split, pool: { p0: 90, p1: 10, p2: 0 } }]\n";
    let proxy = Proxy::start(&text).await;
    let healthy = async |wanted: u64| {
        let seen = async || {
            let report = reqwest_client().get(proxy.admin("api/health")).send().await.unwrap();
            report.json::<Value>().await.unwrap()["healthy_nodes"] == wanted
        };
        assert!(eventually(seen).await, "there are never {wanted} healthy ones");
    };
    engines[0].set_fault(Fault::always(FaultKind::Refuse));
    healthy(2).await;
    many(&proxy, 60).await;
    assert_eq!(served(&engines), [0, 60, 0], "a pool without a share takes none even now");
    engines[1].set_fault(Fault::always(FaultKind::Refuse));
    healthy(1).await;
    let (status, body) = json_of(post(proxy.url(CHAT), "none", &ask("m", false, 1)).await).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("engine_unavailable")), "{body}");
    engines[0].set_fault(Fault::none());
    engines[1].set_fault(Fault::none());
    healthy(3).await;
    many(&proxy, 60).await;
    assert!(served(&engines)[0] > 0, "it is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_without_caps_passes_those_that_wait() {
    let engine = start(openai(&["m"], SLOW)).await;
    let text = format!(
        "pools: {{ p: {{ endpoints: [{{ url: {:?}, max_in_flight: 2 }}] }} }}\nroutes:\n  \
         - {{ name: free, match: {{ header: {{ x-way: free }} }}, pool: p, caps: false }}\n  - {{ name: capped, pool: p }}\n",
        engine.url()
    );
    let proxy = Proxy::start(&text).await;
    let ask_for = |way: &'static str| {
        let request = reqwest_client().post(proxy.url(CHAT)).header("x-way", way).json(&ask("m", true, LONG));
        tokio::spawn(async move { whole(request.send().await.unwrap()).await })
    };
    let queued = async || proxy.metric("arriero_pool_queued{pool=\"p\"}").await.unwrap_or(0.0);
    let runs = async |count: usize| {
        assert!(engine.wait_for(PATIENCE, |stats| stats.in_flight == count).await, "{:?}", engine.stats())
    };
    let mut capped: Vec<_> = (0..4).map(|_| ask_for("capped")).collect();
    runs(2).await;
    assert!(eventually(async || queued().await == 2.0).await, "the cap holds for the others");
    let free: Vec<_> = (0..5).map(|_| ask_for("free")).collect();
    runs(7).await;
    assert_eq!((queued().await, proxy.in_flight().await), (2.0, 7), "and they still wait");
    for request in &free {
        request.abort();
    }
    runs(2).await;
    assert_eq!(queued().await, 2.0, "two of their own still hold the slots");
    for running in &capped {
        running.abort();
    }
    assert!(eventually(async || proxy.in_flight().await == 0 && queued().await == 0.0).await);
    // the other way round: requests past the cap fill it, too
    let free: Vec<_> = (0..3).map(|_| ask_for("free")).collect();
    runs(3).await;
    capped = vec![ask_for("capped")];
    assert!(eventually(async || queued().await == 1.0).await);
    for request in &free[..2] {
        request.abort();
    }
    assert!(eventually(async || queued().await == 0.0).await, "with one left of two there is room");
    runs(2).await;
    free.iter().chain(&capped).for_each(tokio::task::JoinHandle::abort);
    assert!(eventually(async || proxy.in_flight().await == 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_the_model_hands_on() {
    let engines = [start(openai(&["m"], FAST)).await, start(openai(&["canary-only"], FAST)).await];
    let proxy = Proxy::start(&(pools(&engines) + "routes:\n  - { name: r, pool: { p0: 50, p1: 50 } }\n")).await;
    for n in 0..40 {
        let answer = post(proxy.url(CHAT), &n.to_string(), &ask("m", false, 1)).await;
        assert_eq!(answer.status(), 200, "whichever pool is drawn first");
    }
    assert_eq!((engines[0].stats().completed, engines[1].stats().completed), (40, 0));
    assert_eq!(post(proxy.url(CHAT), "nobody", &ask("nobody", false, 1)).await.status(), 404);
}
