//! Small promises of the README that a user meets by accident: hints that can be followed, limits that say what ran out,
//! output that may be cut short.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use arriero_lab::http::{LabEngine, LabSpec};
use arriero_lab::model::ModelSpec;
use common::{Proxy, eventually, reqwest_client};

/// An engine that takes half a minute for an answer.
async fn slow_engine() -> LabEngine {
    let mut spec = LabSpec::openai(vec![ModelSpec::new("m", 1.0, 1.0, 1.0, 1e7)], 8);
    spec.output_tokens = 30;
    LabEngine::start(spec).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_total_limit_that_runs_out_in_the_queue_is_a_timeout() {
    let engine = slow_engine().await;
    let config = |total: &str| {
        let endpoint = format!("{{ url: {:?}, max_in_flight: 1 }}", engine.url());
        format!("pools: {{ p: {{ endpoints: [{endpoint}], timeouts: {{ total: {total} }} }} }}\n")
    };
    let proxy = Proxy::start(&config("none")).await;
    let ask = |id: &'static str| {
        let request = reqwest_client().post(proxy.url("/v1/chat/completions")).header("x-request-id", id);
        request.body(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#).send()
    };
    let holder = tokio::spawn(ask("holder"));
    assert!(eventually(|| async { proxy.in_flight().await == 1 }).await, "the slot is taken, without a limit");
    proxy.write_config(&config("1s"));
    proxy.signal("HUP");
    assert!(eventually(|| async { proxy.metric("arriero_config_generation").await == Some(2.0) }).await, "reloaded");
    let answer = ask("waiter").await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    let line = proxy.line("waiter").await;
    holder.abort();
    assert_ne!(line["end"], "CQ", "the client did not leave: {line}");
    assert!([503, 504].contains(&status.as_u16()), "{status} {text} {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_refusal_hints_at_can_be_allowed() {
    let engine = slow_engine().await;
    let proxy = Proxy::start(&format!("pools: {{ p: {{ endpoints: [{:?}] }} }}\n", engine.url())).await;
    for path in ["/api/pull", "/slots", "/nowhere"] {
        let answer = reqwest_client().post(proxy.url(path)).body("{}").send().await.unwrap().text().await.unwrap();
        let name = answer.split("allow: [").nth(1).and_then(|rest| rest.split(']').next());
        let name = name.unwrap_or_else(|| panic!("{path}: no hint in {answer}"));
        let mut check = Command::new(env!("CARGO_BIN_EXE_arriero"));
        check.args(["check", "-c", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = check.spawn().unwrap();
        let config = format!(
            "listen: 127.0.0.1:11434\npools: {{ p: {{ endpoints: [\"http://127.0.0.1:1\"] }} }}\n\
             routes: [{{ pool: p, allow: [{name}] }}]\n"
        );
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{path} hints at `{name}`:\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn output_may_be_cut_short() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arriero"));
    let mut child = command.arg("schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    child.wait().unwrap();
    assert!(!errors.contains("panicked"), "{errors}");
}
