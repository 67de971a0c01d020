//! A herd of engines `a`, `b`, `c` ... in one pool `p` behind one route `r`, who answered whom, and the admin API.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{PATIENCE, Proxy, eventually, reqwest_client};
use crate::stage::{ask, openai, start};

pub const CHAT: &str = "/v1/chat/completions";
/// Checks that find out within a blink what a test changed.
pub const QUICK: &str = "health: { every: 50ms, timeout: 1s, rise: 1, fall: 1 }";

/// Engines that answer at `rate` tokens per second.
pub async fn engines(count: usize, rate: f64) -> Vec<LabEngine> {
    let mut engines = Vec::new();
    for _ in 0..count {
        engines.push(start(openai(&["m"], rate)).await);
    }
    engines
}

/// The name of the nth.
pub fn name(nth: usize) -> String {
    char::from(b'a' + u8::try_from(nth).unwrap()).to_string()
}

/// A pool `p` of endpoints at these addresses, each with more keys of its own; missing options are none.
pub fn pool_at(urls: &[String], options: &[&str], pool: &str) -> String {
    let rows = urls.iter().enumerate().map(|(nth, url)| {
        let more = options.get(nth).copied().unwrap_or_default();
        format!("{{ name: {}, url: {url:?}, engine: openai, {more} }}", name(nth))
    });
    format!("p: {{ endpoints: [{}], {pool} }}", rows.collect::<Vec<_>>().join(", "))
}

/// The whole configuration below the listeners.
pub fn herd(engines: &[LabEngine], options: &[&str], pool: &str, route: &str) -> String {
    let urls: Vec<String> = engines.iter().map(LabEngine::url).collect();
    format!("pools: {{ {} }}\nroutes: [{{ name: r, pool: p, {route} }}]\n", pool_at(&urls, options, pool))
}

/// Requests that each engine got.
pub fn asked(engines: &[LabEngine]) -> Vec<u64> {
    engines.iter().map(|engine| engine.stats().inference).collect()
}

/// Who answered.
pub fn who(answer: &reqwest::Response) -> String {
    let status = answer.status();
    let name = answer.headers().get("x-arriero-endpoint");
    name.unwrap_or_else(|| panic!("{status} of nobody")).to_str().unwrap().to_owned()
}

/// One short chat with these headers; gives the answer, which is a 200.
pub async fn chat(proxy: &Proxy, headers: &[(&str, &str)]) -> reqwest::Response {
    let answer = send(proxy, headers, &ask("m", false, 1)).await;
    assert_eq!(answer.status(), 200, "{headers:?}");
    answer
}

/// One request to the chat path with these headers, whatever becomes of it.
pub async fn send(proxy: &Proxy, headers: &[(&str, &str)], body: &Value) -> reqwest::Response {
    let mut request = reqwest_client().post(proxy.url(CHAT)).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    tokio::time::timeout(PATIENCE, request.send()).await.expect("an answer in time").expect("an answer")
}

/// Who answers `count` short chats, one after the other.
pub async fn chats(proxy: &Proxy, headers: &[(&str, &str)], count: usize) -> String {
    let mut names = String::new();
    for _ in 0..count {
        names += &who(&chat(proxy, headers).await);
    }
    names
}

/// One call of the admin API: status and JSON (null if there is none).
pub async fn call(proxy: &Proxy, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let method: Method = method.parse().unwrap();
    let mut request = reqwest_client().request(method, proxy.admin(path));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = tokio::time::timeout(PATIENCE, request.send()).await.expect("in time").expect("an answer");
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

/// What the admin API shows at a path.
pub async fn get(proxy: &Proxy, path: &str) -> Value {
    let (status, shown) = call(proxy, "GET", path, None).await;
    assert_eq!(status, 200, "{path}: {shown}");
    shown
}

/// An endpoint as the admin API shows it.
pub async fn endpoint(proxy: &Proxy, name: &str) -> Value {
    get(proxy, &format!("api/endpoints/{name}")).await
}

/// Changes an endpoint; gives it as it is then.
pub async fn set(proxy: &Proxy, name: &str, change: Value) -> Value {
    let (status, shown) = call(proxy, "PATCH", &format!("api/endpoints/{name}"), Some(change)).await;
    assert_eq!(status, 200, "{shown}");
    shown
}

pub async fn to_state(proxy: &Proxy, name: &str, state: &str) {
    assert_eq!(set(proxy, name, json!({ "state": state })).await["state"], state);
}

/// Waits until an endpoint is `up` or `down`.
pub async fn until_health(proxy: &Proxy, name: &str, health: &str) {
    let is_so = eventually(async || endpoint(proxy, name).await["health"] == health);
    assert!(is_so.await, "{name} is never {health}: {}", endpoint(proxy, name).await);
}

/// The engine refuses connections, and the proxy knows.
pub async fn take_down(proxy: &Proxy, engine: &LabEngine, name: &str) {
    engine.set_fault(Fault::always(FaultKind::Refuse));
    until_health(proxy, name, "down").await;
}

/// The engine is well again, and the proxy knows.
pub async fn bring_up(proxy: &Proxy, engine: &LabEngine, name: &str) {
    engine.set_fault(Fault::none());
    until_health(proxy, name, "up").await;
}

/// A row of the statistics.
pub async fn row(proxy: &Proxy, pool: &str, endpoint: &str) -> Value {
    let rows = get(proxy, "api/stats").await;
    let found = rows.as_array().unwrap().iter().find(|row| row["pxname"] == pool && row["svname"] == endpoint);
    found.unwrap_or_else(|| panic!("no row {pool}/{endpoint} in {rows}")).clone()
}
