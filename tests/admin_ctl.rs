//! `arriero ctl`, verb by verb, against a running proxy: what it prints, what it does, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/stage.rs"]
mod stage;

use std::process::Command;

use common::{Proxy, free_port};
use herd::{QUICK, chats, engines, get, herd as config, until_health};
use serde_json::{Value, json};
use stage::FAST;

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs `arriero ctl` with these words.
async fn run(words: &[&str]) -> Ended {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arriero"));
        command.env_remove("ARRIERO_ADMIN").env_remove("ARRIERO_ADMIN_TOKEN_FILE").arg("ctl").args(words);
        command.output().unwrap()
    });
    let output = output.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// The same at this proxy.
async fn ctl(proxy: &Proxy, words: &[&str]) -> Ended {
    let admin = format!("127.0.0.1:{}", proxy.admin_port);
    run(&[&["--admin", &admin], words].concat()).await
}

/// The same, done without a word of complaint.
async fn done(proxy: &Proxy, words: &[&str]) -> String {
    let ended = ctl(proxy, words).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{words:?}: {ended:?}");
    ended.out
}

async fn scene() -> (Vec<arriero_lab::http::LabEngine>, Proxy) {
    let engines = engines(3, FAST).await;
    let route = "balance: round-robin, affinity: { by: { header: x-user } }";
    let proxy = Proxy::start(&config(&engines[..2], &["weight: 2"], QUICK, route)).await;
    chats(&proxy, &[("x-user", "u")], 1).await;
    (engines, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_a_table_or_the_apis_answer() {
    let (_engines, proxy) = scene().await;
    for (words, path, cells) in [
        (&["status"][..], "api/status", &["generation 1", "p", "a", "b", "round-robin"][..]),
        (&["pools"], "api/pools", &["p"]),
        (&["endpoints"], "api/endpoints", &["a", "b", "up"]),
        (&["routes"], "api/routes", &["r", "round-robin"]),
        (&["queues"], "api/queues", &["p"]),
        (&["stat"], "api/stats", &["FRONTEND", "BACKEND", "a", "b"]),
        (&["show", "a"], "api/endpoints/a", &["a", "ready", "openai"]),
        (&["affinity"], "api/affinity", &["a"]),
        (&["generation"], "api/generation", &["generation 1"]),
    ] {
        let table = done(&proxy, words).await;
        for cell in cells {
            assert!(table.contains(cell), "{words:?}: no {cell} in\n{table}");
        }
        assert!(!table.trim_start().starts_with(['{', '[']) && table.ends_with('\n'), "{words:?}: {table}");
        let told: Value = serde_json::from_str(&done(&proxy, &[words, &["--json"]].concat()).await).unwrap();
        let shape = |value: &Value| match value {
            Value::Array(rows) => rows.iter().map(keys).collect::<Vec<_>>(),
            other => vec![keys(other)],
        };
        assert_eq!(shape(&told), shape(&get(&proxy, path).await), "{words:?}");
    }
    let csv = done(&proxy, &["stat", "--csv"]).await;
    assert!(csv.starts_with("# pxname,svname,qcur,qmax,scur,"), "{csv}");
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_steered() {
    let (_engines, proxy) = scene().await;
    for (words, key, value) in [
        (&["drain", "a"][..], "state", json!("drain")),
        (&["maint", "a"], "state", json!("maint")),
        (&["ready", "a"], "state", json!("ready")),
        (&["set", "a", "--weight", "7"], "weight", json!(7)),
        (&["set", "a", "--weight", "file"], "weight", json!(2)),
        (&["set", "a", "--max-in-flight", "3"], "max_in_flight", json!(3)),
        (&["set", "a", "--max-in-flight", "none"], "max_in_flight", Value::Null),
        (&["set", "a", "--state", "drain", "--weight", "9"], "state", json!("drain")),
    ] {
        let told = done(&proxy, words).await;
        assert!(told.lines().count() >= 2 && told.contains('a'), "a table with the endpoint: {told}");
        assert_eq!(herd::endpoint(&proxy, "a").await[key], value, "{words:?}");
    }
    assert_eq!(herd::endpoint(&proxy, "a").await["weight"], 9, "both at once");
    assert_eq!(chats(&proxy, &[], 3).await, "bbb");
    let told = ctl(&proxy, &["ready", "a", "--json"]).await.json();
    assert_eq!((&told["name"], &told["state"]), (&json!("a"), &json!("ready")));
}

#[tokio::test(flavor = "multi_thread")]
async fn membership_balance_and_the_file() {
    let (engines, proxy) = scene().await;
    let url = engines[2].url();
    let told = done(&proxy, &["add", "p", &url, "--name", "c", "--set", "engine=openai", "--set", "weight=5"]).await;
    assert!(told.contains("generation 2 is in force") && told.contains('c'), "{told}");
    until_health(&proxy, "c", "up").await;
    assert_eq!(herd::endpoint(&proxy, "c").await["weight"], 5);
    assert!(done(&proxy, &["balance", "r", "first"]).await.contains("generation 3"));
    assert_eq!(chats(&proxy, &[], 3).await, "aaa");
    done(&proxy, &["balance", "r", "{\"random\": {\"draws\": 4}}"]).await;
    assert_eq!(get(&proxy, "api/routes").await[0]["options"], json!({ "draws": 4 }));
    done(&proxy, &["remove", "c"]).await;
    let stale = ctl(&proxy, &["--if-generation", "3", "remove", "b"]).await;
    assert_eq!((stale.code, stale.out.as_str()), (1, ""), "{stale:?}");
    assert!(stale.err.contains("generation 5 is in force"), "{stale:?}");
    done(&proxy, &["--if-generation", "5", "remove", "b"]).await;
    assert!(done(&proxy, &["generation"]).await.contains("changed here"), "it says what the file does not");
    let told = ctl(&proxy, &["reload", "--json"]).await.json();
    assert_eq!(told["generation"], 7, "{told}");
    assert_eq!(get(&proxy, "api/routes").await[0]["module"], "round-robin");
    let file = std::fs::read_to_string(proxy.config_path()).unwrap();
    std::fs::write(proxy.config_path(), file.replace("round-robin", "square-robin")).unwrap();
    let broken = ctl(&proxy, &["reload"]).await;
    assert_eq!(broken.code, 1);
    assert!(broken.err.contains("arriero.yaml:") && broken.err.contains("square-robin"), "{broken:?}");
    assert_eq!(get(&proxy, "api/generation").await["generation"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_explained_and_keys_forgotten() {
    let (_engines, proxy) = scene().await;
    assert!(done(&proxy, &["explain", "--model", "m"]).await.contains("goes to "));
    let told = ctl(&proxy, &["explain", "--model", "m", "--header", "x-user: u", "--json"]).await.json();
    assert_eq!((&told["verdict"]["endpoint"], &told["verdict"]["module"]), (&json!("a"), &json!("affinity")), "{told}");
    let refused = done(&proxy, &["explain", "--model", "nobody"]).await;
    assert!(refused.contains("is refused with 404"), "{refused}");
    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(body.path(), stage::ask("m", true, 5).to_string()).unwrap();
    let told = done(&proxy, &["explain", "--body", body.path().to_str().unwrap(), "--listener", "h2"]).await;
    assert!(told.contains("goes to "), "{told}");
    let told = done(&proxy, &["explain", "--method", "get", "--path", "/v1/models"]).await;
    assert!(told.contains("answered by Arriero itself"), "{told}");
    let key = get(&proxy, "api/affinity").await["rows"][0]["key"].as_str().unwrap().to_owned();
    assert!(done(&proxy, &["affinity", "--pool", "p"]).await.contains(&key));
    assert_eq!(done(&proxy, &["clear-affinity", "--key", &key]).await, "1 entry forgotten\n");
    assert_eq!(done(&proxy, &["clear-affinity"]).await, "0 entries forgotten\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_ends_with_one_and_a_reason() {
    let (_engines, proxy) = scene().await;
    for (words, reason) in [
        (&["show", "z"][..], "there is no endpoint `z`"),
        (&["drain", "z"], "there is no endpoint `z`"),
        (&["set", "a", "--weight", "300"], "300"),
        (&["set", "a"], "nothing to set"),
        (&["add", "z", "http://127.0.0.1:1"], "there is no pool `z`"),
        (&["add", "p", "ftp://127.0.0.1:1"], "ftp"),
        (&["remove", "z"], "there is no endpoint `z`"),
        (&["balance", "z", "first"], "there is no route `z`"),
        (&["balance", "r", "herding"], "herding"),
        (&["balance", "r", "{broken"], "no JSON"),
        (&["affinity", "--pool", "z"], "there is no pool `z`"),
        (&["clear-affinity", "--key", "xyz"], "xyz"),
        (&["explain", "--body", "/nowhere/body.json"], "/nowhere/body.json"),
        (&["--if-generation", "9", "reload"], "generation 1 is in force"),
    ] {
        for json in [false, true] {
            let words = if json { [words, &["--json"]].concat() } else { words.to_vec() };
            let ended = ctl(&proxy, &words).await;
            assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{words:?}: {ended:?}");
            assert!(ended.err.contains(reason) && ended.err.starts_with("arriero: "), "{words:?}: {ended:?}");
        }
    }
    assert_eq!(get(&proxy, "api/generation").await["generation"], 1, "nothing was changed");
    let nobody = run(&["--admin", &format!("127.0.0.1:{}", free_port()), "status"]).await;
    assert_eq!((nobody.code, nobody.out.as_str()), (1, ""), "{nobody:?}");
    for words in [&["herd"][..], &[], &["set", "a", "--weight", "many"], &["show"], &["drain", "a", "--loud"]] {
        let ended = ctl(&proxy, words).await;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{words:?}: {ended:?}");
    }
}
