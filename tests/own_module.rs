//! A module from outside the tree gets the same as a built-in one: listed, its options checked with their place,
//! its schema told, and requests served by it. The binary under test is the example `own_module`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod common;
#[path = "../examples/own_module.rs"]
#[allow(dead_code, reason = "its `main` belongs to the example")]
mod own_module;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use arriero_lab::http::{LabEngine, LabSpec};
use arriero_lab::model::ModelSpec;
use common::{eventually, free_port, reqwest_client};

/// The example's binary: `cargo test` builds it beside the folder of the test's own one.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).expect("tests are built in a folder of the profile's");
    let binary = folder.join("examples").join("own_module");
    assert!(binary.is_file(), "no binary of the example: `cargo test` without a selection of tests builds it");
    binary
}

/// Runs the example to its end with this standard input.
fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(example());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A configuration with this `balance`, in its line 4.
fn config(balance: &str) -> String {
    let head = "listen: 127.0.0.1:0\npools: { home: { endpoints: [\"http://127.0.0.1:9\"] } }\nroutes:";
    format!("{head}\n  - {{ pool: home, balance: {balance} }}\n")
}

fn check(balance: &str) -> (Output, String) {
    let output = run(&["check", "-c", "-"], &config(balance));
    let words = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output, String::from_utf8(words).unwrap())
}

#[test]
fn it_keeps_the_contract_of_modules() {
    arriero_core::contract::contract::<own_module::Alphabetical>();
}

#[test]
fn it_is_listed_with_its_options_beside_the_built_in_ones() {
    let output = run(&["modules"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for line in ["round-robin", "queue-aware", "alphabetical", "    reverse: false"] {
        assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
    }
    let schema = String::from_utf8(run(&["schema"], "").stdout).unwrap();
    assert!(schema.contains("Take the last name instead of the first"), "the schema tells its options");
}

#[test]
fn its_options_are_read_and_checked() {
    for balance in ["alphabetical", "{ alphabetical: {} }", "{ alphabetical: { reverse: true } }"] {
        let (output, words) = check(balance);
        assert!(output.status.success(), "{balance}: {words}");
        assert!(words.contains("alphabetical (configured)"), "{balance}: {words}");
    }
    let (output, words) = check("{ alphabetical: { revers: true } }");
    assert_eq!(output.status.code(), Some(1), "{words}");
    let option = config("{ alphabetical: { revers: true } }").lines().nth(3).unwrap().find("revers").unwrap() + 1;
    assert!(words.contains(&format!("<stdin>:4:{option}: ")), "line 4, column {option}: {words}");
    assert!(words.contains("`revers`") && words.contains("reverse"), "what is wrong and what is allowed: {words}");
    let (output, words) = check("{ alphabetical: { reverse: 7 } }");
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("<stdin>:4:"), "{words}");
}

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn engine() -> LabEngine {
    let mut spec = LabSpec::openai(vec![ModelSpec::new("m", 1.0, 1.0, 1e6, 1e9)], 8);
    spec.output_tokens = 2;
    LabEngine::start(spec).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_where_it_says() {
    let (last, first) = (engine().await, engine().await);
    let port = free_port();
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "listen: 127.0.0.1:{port}\naccess_log: none\npools:\n  home:\n    endpoints:\n      - {{ name: zebu, url: {:?} }}\n      \
         - {{ name: alpaca, url: {:?} }}\nroutes:\n  - {{ match: {{ header: {{ x-end: last }} }}, pool: home, balance: {{ alphabetical: \
         {{ reverse: true }} }} }}\n  - {{ pool: home, balance: alphabetical }}\n",
        last.url(),
        first.url()
    );
    let path = dir.path().join("arriero.yaml");
    std::fs::write(&path, text).unwrap();
    let command = Command::new(example()).args(["run", "-c"]).arg(&path).stdout(Stdio::null()).spawn();
    let mut proxy = Running(command.unwrap());

    let client = reqwest_client();
    let send = |end: &'static str| {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"who?"}]}"#;
        client.post(format!("http://127.0.0.1:{port}/v1/chat/completions")).header("x-end", end).body(body).send()
    };
    // Both are known once each has answered.
    for (end, name) in [("first", "alpaca"), ("last", "zebu")] {
        let by = |answer: &reqwest::Response| answer.headers().get("x-arriero-endpoint").is_some_and(|by| by == name);
        let served = eventually(|| async { send(end).await.is_ok_and(|answer| answer.status() == 200 && by(&answer)) });
        assert!(served.await, "{name} never answered; the proxy: {:?}", proxy.0.try_wait());
    }
    let before = (first.stats().inference, last.stats().inference);
    for _ in 0..5 {
        assert_eq!(send("first").await.unwrap().status(), 200);
        assert_eq!(send("last").await.unwrap().status(), 200);
    }
    assert_eq!((first.stats().inference - before.0, last.stats().inference - before.1), (5, 5));
}
