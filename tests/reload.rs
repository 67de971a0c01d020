//! A reload by SIGHUP harms nothing that runs or waits, forgets nothing that counts, and is all or nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use common::{PATIENCE, Proxy, eventually};
use serde_json::{Value, json};
use stage::{FAST, SLOW, ask, config, json_of, openai, post, start, whole};
use tokio::task::JoinHandle;

const CHAT: &str = "/v1/chat/completions";
const SUCCESS: &str = "arriero_config_last_reload_successful";

async fn generation(proxy: &Proxy) -> f64 {
    proxy.metric("arriero_config_generation").await.unwrap_or(0.0)
}

/// Writes a configuration, reloads it and waits until it is in force.
async fn reload(proxy: &Proxy, text: &str) {
    let next = generation(proxy).await + 1.0;
    proxy.write_config(text);
    proxy.signal("HUP");
    assert!(eventually(async || generation(proxy).await == next).await, "no reload:\n{}", proxy.stderr());
}

async fn queued(proxy: &Proxy) -> f64 {
    proxy.metric("arriero_pool_queued{pool=\"p\"}").await.unwrap_or(0.0)
}

/// A request in the background; gives its status and text.
fn asking(proxy: &Proxy, id: &str, body: Value) -> JoinHandle<(u16, String)> {
    let (url, id) = (proxy.url(CHAT), id.to_owned());
    tokio::spawn(async move { whole(post(url, &id, &body).await).await })
}

/// A stream that holds its slot until [`release`] lets it come to its end.
async fn hold(proxy: &Proxy, engine: &LabEngine) -> JoinHandle<(u16, String)> {
    let held = asking(proxy, "held", ask("m", true, 20_000));
    assert!(engine.wait_for(PATIENCE, |stats| stats.in_flight == 1).await);
    held
}

/// A client that leaves would free the slot a moment before the engine notices: the engine ends it by itself instead.
async fn release(held: JoinHandle<(u16, String)>, engine: &LabEngine) {
    engine.set_fault(Fault::always(FaultKind::Slow { factor: 0.001 }));
    assert_eq!(held.await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn running_streams_go_on_whatever_is_changed() {
    const STREAMS: usize = 12;
    let engines = [start(openai(&["m"], 100.0)).await, start(openai(&["m"], 100.0)).await];
    let both = |route: &str| config(&[&engines[0], &engines[1]], "", route);
    let proxy = Proxy::start(&both("balance: round-robin")).await;
    let (_, direct) = whole(post(engines[0].url() + CHAT, "direct", &ask("m", true, 300)).await).await;
    let streams: Vec<_> = (0..STREAMS).map(|nth| asking(&proxy, &format!("s-{nth}"), ask("m", true, 300))).collect();
    let running = || engines.iter().map(|engine| engine.stats().in_flight).sum::<usize>();
    assert!(eventually(async || running() == STREAMS).await);
    reload(&proxy, &both("balance: queue-aware")).await;
    reload(&proxy, &both("balance: least-connection, aliases: { nick: m }")).await;
    reload(&proxy, &config(&[&engines[1]], "retries: 0, queue: { timeout: 5s }", "")).await; // one engine leaves
    let renamed = format!("pools: {{ other: {{ endpoints: [{:?}] }} }}\n", engines[0].url()); // the other one, too
    reload(&proxy, &renamed).await;
    reload(&proxy, &both("balance: round-robin")).await;
    assert_eq!(running(), STREAMS, "all of them ran through five reloads");
    for stream in streams {
        let (status, text) = stream.await.unwrap();
        assert_eq!((status, text.as_str()), (200, direct.as_str()));
    }
    for nth in 0..STREAMS {
        let line = proxy.line(&format!("s-{nth}")).await;
        assert_eq!(
            (&line["end"], &line["generation"], &line["retries"]),
            (&json!("--"), &json!(1), &json!(0)),
            "{line}"
        );
    }
    assert_eq!(proxy.in_flight().await, 0);
    assert_eq!(proxy.metric("arriero_reloads_total{result=\"applied\"}").await, Some(5.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_requests_see_the_new_configuration_at_once() {
    let engines = [start(openai(&["m"], FAST)).await, start(openai(&["n"], FAST)).await];
    let proxy = Proxy::start(&config(&[&engines[0]], "", "")).await;
    assert_eq!(json_of(post(proxy.url(CHAT), "a", &ask("n", false, 1)).await).await.0, 404);
    reload(&proxy, &config(&[&engines[0], &engines[1]], "", "aliases: { nick: n }")).await;
    // the new engine's inventory is waited for, not guessed
    let (status, text) = whole(post(proxy.url(CHAT), "b", &ask("nick", false, 1)).await).await;
    assert_eq!(status, 200, "{text}");
    reload(&proxy, &config(&[&engines[1]], "", "")).await;
    assert_eq!(json_of(post(proxy.url(CHAT), "c", &ask("m", false, 1)).await).await.0, 404, "its engine left");
    assert_eq!(whole(post(proxy.url(CHAT), "d", &ask("n", false, 1)).await).await.0, 200);
    assert_eq!(proxy.line("d").await["generation"], 3);
    let left = format!("arriero_endpoint_up{{endpoint=\"{}\"}}", engines[0].addr());
    assert_eq!(proxy.metric(&left).await, None, "what left is not told of");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_changes_nothing() {
    let engine = start(openai(&["m"], FAST)).await;
    let good = config(&[&engine], "", "balance: round-robin");
    let proxy = Proxy::start(&good).await;
    let before = generation(&proxy).await;
    let refused = async || proxy.metric("arriero_reloads_total{result=\"refused\"}").await.unwrap_or(0.0);
    for (nth, bad) in ["pools: [", "pools: { p: { endpoints: [ftp://x] } }\n", "routes: [{ pool: nowhere }]\n", ""]
        .into_iter()
        .enumerate()
    {
        proxy.write_config(bad);
        proxy.signal("HUP");
        assert!(eventually(async || refused().await == (nth + 1) as f64).await, "{bad}");
        assert_eq!((generation(&proxy).await, proxy.metric(SUCCESS).await), (before, Some(0.0)), "{bad}");
        assert_eq!(whole(post(proxy.url(CHAT), "still", &ask("m", false, 1)).await).await.0, 200, "{bad}");
    }
    assert!(proxy.stderr().contains("nowhere"), "the log says what is wrong:\n{}", proxy.stderr());
    std::fs::remove_file(proxy.config_path()).unwrap();
    proxy.signal("HUP");
    assert!(eventually(async || refused().await == 5.0).await, "no file");
    assert_eq!(whole(post(proxy.url(CHAT), "still", &ask("m", false, 1)).await).await.0, 200);
    reload(&proxy, &good).await;
    assert_eq!(proxy.metric(SUCCESS).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_of_one_holds_and_the_queue_keeps_its_order_over_reloads() {
    let engine = start(openai(&["m"], SLOW)).await;
    let capped =
        |pool: &str, route: &str| config(&[&engine], &format!("defaults: {{ max_in_flight: 1 }}, {pool}"), route);
    let proxy = Proxy::start(&capped("", "balance: least-connection")).await;
    let held = hold(&proxy, &engine).await;
    let mut waiting = Vec::new();
    for nth in 0..6 {
        waiting.push(asking(&proxy, &format!("w-{nth}"), ask("m", nth % 2 == 0, 2)));
        assert!(eventually(async || queued(&proxy).await == f64::from(nth + 1)).await, "w-{nth} waits");
        match nth {
            1 => reload(&proxy, &capped("retries: 1", "balance: queue-aware")).await,
            3 => reload(&proxy, &capped("", "balance: round-robin, aliases: { nick: m }")).await,
            _ => {}
        }
        assert_eq!(queued(&proxy).await, f64::from(nth + 1), "nobody lost its place");
    }
    assert_eq!(engine.stats().inference, 1, "nobody got in beside the one that holds the slot");
    release(held, &engine).await;
    for request in waiting {
        let (status, text) = request.await.unwrap();
        assert_eq!(status, 200, "{text}");
    }
    let stats = engine.stats();
    let order: Vec<&str> = stats.bodies.iter().filter_map(|body| body.id.as_deref()).collect();
    assert_eq!(order, ["held", "w-0", "w-1", "w-2", "w-3", "w-4", "w-5"]);
    assert_eq!(stats.max_in_flight, 1, "never two at once");
    assert_eq!(proxy.in_flight().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_cap_lets_waiting_requests_in_at_once() {
    let engine = start(openai(&["m"], SLOW)).await;
    let capped = |cap: u32| config(&[&engine], &format!("defaults: {{ max_in_flight: {cap} }}"), "");
    let proxy = Proxy::start(&capped(1)).await;
    let _held = hold(&proxy, &engine).await;
    let waiting = asking(&proxy, "waits", ask("m", false, 1));
    assert!(eventually(async || queued(&proxy).await == 1.0).await);
    reload(&proxy, &capped(2)).await;
    assert_eq!(waiting.await.unwrap().0, 200);
    assert_eq!(engine.stats().max_in_flight, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_pool_is_removed_is_told_to_come_again() {
    let engines = [start(openai(&["m"], SLOW)).await, start(openai(&["m"], SLOW)).await];
    let proxy = Proxy::start(&config(&[&engines[0]], "defaults: { max_in_flight: 1 }", "")).await;
    let _held = hold(&proxy, &engines[0]).await;
    let waiting = asking(&proxy, "waits", ask("m", false, 1));
    assert!(eventually(async || queued(&proxy).await == 1.0).await);
    reload(&proxy, &format!("pools: {{ other: {{ endpoints: [{:?}] }} }}\n", engines[1].url())).await;
    let (status, text) = waiting.await.unwrap();
    assert_eq!(status, 503, "{text}");
    assert_eq!(whole(post(proxy.url(CHAT), "fresh", &ask("m", false, 1)).await).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_goes_on_where_it_was() {
    let mut engines = Vec::new();
    for _ in 0..3 {
        engines.push(start(openai(&["m"], FAST)).await);
    }
    let refs: Vec<&LabEngine> = engines.iter().collect();
    let text = |timeout: u32| config(&refs, &format!("queue: {{ timeout: {timeout}s }}"), "balance: round-robin");
    let proxy = Proxy::start(&text(1)).await;
    for nth in 2..=10 {
        assert_eq!(whole(post(proxy.url(CHAT), "turn", &ask("m", false, 1)).await).await.0, 200);
        reload(&proxy, &text(nth)).await;
    }
    let counts: Vec<u64> = engines.iter().map(|engine| engine.stats().inference).collect();
    assert_eq!(counts, [3, 3, 3]);
}

/// An engine that leaves while it works and comes back is the same engine: its slot is still taken.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_leaves_and_returns_keeps_its_count() {
    let engines = [start(openai(&["m"], SLOW)).await, start(openai(&["m"], SLOW)).await];
    let only = |nth: usize| config(&[&engines[nth]], "defaults: { max_in_flight: 1 }", "");
    let proxy = Proxy::start(&only(0)).await;
    let held = hold(&proxy, &engines[0]).await;
    reload(&proxy, &only(1)).await;
    assert_eq!(whole(post(proxy.url(CHAT), "elsewhere", &ask("m", false, 1)).await).await.0, 200);
    reload(&proxy, &only(0)).await;
    assert_eq!(proxy.in_flight().await, 1);
    let waiting = asking(&proxy, "waits", ask("m", false, 1));
    assert!(eventually(async || queued(&proxy).await == 1.0).await, "it waits for the slot");
    release(held, &engines[0]).await;
    assert_eq!(waiting.await.unwrap().0, 200);
    assert_eq!((engines[0].stats().max_in_flight, engines[1].stats().inference), (1, 1));
    assert_eq!(proxy.in_flight().await, 0);
}

/// Told to stop, it takes nothing new and finishes what it has, what waits included.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_proxy_finishes_what_it_has() {
    let engine = start(openai(&["m"], 200.0)).await;
    let proxy = Proxy::start(&config(&[&engine], "defaults: { max_in_flight: 1 }", "")).await;
    let direct = whole(post(engine.url() + CHAT, "direct", &ask("m", true, 200)).await).await.1;
    let running = asking(&proxy, "runs", ask("m", true, 200));
    assert!(engine.wait_for(PATIENCE, |stats| stats.in_flight == 1).await);
    let waiting = asking(&proxy, "waits", ask("m", true, 200));
    assert!(eventually(async || queued(&proxy).await == 1.0).await);
    proxy.signal("TERM");
    let port = proxy.port;
    assert!(eventually(async || std::net::TcpStream::connect(("127.0.0.1", port)).is_err()).await, "nothing new");
    for request in [running, waiting] {
        let (status, text) = request.await.unwrap();
        assert_eq!((status, text.as_str()), (200, direct.as_str()));
    }
}

/// The price of the answer in the reason header: 180 ms by the prior for 20 tokens, a fraction of it once learned.
async fn decode_ms(proxy: &Proxy) -> f64 {
    let answer = post(proxy.url(CHAT), "priced", &ask("m", false, 20)).await;
    let reason = answer.headers()["x-arriero-reason"].to_str().unwrap().to_owned();
    let words: Vec<&str> = reason.split(' ').collect();
    let at = words.iter().position(|word| word.starts_with("decode")).unwrap_or_else(|| panic!("no price in {reason}"));
    words[at - 1].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_stays_learned() {
    let engine = start(openai(&["m"], 1000.0)).await;
    let text = |theta: f64| {
        let balance = format!("balance: {{ queue-aware: {{ theta: {theta} }} }}");
        config(&[&engine], "", &balance) + "headers: { reason: true }\n"
    };
    let proxy = Proxy::start(&text(0.5)).await;
    assert_eq!(decode_ms(&proxy).await, 180.0, "nothing is known at first");
    assert!(eventually(async || decode_ms(&proxy).await < 90.0).await, "answers teach");
    reload(&proxy, &text(0.25)).await;
    let price = decode_ms(&proxy).await;
    assert!(price < 90.0, "{price}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_endpoint_that_moves_takes_its_traffic_along() {
    let (before, after) = (start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await);
    let at = |url: String| {
        format!(
            "pools: {{ p: {{ endpoints: [{{ name: a, url: {url:?}, max_in_flight: 1 }}] }} }}\nroutes:\n  - {{ pool: p }}\n"
        )
    };
    let proxy = Proxy::start(&at(before.url())).await;
    assert_eq!(whole(post(proxy.url(CHAT), "before", &ask("m", false, 1)).await).await.0, 200);
    proxy.write_config(&at(after.url()));
    proxy.signal("HUP");
    assert!(eventually(async || proxy.metric("arriero_config_generation").await == Some(2.0)).await);
    assert_eq!(whole(post(proxy.url(CHAT), "after", &ask("m", false, 1)).await).await.0, 200);
    assert_eq!((before.stats().inference, after.stats().inference), (1, 1));
}
