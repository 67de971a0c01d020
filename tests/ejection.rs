//! Endpoints that are taken out by what their requests showed: after how many failures, for how long, how they come
//! back, and who is never taken out. The checks see nothing here: they pass, or there are none.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use arriero_lab::http::{Fault, FaultKind};
use common::{Proxy, eventually};
use herd::{CHAT, asked, chat, chats, endpoint, engines, herd as config, row, who};
use serde_json::{Value, json};
use stage::{FAST, ask, post, whole};

/// `balance: first`: every request goes to `a` as long as it is not out. A 500 is passed on, not tried elsewhere.
const FIRST: &str = "balance: first";

fn pool(ejection: &str) -> String {
    format!("health: none, ejection: {ejection}")
}

/// The status of one request.
async fn status(proxy: &Proxy) -> u16 {
    whole(post(proxy.url(CHAT), "one", &ask("m", false, 1)).await).await.0
}

async fn ejected_for(proxy: &Proxy) -> Option<f64> {
    endpoint(proxy, "a").await["ejected_for_s"].as_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_failures_in_a_row_and_no_more() {
    let engines = engines(2, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], &pool("{ failures: 4, share: none, first: 1m }"), FIRST)).await;
    let failing = Fault::always(FaultKind::Error);
    // three, and one success between: nothing happens
    for _ in 0..2 {
        engines[0].set_fault(failing);
        for _ in 0..3 {
            assert_eq!(status(&proxy).await, 500);
        }
        engines[0].set_fault(Fault::none());
        assert_eq!(chats(&proxy, &[], 1).await, "a");
    }
    assert_eq!(ejected_for(&proxy).await, None);
    engines[0].set_fault(failing);
    for _ in 0..4 {
        assert_eq!(status(&proxy).await, 500);
    }
    assert_eq!(chats(&proxy, &[], 5).await, "bbbbb", "out");
    let left = ejected_for(&proxy).await.expect("out");
    assert!(left > 30.0 && left <= 60.0, "{left}");
    let shown = row(&proxy, "p", "a").await;
    assert_eq!(shown["status"], "EJECTED", "{shown}");
    assert_eq!(endpoint(&proxy, "a").await["times_ejected"], 1);
    let told = json!({ "path": CHAT, "body": ask("m", false, 1) });
    let (_, told) = herd::call(&proxy, "POST", "api/explain", Some(told)).await;
    let of_a = told["others"].as_array().unwrap().iter().find(|other| other["endpoint"] == "a").unwrap();
    assert!(of_a["why"].as_str().unwrap().starts_with("ejected for "), "{told}");
    assert_eq!(asked(&engines), [12, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_requests_is_enough() {
    let engines = engines(2, FAST).await;
    let ejection = pool("{ failures: 0, share: 50%, requests: 10, window: 5m, first: 1m }");
    let proxy = Proxy::start(&config(&engines, &[], &ejection, FIRST)).await;
    // good and bad by turns: never two failures in a row
    for nth in 0..10 {
        assert_eq!(ejected_for(&proxy).await, None, "{nth}: fewer than ten are no share");
        let fault = if nth % 2 == 0 { Fault::none() } else { Fault::always(FaultKind::Error) };
        engines[0].set_fault(fault);
        assert_eq!(status(&proxy).await, if nth % 2 == 0 { 200 } else { 500 });
    }
    assert!(ejected_for(&proxy).await.is_some());
    assert_eq!(chats(&proxy, &[], 3).await, "bbb");
}

/// After its time one request tries: failure doubles the time, success brings it back.
#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_by_a_trial() {
    let engines = engines(2, FAST).await;
    let ejection = pool("{ failures: 1, share: none, first: 1s, longest: 10s }");
    let proxy = Proxy::start(&config(&engines, &[], &ejection, FIRST)).await;
    engines[0].set_fault(Fault::always(FaultKind::Error));
    let mut spans = Vec::new();
    for round in 1..=3 {
        let out = Instant::now();
        assert_eq!(status(&proxy).await, 500, "round {round}: the one that tries");
        assert_eq!(chats(&proxy, &[], 2).await, "bb", "round {round}");
        assert_eq!(asked(&engines)[0], round, "one request per round");
        assert!(eventually(async || ejected_for(&proxy).await.is_none()).await);
        spans.push(out.elapsed());
    }
    for (span, least) in spans.iter().zip([1.0, 2.0, 4.0]) {
        let s = span.as_secs_f64();
        assert!(s >= least * 0.85 && s < least + 3.0, "{spans:?}");
    }
    engines[0].set_fault(Fault::none());
    assert_eq!(chats(&proxy, &[], 4).await, "aaaa", "one success, and it is back");
    let shown = endpoint(&proxy, "a").await;
    assert_eq!((&shown["times_ejected"], &shown["half_open"]), (&json!(3), &json!(false)), "{shown}");
}

/// While one request tries, no other joins it.
#[tokio::test(flavor = "multi_thread")]
async fn one_request_tries_at_a_time() {
    let engines = engines(2, FAST).await;
    let ejection = pool("{ failures: 1, share: none, first: 500ms }");
    let proxy = Proxy::start(&config(&engines, &[], &ejection, FIRST)).await;
    engines[0].set_fault(Fault::always(FaultKind::Error));
    assert_eq!(status(&proxy).await, 500);
    assert!(eventually(async || ejected_for(&proxy).await.is_none()).await);
    engines[0].set_fault(Fault::always(FaultKind::Hang));
    let url = proxy.url(CHAT);
    let trying = tokio::spawn(async move { post(url, "tries", &ask("m", false, 1)).await.status() });
    assert!(engines[0].wait_for(Duration::from_secs(30), |stats| stats.in_flight == 1).await);
    assert_eq!(chats(&proxy, &[], 10).await, "b".repeat(10));
    assert_eq!(engines[0].stats().in_flight, 1);
    trying.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_stays_unless_told_otherwise() {
    for (last, out) in [("keep", false), ("eject", true)] {
        let engines = engines(1, FAST).await;
        let ejection = pool(&format!("{{ failures: 2, share: none, first: 1m, last: {last} }}"));
        let proxy = Proxy::start(&config(&engines, &[], &ejection, FIRST)).await;
        engines[0].set_fault(Fault::always(FaultKind::Error));
        for _ in 0..2 {
            assert_eq!(status(&proxy).await, 500);
        }
        engines[0].set_fault(Fault::none());
        assert_eq!(status(&proxy).await, if out { 503 } else { 200 }, "last: {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ejection_nobody_is_taken_out() {
    let engines = engines(2, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], &pool("none"), FIRST)).await;
    engines[0].set_fault(Fault::always(FaultKind::Error));
    for _ in 0..30 {
        assert_eq!(status(&proxy).await, 500);
    }
    let shown = endpoint(&proxy, "a").await;
    assert_eq!((&shown["times_ejected"], &shown["ejected_for_s"]), (&json!(0), &Value::Null));
}

/// What a client did wrong, a busy answer, and a client that leaves are no failures of the engine.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_its_fault_does_not_count() {
    let engines = engines(2, FAST).await;
    let ejection = pool("{ failures: 1, share: none, first: 1m }");
    let proxy = Proxy::start(&config(&engines, &[], &ejection, FIRST)).await;
    for nth in 0..5 {
        let cancels = engines[0].stats().cancels;
        drop(post(proxy.url(CHAT), "leaves", &ask("m", true, 500_000)).await);
        assert!(engines[0].wait_for(Duration::from_secs(30), |stats| stats.cancels > cancels).await, "{nth}");
    }
    engines[0].set_fault(Fault::always(FaultKind::Busy));
    assert_eq!(who(&chat(&proxy, &[]).await), "b", "busy: elsewhere for a moment");
    engines[0].set_fault(Fault::none());
    assert!(eventually(async || chats(&proxy, &[], 1).await == "a").await, "and back soon");
    assert_eq!(endpoint(&proxy, "a").await["times_ejected"], 0);
}

/// With `panic` requests go to those who are out when nobody else is left.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_panic_anybody_will_do() {
    for (panic, code) in [(false, 503), (true, 200)] {
        let engines = engines(2, FAST).await;
        let ejection = pool(&format!("{{ failures: 1, share: none, first: 1m, last: eject }}, panic: {panic}"));
        let proxy = Proxy::start(&config(&engines, &[], &ejection, FIRST)).await;
        engines.iter().for_each(|engine| engine.set_fault(Fault::always(FaultKind::Error)));
        for _ in 0..2 {
            assert_eq!(status(&proxy).await, 500);
        }
        engines.iter().for_each(|engine| engine.set_fault(Fault::none()));
        assert_eq!(status(&proxy).await, code, "panic: {panic}");
    }
}
