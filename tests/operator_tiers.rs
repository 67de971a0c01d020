//! Who serves when others cannot, one backup or all, and how slowly an endpoint comes in.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use common::{PATIENCE, Proxy, eventually};
use herd::{QUICK, bring_up, chats, endpoint, engines, herd as config, name, row, take_down, to_state};
use stage::FAST;

#[tokio::test(flavor = "multi_thread")]
async fn backups_serve_together_or_one_at_a_time() {
    for (backup, first, second) in [("all", "bcdbcd", "cdcd"), ("one", "bbbbbb", "cccc")] {
        let engines = engines(4, FAST).await;
        let options = ["", "backup: true", "backup: true", "backup: true"];
        let pool = format!("{QUICK}, backup: {backup}");
        let proxy = Proxy::start(&config(&engines, &options, &pool, "balance: round-robin")).await;
        assert_eq!(chats(&proxy, &[], 6).await, "aaaaaa", "{backup}");
        to_state(&proxy, "a", "drain").await;
        assert_eq!(sorted(chats(&proxy, &[], 6).await), sorted(first.to_owned()), "{backup}");
        take_down(&proxy, &engines[1], "b").await;
        assert_eq!(sorted(chats(&proxy, &[], 4).await), sorted(second.to_owned()), "{backup}: the next ones");
        to_state(&proxy, "c", "maint").await;
        assert_eq!(chats(&proxy, &[], 2).await, "dd", "{backup}: the last");
        bring_up(&proxy, &engines[1], "b").await;
        let names = sorted(chats(&proxy, &[], 10).await);
        let of_b = names.matches('b').count();
        assert_eq!(of_b + names.matches('d').count(), 10, "{names}");
        // what comes back is at most two turns behind
        assert!(if backup == "one" { of_b == 10 } else { (5..=7).contains(&of_b) }, "{backup}: {names}");
        to_state(&proxy, "a", "ready").await;
        assert_eq!(chats(&proxy, &[], 4).await, "aaaa", "{backup}: who is no backup serves alone");
    }
}

fn sorted(names: String) -> String {
    let mut letters: Vec<char> = names.chars().collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

/// Per cent of its weight that an endpoint has.
async fn throttle(proxy: &Proxy, endpoint: &str) -> f64 {
    row(proxy, "p", endpoint).await["throttle"].as_f64().unwrap_or(100.0)
}

/// The share of `b` in 60 turns, with what its weight was before and after them.
async fn share(proxy: &Proxy) -> (f64, f64, f64) {
    let before = throttle(proxy, "b").await / 100.0;
    let names = chats(proxy, &[], 60).await;
    let after = throttle(proxy, "b").await / 100.0;
    (names.matches('b').count() as f64 / 60.0, before, after)
}

/// Of two endpoints of equal weight, one at `part` of it gets `part / (1 + part)`.
fn expect_between((share, before, after): (f64, f64, f64)) {
    let due = |part: f64| part / (1.0 + part);
    let (least, most) = (due(before) - 0.07, due(after) + 0.07);
    assert!((least..=most).contains(&share), "{share:.2} with {before:.2} to {after:.2} of its weight");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_comes_back_comes_in_slowly() {
    let engines = engines(2, FAST).await;
    let pool = format!("{QUICK}, defaults: {{ slow_start: 8s }}");
    let proxy = Proxy::start(&config(&engines, &[], &pool, "balance: round-robin")).await;
    assert_eq!(throttle(&proxy, "b").await, 100.0, "from the start all of them have all");
    take_down(&proxy, &engines[1], "b").await;
    bring_up(&proxy, &engines[1], "b").await;
    let first = share(&proxy).await;
    assert!(first.1 < 0.5, "{first:?}");
    expect_between(first);
    assert!(eventually(async || throttle(&proxy, "b").await >= 60.0).await);
    let second = share(&proxy).await;
    expect_between(second);
    assert!(second.0 > first.0, "{first:?}, then {second:?}");
    assert!(eventually(async || throttle(&proxy, "b").await == 100.0).await);
    expect_between(share(&proxy).await);
    assert_eq!(throttle(&proxy, "a").await, 100.0);
    assert_eq!(endpoint(&proxy, "b").await["weight"], 1, "its weight is what it was");
}

/// The cap grows, too: 1 of 20 at first, all of them at last.
#[tokio::test(flavor = "multi_thread")]
async fn the_cap_grows_with_the_weight() {
    let engines = engines(2, FAST).await;
    let pool = format!("{QUICK}, defaults: {{ slow_start: 4s, max_in_flight: 20 }}");
    let proxy = Proxy::start(&config(&engines, &[], &pool, "balance: round-robin")).await;
    take_down(&proxy, &engines[1], "b").await;
    bring_up(&proxy, &engines[1], "b").await;
    let (mut last, start) = (0, std::time::Instant::now());
    while last < 20 && start.elapsed() < PATIENCE {
        let shown = endpoint(&proxy, "b").await;
        let (cap, ramp) = (shown["max_in_flight"].as_u64().unwrap(), shown["ramp"].as_f64().unwrap());
        assert!(cap >= last, "{cap} after {last}");
        assert!((cap as f64 - 20.0 * ramp).abs() <= 1.0, "{cap} of 20 at {ramp}");
        last = cap;
    }
    assert_eq!(last, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_new_endpoints_that_shall_come_in_slowly() {
    for (new, slow) in [(false, false), (true, true)] {
        let engines = engines(2, FAST).await;
        let pool = format!("{QUICK}, defaults: {{ slow_start: {{ over: 20s, new: {new} }} }}");
        let text = |count: usize| config(&engines[..count], &[], &pool, "balance: round-robin");
        let proxy = Proxy::start(&text(1)).await;
        assert_eq!(throttle(&proxy, "a").await, 100.0, "new: {new}");
        proxy.reload(&text(2)).await;
        herd::until_health(&proxy, "b", "up").await;
        let part = throttle(&proxy, "b").await;
        assert_eq!(part < 100.0, slow, "new: {new}: {part}");
        assert_eq!(throttle(&proxy, "a").await, 100.0, "the old one: {}", name(0));
    }
}

/// What comes back from maintenance is cold as well.
#[tokio::test(flavor = "multi_thread")]
async fn after_maintenance_it_comes_in_slowly_after_a_drain_not() {
    let engines = engines(2, FAST).await;
    let pool = format!("{QUICK}, defaults: {{ slow_start: 20s }}");
    let proxy = Proxy::start(&config(&engines, &[], &pool, "balance: round-robin")).await;
    to_state(&proxy, "b", "drain").await;
    to_state(&proxy, "b", "ready").await;
    assert_eq!(throttle(&proxy, "b").await, 100.0);
    to_state(&proxy, "b", "maint").await;
    to_state(&proxy, "b", "ready").await;
    assert!(throttle(&proxy, "b").await < 50.0);
    expect_between(share(&proxy).await);
}
