//! One endpoint or one `balance` that comes alone, as JSON: what it becomes, and the words for what is wrong with it.

use std::path::Path;

use arriero::config::{Plan, check_balance, check_endpoint, render};
use serde_json::json;

use crate::{folder, load_in, modules};

/// A pool with defaults that name files beside the configuration.
fn running(folder: &Path) -> Plan {
    let text = "listen: 127.0.0.1:0\npools:\n  p:\n    defaults: { engine: vllm, weight: 7, api_key_file: key, labels: { rack: a }, slow_start: 30s }\n    endpoints: [{ url: \"http://a:1\", name: first }]\n  q: { endpoints: [\"http://b:1\"] }\nroutes: [{ pool: p }]\n";
    load_in(text, folder).unwrap_or_else(|findings| panic!("{}", render(&findings)))
}

#[test]
fn an_endpoint_alone_is_what_it_would_be_in_the_file() {
    let folder = folder();
    let plan = running(folder.path());
    let joined = check_endpoint(
        &plan,
        "p",
        &json!({
            "url": "http://new:1", "weight": 9, "max_in_flight": 4, "labels": { "row": "$HOME ${HOME}" },
            "models": { "public": "local" }, "slow_start": { "over": "1m", "new": true }, "load_allowance": "90s",
        }),
    );
    let text = "listen: 127.0.0.1:0\npools:\n  p:\n    defaults: { engine: vllm, weight: 7, api_key_file: key, labels: { rack: a }, slow_start: 30s }\n    endpoints: [{ url: \"http://new:1\", weight: 9, max_in_flight: 4, labels: { row: \"$HOME $${HOME}\" }, models: { public: local }, slow_start: { over: 1m, new: true }, load_allowance: 90s }]\n";
    let written = load_in(text, folder.path()).expect("good");
    assert_eq!(joined.as_ref(), Ok(&written.pools[0].endpoints[0]));
    assert_eq!(joined.expect("good").api_key.as_ref().map(|key| key.reveal()), Some("sk-secret"));
    let short = check_endpoint(&plan, "q", &json!("http://short:1/v1")).expect("good");
    assert_eq!((&*short.spec.name, &*short.base_path, short.spec.weight), ("short:1/v1", "/v1", 1));
}

#[test]
fn what_is_wrong_with_an_endpoint_alone_is_said_in_the_files_words() {
    let folder = folder();
    let plan = running(folder.path());
    let cases = [
        ("p", json!({ "url": "http://x:1", "weight": 999, "wieght": 1, "slots": 0 })),
        ("p", json!({ "url": "http://x:1", "load_allowance": 30 })),
        ("p", json!({ "url": "nonsense" })),
        ("p", json!({ "weight": 1 })),
        ("p", json!({ "url": "http://B/" })),
        ("p", json!("http://b:1")),
        ("q", json!({ "url": "http://x:1", "name": "first" })),
        ("p", json!({ "url": "http://x:1", "api_key_file": "nowhere.key" })),
        ("p", json!({ "url": "http://x:1", "headers": { "content-length": "3", "x-a": "hush\nhush" } })),
        ("p", json!({ "url": "http://x:1", "tls": { "insecure": true } })),
        ("p", json!(7)),
        ("p", json!([])),
        ("p", json!(null)),
        ("nowhere", json!("http://x:1")),
    ];
    let mut told = String::new();
    for (pool, value) in cases {
        match check_endpoint(&plan, pool, &value) {
            Ok(endpoint) => told += &format!("{pool} {value}\n  good: {}\n", endpoint.spec.name),
            Err(error) => told += &format!("{pool} {value}\n  {}\n", error.replace('\n', "\n  ")),
        }
    }
    assert!(!told.contains("hush\nhush"));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("endpoint_alone", told);
    });
}

#[test]
fn a_balance_alone_is_a_module_with_its_options() {
    let all = modules::all();
    let named = check_balance(&all, &json!("least-connection")).expect("good");
    assert_eq!((named.module, &*named.why), ("least-connection", "configured"));
    let options = check_balance(&all, &json!({ "model-affinity": { "kappa": 3 } })).expect("good");
    assert_eq!((options.module, options.options["kappa"].as_f64()), ("model-affinity", Some(3.0)));
    assert_eq!((options.build)().options(), options.options);
    let wrong = [
        json!("fastest"),
        json!("least-conection"),
        json!({ "model-affinity": { "kapa": 3 } }),
        json!({ "model-affinity": { "kappa": 99 } }),
        json!({ "model-affinity": {}, "least-connection": {} }),
        json!({}),
        json!(7),
        json!(null),
    ];
    let told = wrong.map(|value| match check_balance(&all, &value) {
        Ok(plan) => panic!("{value} is {plan:?}"),
        Err(error) => format!("{value}\n  {}\n", error.replace('\n', "\n  ")),
    });
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("balance_alone", told.concat());
    });
}
