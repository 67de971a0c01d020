//! Who asks: keys and what they open, and addresses behind proxies. Neither may be forged, and no key may leak.
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

use std::path::{Path, PathBuf};
use std::process::Command;

use axum::Json;
use axum::response::IntoResponse;
use common::{Proxy, free_port, reqwest_client};
use scripted::{Scripted, Seen};
use secure::Two;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stage::ask;

const CHAT: &str = "/v1/chat/completions";
const ANN: &str = "sk-ann-4f1c0a77";
const BOB: &str = "sk-bob-b81d2e90";
const ENGINE_KEY: &str = "sk-engine-7713";

async fn engine() -> Scripted {
    let answer = json!({ "choices": [{ "message": { "role": "assistant", "content": "yes" } }] });
    Scripted::start(move |_| Json(answer.clone()).into_response()).await
}

/// A keys file of these clients.
fn keys(dir: &Path, clients: &[(&str, &str)]) -> PathBuf {
    let hex = |key: &str| Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines = clients.iter().map(|(name, key)| format!("{name}:{}\n", hex(key)));
    let file = dir.join("clients");
    std::fs::write(&file, format!("# who may ask\n{}", lines.collect::<String>())).unwrap();
    file
}

/// Keys for everything, one pool with a key of its own, and these routes.
fn guarded(engine: &Scripted, dir: &Path, clients: &[(&str, &str)], routes: &str) -> String {
    let file = keys(dir, clients);
    let key = dir.join("engine.key");
    std::fs::write(&key, ENGINE_KEY).unwrap();
    let url = engine.url();
    format!(
        "auth: {{ keys_file: {file:?} }}\npools:\n  p: {{ endpoints: [{{ url: {url:?}, engine: openai, api_key_file: {key:?} }}] }}\n\
         routes: [{routes}]\n"
    )
}

/// One request by HTTP/1 or HTTP/2 with these headers: status, headers, body.
async fn send(proxy: &Proxy, two: bool, path: &str, headers: &[(&str, &str)]) -> (u16, http::HeaderMap, String) {
    let body = if path.starts_with("/v1/models") || !path.starts_with("/v1") && !path.starts_with("/api/chat") {
        String::new()
    } else {
        ask("m", false, 1).to_string()
    };
    let method = if body.is_empty() { "GET" } else { "POST" };
    if two {
        let mut request = http::Request::builder().method(method).uri(format!("http://arriero.test{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        return Two::connect(proxy.h2_port).await.ask(request, body.as_bytes()).await;
    }
    let mut request = reqwest_client().request(method.parse().unwrap(), proxy.url(path)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.text().await.unwrap())
}

async fn status(proxy: &Proxy, path: &str, headers: &[(&str, &str)]) -> u16 {
    let [one, two] = [send(proxy, false, path, headers).await.0, send(proxy, true, path, headers).await.0];
    assert_eq!(one, two, "{path} {headers:?}: HTTP/1 and HTTP/2 differ");
    one
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_key_it_is_401_in_each_shape() {
    let (engine, dir) = (engine().await, tempfile::tempdir().unwrap());
    let proxy = Proxy::start(&guarded(&engine, dir.path(), &[("ann", ANN)], "{ pool: p }")).await;
    for (path, place, expected) in [
        (CHAT, "/error/code", "invalid_api_key"),
        ("/v1/messages", "/error/type", "authentication_error"),
        ("/v1/models", "/error/code", "invalid_api_key"),
        ("/api/chat", "/error", "key"),
        ("/api/tags", "/error", "key"),
        ("/v1/no/such/path", "/error/code", "invalid_api_key"),
    ] {
        for (headers, message) in [
            (&[][..], "no API key given"),
            (&[("authorization", "Bearer sk-wrong")], "is not known here"),
            (&[("x-api-key", "sk-wrong")], "is not known here"),
            (&[("authorization", "Basic c2stYW5uLTRmMWMwYTc3")], "no API key given"),
        ] {
            for two in [false, true] {
                let (status, head, text) = send(&proxy, two, path, headers).await;
                let body: Value = serde_json::from_str(&text).unwrap_or_default();
                let told = body.pointer(place).and_then(Value::as_str).unwrap_or_default();
                if path == "/v1/no/such/path" && status == 404 {
                    continue; // nothing is told of engines either way
                }
                assert_eq!(status, 401, "{path} {headers:?} {two}: {text}");
                assert!(told.contains(expected) && text.contains(message), "{path} {headers:?}: {text}");
                assert_eq!(head["www-authenticate"], "Bearer", "{path}");
                assert!(head["content-type"].to_str().unwrap().starts_with("application/json"));
            }
        }
    }
    assert!(engine.posts().is_empty(), "no engine was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_key_opens_and_stays_here() {
    let (engine, dir) = (engine().await, tempfile::tempdir().unwrap());
    let clients = [("ann", ANN), ("bob", BOB)];
    let proxy = Proxy::start(&guarded(&engine, dir.path(), &clients, "{ pool: p }")).await;
    let bearer_ann = bearer(ANN);
    let ways: [&[(&str, &str)]; 4] = [
        &[("authorization", &bearer_ann), ("x-request-id", "first")],
        &[("x-api-key", ANN), ("x-request-id", "second")],
        &[("api-key", ANN), ("x-request-id", "third")],
        &[("authorization", &bearer_ann), ("x-api-key", BOB), ("api-key", BOB), ("x-request-id", "fourth")],
    ];
    for headers in ways {
        for two in [false, true] {
            let (status, _, text) = send(&proxy, two, CHAT, headers).await;
            assert_eq!(status, 200, "{headers:?}: {text}");
        }
        let line = proxy.line(headers.last().unwrap().1).await;
        assert_eq!(line["user"], "ann", "{line}");
    }
    assert_eq!(status(&proxy, "/v1/models", &[("authorization", &bearer_ann)]).await, 200);
    assert_eq!(engine.posts().len(), 8);
    for seen in engine.all() {
        assert_eq!(seen.header("authorization"), Some(bearer(ENGINE_KEY).as_str()), "{} {}", seen.method, seen.target);
        assert!([ANN, BOB].iter().all(|key| !format!("{:?}", seen.headers).contains(key)), "{:?}", seen.headers);
        assert!(seen.header("x-api-key").is_none() && seen.header("api-key").is_none());
    }
    nothing_tells_of_keys(&proxy).await;
}

/// Keys, the engine's too, are in no log, metric or dump; nor are their digests.
async fn nothing_tells_of_keys(proxy: &Proxy) {
    let mut check = Command::new(env!("CARGO_BIN_EXE_arriero"));
    let dump = check.args(["check", "--dump", "-c"]).arg(proxy.config_path()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let get = async |path| reqwest_client().get(proxy.admin(path)).send().await.unwrap().text().await.unwrap();
    let lines: String = proxy.lines().iter().map(Value::to_string).collect();
    let dump = String::from_utf8(dump.stdout).unwrap();
    assert!(dump.contains("keys_file") && lines.contains("\"user\":\"ann\""), "both were read:\n{dump}\n{lines}");
    let told = [proxy.stderr(), lines, get("metrics").await, get("api/health").await, dump];
    let digest: String = Sha256::digest(ANN).iter().map(|byte| format!("{byte:02x}")).collect();
    for (nth, text) in told.iter().enumerate() {
        for key in [ANN, BOB, ENGINE_KEY, &digest] {
            assert!(!text.contains(key), "text {nth} tells {key}:\n{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_for_some_for_all_or_for_everybody() {
    let (engine, dir) = (engine().await, tempfile::tempdir().unwrap());
    let clients = [("ann", ANN), ("bob", BOB)];
    let (only_ann, known) = ("{ match: { header: { x-way: ann } }, pool: p, clients: [ann] }", "{ pool: p }");
    let proxy = Proxy::start(&guarded(&engine, dir.path(), &clients, &format!("{only_ann}, {known}"))).await;
    let (ann, bob) = (bearer(ANN), bearer(BOB));
    assert_eq!(status(&proxy, CHAT, &[("x-way", "ann"), ("authorization", &ann)]).await, 200);
    assert_eq!(status(&proxy, CHAT, &[("x-way", "ann"), ("authorization", &bob)]).await, 403);
    assert_eq!(status(&proxy, CHAT, &[("x-way", "ann")]).await, 401);
    assert_eq!(status(&proxy, CHAT, &[("authorization", &bob)]).await, 200);
    let (_, _, text) = send(&proxy, false, CHAT, &[("x-way", "ann"), ("authorization", &bob)]).await;
    assert!(text.contains("\"permission_error\"") && text.contains("bob"), "{text}");
    // without a key: what the process is, but nothing of engines
    for (path, expected) in [("/health", 200), ("/", 200), ("/v1/models", 401), ("/api/tags", 401), ("/api/ps", 401)] {
        assert_eq!(status(&proxy, path, &[]).await, expected, "{path}");
        assert_eq!(status(&proxy, path, &[("authorization", &bob)]).await, 200, "{path} with a key");
    }
    let public = "{ match: { header: { x-way: all } }, pool: p, clients: public }";
    proxy.reload(&guarded(&engine, dir.path(), &clients, &format!("{public}, {known}"))).await;
    assert_eq!(status(&proxy, CHAT, &[("x-way", "all")]).await, 200);
    assert_eq!(status(&proxy, CHAT, &[("x-way", "all"), ("authorization", &ann)]).await, 200);
    assert_eq!(status(&proxy, CHAT, &[]).await, 401, "the other route still wants one");
    let told = |seen: &Seen| format!("{:?}", seen.headers).contains(ANN);
    assert!(!engine.posts().iter().any(told), "the public route hands no key on");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_count_after_a_reload() {
    let (engine, dir) = (engine().await, tempfile::tempdir().unwrap());
    let text = guarded(&engine, dir.path(), &[("ann", ANN)], "{ pool: p }");
    let proxy = Proxy::start(&text).await;
    let (ann, bob) = (bearer(ANN), bearer(BOB));
    assert_eq!(status(&proxy, CHAT, &[("authorization", &ann)]).await, 200);
    assert_eq!(status(&proxy, CHAT, &[("authorization", &bob)]).await, 401);
    keys(dir.path(), &[("bob", BOB)]);
    proxy.reload(&text).await;
    assert_eq!(status(&proxy, CHAT, &[("authorization", &ann)]).await, 401);
    assert_eq!(status(&proxy, CHAT, &[("authorization", &bob)]).await, 200);
    std::fs::write(dir.path().join("clients"), "bob: no digest\n").unwrap();
    proxy.signal("HUP");
    let kept = async || proxy.metric("arriero_config_last_reload_successful").await == Some(0.0);
    assert!(common::eventually(kept).await);
    assert_eq!(status(&proxy, CHAT, &[("authorization", &bob)]).await, 200, "a broken file lets nobody in or out");
    assert_eq!(status(&proxy, CHAT, &[]).await, 401);
}

/// What the engine was told of a request that came by `port` with these headers, and what the log calls the client.
async fn forwarded(
    engine: &Scripted,
    proxy: &Proxy,
    port: u16,
    two: bool,
    id: &str,
    told: &[(&str, &str)],
) -> (Seen, String) {
    let body = ask("m", false, 1).to_string();
    if two {
        let mut request = http::Request::post(format!("http://outside.test{CHAT}")).header("x-request-id", id);
        for (name, value) in told {
            request = request.header(*name, *value);
        }
        assert_eq!(Two::connect(port).await.ask(request, body.as_bytes()).await.0, 200);
    } else {
        let mut connection = raw::Raw::connect(port).await;
        let headers: String = told.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("POST {CHAT} HTTP/1.1\r\nhost: outside.test\r\nx-request-id: {id}\r\n{headers}");
        connection.write(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
        assert_eq!(connection.reply().await.expect("an answer").status, 200);
    }
    let line = proxy.line(id).await;
    (engine.posts().pop().unwrap(), line["client"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_trusted_proxies_are_believed() {
    let engine = engine().await;
    let port = free_port();
    let listener =
        format!("  behind: {{ bind: \"127.0.0.1:{port}\", h2c: true, trusted_proxies: [127.0.0.0/8, 10.0.0.0/8] }}\n");
    let proxy = Proxy::start(&(listener + &engine.config("openai", "", ""))).await;
    let told = [
        ("x-forwarded-for", "9.9.9.9, 203.0.113.7"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "public.test"),
        ("x-real-ip", "9.9.9.9"),
        ("forwarded", "for=9.9.9.9"),
        ("cf-connecting-ip", "9.9.9.9"),
        ("x-forwarded-port", "443"),
    ];
    for two in [false, true] {
        let outside = if two { proxy.h2_port } else { proxy.port };
        let (seen, client) = forwarded(&engine, &proxy, outside, two, &format!("forged-{two}"), &told).await;
        let forwarded_for: Vec<_> = seen.headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(forwarded_for, ["127.0.0.1"], "{two}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.header("x-forwarded-host"), Some("outside.test"));
        for name in ["x-real-ip", "forwarded", "cf-connecting-ip", "x-forwarded-port"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
        assert!(client.starts_with("127.0.0.1:"), "{client}");

        let (seen, client) = self::forwarded(&engine, &proxy, port, two, &format!("behind-{two}"), &told).await;
        let forwarded_for: Vec<_> = seen.headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(forwarded_for, ["9.9.9.9, 203.0.113.7, 10.1.2.3, 127.0.0.1"], "{two}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-forwarded-host"), Some("public.test"));
        assert_eq!(client, "203.0.113.7", "the last one whom a trusted proxy saw");

        let (seen, client) = self::forwarded(&engine, &proxy, port, two, &format!("bare-{two}"), &[]).await;
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert!(client.starts_with("127.0.0.1:"), "{client}");
    }
}
