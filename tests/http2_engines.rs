//! Engines that speak HTTP/2 only, in the clear and over TLS: whatever the client speaks, they are served as any other.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;
#[path = "common/wire.rs"]
mod wire;

use arriero_lab::http::{Fault, FaultKind, LabEngine, Protocols};
use common::{PATIENCE, Proxy, eventually};
use futures::StreamExt;
use serde_json::json;
use stage::{FAST, LONG, SLOW, ask, json_of, openai, post, start, whole};
use wire::Way;
use xxhash_rust::xxh3::xxh3_64;

const CHAT: &str = "/v1/chat/completions";

async fn engine(secure: bool, rate: f64) -> LabEngine {
    let spec = openai(&["m"], rate).speaking(Protocols::Http2);
    start(if secure { spec.over_tls(&["127.0.0.1"]) } else { spec }).await
}

/// A pool of these engines with its authorities beside it. They are known, not asked: only traffic is looked at here.
fn pool(engines: &[&LabEngine], dir: &tempfile::TempDir, more: &str) -> String {
    let rows = engines.iter().enumerate().map(|(nth, engine)| {
        let tls = engine.ca_pem().map_or(String::new(), |pem| {
            let file = dir.path().join(format!("{nth}.pem"));
            std::fs::write(&file, pem).unwrap();
            format!("tls: {{ ca: {file:?} }}, ")
        });
        format!("{{ url: {:?}, engine: openai, models: [m], {tls}http2: true }}", engine.url())
    });
    let rows: Vec<String> = rows.collect();
    format!(
        "pools: {{ p: {{ health: none, endpoints: [{}], {more} }} }}\nroutes: [{{ name: r, pool: p }}]\n",
        rows.join(", ")
    )
}

async fn front(secure: bool, rate: f64) -> (LabEngine, Proxy, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(secure, rate).await;
    let proxy = Proxy::start_degraded(&pool(&[&engine], &dir, "")).await;
    (engine, proxy, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_streams_are_those_of_the_engine() {
    let twin = start(openai(&["m"], FAST)).await; // the same engine with HTTP/1
    for secure in [false, true] {
        let (engine, proxy, _dir) = front(secure, FAST).await;
        for body in [ask("m", false, 5), ask("m", true, 500)] {
            let direct = whole(post(twin.url() + CHAT, "direct", &body).await).await;
            for way in Way::ALL {
                let answer = wire::send(&proxy, way, CHAT, body.to_string().as_bytes(), "s").await;
                assert_eq!((answer.status, answer.text()), direct, "TLS {secure}, {way:?}");
            }
        }
        assert_eq!((engine.stats().completed, proxy.in_flight().await), (10, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_arrive_whole() {
    for secure in [false, true] {
        let (engine, proxy, _dir) = front(secure, FAST).await;
        for way in Way::ALL {
            for size in [200, 100_000, 1 << 20] {
                let (body, id) = (wire::body("m", size, true), format!("{way:?}-{size}"));
                let answer = wire::send(&proxy, way, CHAT, &body, &id).await;
                assert_eq!(answer.status, 200, "TLS {secure}, {id}: {}", answer.text());
                let stats = engine.stats();
                let seen = stats.body(&id).expect("a body");
                assert_eq!((seen.length, seen.xxh3), (size as u64, xxh3_64(&body)), "TLS {secure}, {id}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_the_engine_and_nobody_else() {
    for secure in [false, true] {
        let (engine, proxy, _dir) = front(secure, SLOW).await;
        let mut stays = post(proxy.url(CHAT), "stays", &ask("m", true, LONG)).await.bytes_stream();
        stays.next().await.expect("a piece").unwrap();
        for left in 1..=5 {
            let mut answer = post(proxy.url(CHAT), "leaves", &ask("m", true, LONG)).await.bytes_stream();
            tokio::time::timeout(PATIENCE, answer.next()).await.expect("a piece").unwrap().unwrap();
            drop(answer);
            let noticed = engine.wait_for(PATIENCE, |stats| stats.cancels == left && stats.in_flight == 1).await;
            assert!(noticed, "TLS {secure}: {:?}", engine.stats());
        }
        assert_eq!(proxy.in_flight().await, 1);
        stays.next().await.expect("the other stream on the connection goes on").unwrap();
        drop(stays);
        assert!(eventually(async || proxy.in_flight().await == 0).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_goes_to_the_other_engine() {
    let dir = tempfile::tempdir().unwrap();
    for (secure, kind) in [false, true].into_iter().flat_map(|is| [(is, FaultKind::Busy), (is, FaultKind::Refuse)]) {
        let engines = [engine(secure, FAST).await, engine(secure, FAST).await];
        let text = pool(&[&engines[0], &engines[1]], &dir, "").replace("pool: p }", "pool: p, balance: round-robin }");
        let proxy = Proxy::start_degraded(&text).await;
        let mut sent = Vec::new();
        for nth in 0..12 {
            if nth == 6 {
                engines[0].set_fault(Fault::always(kind)); // its connections are open by now
            }
            let (body, id) = (wire::body("m", 100_000, false), format!("{nth}"));
            let answer = wire::send(&proxy, Way::H1Length, CHAT, &body, &id).await;
            assert_eq!(answer.status, 200, "TLS {secure}, {kind:?}: {}", answer.text());
            let by = engines
                .iter()
                .position(|engine| engine.stats().body(&id).is_some_and(|seen| seen.xxh3 == xxh3_64(&body)));
            sent.push(by.expect("a whole body"));
        }
        assert!(sent[..6].contains(&0), "the first engine had its share: {sent:?}");
        let retried = async || proxy.lines().iter().any(|line| line["retries"].as_u64() > Some(0));
        assert!(eventually(retried).await, "TLS {secure}, {kind:?}: nobody was sent on: {sent:?}");
        assert!(engines[1].stats().completed >= 6 && proxy.in_flight().await == 0);
    }
}

/// More at once than one connection carries.
#[tokio::test(flavor = "multi_thread")]
async fn many_streams_share_connections() {
    const STREAMS: usize = 150;
    let dir = tempfile::tempdir().unwrap();
    let engine = start(stage::vllm(&["m"]).speaking(Protocols::Http2)).await;
    let proxy = Proxy::start_degraded(&pool(&[&engine], &dir, "queue: { timeout: 20s }")).await;
    let running: Vec<_> = (0..STREAMS)
        .map(|nth| {
            let url = proxy.url(CHAT);
            tokio::spawn(async move { whole(post(url, &format!("s-{nth}"), &ask("m", true, 400)).await).await })
        })
        .collect();
    let mut texts = Vec::new();
    for stream in running {
        let (status, text) = stream.await.unwrap();
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        texts.push(text);
    }
    assert!(texts.windows(2).all(|two| two[0] == two[1]), "equal requests get equal answers");
    assert_eq!(engine.stats().completed, STREAMS as u64);
}

/// Probes must speak what traffic speaks, or an engine of HTTP/2 alone looks down.
#[tokio::test(flavor = "multi_thread")]
async fn probes_reach_an_engine_of_http2_alone() {
    let dir = tempfile::tempdir().unwrap();
    for secure in [false, true] {
        let engine = engine(secure, FAST).await;
        let text = pool(&[&engine], &dir, "").replace("health: none,", "").replace("models: [m], ", "");
        let proxy = Proxy::start(&text).await;
        let (status, body) = json_of(post(proxy.url(CHAT), "probed", &ask("m", false, 1)).await).await;
        assert_eq!((status, &body["model"]), (200, &json!("m")), "TLS {secure}: {body}");
    }
}
