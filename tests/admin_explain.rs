//! Where a request would go, and why: what the admin API predicts is what happens, and asking changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use std::process::Command;

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use common::{PATIENCE, Proxy, eventually};
use herd::{CHAT, QUICK, asked, call, chats, endpoint, engines, get, herd as config, send, take_down, to_state, who};
use serde_json::{Value, json};
use stage::{FAST, SLOW, ask, openai, post, start, whole};

/// What would become of a chat with these headers.
async fn explain(proxy: &Proxy, headers: Value, body: &Value) -> Value {
    let asked = json!({ "path": CHAT, "headers": headers, "body": body });
    let (status, told) = call(proxy, "POST", "api/explain", Some(asked)).await;
    assert_eq!(status, 200, "{told}");
    told
}

/// The same of one short chat.
async fn plain(proxy: &Proxy) -> Value {
    explain(proxy, json!({}), &ask("m", false, 1)).await
}

fn modules() -> Vec<String> {
    let told = Command::new(env!("CARGO_BIN_EXE_arriero")).args(["modules", "--json"]).output().unwrap();
    let list: Vec<Value> = serde_json::from_slice(&told.stdout).unwrap();
    list.iter().map(|module| module["name"].as_str().unwrap().to_owned()).collect()
}

/// Why an endpoint is none of the candidates.
fn why(told: &Value, name: &str) -> String {
    let found = told["others"].as_array().and_then(|others| others.iter().find(|other| other["endpoint"] == name));
    found.map_or_else(|| panic!("{name} is not left out: {told}"), |other| other["why"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_predicted_happens_under_every_module() {
    let modules = modules();
    assert!(modules.len() >= 8, "{modules:?}");
    let engines = engines(3, 5000.0).await;
    let options = ["weight: 3", "weight: 2, max_in_flight: 8", ""];
    for module in &modules {
        let proxy = Proxy::start(&config(&engines, &options, "health: none", &format!("balance: {module}"))).await;
        // inventories first, and some history to learn from
        assert!(
            eventually(async || get(&proxy, "api/endpoints")
                .await
                .as_array()
                .unwrap()
                .iter()
                .all(|one| one["models"] == json!(["m"])))
            .await
        );
        let mut seen = Vec::new();
        for nth in 0..20 {
            let user = format!("u{}", nth % 7);
            let body = ask("m", nth % 2 == 0, 1 + nth % 5);
            let told = explain(&proxy, json!({ "x-session-id": user, "authorization": "Bearer k" }), &body).await;
            assert_eq!(
                (&told["verdict"]["what"], &told["route"], &told["pool"]),
                (&json!("send"), &json!("r"), &json!("p")),
                "{module}: {told}"
            );
            assert!(told["summary"].as_str().is_some_and(|why| !why.is_empty()), "{module}: {told}");
            let answer = send(&proxy, &[("x-session-id", &user), ("authorization", "Bearer k")], &body).await;
            let by = who(&answer);
            assert_eq!(told["verdict"]["endpoint"], by, "{module}, request {nth}: {told}");
            assert_eq!(whole(answer).await.0, 200);
            seen.push(by);
            // the answer's end is learned from before the next one is priced
            assert!(eventually(async || proxy.in_flight().await == 0).await);
        }
        assert!(module != "round-robin" || ["a", "b", "c"].iter().all(|name| seen.iter().any(|by| by == name)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_changes_nothing() {
    let engines = engines(2, FAST).await;
    let route = "balance: round-robin, affinity: { by: { header: x-user } }";
    let proxy = Proxy::start(&config(&engines, &[], "", route)).await;
    for turn in ["a", "b", "a", "b"] {
        for user in 0..5 {
            let told = explain(&proxy, json!({ "x-user": format!("u{user}") }), &ask("m", false, 1)).await;
            assert_eq!(told["verdict"]["endpoint"], turn, "{told}");
        }
        assert_eq!(chats(&proxy, &[], 1).await, turn);
    }
    assert_eq!(get(&proxy, "api/affinity").await["entries"], 0, "no key was noted");
    assert_eq!(asked(&engines), [2, 2], "nothing was sent");
    let status = get(&proxy, "api/status").await;
    assert_eq!((&status["pools"][0]["picks"], &status["pools"][0]["queue"]["most_queued"]), (&json!(4), &json!(0)));
    herd::chat(&proxy, &[("x-request-id", "last")]).await;
    proxy.line("last").await;
    let logged = proxy.lines().iter().filter(|line| line["path"] == CHAT).count();
    assert_eq!(logged, 5, "nor logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_endpoint_that_is_left_out_has_its_reason() {
    let mut engines = engines(5, SLOW).await;
    engines.push(start(openai(&["other"], FAST)).await);
    let labels = |rest: &str| format!("labels: {{ rack: a }}, {rest}");
    let rows = [
        labels(""),
        labels(""),
        labels("max_in_flight: 1"),
        labels("backup: true"),
        "labels: { rack: b }".to_owned(),
        labels(""),
    ];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&config(&engines, &rows, QUICK, "balance: first, where: { rack: a }")).await;
    let told = plain(&proxy).await;
    assert_eq!(told["verdict"]["endpoint"], "a", "{told}");
    assert_eq!(why(&told, "d"), "backup, not needed");
    assert_eq!(why(&told, "e"), "not in the route's subset");
    assert_eq!(why(&told, "f"), "does not have the model");
    to_state(&proxy, "a", "drain").await;
    let told = plain(&proxy).await;
    assert_eq!((&told["verdict"]["endpoint"], why(&told, "a").as_str()), (&json!("b"), "drain"));
    to_state(&proxy, "a", "maint").await;
    assert_eq!(why(&plain(&proxy).await, "a"), "maint");
    to_state(&proxy, "a", "ready").await;
    herd::set(&proxy, "a", json!({ "weight": 0 })).await;
    assert_eq!(why(&plain(&proxy).await, "a"), "weight 0");
    take_down(&proxy, &engines[1], "b").await;
    let told = plain(&proxy).await;
    assert_eq!((&told["verdict"]["endpoint"], why(&told, "b").as_str()), (&json!("c"), "down"));
    let url = proxy.url(CHAT);
    let held = tokio::spawn(async move { whole(post(url, "held", &ask("m", true, 20_000)).await).await });
    assert!(engines[2].wait_for(PATIENCE, |stats| stats.in_flight == 1).await);
    let told = plain(&proxy).await;
    assert_eq!((&told["verdict"], why(&told, "c").as_str()), (&json!({ "what": "wait", "queued": 0 }), "full 1/1"));
    engines[2].set_fault(Fault::always(FaultKind::Slow { factor: 0.0005 }));
    assert_eq!(held.await.unwrap().0, 200);
    to_state(&proxy, "c", "maint").await;
    assert_eq!(plain(&proxy).await["verdict"]["endpoint"], "d", "now the backup is needed");
    to_state(&proxy, "d", "maint").await;
    let told = plain(&proxy).await;
    let (status, text) = whole(send(&proxy, &[], &ask("m", false, 1)).await).await;
    assert_eq!(
        (&told["verdict"]["what"], &told["verdict"]["status"]),
        (&json!("refuse"), &json!(status)),
        "{told} {text}"
    );
    assert!(text.contains(told["verdict"]["reason"].as_str().unwrap()), "the client's words: {told} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_engine_is_passed_over_for_a_moment() {
    let engines = engines(2, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], QUICK, "balance: first")).await;
    engines[0].set_fault(Fault::always(FaultKind::Busy));
    assert_eq!(chats(&proxy, &[], 1).await, "b");
    let told = plain(&proxy).await;
    assert_eq!(told["verdict"]["endpoint"], "b", "{told}");
    assert!(why(&told, "a").starts_with("busy for "), "{told}");
    assert_eq!(asked(&engines), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_request_is_told_where_it_is_kept() {
    let engines = engines(2, FAST).await;
    let by_key = "balance: round-robin, affinity: { by: { header: x-user } }";
    let proxy = Proxy::start(&config(&engines, &[], QUICK, by_key)).await;
    assert_eq!(chats(&proxy, &[("x-user", "u")], 1).await, "a");
    for _ in 0..2 {
        let told = explain(&proxy, json!({ "x-user": "u" }), &ask("m", false, 1)).await;
        assert_eq!(
            (&told["verdict"]["endpoint"], &told["verdict"]["module"]),
            (&json!("a"), &json!("affinity")),
            "{told}"
        );
        assert_eq!(told["pinned_to"], "a", "{told}");
        assert_eq!(plain(&proxy).await["verdict"]["endpoint"], "b");
        to_state(&proxy, "a", "drain").await; // it still serves what is pinned there
    }
    to_state(&proxy, "a", "maint").await;
    let told = explain(&proxy, json!({ "x-user": "u" }), &ask("m", false, 1)).await;
    assert_eq!((&told["verdict"]["endpoint"], why(&told, "a").as_str()), (&json!("b"), "maint"));
    let cookie = "balance: round-robin, affinity: { insert_cookie: way, hard: true }";
    proxy.reload(&config(&engines, &[], QUICK, cookie)).await;
    to_state(&proxy, "a", "ready").await;
    let line = chats_cookie(&proxy, &engines).await;
    let told = explain(&proxy, json!({ "cookie": line }), &ask("m", false, 1)).await;
    assert_eq!((&told["verdict"]["endpoint"], &told["pinned_to"]), (&json!("a"), &json!("a")), "{told}");
    to_state(&proxy, "a", "maint").await;
    let told = explain(&proxy, json!({ "cookie": line }), &ask("m", false, 1)).await;
    assert_eq!((&told["verdict"]["what"], &told["verdict"]["status"]), (&json!("refuse"), &json!(503)), "{told}");
}

/// A cookie that names `a`.
async fn chats_cookie(proxy: &Proxy, engines: &[LabEngine]) -> String {
    for _ in 0..=engines.len() {
        let answer = herd::chat(proxy, &[]).await;
        if who(&answer) == "a" {
            let line = answer.headers()["set-cookie"].to_str().unwrap();
            return line.split(';').next().unwrap().to_owned();
        }
    }
    panic!("a never answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_a_request_is_told() {
    let engines = engines(2, FAST).await;
    let url = |nth: usize| engines[nth].url();
    let text = format!(
        "aliases: {{ nick: m }}\npools:\n  p: {{ endpoints: [{{ name: a, url: {:?} }}] }}\n  q: {{ endpoints: [{{ name: b, url: {:?} }}] }}\nroutes:\n  \
         - {{ name: second, match: {{ listener: h2 }}, pool: q, priority: 7 }}\n  \
         - {{ name: urgent, match: {{ header: {{ x-way: u }} }}, pool: q, priority: {{ header: x-priority, min: -5, max: 5 }} }}\n  \
         - {{ name: rest, pool: p, balance: first }}\n",
        url(0),
        url(1)
    );
    let text = text
        .replace("aliases: { nick: m }\n", "")
        .replace("pool: p, balance: first", "pool: p, balance: first, aliases: { nick: m }");
    let proxy = Proxy::start(&text).await;
    let of = async |asked: Value| call(&proxy, "POST", "api/explain", Some(asked)).await;
    let body = ask("nick", false, 1);
    let (_, told) = of(json!({ "path": CHAT, "body": body })).await;
    assert_eq!(
        [
            &told["route"],
            &told["pool"],
            &told["model"],
            &told["verdict"]["endpoint"],
            &told["verdict"]["module"],
            &told["priority"]
        ],
        [&json!("rest"), &json!("p"), &json!("m"), &json!("a"), &json!("first"), &json!(0)],
        "{told}"
    );
    assert!(told["notes"].as_array().unwrap().iter().any(|note| note == "alias: nick is m"), "{told}");
    let body = ask("m", false, 1);
    let (_, told) = of(json!({ "listener": "h2", "path": CHAT, "body": body })).await;
    assert_eq!(
        [&told["route"], &told["priority"], &told["verdict"]["endpoint"]],
        [&json!("second"), &json!(7), &json!("b")]
    );
    for (said, class) in [("-3", -3), ("-300", -5), ("99", 5), ("x", 0)] {
        let headers = json!({ "x-way": "u", "x-priority": said });
        let (_, told) = of(json!({ "path": CHAT, "headers": headers, "body": body.to_string() })).await;
        assert_eq!((&told["route"], &told["priority"]), (&json!("urgent"), &json!(class)), "{told}");
    }
    for (asked, what, status) in [
        (json!({ "path": CHAT, "body": ask("nobody", false, 1) }), "refuse", Some(404)),
        (json!({ "path": CHAT, "body": "{" }), "refuse", Some(400)),
        (json!({ "path": "/api/pull", "body": {} }), "refuse", Some(403)),
        (json!({ "method": "GET", "path": "/v1/models" }), "answer", None),
        (json!({ "method": "GET", "path": "/health" }), "answer", None),
    ] {
        let (got, told) = of(asked.clone()).await;
        assert_eq!((got, &told["verdict"]["what"]), (200, &json!(what)), "{asked}: {told}");
        assert_eq!(told["verdict"]["status"].as_u64(), status, "{asked}: {told}");
    }
    for asked in [
        json!({}),
        json!({ "path": "no path" }),
        json!({ "path": "/v1/x", "listener": "z" }),
        json!({ "path": "/v1/x", "method": "NO METHOD" }),
        json!({ "path": "/v1/x", "headers": { "a b": "c" } }),
        json!({ "path": "/v1/x", "haeders": {} }),
    ] {
        let (status, told) = of(asked.clone()).await;
        assert!(matches!(status, 404 | 422) && told["error"]["message"].is_string(), "{asked}: {status} {told}");
    }
    assert_eq!(endpoint(&proxy, "a").await["picks"], 0, "none was sent");
}
