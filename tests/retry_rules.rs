//! Which failures are tried elsewhere: each cause on its own, the count, the budget, and what is never done twice.
//! `balance: first` sends every request to `a`, which fails, before it goes to `b`, which does not. What happens to
//! requests on an endpoint that turns down is in `retry_on_down.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Json;
use axum::response::IntoResponse;
use common::{PATIENCE, Proxy, eventually, reqwest_client};
use herd::{CHAT, pool_at};
use scripted::Scripted;
use serde_json::{Value, json};
use stage::{ask, json_of, post, whole};
use tokio::io::AsyncReadExt;

/// No checks and no ejection: what is seen is the retries' doing alone.
const ALONE: &str = "health: none, ejection: none, timeouts: { first_byte: 500ms, connect: 2s }";
const KNOWN: &str = "models: [m]";
const CAUSES: [&str; 7] = ["connect", "reset", "429", "502", "503", "504", "first-byte"];

/// An engine that fails in one way, and counts how often it was asked.
struct Failing {
    url: String,
    asked: Arc<AtomicU32>,
    _scripted: Option<Scripted>,
    serving: Option<tokio::task::JoinHandle<()>>,
    /// A port that is bound, so that nobody else takes it, and not listened on.
    _mute: Option<tokio::net::TcpSocket>,
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.serving.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Failing {
    async fn by(cause: &'static str) -> Failing {
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        match cause {
            "connect" => {
                let mute = tokio::net::TcpSocket::new_v4().unwrap();
                mute.bind("127.0.0.1:0".parse().unwrap()).unwrap();
                let url = format!("http://{}", mute.local_addr().unwrap());
                Failing { url, asked, _scripted: None, serving: None, _mute: Some(mute) }
            }
            "reset" | "first-byte" => {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let url = format!("http://{}", listener.local_addr().unwrap());
                let serving = tokio::spawn(silent(listener, count, cause == "reset"));
                Failing { url, asked, _scripted: None, serving: Some(serving), _mute: None }
            }
            status => {
                let status = axum::http::StatusCode::from_u16(status.parse().unwrap()).unwrap();
                let engine = Scripted::start(move |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                    (status, "{\"error\":\"own words\"}").into_response()
                });
                let engine = engine.await;
                Failing { url: engine.url(), asked, _scripted: Some(engine), serving: None, _mute: None }
            }
        }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Reads a POST to its end, then hangs up or says nothing; everything else is hung up on at once.
async fn silent(listener: tokio::net::TcpListener, asked: Arc<AtomicU32>, hangs_up: bool) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let asked = asked.clone();
        tokio::spawn(async move {
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            let is_whole = |seen: &[u8]| seen.starts_with(b"GET") || seen.ends_with(b"}");
            while !is_whole(&seen) {
                match stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                    _ => return,
                }
            }
            if seen.starts_with(b"POST") {
                asked.fetch_add(1, Ordering::SeqCst);
                while !hangs_up && stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            }
        });
    }
}

/// An engine that answers everything.
async fn well() -> Scripted {
    Scripted::start(|_| Json(json!({ "id": "x", "choices": [] })).into_response()).await
}

async fn pair(bad: &Failing, good: &Scripted, pool: &str) -> Proxy {
    let urls = [bad.url.clone(), good.url()];
    let pool = pool_at(&urls, &[KNOWN, KNOWN], &format!("{ALONE}, {pool}"));
    Proxy::start_degraded(&format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, balance: first }}]\n")).await
}

/// What the client sees of a failure that nobody mends.
fn seen_of(cause: &str) -> u16 {
    match cause {
        "connect" | "reset" => 502,
        "first-byte" => 504,
        status => status.parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cause_is_switched_on_and_off_alone() {
    for cause in CAUSES {
        let others: Vec<&str> = CAUSES.into_iter().filter(|other| *other != cause).collect();
        for (retries, mended) in [
            (String::new(), true),
            (format!("retries: {{ causes: [{cause}] }}"), true),
            (format!("retries: {{ causes: [{}] }}", others.join(", ")), false),
            ("retries: { causes: [] }".to_owned(), false),
            ("retries: 0".to_owned(), false),
            ("retries: { count: 0 }".to_owned(), false),
        ] {
            let (bad, good) = (Failing::by(cause).await, well().await);
            let proxy = pair(&bad, &good, &retries).await;
            let (status, text) = whole(post(proxy.url(CHAT), "one", &ask("m", false, 1)).await).await;
            let expected = if mended { 200 } else { seen_of(cause) };
            assert_eq!(status, expected, "{cause}, {retries}: {text}");
            assert_eq!(good.posts().len(), usize::from(mended), "{cause}, {retries}");
            assert_eq!(bad.asked(), u32::from(cause != "connect"), "{cause}, {retries}: once");
            let line = proxy.line("one").await;
            assert_eq!(line["retries"], u32::from(mended), "{cause}, {retries}: {line}");
            let own = text.contains("own words");
            assert_eq!(own, !mended && cause.parse::<u16>().is_ok(), "{cause}, {retries}: whose words? {text}");
            let counted = proxy.metric(&format!("arriero_retries_total{{cause=\"{cause}\",route=\"r\"}}")).await;
            assert_eq!(counted.unwrap_or(0.0), f64::from(u8::from(mended)), "{cause}, {retries}");
            assert_eq!(proxy.in_flight().await, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_count() {
    for (count, asked) in [(0, [1, 0, 0, 0]), (1, [1, 1, 0, 0]), (2, [1, 1, 1, 0]), (5, [1, 1, 1, 1])] {
        let mut bad = Vec::new();
        for _ in 0..4 {
            bad.push(Failing::by("502").await);
        }
        let urls: Vec<String> = bad.iter().map(|engine| engine.url.clone()).collect();
        let pool = pool_at(&urls, &[KNOWN; 4], &format!("{ALONE}, retries: {count}"));
        let text = format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, balance: first }}]\n");
        let proxy = Proxy::start_degraded(&text).await;
        let (status, text) = whole(post(proxy.url(CHAT), "one", &ask("m", false, 1)).await).await;
        assert_eq!((status, text.contains("own words")), (502, true), "{text}");
        let got: Vec<u32> = bad.iter().map(Failing::asked).collect();
        assert_eq!(got, asked, "retries: {count}");
        assert_eq!(proxy.line("one").await["retries"], asked.iter().sum::<u32>() - 1);
    }
}

/// A first byte that does not come is waited for twice at most, however many engines there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_first_byte_is_tried_elsewhere_only_once() {
    let mut bad = Vec::new();
    for _ in 0..4 {
        bad.push(Failing::by("first-byte").await);
    }
    let urls: Vec<String> = bad.iter().map(|engine| engine.url.clone()).collect();
    let pool = pool_at(&urls, &[KNOWN; 4], &format!("{ALONE}, retries: 5"));
    let text = format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, balance: first }}]\n");
    let proxy = Proxy::start_degraded(&text).await;
    for stream in [false, true] {
        let before: u32 = bad.iter().map(Failing::asked).sum();
        let id = format!("late-{stream}");
        let (status, body) = json_of(post(proxy.url(CHAT), &id, &ask("m", stream, 1)).await).await;
        assert_eq!((status, &body["error"]["type"]), (504, &json!("server_error")), "{body}");
        assert_eq!(bad.iter().map(Failing::asked).sum::<u32>() - before, 2, "{id}");
        let line = proxy.line(&id).await;
        assert_eq!((&line["retries"], &line["end"]), (&json!(1), &json!("sH")), "{line}");
        assert!((1000.0..3000.0).contains(&line["total_ms"].as_f64().unwrap()), "two limits: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_bounds_what_is_tried_again_at_once() {
    const REQUESTS: usize = 30;
    for (budget, most) in
        [("budget: 0%, at_least: 0", 0), ("budget: 0%, at_least: 4", 4), ("budget: 20%, at_least: 0", 6)]
    {
        // a answers nobody until all are there; b never answers, so that retries stay live
        let (bad, release) = held_back().await;
        let silent = Failing::by("first-byte").await;
        let urls = [bad.url(), silent.url.clone()];
        let pool =
            format!("health: none, ejection: none, timeouts: {{ first_byte: 60s }}, retries: {{ count: 1, {budget} }}");
        let pool = pool_at(&urls, &[KNOWN, KNOWN], &pool);
        let text = format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, balance: first }}]\n");
        let proxy = Proxy::start_degraded(&text).await;
        let asking: Vec<_> = (0..REQUESTS)
            .map(|nth| {
                let url = proxy.url(CHAT);
                tokio::spawn(async move { post(url, &format!("n-{nth}"), &ask("m", true, 1)).await.status().as_u16() })
            })
            .collect();
        assert!(eventually(async || bad.posts().len() == REQUESTS).await, "{budget}");
        release.send(true).unwrap();
        // those without a retry get the engine's own answer; the others are on b
        let refused = async || proxy.lines().iter().filter(|line| line["status"] == 502).count();
        assert!(eventually(async || refused().await + silent.asked() as usize >= REQUESTS).await, "{budget}");
        let (retried, refused) = (silent.asked() as usize, refused().await);
        assert_eq!(retried + refused, REQUESTS, "{budget}");
        // decided and counted are two steps: those that decide at the same moment may pass together
        let slack = if most == 0 { 0 } else { 4 };
        assert!((most..=most + slack).contains(&retried), "{budget}: {retried} where {most} are due");
        asking.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// An engine that answers 502, to all at once, when it is told to.
async fn held_back() -> (Scripted, tokio::sync::watch::Sender<bool>) {
    let (release, held) = tokio::sync::watch::channel(false);
    let engine = Scripted::start(move |_| {
        let mut held = held.clone();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async { held.wait_for(|free| *free).await.map(|_| ()) })
        })
        .unwrap();
        (axum::http::StatusCode::BAD_GATEWAY, "{\"error\":\"own words\"}").into_response()
    });
    (engine.await, release)
}

/// What leaves something behind in an engine is not done twice where it may have been done once.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_engine_keeps_is_not_made_twice() {
    for (cause, mended) in [
        ("connect", true),
        ("reset", false),
        ("first-byte", false),
        ("504", false),
        ("429", true),
        ("503", true),
        ("502", true),
    ] {
        for (path, repeats) in [("/v1/conversations", mended), ("/v1/responses", true), ("/v1/embeddings", true)] {
            let (bad, good) = (Failing::by(cause).await, well().await);
            let urls = [bad.url.clone(), good.url()];
            let pool = pool_at(&urls, &[KNOWN, KNOWN], ALONE);
            let route = "balance: first, allow: [conversations]";
            let text = format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, {route} }}]\n");
            let proxy = Proxy::start_degraded(&text).await;
            let body = json!({ "model": "m", "input": "x" });
            let (status, text) = whole(post(proxy.url(path), "one", &body).await).await;
            assert_eq!(status, if repeats { 200 } else { seen_of(cause) }, "{cause} {path}: {text}");
            assert_eq!(good.posts().len(), usize::from(repeats), "{cause} {path}");
        }
    }
}

/// Nobody else has the state that the request names.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_response_is_not_tried_elsewhere() {
    let (maker, fails) = turning().await;
    let other = well().await;
    let pool = pool_at(&[maker.url(), other.url()], &[KNOWN, KNOWN], ALONE);
    let text = format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, balance: first }}]\n");
    let proxy = Proxy::start_degraded(&text).await;
    let body = json!({ "model": "m", "input": "x" });
    assert_eq!(post(proxy.url("/v1/responses"), "made", &body).await.status(), 200);
    for code in [502, 504, 429] {
        fails.store(code, Ordering::SeqCst);
        let follows = json!({ "model": "m", "input": "y", "previous_response_id": "resp_1" });
        let id = format!("follows-{code}");
        let (status, _) = whole(post(proxy.url("/v1/responses"), &id, &follows).await).await;
        assert_eq!((u32::from(status), other.posts().len()), (code, 0));
        assert_eq!(proxy.line(&id).await["retries"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_pin_is_not_tried_elsewhere() {
    for (hard, expected) in [(true, 502), (false, 200)] {
        let (own, fails) = turning().await;
        let other = well().await;
        let pool = pool_at(&[own.url(), other.url()], &[KNOWN, KNOWN], ALONE);
        let route = format!("balance: first, affinity: {{ insert_cookie: way, hard: {hard} }}");
        let text = format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, {route} }}]\n");
        let proxy = Proxy::start_degraded(&text).await;
        let bound = post(proxy.url(CHAT), "bound", &ask("m", false, 1)).await;
        let cookie = bound.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        fails.store(502, Ordering::SeqCst);
        let request = reqwest_client().post(proxy.url(CHAT)).header("cookie", cookie).json(&ask("m", false, 1));
        let answer = tokio::time::timeout(PATIENCE, request.send()).await.expect("in time").expect("an answer");
        assert_eq!((answer.status().as_u16(), other.posts().len()), (expected, usize::from(!hard)), "hard: {hard}");
        assert_eq!(own.posts().len(), 2, "it was asked again");
    }
}

/// An engine that answers well until a status is stored, and with that afterwards.
async fn turning() -> (Scripted, Arc<AtomicU32>) {
    let fails = Arc::new(AtomicU32::new(0));
    let status = fails.clone();
    let engine = Scripted::start(move |_| match status.load(Ordering::SeqCst) {
        0 => Json(json!({ "id": "resp_1", "object": "response" })).into_response(),
        code => axum::http::StatusCode::from_u16(code as u16).unwrap().into_response(),
    });
    (engine.await, fails)
}

/// Each attempt sends the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_sends_the_request_again_byte_by_byte() {
    let (bad, good) = (Scripted::start(|_| axum::http::StatusCode::BAD_GATEWAY.into_response()).await, well().await);
    let urls = [bad.url(), good.url()];
    let pool = pool_at(&urls, &[KNOWN, KNOWN], ALONE);
    let text = format!("pools: {{ {pool} }}\nroutes: [{{ name: r, pool: p, balance: first }}]\n");
    let proxy = Proxy::start_degraded(&text).await;
    for size in [0, 1000, 300_000, 3_000_000] {
        let mut body = ask("m", false, 1);
        body["filler"] = Value::String("λ".repeat(size / 2));
        let (status, text) = whole(post(proxy.url(CHAT), "again", &body).await).await;
        assert_eq!(status, 200, "{size}: {text}");
        let (first, second) = (bad.posts().pop().unwrap(), good.posts().pop().unwrap());
        assert_eq!((first.target, first.body.len()), (second.target.clone(), second.body.len()), "{size}");
        assert!(first.body == second.body && second.body == body.to_string().as_bytes(), "{size}");
        assert_eq!(first.headers.get("content-length"), second.headers.get("content-length"), "{size}");
    }
}
