//! The command line as people meet it: the demo, serving without a file, finding the file, errors for scripts.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use arriero_lab::http::{LabEngine, LabSpec};
use arriero_lab::model::ModelSpec;
use common::{eventually, free_port, reqwest_client};
use serde_json::{Value, json};

fn arriero() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arriero"));
    command.env_remove("ARRIERO_CONFIG").stdin(Stdio::null());
    command
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn engine() -> LabEngine {
    LabEngine::start(LabSpec::openai(vec![ModelSpec::new("m", 1.0, 1.0, 1e6, 1e9)], 4)).await.unwrap()
}

async fn chat(port: u16, model: &str) -> Option<Value> {
    let body = json!({ "model": model, "max_tokens": 4, "messages": [{ "role": "user", "content": "hi" }] });
    let url = format!("http://127.0.0.1:{port}/v1/chat/completions");
    let answer = reqwest_client().post(url).json(&body).send().await.ok()?;
    if answer.status() != 200 {
        return None;
    }
    answer.json().await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_says_what_listens_where_and_tells_each_request() {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let child = arriero().args(["demo", "--listen", &listen]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut demo = Running(child.unwrap());
    let lines = BufReader::new(demo.0.stdout.take().unwrap());
    let told = std::thread::spawn(move || {
        let mut told = Vec::new();
        for line in lines.lines() {
            told.push(line.unwrap());
            if told.last().unwrap().contains("/v1/chat/completions gpt-4o ->") {
                break;
            }
        }
        told
    });
    assert!(eventually(|| async { chat(port, "gpt-4o").await.is_some() }).await, "the alias is answered");
    let told = told.join().unwrap();
    for name in ["fast", "slow", "batch", "proxy"] {
        assert!(told.iter().any(|line| line.trim_start().starts_with(name) && line.contains("http://")), "{told:#?}");
    }
    let curls: Vec<_> = told.iter().filter(|line| line.trim_start().starts_with("curl ")).collect();
    assert_eq!(curls.len(), 3, "{told:#?}");
    assert!(curls.iter().any(|line| line.contains("curl -N")), "one of them streams");
    // the printed lines work as they are printed
    for line in curls {
        let run = Command::new("sh").args(["-c", &format!("{line} --silent --fail --max-time 60")]).output().unwrap();
        assert!(run.status.success() && !run.stdout.is_empty(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_are_served_without_a_file() {
    let (one, two) = (engine().await, engine().await);
    let port = free_port();
    let child = arriero()
        .args(["run", "--to", &one.url(), "--to", &two.url(), "--listen", &format!("127.0.0.1:{port}")])
        .args(["--balance", "round-robin"])
        .env("ARRIERO_CONFIG", "/nowhere.yaml") // what the command line says comes first
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _running = Running(child.unwrap());
    let both = eventually(|| async {
        let _ = chat(port, "m").await;
        one.stats().completed > 0 && two.stats().completed > 0
    });
    assert!(both.await, "both engines take turns");
}

#[test]
fn a_busy_port_gets_a_hint() {
    // 11434 itself: if Ollama (or another test run) has it, so much the better
    let _ours = std::net::TcpListener::bind("127.0.0.1:11434");
    let run = arriero().args(["run", "--to", "http://127.0.0.1:9"]).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    let words = String::from_utf8_lossy(&run.stderr);
    assert!(words.contains("127.0.0.1:11434") && words.contains("is Ollama running there?"), "{words}");
}

const GOOD: &str = "listen: 127.0.0.1:1\npools: { p: { endpoints: [\"http://127.0.0.1:9\"] } }\n";

#[test]
fn the_file_is_found_by_flag_variable_or_place() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: Option<&str>| {
        let mut command = arriero();
        command.arg("check").current_dir(dir.path());
        name.map(|name| command.env("ARRIERO_CONFIG", name));
        command.output().unwrap()
    };
    let none = check(None);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("--to URL"), "{none:?}");
    std::fs::write(dir.path().join("arriero.yaml"), GOOD).unwrap();
    assert!(check(None).status.success(), "./arriero.yaml");
    std::fs::write(dir.path().join("other.yaml"), GOOD.replace("listen", "lisen")).unwrap();
    assert_eq!(check(Some("other.yaml")).status.code(), Some(1), "the variable comes before the place");
}

#[test]
fn errors_come_as_json_for_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    std::fs::write(&file, GOOD.replace("pools", "polls")).unwrap();
    let run = arriero().args(["check", "--format", "json", "-c"]).arg(&file).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&run.stdout).unwrap();
    let unknown = findings.as_array().unwrap().iter().find(|finding| finding["line"] == 2).expect("the unknown key");
    assert!(unknown["column"] == 1 && unknown["message"].as_str().unwrap().contains("polls"), "{findings}");
    assert!(unknown["allowed"].as_str().unwrap().contains("pools"), "{findings}");
    std::fs::write(&file, GOOD).unwrap();
    let run = arriero().args(["check", "--dump", "--format", "json", "-c"]).arg(&file).output().unwrap();
    let dump: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert!(run.status.success() && dump["pools"]["p"]["retries"]["count"] == 2, "{dump}");
}
