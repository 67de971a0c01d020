//! TLS on both sides: certificates of a listener (choice, protocols, exchange under load), and https engines that are
//! believed only for a reason.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/secure.rs"]
mod secure;
#[path = "common/stage.rs"]
mod stage;
#[path = "common/wire.rs"]
mod wire;

use std::path::Path;

use arriero_lab::http::LabEngine;
use bytes::Bytes;
use common::{PATIENCE, Proxy, eventually, free_port, reqwest_client};
use raw::Raw;
use scripted::Scripted;
use secure::{Pair, Two, agreed, connect, shown};
use serde_json::{Value, json};
use stage::{FAST, ask, config, openai, post, start, whole};

const CHAT: &str = "/v1/chat/completions";

/// A listener `tls` with these certificates, to stand before a configuration.
fn listener(port: u16, certificates: &[String]) -> String {
    format!("  tls: {{ bind: \"127.0.0.1:{port}\", tls: [{}] }}\n", certificates.join(", "))
}

fn request(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

fn h2_request() -> http::request::Builder {
    http::Request::post(format!("https://alpha.test{CHAT}")).header("content-type", "application/json")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_chooses_the_certificate_and_the_first_stands_in() {
    let engine = start(openai(&["m"], FAST)).await;
    let dir = tempfile::tempdir().unwrap();
    let (alpha, beta) = (Pair::new(&["alpha.test"]), Pair::new(&["beta.test", "*.wild.test"]));
    let pairs = [alpha.write(dir.path(), "alpha"), beta.write(dir.path(), "beta")];
    let port = free_port();
    let proxy = Proxy::start(&(listener(port, &pairs) + &config(&[&engine], "", ""))).await;
    for (name, expected) in [
        ("alpha.test", &alpha),
        ("beta.test", &beta),
        ("BETA.test", &beta),
        ("any.wild.test", &beta),
        ("nobody.test", &alpha),
        ("127.0.0.1", &alpha),
    ] {
        assert!(shown(&connect(port, name, &[]).await) == expected.der, "{name}");
    }
    // a client that checks: chain, name and key are all right
    for (name, pair) in [("alpha.test", &alpha), ("beta.test", &beta)] {
        let _ = reqwest_client(); // installs the provider
        let root = reqwest::Certificate::from_pem(pair.cert.as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
        let client = client.resolve(name, ([127, 0, 0, 1], port).into()).build().unwrap();
        let answer = client.post(format!("https://{name}:{port}{CHAT}")).json(&ask("m", false, 1)).send().await;
        assert_eq!(answer.unwrap_or_else(|error| panic!("{name}: {error:?}")).status(), 200, "{name}");
    }
    assert_eq!(whole(post(proxy.url(CHAT), "clear", &ask("m", false, 1)).await).await.0, 200, "the others stay clear");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_negotiated_and_serve() {
    let engine = start(openai(&["m"], FAST)).await;
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let pair = Pair::new(&["alpha.test"]).write(dir.path(), "alpha");
    let _proxy = Proxy::start(&(listener(port, &[pair]) + &config(&[&engine], "", ""))).await;
    for (offer, expected) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = connect(port, "alpha.test", offer).await;
        assert_eq!(agreed(&stream).as_deref(), expected, "{offer:?}");
        for body in [ask("m", false, 3), ask("m", true, 50)] {
            let direct = whole(post(engine.url() + CHAT, "direct", &body).await).await;
            let stream = connect(port, "alpha.test", offer).await;
            let answer = if expected == Some("h2") {
                let (status, _, text) = Two::over(stream).await.ask(h2_request(), body.to_string().as_bytes()).await;
                (status, text)
            } else {
                let mut connection = Raw::over(stream);
                connection.write(request("", &body.to_string())).await;
                let answer = wire::parse(connection.rest().await.as_bytes());
                (answer.status, answer.text())
            };
            assert_eq!(answer, direct, "{offer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificate_files_are_used_and_streams_go_on() {
    for protocol in ["http/1.1", "h2"] {
        let (engine, pieces) = Scripted::streaming("text/event-stream").await;
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (Pair::new(&["alpha.test"]), Pair::new(&["alpha.test"]));
        let port = free_port();
        let text = listener(port, &[old.write(dir.path(), "alpha")]) + &engine.config("openai", "", "");
        let proxy = Proxy::start(&text).await;
        let stream = connect(port, "alpha.test", &[protocol]).await;
        assert!(shown(&stream) == old.der);
        let body = ask("m", true, 1).to_string();
        let reading = tokio::spawn(async move {
            if protocol == "h2" {
                return Two::over(stream).await.ask(h2_request(), body.as_bytes()).await.2;
            }
            let mut connection = Raw::over(stream);
            connection.write(request("", &body)).await;
            wire::parse(connection.rest().await.as_bytes()).text()
        });
        let event = |nth: u32| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{nth}\"}}}}]}}\n\n");
        let send = |nth: u32| pieces.unbounded_send(Ok(Bytes::from(event(nth)))).expect("the stream runs");
        (0..10).for_each(send);
        assert!(eventually(async || engine.posts().len() == 1).await);
        new.write(dir.path(), "alpha");
        let is_new = async || shown(&connect(port, "alpha.test", &[protocol]).await) == new.der;
        assert!(eventually(is_new).await, "{protocol}: still the old one:\n{}", proxy.stderr());
        (10..20).for_each(send);
        pieces.unbounded_send(Ok(Bytes::from_static(b"data: [DONE]\n\n"))).unwrap();
        pieces.close_channel();
        let text = tokio::time::timeout(PATIENCE, reading).await.expect("the stream ends").unwrap();
        let expected = (0..20).map(event).collect::<String>() + "data: [DONE]\n\n";
        assert_eq!(text, expected, "{protocol}");
        assert!(proxy.stderr().contains("listener tls: new certificates are in use"), "{}", proxy.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_certificate_file_changes_nothing() {
    let engine = start(openai(&["m"], FAST)).await;
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Pair::new(&["alpha.test"]), Pair::new(&["alpha.test"]));
    let port = free_port();
    let proxy = Proxy::start(&(listener(port, &[old.write(dir.path(), "alpha")]) + &config(&[&engine], "", ""))).await;
    for broken in ["no PEM at all", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &new.cert] {
        let before = proxy.stderr().matches("the certificates are kept as they were").count();
        std::fs::write(dir.path().join("alpha.crt"), broken).unwrap(); // the last one: not the key's
        let told = async || proxy.stderr().matches("the certificates are kept as they were").count() > before;
        assert!(eventually(told).await, "{broken:?} is not told:\n{}", proxy.stderr());
        let stream = connect(port, "alpha.test", &[]).await;
        assert!(shown(&stream) == old.der, "{broken:?}");
        let mut connection = Raw::over(stream);
        connection.write(request("", &ask("m", false, 1).to_string())).await;
        assert_eq!(connection.reply().await.expect("an answer").status, 200);
    }
    new.write(dir.path(), "alpha");
    assert!(eventually(async || shown(&connect(port, "alpha.test", &[]).await) == new.der).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_with_a_broken_certificate_is_refused_whole() {
    let engine = start(openai(&["m"], FAST)).await;
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Pair::new(&["alpha.test"]), Pair::new(&["alpha.test"]));
    let port = free_port();
    let (first, second) = (old.write(dir.path(), "first"), new.write(dir.path(), "second"));
    std::fs::write(dir.path().join("second.crt"), "no PEM at all").unwrap();
    let proxy = Proxy::start(&(listener(port, &[first]) + &config(&[&engine], "", ""))).await;
    let next = listener(port, std::slice::from_ref(&second)) + &config(&[&engine], "", "aliases: { nick: m }");
    proxy.write_config(&next);
    proxy.signal("HUP");
    let failed = "arriero_config_last_reload_successful";
    assert!(eventually(async || proxy.metric(failed).await == Some(0.0)).await, "{}", proxy.stderr());
    assert_eq!(proxy.metric("arriero_config_generation").await, Some(1.0));
    assert!(proxy.stderr().contains("second.crt"), "the file is named:\n{}", proxy.stderr());
    assert!(shown(&connect(port, "alpha.test", &[]).await) == old.der);
    let nick = ask("nick", false, 1);
    assert_eq!(whole(post(proxy.url(CHAT), "early", &nick).await).await.0, 404, "nothing of it is in force");
    new.write(dir.path(), "second");
    proxy.reload(&next).await;
    assert!(eventually(async || shown(&connect(port, "alpha.test", &[]).await) == new.der).await);
    assert_eq!(whole(post(proxy.url(CHAT), "late", &nick).await).await.0, 200);
}

/// One https engine with TLS options, checked by probes or not at all.
fn secure_pool(engine: &LabEngine, tls: &str, pool: &str) -> String {
    format!(
        "pools:\n  p: {{ endpoints: [{{ url: {:?}, engine: openai, models: [m], {tls} }}], {pool} }}\nroutes:\n  - {{ name: r, pool: p }}\n",
        engine.url()
    )
}

fn authority(engine: &LabEngine, dir: &Path, name: &str) -> String {
    let file = dir.join(name);
    std::fs::write(&file, engine.ca_pem().expect("a TLS engine")).unwrap();
    format!("{file:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn https_engines_are_believed_by_authority_and_name() {
    let dir = tempfile::tempdir().unwrap();
    let named = start(openai(&["m"], FAST).over_tls(&["engine.test"])).await;
    let addressed = start(openai(&["m"], FAST).over_tls(&["127.0.0.1"])).await;
    let (ca, other) = (authority(&named, dir.path(), "ca.pem"), authority(&addressed, dir.path(), "other.pem"));
    for (engine, tls, good) in [
        (&named, format!("tls: {{ ca: {ca}, server_name: engine.test }}"), true),
        (&addressed, format!("tls: {{ ca: {other} }}"), true),
        (&named, "tls: { insecure: true }".to_owned(), true),
        (&named, format!("tls: {{ ca: {ca}, server_name: other.test }}"), false),
        (&named, format!("tls: {{ ca: {ca} }}"), false),
        (&named, format!("tls: {{ ca: {other}, server_name: engine.test }}"), false),
        (&named, "tls: { server_name: engine.test }".to_owned(), false),
    ] {
        let body = ask("m", true, 30);
        // traffic alone: nobody has asked the engine before
        let proxy = Proxy::start_degraded(&secure_pool(engine, &tls, "health: none")).await;
        let before = engine.stats().inference;
        let (status, text) = whole(post(proxy.url(CHAT), "tls", &body).await).await;
        let (line, asked) = (proxy.line("tls").await, engine.stats().inference - before);
        if good {
            let url = format!("https://engine.test:{}{CHAT}", engine.addr().port());
            assert_eq!((status, asked, &line["end"]), (200, 1, &json!("--")), "{tls}: {text}");
            let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
            let client = client.resolve("engine.test", engine.addr()).build().unwrap();
            let direct = client.post(url).json(&body).send().await.unwrap().text().await.unwrap();
            assert_eq!(text, direct, "{tls}");
        } else {
            assert_eq!((status, asked), (502, 0), "{tls}: {text}");
            assert!(text.contains("engine_failed") && line["retries"].as_u64() <= Some(2), "{line} {text}");
        }
        drop(proxy);
        // probes alone: they see it as traffic does
        let proxy =
            Proxy::start_degraded(&secure_pool(engine, &tls, "health: { every: 100ms, rise: 1, fall: 1 }")).await;
        let wanted = if good { "ok" } else { "unavailable" };
        let judged = async || {
            let report = reqwest_client().get(proxy.admin("api/health")).send().await.unwrap();
            report.json::<Value>().await.unwrap()["status"] == wanted
        };
        assert!(eventually(judged).await, "{tls}: probes do not find it {wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_http2_client_is_given_up() {
    let engine = start(openai(&["m"], FAST)).await;
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let pair = Pair::new(&["alpha.test"]).write(dir.path(), "alpha");
    let timers = "timeouts: { header: 200ms }\n";
    let _proxy = Proxy::start(&(listener(port, &[pair]) + &config(&[&engine], "", "") + timers)).await;
    let mut stream = connect(port, "alpha.test", &["h2"]).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)).await;
    assert!(ended.is_ok(), "a place among the connections is not held for ever");
}
