//! What a queue refuses, and the time that it names: Retry-After is (those that wait + 1) / (answers per second), within a
//! factor of [`FACTOR`], seconds; and bodies that together would be more than `queue.max_bytes` are not kept.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use common::{PATIENCE, Proxy, eventually};
use herd::{CHAT, engines, get, herd as config};
use serde_json::{Value, json};
use stage::{SLOW, ask, post, whole};
use tokio::task::JoinSet;

/// How far the time may be from what the pace says. Full seconds are told: half a second is allowed besides.
const FACTOR: f64 = 2.0;
/// Requests that may wait.
const WAITING: u64 = 20;
/// Answers before the question.
const ANSWERS: usize = 12;

async fn queued(proxy: &Proxy) -> Value {
    get(proxy, "api/status").await["pools"][0]["queue"].clone()
}

async fn retry_after(answer: &reqwest::Response) -> f64 {
    let value = answer.headers().get("retry-after").expect("Retry-After").to_str().unwrap();
    value.parse().unwrap_or_else(|_| panic!("not seconds: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_is_the_queue_divided_by_the_pace() {
    // one at a time, 20 tokens each at 80 a second: four answers a second at best; what it is here is measured
    let engines = engines(1, 80.0).await;
    let pool = format!("queue: {{ max_requests: {WAITING}, timeout: 120s }}");
    let proxy = Proxy::start(&config(&engines, &["max_in_flight: 1"], &pool, "")).await;
    let mut clients = JoinSet::new();
    let (done, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for client in 0..=WAITING {
        let (url, done) = (proxy.url(CHAT), done.clone());
        clients.spawn(async move {
            for nth in 0.. {
                let answer = whole(post(url.clone(), &format!("c{client}-{nth}"), &ask("m", false, 20)).await).await;
                // a place in the queue may be taken by another's next request, and by the question
                if answer.0 == 200 && done.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    let mut moments = Vec::new();
    while moments.len() < ANSWERS {
        moments.push(tokio::time::timeout(PATIENCE, answers.recv()).await.expect("an answer in time").unwrap());
    }
    let pace = (ANSWERS - 1) as f64 / (moments[ANSWERS - 1] - moments[0]).as_secs_f64();
    let begin = Instant::now();
    let (seconds, waiting) = loop {
        let before = queued(&proxy).await["queued"].as_u64().unwrap();
        let answer = post(proxy.url(CHAT), "one-too-many", &ask("m", false, 20)).await;
        if answer.status() == 429 {
            break (retry_after(&answer).await, before.max(WAITING - 1) as f64);
        }
        assert!(begin.elapsed() < PATIENCE, "the queue is never full");
    };
    clients.abort_all();
    let due = (waiting + 1.0) / pace;
    assert!(due > 3.0, "too fast to tell from the least that is ever said: {due:.1} s");
    assert!(seconds >= due / FACTOR - 0.5 && seconds <= due * FACTOR + 0.5, "told {seconds} s, due {due:.1} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_more_than_the_queue_may_hold_are_refused() {
    let engines = engines(1, SLOW).await;
    let proxy = Proxy::start(&config(&engines, &["max_in_flight: 1"], "queue: { max_bytes: 100KiB }", "")).await;
    let mut held = JoinSet::new();
    let url = proxy.url(CHAT);
    held.spawn(async move { whole(post(url, "held", &ask("m", true, 20_000)).await).await.0 });
    assert!(engines[0].wait_for(PATIENCE, |stats| stats.in_flight == 1).await);
    let of = |kilobytes: usize| {
        let mut body = ask("m", false, 1);
        body["padding"] = json!("x".repeat(kilobytes * 1024));
        body
    };
    for (nth, kilobytes) in [(1, 40), (2, 40)] {
        let (url, body) = (proxy.url(CHAT), of(kilobytes));
        held.spawn(async move { whole(post(url, &format!("waits-{nth}"), &body).await).await.0 });
        assert!(eventually(|| async { queued(&proxy).await["queued"] == nth }).await, "{}", queued(&proxy).await);
    }
    let refused = post(proxy.url(CHAT), "too-much", &of(40)).await;
    assert_eq!(refused.status(), 429);
    assert!(retry_after(&refused).await >= 1.0);
    let line = proxy.line("too-much").await;
    assert_eq!(line["status"], 429, "{line}");
    // what still fits still waits
    let (url, body) = (proxy.url(CHAT), of(5));
    held.spawn(async move { whole(post(url, "fits", &body).await).await.0 });
    assert!(eventually(|| async { queued(&proxy).await["queued"] == 3 }).await, "{}", queued(&proxy).await);
    let bytes = queued(&proxy).await["queued_bytes"].as_u64().unwrap();
    assert!((85 * 1024..=100 * 1024).contains(&bytes), "{bytes} bytes wait");
    assert!(engines[0].stats().inference == 1, "nobody else reached the engine");
    held.abort_all();
    let gone = tokio::time::timeout(Duration::from_secs(30), async { while held.join_next().await.is_some() {} });
    gone.await.expect("the clients end");
    assert!(eventually(|| async { queued(&proxy).await["queued_bytes"] == 0 }).await, "{}", queued(&proxy).await);
}
