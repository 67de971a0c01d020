//! What is told to the outside: metrics that parse and count right, labels that no client can make grow, and no secret
//! anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use arriero_lab::http::{Fault, FaultKind};
use axum::Json;
use axum::response::IntoResponse;
use common::{Proxy, eventually, reqwest_client};
use scripted::Scripted;
use serde_json::json;
use stage::{FAST, ask, config, openai, post, start, whole};

const CHAT: &str = "/v1/chat/completions";

/// One line of the page.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

async fn page(proxy: &Proxy) -> String {
    reqwest_client().get(proxy.admin("metrics")).send().await.unwrap().text().await.unwrap()
}

fn samples(page: &str) -> Vec<Sample> {
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect()
}

/// `name{label="value",...} value`. The labels of this proxy hold no quotes or commas.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let pairs = labels.split(',').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), value.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
    };
    Some(Sample { name: name.to_owned(), labels: pairs.map(pair).collect::<Option<_>>()?, value })
}

/// Family -> type, from the comments; each has a help text.
fn families(page: &str) -> BTreeMap<String, String> {
    let comment = |kind: &str| -> BTreeMap<String, String> {
        let prefix = format!("# {kind} ");
        let lines = page.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once(' '));
        lines.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
    };
    let (helps, types) = (comment("HELP"), comment("TYPE"));
    assert_eq!(helps.keys().collect::<Vec<_>>(), types.keys().collect::<Vec<_>>(), "{page}");
    for (name, help) in helps {
        assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
    }
    types
}

fn family(name: &str, types: &BTreeMap<String, String>) -> String {
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
    let found = parts.chain([name]).find(|name| types.contains_key(*name));
    found.unwrap_or_else(|| panic!("{name} has no TYPE")).to_owned()
}

/// Some of everything: answers, streams, refusals, retries, an engine that is gone.
async fn traffic(proxy: &Proxy, bad: &arriero_lab::http::LabEngine) {
    for nth in 0..6 {
        bad.set_fault(if nth == 3 { Fault::always(FaultKind::Busy) } else { Fault::none() });
        for (body, path) in [
            (ask("m", true, 8), CHAT),
            (ask("m", false, 8), CHAT),
            (ask("nobody", false, 8), CHAT),
            (json!({}), CHAT),
            (ask("m", false, 8), "/no/such"),
            (ask("m", false, 8), "/api/pull"),
        ] {
            whole(post(proxy.url(path), "t", &body).await).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_the_rules_of_prometheus() {
    let engines = [start(openai(&["m"], FAST)).await, start(openai(&["m"], FAST)).await];
    let proxy = Proxy::start(&config(&[&engines[0], &engines[1]], "", "balance: round-robin")).await;
    traffic(&proxy, &engines[0]).await;
    let answer = reqwest_client().get(proxy.admin("metrics")).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let page = page(&proxy).await;
    let types = families(&page);
    assert!(types.len() >= 12, "{types:?}");
    for (name, kind) in &types {
        let sane = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
        assert!(name.starts_with("arriero_") && sane, "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}: a histogram of base units");
    }
    let samples = samples(&page);
    let series: BTreeSet<String> = samples.iter().map(|s| format!("{}{:?}", s.name, s.labels)).collect();
    assert_eq!(series.len(), samples.len(), "no series twice");
    let mut buckets: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
    for sample in &samples {
        let family = family(&sample.name, &types);
        if types[&family] != "histogram" {
            continue;
        }
        assert!(sample.labels.contains_key("route"), "{sample:?}");
        let mut labels = sample.labels.clone();
        labels.remove("le");
        buckets.entry(format!("{family}{labels:?}")).or_default().push(sample);
    }
    for name in ["arriero_ttft_seconds", "arriero_tpot_seconds", "arriero_queue_seconds", "arriero_e2e_seconds"] {
        assert!(buckets.keys().any(|key| key.starts_with(name)), "{name} is told");
    }
    for (name, samples) in buckets {
        let counts: Vec<f64> = samples.iter().filter(|s| s.name.ends_with("_bucket")).map(|s| s.value).collect();
        let count = samples.iter().find(|s| s.name.ends_with("_count")).unwrap().value;
        assert!(counts.is_sorted() && counts.last() == Some(&count), "{name}: {counts:?} of {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_agree_with_what_was_sent() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "balance: round-robin")).await;
    for nth in 0..10 {
        let mut body = ask("m", nth % 2 == 0, 30);
        body["stream_options"] = json!({ "include_usage": true });
        assert_eq!(whole(post(proxy.url(CHAT), "count", &body).await).await.0, 200);
    }
    assert_eq!(whole(post(proxy.url(CHAT), "no", &ask("nobody", false, 1)).await).await.0, 404);
    let name = engine.addr().to_string();
    let ok = format!("arriero_requests_total{{end=\"--\",endpoint=\"{name}\",route=\"r\",status=\"2xx\"}}");
    assert!(eventually(async || proxy.metric(&ok).await == Some(10.0)).await, "{}", page(&proxy).await);
    for (name, value) in [
        ("arriero_requests_total{end=\"PR\",endpoint=\"\",route=\"r\",status=\"4xx\"}", 1.0),
        ("arriero_tokens_total{direction=\"output\",model=\"m\",route=\"r\"}", 300.0),
        ("arriero_ttft_seconds_count{model=\"m\",route=\"r\"}", 10.0),
        ("arriero_e2e_seconds_count{model=\"m\",route=\"r\"}", 10.0),
        ("arriero_tpot_seconds_count{model=\"m\",route=\"r\"}", 5.0),
        ("arriero_config_generation", 1.0),
        ("arriero_body_buffer_bytes", 0.0),
    ] {
        assert_eq!(proxy.metric(name).await, Some(value), "{name}\n{}", page(&proxy).await);
    }
    assert_eq!(proxy.metric(&format!("arriero_endpoint_up{{endpoint=\"{name}\"}}")).await, Some(1.0));
    assert_eq!(proxy.metric(&format!("arriero_endpoint_in_flight{{endpoint=\"{name}\"}}")).await, Some(0.0));
}

/// Sends 1000 requests that each name a model of their own; gives the series before and after, the first one included.
async fn series_over_unknown_models(proxy: &Proxy) -> (usize, usize) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = async |nth: u32| {
        let body = ask(&format!("model-{nth}"), nth.is_multiple_of(2), 1).to_string();
        let path = [CHAT, "/v1/completions", "/v1/embeddings"][nth as usize % 3];
        client.post(proxy.url(path)).body(body).send().await.unwrap().bytes().await.unwrap();
    };
    for nth in 0..6 {
        send(nth).await;
    }
    let before = samples(&page(proxy).await).len();
    for nth in 6..1000 {
        send(nth).await;
    }
    (before, samples(&page(proxy).await).len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_unknown_models_make_no_series() {
    let engine = start(openai(&["m"], FAST)).await;
    let proxy = Proxy::start(&config(&[&engine], "", "")).await;
    let (before, after) = series_over_unknown_models(&proxy).await;
    assert_eq!(before, after, "{}", page(&proxy).await);
    assert!(!page(&proxy).await.contains("model-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told_anywhere() {
    const SECRETS: [&str; 6] = ["sk-file", "sk-header", "sk-client", "sk-query", "sk-prompt", "sk-other"];
    let engine = Scripted::start(|_| Json(json!({ "choices": [] })).into_response()).await;
    let keys = tempfile::tempdir().unwrap();
    let (key, headers) = (keys.path().join("key"), keys.path().join("headers"));
    std::fs::write(&key, "sk-file\n").unwrap();
    std::fs::write(&headers, "x-second: sk-other\n").unwrap();
    let options = format!("api_key_file: {key:?}, headers_file: {headers:?}, headers: {{ x-token: sk-header }}");
    let proxy = Proxy::start(&engine.config("openai", &options, "")).await;
    for path in ["/v1/chat/completions?key=sk-query", "/v1/no/such?key=sk-query"] {
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "sk-prompt" }] });
        let request = reqwest_client().post(proxy.url(path)).bearer_auth("sk-client").json(&body);
        request.header("x-request-id", "secret").send().await.unwrap();
    }
    let seen = &engine.posts()[0];
    assert_eq!((seen.header("x-token"), seen.header("x-second")), (Some("sk-header"), Some("sk-other")));
    assert_eq!(seen.header("authorization"), Some("Bearer sk-file"), "the secrets were in use");
    proxy.line("secret").await;
    let mut check = Command::new(env!("CARGO_BIN_EXE_arriero"));
    let dump = check.args(["check", "--dump", "-c"]).arg(proxy.config_path()).output().unwrap();
    assert!(dump.status.success());
    let dumped = String::from_utf8_lossy(&dump.stdout).into_owned() + &String::from_utf8_lossy(&dump.stderr);
    assert!(dumped.contains("x-token"), "the header is shown, its value is not:\n{dumped}");
    let health = reqwest_client().get(proxy.url("/api/health")).send().await.unwrap().text().await.unwrap();
    let log: String = proxy.lines().iter().map(|line| format!("{line}\n")).collect();
    for secret in SECRETS {
        for (place, text) in [
            ("metrics", &page(&proxy).await),
            ("stderr", &proxy.stderr()),
            ("log", &log),
            ("dump", &dumped),
            ("health", &health),
        ] {
            assert!(!text.contains(secret), "{secret} in {place}:\n{text}");
        }
    }
}

/// An engine that lists nothing is tried with any name: clients must not make series of them.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_no_inventory_knows_make_no_series() {
    let usage = json!({ "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 });
    let engine = Scripted::start(move |_| Json(json!({ "choices": [], "usage": usage })).into_response()).await;
    let text = engine.config("openai", "", "").replace(&engine.url(), &format!("{}/mute/v1", engine.url()));
    let proxy = Proxy::start(&text).await;
    let (before, after) = series_over_unknown_models(&proxy).await;
    assert_eq!(engine.posts().len(), 1000, "it was tried with every name");
    assert_eq!(before, after);
}
