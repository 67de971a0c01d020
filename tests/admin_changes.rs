//! Changes by the admin API while requests run: endpoints come and go, strategies change, the file is read again, and
//! no stream is cut. What was set at one generation does not overwrite another.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::LabEngine;
use common::{PATIENCE, Proxy, eventually, reqwest_client};
use herd::{CHAT, QUICK, asked, call, chats, engines, get, herd as config, until_health};
use serde_json::{Value, json};
use stage::{FAST, ask, post, whole};
use tokio::task::JoinHandle;

/// A change that must be done: gives the generation that is in force then, and what it says of itself.
async fn change(proxy: &Proxy, method: &str, path: &str, body: Option<Value>) -> (u64, Vec<String>) {
    let (status, said) = call(proxy, method, path, body).await;
    assert_eq!(status, 200, "{method} {path}: {said}");
    let lines = said["changes"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
    (said["generation"].as_u64().unwrap(), lines.collect())
}

/// The same with `If-Match`; gives status and answer.
async fn if_match(proxy: &Proxy, method: &str, path: &str, tag: &str, body: Value) -> (u16, Value) {
    let request = reqwest_client().request(method.parse().unwrap(), proxy.admin(path)).header("if-match", tag);
    stage::json_of(request.json(&body).send().await.unwrap()).await
}

fn streams(proxy: &Proxy, count: usize, tokens: u32) -> Vec<JoinHandle<(u16, String)>> {
    let one = |nth: usize| {
        let url = proxy.url(CHAT);
        tokio::spawn(async move { whole(post(url, &format!("s-{nth}"), &ask("m", true, tokens)).await).await })
    };
    (0..count).map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_changes_and_no_stream_is_cut() {
    const STREAMS: usize = 50;
    let engines = engines(3, 150.0).await;
    let direct = whole(post(engines[0].url() + CHAT, "direct", &ask("m", true, 400)).await).await.1;
    let proxy = Proxy::start(&config(&engines[..2], &[], QUICK, "balance: round-robin")).await;
    let running = streams(&proxy, STREAMS, 400);
    let in_flight = || engines.iter().map(|engine| engine.stats().in_flight).sum::<usize>();
    assert!(eventually(async || in_flight() == STREAMS).await);
    let balances = [
        json!("least-connection"),
        json!({ "random": { "draws": 1 } }),
        json!({ "hash": { "key": "model" } }),
        json!("queue-aware"),
        json!("first"),
        json!("model-affinity"),
        json!("auto"),
        json!("round-robin"),
    ];
    for (nth, balance) in balances.iter().enumerate() {
        let (generation, changes) = change(&proxy, "PUT", "api/routes/r/balance", Some(balance.clone())).await;
        assert_eq!(generation, nth as u64 + 2, "{changes:?}");
        let module = balance.as_str().unwrap_or_else(|| balance.as_object().unwrap().keys().next().unwrap());
        assert_eq!(get(&proxy, "api/routes").await[0]["module"], module);
        assert_eq!(whole(post(proxy.url(CHAT), "new", &ask("m", false, 1)).await).await.0, 200, "{balance}");
    }
    let fresh = json!({ "name": "c", "url": engines[2].url(), "engine": "openai" });
    change(&proxy, "POST", "api/pools/p/endpoints", Some(fresh)).await;
    until_health(&proxy, "c", "up").await;
    change(&proxy, "DELETE", "api/endpoints/a", None).await;
    for state in ["drain", "maint"] {
        herd::to_state(&proxy, "b", state).await;
    }
    change(&proxy, "POST", "api/reload", None).await;
    assert_eq!(in_flight(), STREAMS, "all of them ran through all of it");
    for stream in running {
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
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_joins_and_leaves() {
    let engines = engines(3, FAST).await;
    let proxy = Proxy::start(&config(&engines[..2], &[], QUICK, "balance: round-robin")).await;
    let fresh = json!({ "name": "c", "url": engines[2].url(), "engine": "openai", "weight": 2, "max_in_flight": 4, "labels": { "rack": "b" } });
    let (generation, changes) = change(&proxy, "POST", "api/pools/p/endpoints", Some(fresh.clone())).await;
    assert_eq!(generation, 2);
    assert!(changes.iter().any(|line| line.contains('c')), "{changes:?}");
    until_health(&proxy, "c", "up").await;
    let shown = herd::endpoint(&proxy, "c").await;
    assert_eq!((&shown["weight"], &shown["max_in_flight"], &shown["pool"]), (&json!(2), &json!(4), &json!("p")));
    let names = chats(&proxy, &[], 40).await;
    assert!((18..=23).contains(&names.matches('c').count()), "half, and two turns to make up for: {names}");
    // what is taken, or makes no sense, is refused and changes nothing
    for (pool, endpoint, status) in [
        ("p", fresh.clone(), &[409, 422][..]),
        ("z", json!({ "url": "http://127.0.0.1:1" }), &[404]),
        ("p", json!({ "url": "ftp://127.0.0.1:1" }), &[422]),
        ("p", json!({ "url": "http://127.0.0.1:1", "weigth": 3 }), &[422]),
        ("p", json!({ "url": "http://127.0.0.1:1", "weight": 300 }), &[422]),
        ("p", json!({ "name": "d" }), &[422]),
        ("p", json!("http://127.0.0.1:1"), &[422]),
    ] {
        let (got, said) = call(&proxy, "POST", &format!("api/pools/{pool}/endpoints"), Some(endpoint.clone())).await;
        assert!(status.contains(&got) && said["error"]["message"].is_string(), "{endpoint}: {got} {said}");
    }
    assert_eq!(get(&proxy, "api/generation").await["generation"], 2);
    let (generation, _) = change(&proxy, "DELETE", "api/endpoints/a", None).await;
    assert_eq!(generation, 3);
    let before = asked(&engines)[0];
    assert!(!chats(&proxy, &[], 20).await.contains('a'));
    assert_eq!(asked(&engines)[0], before);
    assert_eq!(call(&proxy, "GET", "api/endpoints/a", None).await.0, 404);
    assert_eq!(call(&proxy, "DELETE", "api/endpoints/a", None).await.0, 404);
    change(&proxy, "DELETE", "api/endpoints/c", None).await;
    let (status, said) = call(&proxy, "DELETE", "api/endpoints/b", None).await;
    assert_eq!(status, 409, "the last one stays: {said}");
    assert_eq!(chats(&proxy, &[], 3).await, "bbb");
    // the file's word again
    let told = get(&proxy, "api/generation").await;
    assert_eq!(told["changed_here"].as_array().map(Vec::len), Some(3), "{told}");
    let (_, changes) = change(&proxy, "POST", "api/reload", None).await;
    assert!(!changes.is_empty(), "it says what it takes back");
    assert_eq!(get(&proxy, "api/generation").await["changed_here"], Value::Null);
    until_health(&proxy, "a", "up").await;
    let names = chats(&proxy, &[], 10).await;
    assert!(names.contains('a') && names.contains('b') && !names.contains('c'), "{names}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_strategy_deals_at_once() {
    let engines = engines(3, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], "", "balance: round-robin")).await;
    assert_eq!(chats(&proxy, &[], 6).await, "abcabc");
    change(&proxy, "PUT", "api/routes/r/balance", Some(json!("first"))).await;
    assert_eq!(chats(&proxy, &[], 6).await, "aaaaaa");
    let hash = json!({ "hash": { "key": { "header": "x-user" }, "bounded-load": 0 } });
    change(&proxy, "PUT", "api/routes/r/balance", Some(hash)).await;
    let homes = chats(&proxy, &[("x-user", "u")], 5).await;
    assert_eq!(homes, homes[..1].repeat(5));
    let shown = get(&proxy, "api/routes").await;
    assert_eq!((&shown[0]["set_here"], &shown[0]["options"]["bounded-load"]), (&json!(true), &json!(0.0)));
    for (balance, status) in [
        (json!("herding"), 422),
        (json!({ "random": { "draws": 0 } }), 422),
        (json!({ "random": { "throws": 2 } }), 422),
        (json!({ "random": {}, "first": {} }), 422),
        (json!(7), 422),
    ] {
        let (got, said) = call(&proxy, "PUT", "api/routes/r/balance", Some(balance.clone())).await;
        assert_eq!(got, status, "{balance}: {said}");
        assert!(said["error"]["message"].is_string(), "{said}");
    }
    assert_eq!(call(&proxy, "PUT", "api/routes/z/balance", Some(json!("first"))).await.0, 404);
    assert_eq!(get(&proxy, "api/routes").await[0]["module"], "hash", "the refused ones changed nothing");
    change(&proxy, "POST", "api/reload", None).await;
    let shown = get(&proxy, "api/routes").await;
    assert_eq!(
        (&shown[0]["module"], &shown[0]["set_here"]),
        (&json!("round-robin"), &json!(false)),
        "the file's again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_says_what_it_did_or_where_the_mistake_is() {
    let engines = engines(2, FAST).await;
    let text = |count: usize, route: &str| config(&engines[..count], &[], "", route);
    let proxy = Proxy::start(&text(1, "balance: round-robin")).await;
    proxy.write_config(&text(2, "balance: first"));
    let (generation, changes) = change(&proxy, "POST", "api/reload", None).await;
    assert_eq!(generation, 2);
    let all = changes.join("\n");
    assert!(all.contains('b') && all.contains("first"), "{all}");
    assert_eq!(get(&proxy, "api/generation").await["last_reload"]["applied"], true);
    // line 6 and on is what the test writes; each mistake with its place
    proxy.write_config(&text(2, "balance: frist, affinity: { ttl: 5 }"));
    let (status, said) = call(&proxy, "POST", "api/reload", None).await;
    assert_eq!(status, 422, "{said}");
    let findings = said["error"]["findings"].as_array().unwrap();
    assert!(findings.len() >= 2, "all mistakes at once: {said}");
    let file = std::fs::read_to_string(proxy.config_path()).unwrap();
    for finding in findings {
        let (line, column) = (finding["line"].as_u64().unwrap(), finding["column"].as_u64().unwrap());
        assert!(finding["file"].as_str().unwrap().ends_with("arriero.yaml"), "{finding}");
        assert!(file.lines().nth(line as usize - 1).unwrap().len() as u64 >= column && column > 0, "{finding}");
        let place = format!("arriero.yaml:{line}:{column}: ");
        assert!(finding["text"].as_str().unwrap().contains(&place), "{finding}");
    }
    let wrong = findings.iter().find(|finding| finding["message"].as_str().unwrap().contains("frist")).unwrap();
    let line = file.lines().nth(wrong["line"].as_u64().unwrap() as usize - 1).unwrap();
    assert!(line[wrong["column"].as_u64().unwrap() as usize - 1..].contains("frist"), "{wrong}");
    let now = get(&proxy, "api/generation").await;
    assert_eq!((&now["generation"], &now["last_reload"]["applied"]), (&json!(2), &json!(false)), "{now}");
    assert!(now["last_reload"]["error"].as_str().unwrap().contains("frist"), "{now}");
    assert_eq!(chats(&proxy, &[], 2).await, "aa", "everything stayed as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_for_another_generation_is_held_back() {
    let engines = engines(2, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], "", "balance: round-robin")).await;
    let answer = reqwest_client().get(proxy.admin("api/generation")).send().await.unwrap();
    assert_eq!(answer.headers()["etag"], "\"1\"");
    for (method, path, body) in [
        ("PUT", "api/routes/r/balance", json!("first")),
        ("POST", "api/pools/p/endpoints", json!({ "url": "http://127.0.0.1:1" })),
        ("DELETE", "api/endpoints/a", Value::Null),
        ("POST", "api/reload", Value::Null),
        ("PATCH", "api/endpoints/a", json!({ "weight": 9 })),
    ] {
        for tag in ["\"2\"", "0"] {
            let (status, said) = if_match(&proxy, method, path, tag, body.clone()).await;
            assert_eq!(status, 412, "{method} {path} {tag}: {said}");
        }
        assert_eq!(if_match(&proxy, method, path, "\"x\"", body).await.0, 422, "{method} {path}");
    }
    let shown = get(&proxy, "api/status").await;
    assert_eq!(
        (&shown["generation"]["generation"], &shown["pools"][0]["endpoints"][0]["weight"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(if_match(&proxy, "PUT", "api/routes/r/balance", "\"1\"", json!("first")).await.0, 200);
    assert_eq!(if_match(&proxy, "PUT", "api/routes/r/balance", "\"1\"", json!("random")).await.0, 412, "too late");
    assert_eq!(if_match(&proxy, "PUT", "api/routes/r/balance", "*", json!("random")).await.0, 200);
}

/// Many change at once: each change is there, none undoes another.
#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_all_count() {
    let engines = engines(1, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], "health: none", "")).await;
    let add = |nth: usize| {
        let body =
            json!({ "name": format!("n{nth}"), "url": format!("http://127.0.0.1:{}", nth + 1), "engine": "openai" });
        let url = proxy.admin("api/pools/p/endpoints");
        tokio::spawn(async move { reqwest_client().post(url).json(&body).send().await.unwrap().status().as_u16() })
    };
    let adding: Vec<_> = (0..16).map(add).collect();
    for one in adding {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(get(&proxy, "api/endpoints").await.as_array().unwrap().len(), 17);
    assert_eq!(get(&proxy, "api/generation").await["generation"], 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn affinity_is_listed_and_forgotten() {
    let engines = engines(2, FAST).await;
    let route = "balance: round-robin, affinity: { by: { header: x-user }, ttl: 10m }";
    let proxy = Proxy::start(&config(&engines, &[], "", route)).await;
    for user in ["u", "v", "w"] {
        chats(&proxy, &[("x-user", user)], 1).await;
    }
    let hash = |user: &str| format!("{:016x}", xxhash_rust::xxh3::xxh3_64(user.as_bytes()));
    let table = get(&proxy, "api/affinity").await;
    let shown: Vec<_> =
        table["rows"].as_array().unwrap().iter().map(|row| (row["key"].clone(), row["endpoint"].clone())).collect();
    let expected = [("u", "a"), ("v", "b"), ("w", "a")].map(|(user, name)| (json!(hash(user)), json!(name)));
    assert_eq!(shown, expected, "the longest unused first: {table}");
    for row in table["rows"].as_array().unwrap() {
        assert_eq!((&row["kind"], &row["pool"]), (&json!("key"), &json!("p")));
        let (idle, left) = (row["idle_s"].as_f64().unwrap(), row["expires_in_s"].as_f64().unwrap());
        assert!((idle + left - 600.0).abs() < 0.01, "{row}");
    }
    let limited = get(&proxy, "api/affinity?pool=p&limit=1").await;
    assert_eq!((&limited["entries"], limited["rows"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!(get(&proxy, &format!("api/affinity?key={}", hash("v"))).await["rows"][0]["endpoint"], "b");
    for (method, path, status) in [
        ("GET", "api/affinity?pool=z", 404),
        ("DELETE", "api/affinity?pool=z", 404),
        ("GET", "api/affinity?key=xyz", 422),
        ("DELETE", "api/affinity?keys=1", 422),
    ] {
        assert_eq!(call(&proxy, method, path, None).await.0, status, "{method} {path}");
    }
    let (_, said) = call(&proxy, "DELETE", &format!("api/affinity?pool=p&key={}", hash("v")), None).await;
    assert_eq!(said, json!({ "cleared": 1 }));
    assert_eq!(chats(&proxy, &[("x-user", "u")], 2).await, "aa", "others stay");
    assert_eq!(chats(&proxy, &[("x-user", "v")], 1).await, "b", "the next turn");
    let (_, said) = call(&proxy, "DELETE", "api/affinity", None).await;
    assert_eq!(said, json!({ "cleared": 3 }));
    assert_eq!(get(&proxy, "api/affinity").await, json!({ "entries": 0, "rows": [] }));
}

/// A request that waits for an endpoint that is taken out goes to another one.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_served_by_those_who_join() {
    let engines: Vec<LabEngine> = engines(2, stage::SLOW).await;
    let proxy = Proxy::start(&config(&engines[..1], &["max_in_flight: 1"], QUICK, "")).await;
    let held = streams(&proxy, 1, 500_000);
    assert!(engines[0].wait_for(PATIENCE, |stats| stats.in_flight == 1).await);
    let url = proxy.url(CHAT);
    let waiting = tokio::spawn(async move { herd::who(&post(url, "waits", &ask("m", false, 1)).await) });
    assert!(eventually(async || get(&proxy, "api/queues").await[0]["queued"] == 1).await);
    let fresh = json!({ "name": "b", "url": engines[1].url(), "engine": "openai" });
    change(&proxy, "POST", "api/pools/p/endpoints", Some(fresh)).await;
    assert_eq!(waiting.await.unwrap(), "b");
    held.iter().for_each(JoinHandle::abort);
}
