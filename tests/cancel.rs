//! A client that leaves costs nothing more: its engine stops within 100 ms, its slot and its place in the queue are
//! free, and what was still queued never reaches an engine.
//!
//! The median of many tries is held to the 100 ms; a single one may take ten times as long on a busy machine.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use arriero_lab::http::{Fault, FaultKind, LabEngine, LabSpec};
use common::{PATIENCE, Proxy, eventually, reqwest_client};
use futures::StreamExt;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use stage::{LONG, SLOW, ask, config, ollama, openai, post, start, vllm};
use tokio::net::TcpStream;

const TRIES: usize = 12;
const MEDIAN: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// From the moment the client left to the engine's noticing it.
async fn noticed(engine: &LabEngine, left: Instant, cancels: u64) -> Duration {
    assert!(engine.wait_for(PATIENCE, |stats| stats.cancels >= cancels).await, "the engine works on for nobody");
    left.elapsed()
}

async fn at_rest(proxy: &Proxy, engine: &LabEngine, what: &str) {
    assert!(eventually(|| async { proxy.in_flight().await == 0 }).await, "{what}: a slot is lost");
    let stats = engine.stats();
    assert_eq!((stats.in_flight, stats.completed), (0, 0), "{what}");
}

fn judge(mut times: Vec<Duration>, what: &str) {
    times.sort();
    assert!(times[times.len() / 2] < MEDIAN, "{what}: {times:?}");
    assert!(times[times.len() - 1] < LONGEST, "{what}: {times:?}");
}

fn engines() -> [(LabSpec, &'static str); 3] {
    [
        (openai(&["m"], SLOW), "/v1/chat/completions"),
        (ollama(&["m"], SLOW), "/api/chat"),
        (vllm(&["m"]), "/v1/messages"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_a_stream_stops_the_engine() {
    for (spec, path) in engines() {
        let engine = start(spec).await;
        let proxy = Proxy::start(&config(&[&engine], "", "")).await;
        let mut times = Vec::new();
        for nth in 1..=TRIES {
            let mut answer = post(proxy.url(path), &format!("cd-{nth}"), &ask("m", true, LONG)).await.bytes_stream();
            tokio::time::timeout(PATIENCE, answer.next()).await.expect("a piece").unwrap().unwrap();
            drop(answer);
            times.push(noticed(&engine, Instant::now(), nth as u64).await);
        }
        judge(times, path);
        at_rest(&proxy, &engine, path).await;
        assert_eq!(proxy.line("cd-1").await["end"], "CD", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_before_the_first_byte_stops_the_engine() {
    for (spec, path) in engines() {
        for stream in [true, false] {
            let engine = start(spec.clone()).await;
            let proxy = Proxy::start(&config(&[&engine], "", "")).await;
            engine.set_fault(Fault::always(FaultKind::Hang));
            let mut times = Vec::new();
            for nth in 1..=TRIES {
                let (url, id) = (proxy.url(path), format!("ch-{nth}"));
                let asking = tokio::spawn(async move { post(url, &id, &ask("m", stream, LONG)).await.status() });
                assert!(engine.wait_for(PATIENCE, |stats| stats.inference == nth as u64).await);
                asking.abort();
                times.push(noticed(&engine, Instant::now(), nth as u64).await);
            }
            judge(times, path);
            at_rest(&proxy, &engine, path).await;
            assert_eq!(proxy.line("ch-1").await["end"], "CH", "{path}");
        }
    }
}

/// Opens an HTTP/2 connection to the proxy.
async fn h2_connection(proxy: &Proxy) -> (SendRequest<bytes::Bytes>, tokio::task::JoinHandle<()>) {
    let stream = TcpStream::connect(("127.0.0.1", proxy.h2_port)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    (client, driver)
}

async fn h2_post(
    client: &SendRequest<bytes::Bytes>,
    id: &str,
) -> (ResponseFuture, SendStream<bytes::Bytes>, SendRequest<bytes::Bytes>) {
    let mut client = client.clone().ready().await.unwrap();
    let request = http::Request::post("http://arriero.test/v1/chat/completions").header("x-request-id", id);
    let (answer, mut upload) = client.send_request(request.body(()).unwrap(), false).unwrap();
    upload.send_data(ask("m", true, LONG).to_string().into(), true).unwrap();
    (answer, upload, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_http2_stream_stops_the_engine_and_only_that_request() {
    let engine = start(openai(&["m"], SLOW)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let (client, _driver) = h2_connection(&proxy).await;
    let (kept, _upload, _) = h2_post(&client, "kept").await;
    let mut kept = kept.await.unwrap().into_body();
    let mut times = Vec::new();
    for nth in 1..=TRIES {
        let (answer, mut upload, _) = h2_post(&client, &format!("h2-cd-{nth}")).await;
        let mut body = answer.await.unwrap().into_body();
        body.data().await.unwrap().unwrap();
        upload.send_reset(Reason::CANCEL);
        times.push(noticed(&engine, Instant::now(), nth as u64).await);
    }
    judge(times, "mid-stream");
    engine.set_fault(Fault::always(FaultKind::Hang));
    let mut times = Vec::new();
    for nth in 1..=TRIES {
        let (answer, mut upload, _) = h2_post(&client, &format!("h2-ch-{nth}")).await;
        assert!(engine.wait_for(PATIENCE, |stats| stats.inference == (1 + TRIES + nth) as u64).await);
        upload.send_reset(Reason::CANCEL);
        times.push(noticed(&engine, Instant::now(), (TRIES + nth) as u64).await);
        drop(answer);
    }
    judge(times, "before the first byte");
    assert!(eventually(|| async { proxy.in_flight().await == 1 }).await, "the other stream of the connection lives");
    let _ = kept.flow_control().release_capacity(1);
    kept.data().await.unwrap().unwrap();
    assert_eq!(proxy.line("h2-cd-1").await["end"], "CD");
    assert_eq!(proxy.line("h2-ch-1").await["end"], "CH");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_http2_connection_stops_all_its_requests() {
    let engine = start(openai(&["m"], SLOW)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let (client, driver) = h2_connection(&proxy).await;
    let mut streams = Vec::new();
    for nth in 0..8 {
        let (answer, upload, _) = h2_post(&client, &format!("h2-{nth}")).await;
        streams.push((answer.await.unwrap(), upload));
    }
    assert_eq!(engine.stats().in_flight, 8);
    driver.abort();
    drop((client, streams));
    noticed(&engine, Instant::now(), 8).await;
    at_rest(&proxy, &engine, "closed connection").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_client_that_leaves_takes_its_place_along() {
    let engine = start(openai(&["m"], SLOW)).await;
    let proxy = Proxy::start(&config(&[&engine], "defaults: { max_in_flight: 1 }", "")).await;
    let queued = async || proxy.metric("arriero_pool_queued{pool=\"p\"}").await;
    let path = "/v1/chat/completions";
    let mut held = post(proxy.url(path), "held", &ask("m", true, LONG)).await.bytes_stream();
    held.next().await.unwrap().unwrap();
    for way in ["h1", "h2"] {
        let (client, _driver) = h2_connection(&proxy).await;
        let id = format!("queued-{way}");
        if way == "h1" {
            let (url, id) = (proxy.url(path), id.clone());
            let asking = tokio::spawn(async move { post(url, &id, &ask("m", true, LONG)).await.status() });
            assert!(eventually(|| async { queued().await == Some(1.0) }).await, "{way}: it waits");
            asking.abort();
        } else {
            let (_answer, mut upload, _) = h2_post(&client, &id).await;
            assert!(eventually(|| async { queued().await == Some(1.0) }).await, "{way}: it waits");
            upload.send_reset(Reason::CANCEL);
        }
        let left = Instant::now();
        assert!(eventually(|| async { queued().await == Some(0.0) }).await, "{way}: its place is free");
        assert!(left.elapsed() < LONGEST, "{way}: {:?}", left.elapsed());
        assert_eq!(proxy.line(&id).await["end"], "CQ", "{way}");
    }
    drop(held);
    assert!(eventually(|| async { proxy.in_flight().await == 0 && engine.stats().in_flight == 0 }).await);
    let fresh = post(proxy.url(path), "fresh", &ask("m", false, 1)).await;
    assert_eq!(fresh.status(), 200);
    let stats = engine.stats();
    assert_eq!((stats.inference, stats.max_in_flight), (2, 1), "only the held one and the fresh one came");
    assert!(stats.body("queued-h1").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_sending_reaches_no_engine() {
    let engine = start(openai(&["m"], SLOW)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let piece = |text: &'static str| Ok::<_, std::io::Error>(bytes::Bytes::from_static(text.as_bytes()));
    let cut = futures::stream::iter([piece("{\"model\":\"m\",")]).chain(futures::stream::pending());
    let body = reqwest::Body::wrap_stream(cut);
    let request = reqwest_client().post(proxy.url("/v1/chat/completions")).header("x-request-id", "half").body(body);
    let asking = tokio::spawn(request.send());
    let buffered = async || proxy.metric("arriero_body_buffer_bytes").await.unwrap_or(0.0) > 0.0;
    assert!(eventually(buffered).await, "the half body is there");
    asking.abort();
    assert_eq!(proxy.line("half").await["end"], "CR");
    assert!(eventually(async || !buffered().await).await, "its memory is given back");
    assert_eq!((engine.stats().inference, proxy.in_flight().await), (0, 0));
}
