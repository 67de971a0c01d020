//! What the checks ask and how often, and what their verdicts do: path, status, body, rise, fall, paces, grace, none.
//! Counted at the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use common::{Proxy, eventually};
use herd::{CHAT, chats, endpoint, pool_at, row, until_health};
use serde_json::json;
use stage::{ask, post, whole};

/// What `/well` answers.
#[derive(Clone)]
enum Word {
    Says(u16, Vec<u8>),
    Nothing,
}

fn says(status: u16, body: &str) -> Word {
    Word::Says(status, body.as_bytes().to_vec())
}

/// An engine of which the test says how its check goes, and which notes when it was checked.
struct Checked {
    url: String,
    word: Arc<Mutex<Word>>,
    checks: Arc<Mutex<Vec<(Instant, String)>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Checked {
    async fn start(word: Word) -> Checked {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (word, checks) = (Arc::new(Mutex::new(word)), Arc::new(Mutex::new(Vec::new())));
        let (now, notes) = (word.clone(), checks.clone());
        let app = axum::Router::new().fallback(move |request: Request| {
            let (word, notes) = (now.lock().unwrap().clone(), notes.clone());
            async move {
                match (request.method().as_str(), request.uri().path()) {
                    ("POST", _) => Json(json!({ "id": "x" })).into_response(),
                    (method, path) if path.ends_with("/well") => {
                        notes.lock().unwrap().push((Instant::now(), format!("{method} {}", request.uri())));
                        match word {
                            Word::Nothing => std::future::pending().await,
                            Word::Says(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
                        }
                    }
                    _ => StatusCode::NOT_FOUND.into_response(),
                }
            }
        });
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Checked { url, word, checks, serving }
    }

    fn is_now(&self, word: Word) {
        *self.word.lock().unwrap() = word;
    }

    fn checks(&self) -> usize {
        self.checks.lock().unwrap().len()
    }

    /// The pauses between checks from the nth on.
    fn pauses(&self, from: usize) -> Vec<Duration> {
        let checks = self.checks.lock().unwrap();
        checks[from..].windows(2).map(|two| two[1].0 - two[0].0).collect()
    }

    async fn checked(&self, more: usize) {
        let wanted = self.checks() + more;
        assert!(eventually(async || self.checks() >= wanted).await, "{} of {wanted} checks", self.checks());
    }
}

/// Endpoints with these checks; their models are given, so that only the checks say who can serve.
fn config(engines: &[&Checked], health: &str) -> String {
    let urls: Vec<String> = engines.iter().map(|engine| engine.url.clone()).collect();
    let options = vec!["models: [m]"; engines.len()];
    let pool = pool_at(&urls, &options, &format!("health: {health}, ejection: none"));
    format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, balance: round-robin }}]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_body_say_who_is_well() {
    let far = [vec![b' '; 60 << 10], b"ready".to_vec()].concat();
    let too_far = [vec![b' '; 70 << 10], b"ready".to_vec()].concat();
    for (checks, word, health) in [
        ("", says(200, ""), "up"),
        ("", says(299, ""), "up"),
        ("", says(302, ""), "down"),
        ("", says(404, ""), "down"),
        ("", says(503, ""), "down"),
        ("status: [200, \"300-399\"], ", says(200, ""), "up"),
        ("status: [200, \"300-399\"], ", says(204, ""), "down"),
        ("status: [200, \"300-399\"], ", says(302, ""), "up"),
        ("status: [200, \"300-399\"], ", says(399, ""), "up"),
        ("status: [200, \"300-399\"], ", says(400, ""), "down"),
        ("status: [503], ", says(503, ""), "up"),
        ("body: ready, ", says(200, "{\"state\":\"ready\"}"), "up"),
        ("body: ready, ", says(200, "{\"state\":\"loading\"}"), "down"),
        ("body: ready, ", says(200, "READY"), "down"),
        ("body: ready, ", says(500, "ready"), "down"),
        ("body: ready, status: [500], ", says(500, "ready"), "up"),
        ("body: ready, ", Word::Says(200, far), "up"),
        ("body: ready, ", Word::Says(200, too_far), "down"),
        ("timeout: 200ms, ", Word::Nothing, "down"),
    ] {
        let engine = Checked::start(word).await;
        let health_words = format!("{{ {checks}path: \"/deep/well?full=1\", every: 50ms, rise: 1, fall: 1 }}");
        let proxy = Proxy::start_degraded(&config(&[&engine], &health_words)).await;
        until_health(&proxy, "a", health).await;
        let asked = engine.checks.lock().unwrap()[0].1.clone();
        assert_eq!(asked, "GET /deep/well?full=1", "{checks}");
        let (status, text) = whole(post(proxy.url(CHAT), "one", &ask("m", false, 1)).await).await;
        assert_eq!(status, if health == "up" { 200 } else { 503 }, "{checks}: {text}");
        assert_eq!(row(&proxy, "p", "a").await["status"], health.to_uppercase(), "{checks}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rise_and_fall_count_checks_in_a_row() {
    let (a, b) = (Checked::start(says(200, "")).await, Checked::start(says(200, "")).await);
    let proxy = Proxy::start(&config(&[&a, &b], "{ path: /well, every: 100ms, rise: 4, fall: 3 }")).await;
    until_health(&proxy, "a", "up").await;
    until_health(&proxy, "b", "up").await;
    for (word, health, count) in [(500, "down", 3), (200, "up", 4), (500, "down", 3)] {
        // what runs at the moment of the change may still carry the old word
        a.is_now(says(word, ""));
        let before = a.checks();
        until_health(&proxy, "a", health).await;
        let took = a.checks() - before;
        assert!((count..=count + 2).contains(&took), "{took} checks to be {health}, {count} wanted");
    }
    let shown = endpoint(&proxy, "a").await;
    assert_eq!((&shown["times_down"], &shown["last_check"]), (&json!(2), &json!(false)), "{shown}");
    assert!(shown["checks_failed"].as_u64().unwrap() >= 6, "{shown}");
    assert_eq!(chats(&proxy, &[], 4).await, "bbbb");
    assert_eq!(endpoint(&proxy, "b").await["times_down"], 0);
    assert_eq!(endpoint(&proxy, "b").await["checks_failed"], 0);
}

/// A lone bad check between good ones takes nobody down.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_bad_check_is_forgiven() {
    let a = Checked::start(says(200, "")).await;
    let proxy = Proxy::start(&config(&[&a], "{ path: /well, every: 60ms, rise: 2, fall: 2 }")).await;
    until_health(&proxy, "a", "up").await;
    for _ in 0..5 {
        let failed = endpoint(&proxy, "a").await["checks_failed"].as_u64().unwrap();
        a.is_now(says(500, ""));
        let seen = async || endpoint(&proxy, "a").await["checks_failed"].as_u64().unwrap() > failed;
        // as soon as one failed it is well again; on a slow machine two may fail, then it turned down rightly
        assert!(eventually(seen).await);
        a.is_now(says(200, ""));
        let shown = endpoint(&proxy, "a").await;
        let fails = shown["checks_failed"].as_u64().unwrap() - failed;
        assert!(fails > 1 || shown["times_down"] == 0, "{shown}");
        if fails > 1 {
            return;
        }
        a.checked(3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pace_goes_by_the_verdicts() {
    let a = Checked::start(says(200, "")).await;
    let health = "{ path: /well, every: 1s, fast_every: 100ms, down_every: 400ms, rise: 5, fall: 5 }";
    let proxy = Proxy::start_degraded(&config(&[&a], health)).await;
    until_health(&proxy, "a", "up").await;
    // the first steps after the start are short: 250 ms, 500 ms; then they are even
    let settled = async || a.pauses(0).last().is_some_and(|pause| *pause > Duration::from_millis(900));
    assert!(eventually(settled).await);
    let before = a.checks();
    a.checked(2).await;
    let near = |pauses: &[Duration], ms: u64| {
        let mean = pauses.iter().sum::<Duration>() / pauses.len() as u32;
        let (least, most) = (Duration::from_millis(ms * 8 / 10), Duration::from_millis(ms * 2 + 200));
        assert!((least..most).contains(&mean), "about {ms} ms: {pauses:?}");
    };
    near(&a.pauses(before - 1), 1000);
    // it turns: the next check comes in its turn, those after it fast
    let before = a.checks();
    a.is_now(says(500, ""));
    until_health(&proxy, "a", "down").await;
    let pauses = a.pauses(before);
    assert!(pauses.len() >= 4, "{pauses:?}");
    near(&pauses[..4], 100);
    let before = a.checks();
    a.checked(4).await;
    near(&a.pauses(before), 400);
    let before = a.checks();
    a.is_now(says(200, ""));
    until_health(&proxy, "a", "up").await;
    let pauses = a.pauses(before);
    assert!(pauses.len() >= 4, "{pauses:?}");
    near(&pauses[pauses.len() - 4..], 100);
}

/// A failed request makes the next check come soon.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_request_calls_for_a_check() {
    let a = Checked::start(says(200, "")).await;
    let health = "{ path: /well, every: 20s, fast_every: 100ms, rise: 1, fall: 1 }";
    let proxy = Proxy::start(&config(&[&a], health)).await;
    // past the short first steps: 250 ms, 500 ms, 1 s, 2 s
    assert!(eventually(async || a.pauses(0).iter().any(|pause| *pause > Duration::from_millis(1800))).await);
    let url = a.url.clone();
    drop(a);
    let refused = eventually(async || std::net::TcpStream::connect(url.trim_start_matches("http://")).is_err());
    assert!(refused.await);
    let start = Instant::now();
    assert_ne!(whole(post(proxy.url(CHAT), "fails", &ask("m", false, 1)).await).await.0, 200);
    until_health(&proxy, "a", "down").await;
    assert!(start.elapsed() < Duration::from_secs(3), "not in its turn: {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_model_loads_nobody_is_down() {
    let (a, b) = (Checked::start(says(503, "")).await, Checked::start(says(200, "")).await);
    let health = "{ path: /well, every: 100ms, rise: 1, fall: 2, grace: 1m }";
    let proxy = Proxy::start_degraded(&config(&[&a, &b], health)).await;
    until_health(&proxy, "b", "up").await;
    a.checked(10).await;
    let shown = endpoint(&proxy, "a").await;
    assert_eq!((&shown["health"], &shown["times_down"]), (&json!("starting"), &json!(0)), "{shown}");
    assert_eq!(chats(&proxy, &[], 4).await, "bbbb", "it takes nothing meanwhile");
    a.is_now(says(200, ""));
    until_health(&proxy, "a", "up").await;
    assert!(chats(&proxy, &[], 4).await.contains('a'));
    // once it was up, the grace is over
    a.is_now(says(503, ""));
    until_health(&proxy, "a", "down").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_ends() {
    let a = Checked::start(says(503, "")).await;
    let health = "{ path: /well, every: 100ms, rise: 1, fall: 2, grace: 1500ms }";
    let start = Instant::now();
    let proxy = Proxy::start_degraded(&config(&[&a], health)).await;
    until_health(&proxy, "a", "down").await;
    assert!(start.elapsed() >= Duration::from_millis(1500), "not before its time: {:?}", start.elapsed());
    assert!(a.checks() > 3, "it was asked all the while: {}", a.checks());
}

/// Without checks an endpoint is taken to be well, and its requests alone show that it is not.
#[tokio::test(flavor = "multi_thread")]
async fn without_checks_nobody_is_asked() {
    let (a, b) = (Checked::start(says(500, "")).await, Checked::start(says(200, "")).await);
    let proxy = Proxy::start(&config(&[&a, &b], "none")).await;
    assert_eq!(chats(&proxy, &[], 6).await, "ababab");
    for (engine, name) in [(&a, "a"), (&b, "b")] {
        assert_eq!(engine.checks(), 0, "{name}");
        let shown = row(&proxy, "p", name).await;
        assert_eq!((&shown["status"], &shown["chkfail"]), (&json!("no check"), &json!(0)), "{shown}");
        assert!(shown["check_status"].is_null(), "{shown}");
    }
}

/// A reload with other checks puts them in force, and forgets nothing.
#[tokio::test(flavor = "multi_thread")]
async fn checks_change_with_a_reload() {
    let a = Checked::start(says(204, "")).await;
    let text =
        |status: &str| config(&[&a], &format!("{{ path: /well, status: [{status}], every: 50ms, rise: 1, fall: 1 }}"));
    let proxy = Proxy::start(&text("204")).await;
    until_health(&proxy, "a", "up").await;
    proxy.reload(&text("200")).await;
    until_health(&proxy, "a", "down").await;
    proxy.reload(&text("\"200-204\"")).await;
    until_health(&proxy, "a", "up").await;
    assert_eq!(endpoint(&proxy, "a").await["times_down"], 1);
    proxy.reload(&config(&[&a], "none")).await;
    let checks = a.checks();
    assert_eq!(chats(&proxy, &[], 20).await, "a".repeat(20));
    assert!(a.checks() <= checks + 1, "one may have been on its way");
}
