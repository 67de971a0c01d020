//! What the admin API shows of a running proxy: numbers that equal what was sent, and no secret. Changes by it are in
//! `admin_changes.rs`, explanations in `admin_explain.rs`, who may ask in `admin_guard.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use std::collections::BTreeMap;

use arriero_lab::http::{Fault, FaultKind, LabEngine};
use common::{PATIENCE, Proxy, eventually, reqwest_client};
use herd::{CHAT, QUICK, call, chats, endpoint, engines, get, herd as config, row, to_state};
use serde_json::{Value, json};
use stage::{FAST, SLOW, ask, post, whole};

async fn text_of(proxy: &Proxy, path: &str) -> (String, String) {
    let answer = reqwest_client().get(proxy.admin(path)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, answer.text().await.unwrap())
}

/// The table of the CSV form: a map of column to field for each row.
fn table(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = csv.lines();
    let head = lines.next().unwrap().strip_prefix("# ").expect("a head as HAProxy's");
    let columns: Vec<&str> = head.split(',').collect();
    let rows = lines.filter(|line| !line.is_empty()).map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.len(), columns.len(), "{line}");
        columns.iter().zip(fields).map(|(column, field)| ((*column).to_owned(), field.to_owned())).collect()
    });
    rows.collect()
}

/// A request for a model that nobody has.
async fn refused(proxy: &Proxy) -> (u16, String) {
    whole(post(proxy.url(CHAT), "no", &ask("nobody", false, 1)).await).await
}

/// `a` is busy at first, `b` and `c` do the work: 20 answers, one of them in a second attempt, one unknown model, one
/// client that leaves.
async fn scene() -> (Vec<LabEngine>, Proxy) {
    let engines = engines(3, FAST).await;
    let options = ["weight: 3, max_in_flight: 7", "weight: 2, max_in_flight: 5", "weight: 2, max_in_flight: 5"];
    let proxy = Proxy::start(&config(&engines, &options, "", "balance: round-robin")).await;
    engines[0].set_fault(Fault::always(FaultKind::Busy));
    chats(&proxy, &[], 1).await;
    to_state(&proxy, "a", "drain").await;
    chats(&proxy, &[], 19).await;
    assert_eq!(refused(&proxy).await.0, 404);
    let engine_side = || engines.iter().map(|engine| engine.stats().cancels).sum::<u64>();
    drop(post(proxy.url(CHAT), "leaves", &ask("m", true, 500_000)).await);
    assert!(eventually(async || engine_side() == 1).await);
    proxy.line("leaves").await;
    (engines, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_equal_what_was_sent() {
    let (engines, proxy) = scene().await;
    let (kind, csv) = text_of(&proxy, "api/stats.csv").await;
    assert_eq!(kind, "text/csv; charset=utf-8");
    let rows = table(&csv);
    let names: Vec<_> = rows.iter().map(|row| (row["pxname"].as_str(), row["svname"].as_str())).collect();
    assert_eq!(names, [("r", "FRONTEND"), ("p", "a"), ("p", "b"), ("p", "c"), ("p", "BACKEND")]);
    let number = |at: usize, column: &str| {
        rows[at][column].parse::<u64>().unwrap_or_else(|_| panic!("{column} of row {at}: {csv}"))
    };
    // the route: 22 requests
    for (column, value) in
        [("stot", 22), ("req_tot", 22), ("hrsp_4xx", 1), ("hrsp_5xx", 0), ("wredis", 1), ("cli_abrt", 1)]
    {
        assert_eq!(number(0, column), value, "{column} of the route");
    }
    assert_eq!(number(0, "hrsp_2xx"), 21);
    // the endpoints: 22 attempts, of which one at a
    for (at, engine) in engines.iter().enumerate() {
        let got = engine.stats().inference;
        assert_eq!((number(at + 1, "stot"), number(at + 1, "lbtot")), (got, got), "row {at}: {csv}");
        assert_eq!(number(at + 1, "scur"), 0);
        assert!(number(at + 1, "smax") >= 1);
        assert_eq!(rows[at + 1]["type"], "2");
    }
    assert_eq!([number(1, "stot"), number(1, "eresp"), number(1, "wredis"), number(1, "hrsp_5xx")], [1, 1, 1, 1]);
    assert_eq!([number(2, "stot") + number(3, "stot"), number(2, "hrsp_2xx") + number(3, "hrsp_2xx")], [21, 21]);
    assert_eq!(number(2, "cli_abrt") + number(3, "cli_abrt"), 1);
    assert_eq!([&*rows[1]["status"], &*rows[2]["status"], &*rows[4]["status"]], ["DRAIN", "UP", "UP"]);
    assert_eq!([number(1, "weight"), number(1, "slim"), number(2, "slim")], [3, 7, 5]);
    // the pool is the sum of its endpoints
    for column in [
        "stot", "bin", "bout", "econ", "eresp", "wretr", "wredis", "act", "bck", "chkdown", "hrsp_2xx", "hrsp_5xx",
        "cli_abrt", "srv_abrt", "tokens", "scur", "slim", "lbtot",
    ] {
        assert_eq!(number(4, column), (1..4).map(|at| number(at, column)).sum::<u64>(), "{column}: {csv}");
    }
    assert_eq!((number(4, "weight"), number(4, "act")), (4, 2), "of those who take requests");
    assert!(number(4, "bin") > 21 * 60 && number(4, "bout") > 21 * 60, "{csv}");
    let own = refused(&proxy).await.1.len() as u64;
    assert_eq!(
        number(4, "bout") + own,
        number(0, "bout"),
        "what the pool gave and the proxy said is what the route gave"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_json_are_rows_of_csv() {
    let (_engines, proxy) = scene().await;
    let json = get(&proxy, "api/stats").await;
    let rows = table(&text_of(&proxy, "api/stats.csv").await.1);
    let json = json.as_array().unwrap();
    assert_eq!(json.len(), rows.len());
    for (object, row) in json.iter().zip(&rows) {
        for (key, value) in object.as_object().unwrap() {
            let told = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert!(row[key] == told || key == "lastchg", "{key}: {told} and {}", row[key]);
        }
        let fields = row.iter().filter(|(column, field)| !field.is_empty() && *column != "type").count();
        assert_eq!(fields, object.as_object().unwrap().len(), "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_and_what_waits_is_shown_now() {
    let engines = engines(2, SLOW).await;
    let options = ["max_in_flight: 2", "max_in_flight: 1"];
    let proxy = Proxy::start(&config(&engines, &options, "queue: { max_requests: 9, timeout: 50s }", "")).await;
    let held: Vec<_> = (0..7)
        .map(|_| {
            let url = proxy.url(CHAT);
            tokio::spawn(async move { whole(post(url, "held", &ask("m", true, 20_000)).await).await.0 })
        })
        .collect();
    assert!(eventually(async || get(&proxy, "api/queues").await[0]["queued"] == 4).await);
    let queue = get(&proxy, "api/queues").await[0].clone();
    assert_eq!(
        [&queue["pool"], &queue["queued"], &queue["most_queued"], &queue["max_requests"], &queue["timeout_s"]],
        [&json!("p"), &json!(4), &json!(4), &json!(9), &json!(50.0)]
    );
    assert!(queue["queued_bytes"].as_u64().unwrap() > 4 * 60, "{queue}");
    let status = get(&proxy, "api/status").await;
    assert_eq!(status["requests"], 7);
    let pool = &status["pools"][0];
    assert_eq!([&pool["in_flight"], &pool["most_in_flight"], &pool["picks"]], [&json!(3); 3], "{pool}");
    for (nth, count) in [2, 1].into_iter().enumerate() {
        let shown = &pool["endpoints"][nth];
        assert_eq!([&shown["in_flight"], &shown["max_in_flight"], &shown["picks"]], [&json!(count); 3], "{shown}");
        assert_eq!(engines[nth].stats().in_flight, count);
    }
    for (name, svname, column, value) in
        [("p", "BACKEND", "qcur", 4), ("p", "BACKEND", "scur", 3), ("p", "a", "scur", 2), ("p", "b", "slim", 1)]
    {
        assert_eq!(row(&proxy, name, svname).await[column], value, "{svname} {column}");
    }
    engines.iter().for_each(|engine| engine.set_fault(Fault::always(FaultKind::Slow { factor: 0.0005 })));
    for stream in held {
        assert_eq!(stream.await.unwrap(), 200);
    }
    let status = get(&proxy, "api/status").await;
    let pool = &status["pools"][0];
    assert_eq!(
        [
            &pool["in_flight"],
            &pool["most_in_flight"],
            &pool["picks"],
            &pool["queue"]["queued"],
            &pool["queue"]["most_queued"]
        ],
        [&json!(0), &json!(3), &json!(7), &json!(0), &json!(4)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_shows_the_same() {
    let engines = engines(3, FAST).await;
    let text = config(&engines[..2], &[], QUICK, "balance: { random: { draws: 3 } }, match: { model: m }");
    let urls: Vec<String> = engines.iter().map(LabEngine::url).collect();
    let text = text.replacen("}\nroutes:", &format!(", q: {{ endpoints: [{:?}] }} }}\nroutes:", urls[2]), 1);
    let proxy = Proxy::start(
        &text.replace("routes: [", "routes: [{ name: other, match: { path: /v1/embeddings }, pool: q }, "),
    )
    .await;
    chats(&proxy, &[], 3).await;
    let status = get(&proxy, "api/status").await;
    let pools = get(&proxy, "api/pools").await;
    // what moves on by itself is left out: spans, ages, rates
    let still = |pools: &Value| {
        let mut pools = pools.clone();
        for pool in pools.as_array_mut().unwrap() {
            pool["queue"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("_s"));
            for endpoint in pool["endpoints"].as_array_mut().unwrap() {
                endpoint.as_object_mut().unwrap().retain(|key, _| !key.ends_with("_s"));
            }
        }
        pools
    };
    assert_eq!(still(&status["pools"]), still(&pools));
    let names: Vec<&str> = pools.as_array().unwrap().iter().map(|pool| pool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["p", "q"]);
    let all = get(&proxy, "api/endpoints").await;
    let third = engines[2].addr().to_string();
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|endpoint| endpoint["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", &third]);
    let one = endpoint(&proxy, &third.replace(':', "%3A")).await;
    assert_eq!((&one["name"], &one["pool"], &one["url"]), (&json!(third), &json!("q"), &json!(urls[2])));
    assert_eq!((&one["engine"], &one["health"], &one["state"]), (&json!("openai"), &json!("up"), &json!("ready")));
    assert_eq!(one["models"], json!(["m"]));
    let routes = get(&proxy, "api/routes").await;
    assert_eq!(status["routes"], routes);
    assert_eq!(
        (&routes[1]["name"], &routes[1]["module"], &routes[1]["options"]),
        (&json!("r"), &json!("random"), &json!({ "draws": 3 }))
    );
    assert_eq!((&routes[0]["name"], &routes[0]["targets"][0]["pool"]), (&json!("other"), &json!("q")));
    assert_eq!(get(&proxy, "api/generation").await["generation"], 1);
    let queues = get(&proxy, "api/queues").await;
    assert_eq!((queues[0]["pool"].as_str(), queues[1]["pool"].as_str()), (Some("p"), Some("q")));
    let (status, said) = call(&proxy, "GET", "api/endpoints/z", None).await;
    assert_eq!(status, 404, "{said}");
    assert!(said["error"]["allowed"].as_str().unwrap().contains(&third), "{said}");
    for (method, path, status) in [("GET", "api/none", 404), ("POST", "api/status", 405), ("DELETE", "api/pools", 405)]
    {
        assert_eq!(call(&proxy, method, path, None).await.0, status, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_names_every_path_that_answers() {
    let engines = engines(1, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], "", "")).await;
    let document = get(&proxy, "openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in [
        ("/api/status", &["get"][..]),
        ("/api/pools", &["get"]),
        ("/api/endpoints", &["get"]),
        ("/api/endpoints/{name}", &["get", "patch", "delete"]),
        ("/api/pools/{pool}/endpoints", &["post"]),
        ("/api/routes", &["get"]),
        ("/api/routes/{route}/balance", &["put"]),
        ("/api/queues", &["get"]),
        ("/api/explain", &["post"]),
        ("/api/affinity", &["get", "delete"]),
        ("/api/reload", &["post"]),
        ("/api/generation", &["get"]),
        ("/api/stats", &["get"]),
        ("/api/stats.csv", &["get"]),
    ] {
        for method in methods {
            assert!(paths[path][method].is_object(), "{method} {path}");
        }
    }
    for (path, methods) in paths {
        if methods["get"].is_object() && !path.contains('{') {
            let answer = reqwest_client().get(proxy.admin(path.trim_start_matches('/'))).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
        }
    }
    let page = text_of(&proxy, "").await;
    assert!(page.0.starts_with("text/html") && page.1.to_lowercase().contains("<!doctype html>"), "{}", page.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_have_series_that_agree_with_the_statistics() {
    let (_engines, proxy) = scene().await;
    let (_, page) = text_of(&proxy, "metrics").await;
    let value = |series: String| {
        let found = page.lines().find_map(|line| line.strip_prefix(&*series)?.trim().parse::<f64>().ok());
        found.unwrap_or_else(|| panic!("no {series} in\n{page}")) as u64
    };
    for name in ["a", "b", "c"] {
        let row = row(&proxy, "p", name).await;
        for (event, column) in [
            ("started", "stot"),
            ("connect_error", "econ"),
            ("response_error", "eresp"),
            ("redispatched", "wredis"),
            ("client_abort", "cli_abrt"),
            ("server_abort", "srv_abrt"),
        ] {
            let series = format!("arriero_endpoint_attempts_total{{endpoint=\"{name}\",event=\"{event}\"}}");
            assert_eq!(json!(value(series)), row[column], "{name} {event}");
        }
        for class in ["2xx", "4xx", "5xx"] {
            let series = format!("arriero_endpoint_responses_total{{code=\"{class}\",endpoint=\"{name}\"}}");
            assert_eq!(json!(value(series)), row[format!("hrsp_{class}")], "{name} {class}");
        }
        for (direction, column) in [("in", "bin"), ("out", "bout")] {
            let series = format!("arriero_endpoint_bytes_total{{direction=\"{direction}\",endpoint=\"{name}\"}}");
            assert_eq!(json!(value(series)), row[column], "{name} {direction}");
        }
    }
}

/// Times are of the right size: a queue of known length before a slow engine.
#[tokio::test(flavor = "multi_thread")]
async fn times_are_those_of_the_requests() {
    let engines = engines(1, 100.0).await;
    let proxy = Proxy::start(&config(&engines, &["max_in_flight: 1"], "", "")).await;
    let both = [(); 2].map(|()| {
        let url = proxy.url(CHAT);
        tokio::spawn(async move { whole(post(url, "timed", &ask("m", true, 50)).await).await.0 })
    });
    for one in both {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert!(engines[0].wait_for(PATIENCE, |stats| stats.completed == 2).await);
    proxy.line("timed").await;
    assert!(eventually(async || row(&proxy, "r", "FRONTEND").await["stot"] == 2).await);
    let row = row(&proxy, "p", "a").await;
    let ms = |column: &str| row[column].as_u64().unwrap();
    // 50 tokens at 100 per second: half a second each, the second waits for the first
    assert!((200..5000).contains(&ms("qtime")), "mean of 0 and half a second: {row}");
    assert!((700..20_000).contains(&ms("ttime")), "mean of half a second and a whole one: {row}");
    assert!(ms("ttft") >= ms("qtime") && ms("ttft") < ms("ttime"), "{row}");
    assert_eq!(ms("tokens"), 100);
}
