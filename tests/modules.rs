//! The modules behind real traffic: keys that stay with their endpoint over a restart, chance, order, backlogs, and what
//! `auto` makes of a pool. Their own rules are tested in their crates.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/stage.rs"]
mod stage;

use std::collections::BTreeMap;

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use common::{PATIENCE, Proxy, eventually, free_port, reqwest_client};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use stage::{FAST, LONG, SLOW, ask, ollama, openai, post, start, whole};

const CHAT: &str = "/v1/chat/completions";
const KEYS: u32 = 32;

/// Endpoints `e0`, `e1`, ... of one pool, each with more keys.
fn pool(engines: &[(&LabEngine, &str)], more: &str) -> String {
    let rows = engines.iter().enumerate();
    let rows = rows.map(|(nth, (engine, more))| format!("{{ name: e{nth}, url: {:?}, {more} }}", engine.url()));
    let rows: Vec<String> = rows.collect();
    format!("pools: {{ p: {{ endpoints: [{}], {more} }} }}\n", rows.join(", "))
}

async fn four(models: &[&str]) -> Vec<LabEngine> {
    let mut engines = Vec::new();
    for _ in 0..4 {
        engines.push(start(openai(models, FAST)).await);
    }
    engines
}

/// The endpoint that answered.
async fn owner(request: RequestBuilder) -> String {
    let answer = request.send().await.unwrap();
    let endpoint = answer.headers().get("x-arriero-endpoint").map(|value| value.to_str().unwrap().to_owned());
    let (status, text) = whole(answer).await;
    assert_eq!(status, 200, "{text}");
    endpoint.expect("an endpoint")
}

/// How often each of `count` requests' endpoints answered.
async fn shares(proxy: &Proxy, count: u32) -> BTreeMap<String, u32> {
    let door = Door::of(proxy.port);
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        *shares.entry(owner(chat(&door, &ask("m", false, 1))).await).or_default() += 1;
    }
    shares
}

/// One way to carry a key: its name, the source's options, a request with key `n`.
type Way = (&'static str, &'static str, fn(&Door, &str) -> RequestBuilder);

/// The proxy, over connections that are used again.
struct Door {
    client: reqwest::Client,
    url: String,
}

impl Door {
    fn of(port: u16) -> Door {
        let _ = reqwest_client(); // installs the provider
        Door { client: reqwest::Client::builder().no_proxy().build().unwrap(), url: format!("http://127.0.0.1:{port}") }
    }

    fn post(&self, query: &str, body: &Value) -> RequestBuilder {
        self.client.post(format!("{}{CHAT}{query}", self.url)).json(body)
    }
}

fn chat(door: &Door, body: &Value) -> RequestBuilder {
    door.post("", body)
}

fn with(key: &str, value: Value) -> Value {
    let mut body = ask("m0", false, 1);
    body[key] = value;
    body
}

const WAYS: [Way; 9] = [
    ("header", "{ header: x-user }", |door, key| chat(door, &ask("m0", false, 1)).header("x-user", key)),
    ("cookie", "{ cookie: sid }", |door, key| {
        chat(door, &ask("m0", false, 1)).header("cookie", format!("a=1; sid={key}"))
    }),
    ("query", "{ query: user }", |door, key| door.post(&format!("?a=1&user={key}"), &ask("m0", false, 1))),
    ("body", "{ body: user }", |door, key| chat(door, &with("user", json!(key)))),
    ("session", "session", |door, key| chat(door, &ask("m0", false, 1)).header("x-session-id", key)),
    ("prompt", "{ prompt: 64B }", |door, key| {
        let text = format!("{key:-<80} {}", another_text());
        chat(door, &with("messages", json!([{ "role": "user", "content": text }])))
    }),
    ("api-key", "api-key", |door, key| chat(door, &ask("m0", false, 1)).bearer_auth(key)),
    ("source", "source", |door, key| {
        let last = key.trim_start_matches('k');
        chat(door, &ask("m0", false, 1)).header("x-forwarded-for", format!("203.0.113.{last}"))
    }),
    ("model", "model", |door, key| {
        let nth = key.trim_start_matches('k').parse::<u32>().unwrap() % 8;
        chat(door, &ask(&format!("m{nth}"), false, 1))
    }),
];

/// Another text each time: what stands behind the prompt's first bytes does not count.
fn another_text() -> String {
    format!("{:?}", std::time::Instant::now())
}

/// Whom each key of each way belongs to; asked twice.
async fn owners(port: u16) -> BTreeMap<(&'static str, u32), String> {
    let door = Door::of(port);
    let mut owners = BTreeMap::new();
    for (name, _, request) in WAYS {
        for nth in 0..KEYS {
            let key = format!("k{nth}");
            let first = owner(request(&door, &key).header("x-way", name)).await;
            let second = owner(request(&door, &key).header("x-way", name)).await;
            assert_eq!(first, second, "{name} {key}");
            owners.insert((name, nth), first);
        }
    }
    owners
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_endpoint_over_a_restart() {
    let engines = four(&["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"]).await;
    let rows: Vec<String> = engines
        .iter()
        .enumerate()
        .map(|(nth, engine)| format!("{{ name: e{nth}, url: {:?} }}", engine.url()))
        .collect();
    let text = |rows: &[String], port: u16| {
        let routes = WAYS.iter().map(|(name, source, _)| {
            format!("  - {{ name: {name}, match: {{ header: {{ x-way: {name} }} }}, pool: p, balance: {{ hash: {{ key: {source} }} }} }}\n")
        });
        let listener = format!("  own: {{ bind: \"127.0.0.1:{port}\", trusted_proxies: [127.0.0.0/8] }}\n");
        format!(
            "{listener}pools: {{ p: {{ endpoints: [{}] }} }}\nroutes:\n{}",
            rows.join(", "),
            routes.collect::<String>()
        )
    };
    let port = free_port();
    let proxy = Proxy::start(&text(&rows, port)).await;
    let before = owners(port).await;
    for (name, _, _) in WAYS {
        let mut used: Vec<&String> = (0..KEYS).map(|nth| &before[&(name, nth)]).collect();
        used.sort();
        used.dedup();
        assert!(used.len() == 4 || name == "model" && used.len() > 1, "{name}: {used:?}");
    }
    drop(proxy);
    let turned: Vec<String> = rows.into_iter().rev().collect();
    let port = free_port();
    let _proxy = Proxy::start(&text(&turned, port)).await;
    assert_eq!(owners(port).await, before, "another process, another order, the same owners");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_endpoint_moves_only_its_own_keys() {
    let engines = four(&["m"]).await;
    let rows: Vec<_> = engines.iter().map(|engine| (engine, "")).collect();
    let text = pool(&rows, "health: { every: 100ms, rise: 1, fall: 1 }")
        + "routes: [{ pool: p, balance: { hash: { key: { header: x-user } } } }]\n";
    let proxy = Proxy::start(&text).await;
    let door = Door::of(proxy.port);
    let all = async || {
        let mut owners = Vec::new();
        for nth in 0..100 {
            owners.push(owner(chat(&door, &ask("m", false, 1)).header("x-user", nth)).await);
        }
        owners
    };
    let before = all().await;
    for nth in 0..4 {
        let owned = before.iter().filter(|owner| **owner == format!("e{nth}")).count();
        assert!((10..=40).contains(&owned), "e{nth} has {owned} of 100 keys");
    }
    engines[2].set_fault(Fault::always(FaultKind::Refuse));
    let is_down = async || proxy.metric("arriero_endpoint_up{endpoint=\"e2\"}").await == Some(0.0);
    assert!(eventually(is_down).await);
    for (after, before) in all().await.iter().zip(&before) {
        assert!(after != "e2" && (after == before || before == "e2"), "{before} -> {after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_spills_within_its_bound() {
    for (bound, most) in [(1.25, 3), (0.0, 8)] {
        let mut engines = Vec::new();
        for _ in 0..4 {
            engines.push(start(openai(&["m"], SLOW)).await);
        }
        let rows: Vec<_> = engines.iter().map(|engine| (engine, "")).collect();
        let balance = format!("{{ hash: {{ key: {{ header: x-user }}, bounded-load: {bound} }} }}");
        let proxy = Proxy::start(&(pool(&rows, "") + &format!("routes: [{{ pool: p, balance: {balance} }}]\n"))).await;
        let mut running = Vec::new();
        for count in 1..=8 {
            let request = reqwest_client().post(proxy.url(CHAT)).header("x-user", "hot").json(&ask("m", true, LONG));
            running.push(request.send().await.unwrap());
            let in_flight = || engines.iter().map(|engine| engine.stats().in_flight).sum::<usize>();
            assert!(eventually(async || in_flight() == count).await);
        }
        let mut loads: Vec<usize> = engines.iter().map(|engine| engine.stats().in_flight).collect();
        loads.sort();
        assert_eq!(loads[3], most, "bound {bound}: {loads:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chance_goes_by_weight_and_first_by_order() {
    let engines = four(&["m"]).await;
    let weights = ["weight: 1", "weight: 1", "weight: 2", "weight: 0"];
    let rows: Vec<_> = engines.iter().zip(weights).collect();
    let text = |balance: &str| pool(&rows, "") + &format!("routes: [{{ pool: p, balance: {balance} }}]\n");
    let proxy = Proxy::start(&text("{ random: { draws: 1 } }")).await;
    let got = shares(&proxy, 400).await;
    let of = |name: &str| got.get(name).copied().unwrap_or(0);
    assert_eq!(of("e3"), 0);
    // 100, 100 and 200 of 400 are expected, with standard deviations of 8.7 and 10: seven of them on either side
    assert!((39..=161).contains(&of("e0")) && (39..=161).contains(&of("e1")), "{got:?}");
    assert!((130..=270).contains(&of("e2")), "{got:?}");
    proxy.reload(&text("first")).await;
    assert_eq!(shares(&proxy, 20).await, BTreeMap::from([("e0".to_owned(), 20)]));
    engines[0].set_fault(Fault::always(FaultKind::Refuse));
    assert!(eventually(async || shares(&proxy, 1).await.contains_key("e1")).await);
    assert_eq!(shares(&proxy, 20).await, BTreeMap::from([("e1".to_owned(), 20)]), "the next in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_backlog_learns_who_is_fast() {
    let (slow, fast) = (start(openai(&["m"], 400.0)).await, start(openai(&["m"], 4000.0)).await);
    let text = pool(&[(&slow, ""), (&fast, "")], "") + "routes: [{ pool: p, balance: token-backlog }]\n";
    let proxy = Proxy::start(&text).await;
    let ask_on = |url: String| async move {
        for _ in 0..25 {
            assert_eq!(whole(post(url.clone(), "loop", &ask("m", false, 40)).await).await.0, 200);
        }
    };
    let clients: Vec<_> = (0..4).map(|_| tokio::spawn(ask_on(proxy.url(CHAT)))).collect();
    for client in clients {
        client.await.unwrap();
    }
    let (slow, fast) = (slow.stats().completed, fast.stats().completed);
    assert_eq!(slow + fast, 100);
    assert!(slow >= 1 && fast >= 2 * slow, "ten times as fast: {fast} against {slow}");
}

/// The reason for a pick, as the answer tells it.
async fn reason(proxy: &Proxy, model: &str) -> String {
    let request = reqwest_client().post(proxy.url(CHAT)).header("x-arriero-explain", "1").json(&ask(model, false, 2));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.headers().get("x-arriero-reason").expect("a reason").to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_goes_by_what_the_pool_is() {
    let equal = [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let swapping = [start(ollama(&["m", "n"], FAST)).await, start(ollama(&["m", "n"], FAST)).await];
    for (engines, more, balance, expected) in [
        (&equal, "", "", "auto -> least-connection (one model on equal endpoints)"),
        (&equal, "", "balance: auto", "auto -> least-connection (one model on equal endpoints)"),
        (&swapping, "", "", "auto -> model-affinity (engines swap models)"),
        (&equal, "slots: 4", "", "auto -> queue-aware (slots are known)"),
    ] {
        let rows: Vec<_> = engines.iter().map(|engine| (engine, more)).collect();
        let proxy = Proxy::start(&(pool(&rows, "") + &format!("routes: [{{ pool: p, {balance} }}]\n"))).await;
        let mut last = String::new();
        let start = std::time::Instant::now();
        while !last.starts_with(expected) && start.elapsed() < PATIENCE {
            last = reason(&proxy, "m").await;
        }
        assert!(last.starts_with(expected), "{expected}: {last}");
    }
}
