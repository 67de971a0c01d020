//! A request that failed before its first byte is tried elsewhere, within bounds; afterwards never.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use common::{PATIENCE, Proxy, eventually};
use scripted::Scripted;
use serde_json::json;
use stage::{FAST, SLOW, ask, config, json_of, openai, post, start, until_the_end, whole};

const CHAT: &str = "/v1/chat/completions";
/// No checks: what goes wrong is found out by requests alone.
const UNCHECKED: &str = "health: none";

async fn retried(proxy: &Proxy, cause: &str) -> f64 {
    let name = format!("arriero_retries_total{{cause=\"{cause}\",route=\"r\"}}");
    proxy.metric(&name).await.unwrap_or(0.0)
}

/// Asks until every engine has answered once: from then on every inventory is known.
async fn warm(proxy: &Proxy, engines: &[LabEngine]) {
    let ask_once = || async {
        let _ = whole(post(proxy.url(CHAT), "warm", &ask("m", false, 1)).await).await;
        engines.iter().all(|engine| engine.stats().completed > 0)
    };
    assert!(eventually(ask_once).await, "every engine takes work");
}

fn refuses(engine: &LabEngine) -> bool {
    std::net::TcpStream::connect(engine.addr()).is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_engine_answers_where_one_fails() {
    for (fault, cause) in [(FaultKind::Refuse, "connect"), (FaultKind::Busy, "503"), (FaultKind::Hang, "reset")] {
        for stream in [false, true] {
            // round-robin begins with the first: every fresh proxy sends its first request to the bad engine
            let (bad, good) = (start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await);
            let proxy = Proxy::start(&config(&[&bad, &good], "", "balance: round-robin")).await;
            bad.set_fault(Fault::always(fault));
            assert!(fault != FaultKind::Refuse || eventually(async || refuses(&bad)).await);
            let url = proxy.url(CHAT);
            let asking = tokio::spawn(async move { whole(post(url, "one", &ask("m", stream, 5)).await).await });
            if fault == FaultKind::Hang {
                assert!(bad.wait_for(PATIENCE, |stats| stats.in_flight == 1).await);
                bad.set_fault(Fault::always(FaultKind::Refuse)); // cuts what hangs
            }
            let (status, text) = asking.await.unwrap();
            assert_eq!(status, 200, "{fault:?}: {text}");
            let line = proxy.line("one").await;
            assert_eq!(line["endpoint"], json!(good.addr().to_string()), "{line}");
            assert_eq!(
                (&line["end"], &line["status"], &line["retries"]),
                (&json!("--"), &json!(200), &json!(1)),
                "{line}"
            );
            assert_eq!(retried(&proxy, cause).await, 1.0, "{fault:?}");
            assert_eq!(good.stats().completed, 1);
            assert_eq!(proxy.in_flight().await, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_gateway_is_tried_elsewhere_a_client_error_is_not() {
    for (status, again) in [(502, true), (503, true), (429, true), (500, false), (400, false), (404, false)] {
        let bad = Scripted::start(move |_| {
            (StatusCode::from_u16(status).unwrap(), "{\"error\":\"own words\"}").into_response()
        });
        let bad = bad.await;
        let good = start(openai(&["m"], FAST)).await;
        let text = format!(
            "pools: {{ p: {{ endpoints: [{{ url: {:?}, engine: openai }}, {:?}] }} }}\n\
             routes: [{{ name: r, pool: p, balance: round-robin }}]\n",
            bad.url(),
            good.url()
        );
        let proxy = Proxy::start(&text).await;
        let (got, text) = whole(post(proxy.url(CHAT), "first", &ask("m", false, 1)).await).await;
        assert_eq!(got, if again { 200 } else { status }, "{status}: {text}");
        assert!(again || text.contains("own words"), "{status}: {text}");
        assert_eq!(bad.posts().len(), 1, "{status}: round-robin begins with the first");
        assert_eq!(good.stats().inference, u64::from(again), "{status}");
        assert_eq!(retried(&proxy, &status.to_string()).await, f64::from(u8::from(again)), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_first_byte_nothing_is_tried_again() {
    let engines = [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], "", "")).await;
    engines.iter().for_each(|engine| engine.set_fault(Fault::always(FaultKind::Reset { after_chunks: 3 })));
    let (text, _) = until_the_end(post(proxy.url(CHAT), "mid", &ask("m", true, 50)).await).await;
    assert!(text.starts_with("data: "), "{text}");
    let line = proxy.line("mid").await;
    assert_eq!((&line["retries"], &line["end"]), (&json!(0), &json!("SD")), "{line}");
    assert_eq!(engines[0].stats().inference + engines[1].stats().inference, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_the_engines_own_answer_passes() {
    let engines = [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], "retries: 0", "")).await;
    engines.iter().for_each(|engine| engine.set_fault(Fault::always(FaultKind::Busy)));
    let (status, text) = whole(post(proxy.url(CHAT), "own", &ask("m", false, 1)).await).await;
    assert_eq!(status, 503);
    assert!(text.contains("maximum pending requests exceeded"), "{text}");
    assert_eq!(engines[0].stats().inference + engines[1].stats().inference, 1);
    assert_eq!(proxy.line("own").await["retries"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_fail_the_client_learns_it_in_its_api() {
    let engines = [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let pool = format!("{UNCHECKED}, retries: 5");
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], &pool, "balance: round-robin")).await;
    warm(&proxy, &engines).await;
    engines.iter().for_each(|engine| engine.set_fault(Fault::always(FaultKind::Refuse)));
    assert!(eventually(async || engines.iter().all(refuses)).await);
    // connections that were kept are cut a moment later
    let gone = eventually(async || post(proxy.url(CHAT), "probe", &ask("m", false, 1)).await.status() == 502);
    assert!(gone.await);
    let (status, body) = json_of(post(proxy.url(CHAT), "all", &ask("m", false, 1)).await).await;
    assert_eq!(status, 502, "{body}");
    assert!(body["error"]["message"].is_string() && body["error"]["type"] == "server_error", "{body}");
    let line = proxy.line("all").await;
    assert_eq!((&line["retries"], &line["end"]), (&json!(1), &json!("SC")), "each engine once: {line}");
    assert_eq!(proxy.in_flight().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_engines_busy_answer_passes() {
    let engines = [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], "", "")).await;
    engines.iter().for_each(|engine| engine.set_fault(Fault::always(FaultKind::Busy)));
    let (status, text) = whole(post(proxy.url(CHAT), "busy", &ask("m", false, 1)).await).await;
    assert_eq!(status, 503);
    assert!(text.contains("maximum pending requests exceeded"), "{text}");
    assert_eq!(engines[0].stats().inference + engines[1].stats().inference, 2, "both were asked");
    assert_eq!(proxy.line("busy").await["retries"], json!(1));
}

/// 200 requests on three engines that all break off: at most a fifth of them (and three) may be tried again at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_failures_at_once_do_not_multiply() {
    const REQUESTS: usize = 200;
    let mut engines = Vec::new();
    for _ in 0..3 {
        engines.push(start(openai(&["m"], SLOW)).await);
    }
    let refs: Vec<_> = engines.iter().collect();
    let pool = format!("{UNCHECKED}, retries: 10, queue: {{ timeout: 2s }}");
    let proxy = Proxy::start(&config(&refs, &pool, "balance: round-robin")).await;
    warm(&proxy, &engines).await;
    let count = || engines.iter().map(|engine| engine.stats().inference).sum::<u64>();
    let before = count();
    // all wait for their answers at once, then all fail at once
    engines.iter().for_each(|engine| engine.set_fault(Fault { delay_ms: 1500, ..Fault::always(FaultKind::Busy) }));
    let asking: Vec<_> = (0..REQUESTS)
        .map(|nth| {
            let url = proxy.url(CHAT);
            tokio::spawn(async move { whole(post(url, &format!("n-{nth}"), &ask("m", false, 1)).await).await.0 })
        })
        .collect();
    for status in asking {
        let status = status.await.unwrap();
        assert!([503, 502].contains(&status), "{status}");
    }
    let asked = count() - before;
    assert!(asked >= REQUESTS as u64 / 2, "the engines were really asked: {asked}");
    assert!(asked <= (REQUESTS + REQUESTS * 2 / 5) as u64, "{asked} requests reached the engines");
    assert_eq!(proxy.in_flight().await, 0);
}

/// The engine that answers in the second attempt did well: it goes on taking work at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_helped_out_is_not_blamed() {
    let (bad, good) = (start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await);
    let proxy = Proxy::start(&config(&[&bad, &good], "", "balance: round-robin")).await;
    bad.set_fault(Fault::always(FaultKind::Busy));
    for nth in 0..6 {
        let id = format!("n-{nth}");
        let (status, text) = whole(post(proxy.url(CHAT), &id, &ask("m", false, 1)).await).await;
        assert_eq!(status, 200, "{id}: {text}");
        let line = proxy.line(&id).await;
        assert!(line["queue_ms"].as_f64().unwrap() < 500.0, "a back-off takes a second: {line}");
    }
    assert_eq!(good.stats().completed, 6);
}
