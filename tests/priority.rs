//! The order of the queue before one slot: classes by route, header, body or service tier, within their range; equal
//! ones by arrival.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use common::{PATIENCE, Proxy, eventually, reqwest_client};
use herd::{CHAT, engines, get, herd as config};
use serde_json::{Value, json};
use stage::{SLOW, ask, post, whole};
use tokio::task::JoinHandle;

/// One who waits: a name, headers, and more keys of the body.
type Waiter<'w> = (&'w str, &'w [(&'w str, &'w str)], Value);

async fn one_slot(route: &str) -> (Vec<LabEngine>, Proxy, JoinHandle<u16>) {
    let engines = engines(1, SLOW).await;
    let proxy = Proxy::start(&config(&engines, &["max_in_flight: 1"], "", route)).await;
    let url = proxy.url(CHAT);
    let held = tokio::spawn(async move { whole(post(url, "held", &ask("m", true, 20_000)).await).await.0 });
    assert!(engines[0].wait_for(PATIENCE, |stats| stats.in_flight == 1).await);
    (engines, proxy, held)
}

/// Lets these wait behind a full slot, one after the other, and then serves them: the order in which the engine gets
/// them.
async fn order(route: &str, waiters: &[Waiter<'_>]) -> String {
    let (engines, proxy, held) = one_slot(route).await;
    let mut waiting = Vec::new();
    for (nth, (name, headers, more)) in waiters.iter().enumerate() {
        let mut body = ask("m", false, 1);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut request = reqwest_client().post(proxy.url(CHAT)).header("x-lab-id", *name).json(&body);
        for (header, value) in *headers {
            request = request.header(*header, *value);
        }
        waiting.push(tokio::spawn(async move { request.send().await.unwrap().status().as_u16() }));
        let queued = eventually(async || get(&proxy, "api/queues").await[0]["queued"] == nth as u64 + 1);
        assert!(queued.await, "{name} waits");
    }
    engines[0].set_fault(Fault::always(FaultKind::Slow { factor: 0.0005 }));
    assert_eq!(held.await.unwrap(), 200);
    for one in waiting {
        assert_eq!(one.await.unwrap(), 200);
    }
    let stats = engines[0].stats();
    assert_eq!(stats.max_in_flight, 1);
    let names = stats.bodies.iter().filter_map(|body| body.id.clone()).filter(|id| id != "held");
    names.collect::<Vec<_>>().join(" ")
}

fn said(name: &str) -> Waiter<'_> {
    (name, &[], json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_classes_the_order_is_that_of_arrival() {
    let waiters = ["1", "2", "3", "4", "5"].map(said);
    assert_eq!(order("", &waiters).await, "1 2 3 4 5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_says_the_class_within_its_range() {
    let route = "priority: { header: x-priority, min: -10, max: 10, default: 2 }";
    let header: [(&str, &[(&str, &str)]); 9] = [
        ("ten", &[("x-priority", "10")]),
        ("none", &[]),
        ("most", &[("x-priority", "99999999999")]), // brought to 10
        ("three", &[("X-Priority", " 3 ")]),
        ("urgent", &[("x-priority", "-10")]),
        ("least", &[("x-priority", "-2047")]), // brought to -10
        ("words", &[("x-priority", "high")]),  // is none: 2
        ("one", &[("x-priority", "1")]),
        ("tier", &[("x-priority", "priority")]), // a word of service_tier only
    ];
    let waiters = header.map(|(name, headers)| (name, headers, json!({})));
    assert_eq!(order(route, &waiters).await, "urgent least one none words tier three ten most");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_the_body_says_the_class() {
    let waiters = [
        ("zero", json!({ "rank": 0 })),
        ("none", json!({})),
        ("five", json!({ "rank": 5 })),
        ("text", json!({ "rank": "-5" })),
        ("deep", json!({ "more": { "rank": -2000 } })), // not at the top
        ("urgent", json!({ "rank": -2000 })),
        ("list", json!({ "rank": [-2000] })), // no class
    ];
    let waiters = waiters.map(|(name, more)| (name, &[][..], more));
    assert_eq!(order("priority: { body: rank }", &waiters).await, "urgent text zero none deep list five");
}

#[tokio::test(flavor = "multi_thread")]
async fn service_tiers_are_classes() {
    let tiers = ["batch", "flex", "default", "auto", "priority", "nonsense", "-1", "standard"];
    let waiters = tiers.map(|tier| (tier, &[][..], json!({ "service_tier": tier })));
    let expected = "priority -1 default auto nonsense standard batch flex";
    assert_eq!(order("priority: { body: service_tier }", &waiters).await, expected);
    // nobody buys more than the range sells
    let expected = "default auto priority nonsense -1 standard batch flex";
    assert_eq!(order("priority: { body: service_tier, min: 0 }", &waiters).await, expected);
}

/// A route's own class orders it among the other routes of its pool.
#[tokio::test(flavor = "multi_thread")]
async fn routes_have_classes_of_their_own() {
    let route = "priority: 5 }, { name: urgent, match: { header: { x-way: u } }, pool: p, priority: -2047 }, \
                 { name: late, match: { header: { x-way: l } }, pool: p, priority: 2047";
    // the first that matches is taken: those with a header come first
    let route = format!("match: {{ header: {{ x-way: m }} }}, {route} }}, {{ name: rest, pool: p");
    let way = |name: &'static str, way: &'static [(&'static str, &'static str)]| (name, way, json!({}));
    let waiters = [
        way("late", &[("x-way", "l")]),
        way("middle", &[("x-way", "m")]),
        way("rest", &[]),
        way("urgent", &[("x-way", "u")]),
        way("rest2", &[]),
        way("urgent2", &[("x-way", "u")]),
    ];
    assert_eq!(order(&route, &waiters).await, "urgent urgent2 rest rest2 middle late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_whatever_the_class() {
    let engines = engines(1, SLOW).await;
    let route = "priority: { header: x-priority }";
    let proxy = Proxy::start(&config(&engines, &["max_in_flight: 1"], "queue: { max_requests: 2 }", route)).await;
    let background = |class: &'static str| {
        let request = reqwest_client().post(proxy.url(CHAT)).header("x-priority", class).json(&ask("m", true, 20_000));
        tokio::spawn(async move { whole(request.send().await.unwrap()).await.0 })
    };
    let held = background("0");
    assert!(engines[0].wait_for(PATIENCE, |stats| stats.in_flight == 1).await);
    let waiting = [background("10"), background("10")];
    assert!(eventually(async || get(&proxy, "api/queues").await[0]["queued"] == 2).await);
    let answer = herd::send(&proxy, &[("x-priority", "-100")], &ask("m", false, 1)).await;
    assert_eq!(answer.status(), 429);
    let after: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(after >= 1);
    engines[0].set_fault(Fault::always(FaultKind::Slow { factor: 0.0005 }));
    assert_eq!(held.await.unwrap(), 200);
    for one in waiting {
        assert_eq!(one.await.unwrap(), 200);
    }
}
