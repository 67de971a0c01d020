//! What an operator says at run time holds at once, for every strategy, and until it is taken back: weight, cap, state.
//! Slow start and backups are in `operator_tiers.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use common::{PATIENCE, Proxy, eventually};
use herd::{CHAT, QUICK, asked, call, chat, chats, endpoint, engines, herd as config, set, to_state, who};
use serde_json::json;
use stage::{FAST, SLOW, ask, post, whole};
use tokio::task::JoinHandle;

/// What each engine got since.
fn since(engines: &[LabEngine], before: &[u64]) -> Vec<u64> {
    asked(engines).iter().zip(before).map(|(after, before)| after - before).collect()
}

/// Shares by turns: an endpoint whose weight changed, or that was away, is at most two turns behind or ahead of its own.
fn expect_turns(got: &[u64], due: &[u64], of: &str) {
    assert_eq!(got.iter().sum::<u64>(), due.iter().sum::<u64>(), "{of}");
    let fits = |(got, due): (&u64, &u64)| if *due == 0 { *got == 0 } else { got.abs_diff(*due) <= 2 };
    assert!(got.iter().zip(due).all(fits), "{of}: {got:?} where {due:?} are due");
}

/// A stream in the background that lasts until it is [`released`].
fn hold(proxy: &Proxy) -> JoinHandle<(u16, String)> {
    let url = proxy.url(CHAT);
    tokio::spawn(async move { whole(post(url, "held", &ask("m", true, 20_000)).await).await })
}

/// All that is held comes to its end.
async fn released(engines: &[LabEngine], held: Vec<JoinHandle<(u16, String)>>) {
    engines.iter().for_each(|engine| engine.set_fault(Fault::always(FaultKind::Slow { factor: 0.0005 })));
    for stream in held {
        assert_eq!(stream.await.unwrap().0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_count_at_once_under_round_robin() {
    let engines = engines(3, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], "", "balance: round-robin")).await;
    for (weights, requests, shares) in [
        ([1, 1, 1], 12, [4, 4, 4]),
        ([3, 1, 0], 40, [30, 10, 0]),
        ([0, 0, 7], 10, [0, 0, 10]),
        ([256, 1, 0], 257, [256, 1, 0]),
        ([2, 2, 1], 25, [10, 10, 5]),
    ] {
        for (nth, weight) in weights.iter().enumerate() {
            let shown = set(&proxy, &herd::name(nth), json!({ "weight": weight })).await;
            assert_eq!((&shown["weight"], &shown["weight_in_file"]), (&json!(weight), &json!(1)), "{shown}");
        }
        let before = asked(&engines);
        chats(&proxy, &[], requests).await;
        expect_turns(&since(&engines, &before), &shares, &format!("{weights:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_count_at_once_under_least_connection() {
    let engines = engines(2, SLOW).await;
    let proxy = Proxy::start(&config(&engines, &[], "", "balance: least-connection")).await;
    let mut held = Vec::new();
    // 4 and 4; then with three times the weight all of the next 8 go there: 12 and 4
    for (weight, then) in [(1, [4, 4]), (3, [12, 4])] {
        set(&proxy, "a", json!({ "weight": weight })).await;
        for _ in 0..8 {
            held.push(hold(&proxy));
            let count = held.len() as u64;
            assert!(eventually(async || asked(&engines).iter().sum::<u64>() == count).await);
        }
        assert_eq!(asked(&engines), then, "weight {weight}");
    }
    released(&engines, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_count_at_once_by_chance() {
    let engines = engines(2, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], "", "balance: { random: { draws: 1 } }")).await;
    // standard deviations of 7.1, 6.1 and 0: five of them on either side
    for (weight, expected, slack) in [(1, 100, 36), (3, 150, 31), (0, 0, 0)] {
        set(&proxy, "a", json!({ "weight": weight })).await;
        let before = asked(&engines);
        chats(&proxy, &[], 200).await;
        let [a, b] = since(&engines, &before)[..] else { panic!() };
        assert_eq!(a + b, 200);
        assert!(a.abs_diff(expected) <= slack, "weight {weight}: {a} of 200");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_move_only_the_keys_that_they_must_under_hash() {
    const KEYS: usize = 150;
    let engines = engines(2, FAST).await;
    let balance = "balance: { hash: { key: { header: x-user }, bounded-load: 0 } }";
    let proxy = Proxy::start(&config(&engines, &[], "", balance)).await;
    let homes = async || {
        let mut names = String::new();
        for key in 0..KEYS {
            names += &who(&chat(&proxy, &[("x-user", &key.to_string())]).await);
        }
        names
    };
    let even = homes().await;
    set(&proxy, "a", json!({ "weight": 3 })).await;
    let heavy = homes().await;
    // standard deviations of 6.1 and 5.3 of 150: five of them
    assert!(even.matches('a').count().abs_diff(75) <= 31, "{even}");
    assert!(heavy.matches('a').count().abs_diff(112) <= 27, "{heavy}");
    assert!(even.chars().zip(heavy.chars()).all(|(old, new)| old == new || new == 'a'), "keys only came to a");
    set(&proxy, "a", json!({ "weight": "file" })).await;
    assert_eq!(homes().await, even, "and go home");
}

/// A load of 20 clients until it is told to stop; all are answered.
fn load(proxy: &Proxy, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<u32>> {
    let client = |url: String, stop: Arc<AtomicBool>| async move {
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            let (status, text) = whole(post(url.clone(), "load", &ask("m", false, 20)).await).await;
            assert_eq!(status, 200, "{text}");
            count += 1;
        }
        count
    };
    (0..20).map(|_| tokio::spawn(client(proxy.url(CHAT), stop.clone()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_is_kept_from_the_moment_it_is_set() {
    let engines = engines(2, 2000.0).await;
    let options = ["max_in_flight: 2", "max_in_flight: 9"];
    let proxy = Proxy::start(&config(&engines, &options, "", "balance: least-connection")).await;
    set(&proxy, "b", json!({ "max_in_flight": 1 })).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = load(&proxy, &stop);
    let most = || [engines[0].stats().max_in_flight, engines[1].stats().max_in_flight];
    let served = async |count: u64| {
        let before: u64 = asked(&engines).iter().sum();
        assert!(eventually(async || asked(&engines).iter().sum::<u64>() >= before + count).await);
    };
    served(60).await;
    assert_eq!(most(), [2, 1], "full, never more");
    for cap in [3, 5] {
        set(&proxy, "a", json!({ "max_in_flight": cap })).await;
        served(60).await;
        assert_eq!(most(), [cap, 1], "raised");
    }
    set(&proxy, "a", json!({ "max_in_flight": 1 })).await;
    assert!(engines[0].wait_for(PATIENCE, |stats| stats.in_flight <= 1).await);
    let end = asked(&engines)[0] + 60;
    while asked(&engines)[0] < end {
        let now = engines[0].stats().in_flight;
        assert!(now <= 1, "lowered: {now} run");
        tokio::task::yield_now().await;
    }
    set(&proxy, "b", json!({ "max_in_flight": "none" })).await;
    assert!(engines[1].wait_for(PATIENCE, |stats| stats.max_in_flight >= 15).await, "no cap: {:?}", most());
    set(&proxy, "b", json!({ "max_in_flight": "file" })).await;
    assert!(engines[1].wait_for(PATIENCE, |stats| stats.in_flight <= 9).await);
    let end = asked(&engines)[1] + 60;
    while asked(&engines)[1] < end {
        let now = engines[1].stats().in_flight;
        assert!(now <= 9, "the file's: {now} run");
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.await.unwrap() > 0, "everybody was served");
    }
    assert_eq!(proxy.in_flight().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_served_when_the_cap_is_raised() {
    let engines = engines(1, SLOW).await;
    let proxy = Proxy::start(&config(&engines, &["max_in_flight: 1"], "", "")).await;
    let mut held = vec![hold(&proxy), hold(&proxy), hold(&proxy)];
    let queued =
        async |count: u64| eventually(async || herd::get(&proxy, "api/queues").await[0]["queued"] == count).await;
    assert!(queued(2).await);
    set(&proxy, "a", json!({ "max_in_flight": 2 })).await;
    assert!(queued(1).await);
    assert!(engines[0].wait_for(PATIENCE, |stats| stats.in_flight == 2).await);
    set(&proxy, "a", json!({ "max_in_flight": 1 })).await;
    held.push(hold(&proxy));
    assert!(queued(2).await, "nothing that runs is cut, nothing more starts");
    assert_eq!(engines[0].stats().in_flight, 2);
    set(&proxy, "a", json!({ "max_in_flight": "none" })).await;
    assert!(engines[0].wait_for(PATIENCE, |stats| stats.in_flight == 4).await);
    released(&engines, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_and_maint_finish_what_runs_and_take_nothing() {
    for state in ["drain", "maint"] {
        let engines = engines(2, 200.0).await;
        let proxy = Proxy::start(&config(&engines, &[], "", "balance: round-robin")).await;
        let direct = whole(post(engines[0].url() + CHAT, "direct", &ask("m", true, 100)).await).await.1;
        let before = asked(&engines);
        let url = proxy.url(CHAT);
        let asking = |url: String| async move { whole(post(url, "runs", &ask("m", true, 100)).await).await };
        let streams: Vec<_> = (0..6).map(|_| tokio::spawn(asking(url.clone()))).collect();
        assert!(engines[0].wait_for(PATIENCE, |stats| stats.in_flight == 3).await);
        to_state(&proxy, "a", state).await;
        assert_eq!(chats(&proxy, &[], 10).await, "b".repeat(10), "{state}");
        for stream in streams {
            let (status, text) = stream.await.unwrap();
            assert_eq!((status, text.as_str()), (200, direct.as_str()), "{state}");
        }
        assert_eq!(since(&engines, &before), [3, 13], "{state}");
        to_state(&proxy, "a", "ready").await;
        let back = chats(&proxy, &[], 10).await.matches('a').count() as u64;
        expect_turns(&[back, 10 - back], &[5, 5], state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_maintenance_nothing_is_asked_of_an_engine() {
    let engines = engines(2, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], QUICK, "")).await;
    let heard = |nth: usize| engines[nth].stats().requests;
    to_state(&proxy, "a", "drain").await;
    let before = heard(0);
    assert!(engines[0].wait_for(PATIENCE, |stats| stats.requests > before + 3).await, "what drains is still checked");
    to_state(&proxy, "a", "maint").await;
    let (a, b) = (heard(0), heard(1));
    // the other one's checks are the clock; one of a's may have been on its way
    assert!(engines[1].wait_for(PATIENCE, |stats| stats.requests > b + 20).await);
    assert!(heard(0) <= a + 1, "{} checks in maintenance", heard(0) - a);
    // it fails meanwhile, and nobody notices; ready, it must show itself again
    engines[0].set_fault(Fault::always(FaultKind::Refuse));
    let b = heard(1);
    assert!(engines[1].wait_for(PATIENCE, |stats| stats.requests > b + 5).await);
    assert_eq!(endpoint(&proxy, "a").await["times_down"], 0);
    to_state(&proxy, "a", "ready").await;
    herd::until_health(&proxy, "a", "down").await;
    herd::bring_up(&proxy, &engines[0], "a").await;
    let names = chats(&proxy, &[], 10).await;
    assert!(names.contains('a'), "{names}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_left_is_told_at_once() {
    let engines = engines(2, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], QUICK, "")).await;
    to_state(&proxy, "a", "drain").await;
    to_state(&proxy, "b", "maint").await;
    let (status, text) = whole(post(proxy.url(CHAT), "none", &ask("m", false, 1)).await).await;
    assert_eq!(status, 503, "{text}");
    assert_eq!(proxy.line("none").await["queue_ms"].as_f64().map(|ms| ms < 500.0), Some(true));
    assert_eq!(asked(&engines), [0, 0]);
    to_state(&proxy, "a", "ready").await;
    assert_eq!(chats(&proxy, &[], 3).await, "aaa");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_words_survive_reloads_until_the_file_has_the_say() {
    let engines = engines(3, FAST).await;
    let text = |weight: u32, more: &str| {
        let options = [&*format!("weight: {weight}, max_in_flight: 5"), "", ""];
        config(&engines, &options, "", &format!("balance: round-robin {more}"))
    };
    let proxy = Proxy::start(&text(2, "")).await;
    let said = set(&proxy, "a", json!({ "weight": 4, "max_in_flight": 3 })).await;
    assert_eq!(said["set_here"], json!(["weight", "max_in_flight"]));
    set(&proxy, "c", json!({ "state": "drain" })).await;
    for (nth, weight) in [2, 6, 7].into_iter().enumerate() {
        proxy.reload(&text(weight, &format!(", aliases: {{ n{nth}: m }}"))).await;
        let shown = endpoint(&proxy, "a").await;
        assert_eq!(
            (&shown["weight"], &shown["weight_in_file"], &shown["max_in_flight"], &shown["max_in_flight_in_file"]),
            (&json!(4), &json!(weight), &json!(3), &json!(5)),
            "{shown}"
        );
        assert_eq!(endpoint(&proxy, "c").await["state"], "drain");
        let before = asked(&engines);
        chats(&proxy, &[], 10).await;
        expect_turns(&since(&engines, &before), &[8, 2, 0], "after a reload");
    }
    let back = set(&proxy, "a", json!({ "weight": "file", "max_in_flight": "file" })).await;
    assert_eq!((&back["weight"], &back["max_in_flight"], &back["set_here"]), (&json!(7), &json!(5), &json!(null)));
    to_state(&proxy, "c", "ready").await;
    let before = asked(&engines);
    chats(&proxy, &[], 18).await;
    expect_turns(&since(&engines, &before), &[14, 2, 2], "by the file");
    proxy.reload(&text(1, ", aliases: { last: m }")).await;
    assert_eq!(endpoint(&proxy, "a").await["weight"], 1, "the file's word counts again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let engines = engines(1, FAST).await;
    let proxy = Proxy::start(&config(&engines, &["weight: 2"], "", "")).await;
    let before = endpoint(&proxy, "a").await;
    for change in [
        json!({ "weight": 257 }),
        json!({ "weight": -1 }),
        json!({ "weight": 1.5 }),
        json!({ "weight": "none" }),
        json!({ "weight": null }),
        json!({ "max_in_flight": 0 }),
        json!({ "max_in_flight": "all" }),
        json!({ "state": "down" }),
        json!({ "weight": 5, "state": "down" }),
        json!({ "weight": 5, "wait": 3 }),
        json!({}),
        json!([]),
        json!("drain"),
    ] {
        let (status, said) = call(&proxy, "PATCH", "api/endpoints/a", Some(change.clone())).await;
        assert_eq!(status, 422, "{change}: {said}");
        assert!(said["error"]["message"].is_string(), "{said}");
    }
    assert_eq!(call(&proxy, "PATCH", "api/endpoints/z", Some(json!({ "weight": 1 }))).await.0, 404);
    let after = endpoint(&proxy, "a").await;
    for key in ["weight", "max_in_flight", "state", "set_here"] {
        assert_eq!(after[key], before[key], "{key}");
    }
}
