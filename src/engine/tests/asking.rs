//! One question: paths, credentials, bounds.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;

use super::fake::{Answer, Fake, impatient, is_late};
use crate::engine::{EngineKind, Probe, ProbeError, Target, detect, join};

#[test]
fn a_base_path_and_a_request_path_make_one() {
    for (base, request, full) in [
        ("", "/v1/models", "/v1/models"),
        ("/", "/v1/models", "/v1/models"),
        ("/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions", "/v1/chat/completions"),
        ("/team/v1", "/v1/models?limit=5", "/team/v1/models?limit=5"),
        ("/team", "/v1/models", "/team/v1/models"),
        ("/team/", "/api/chat", "/team/api/chat"),
        ("/v1", "/v1", "/v1"),
        ("/v1", "/v1?x=1", "/v1?x=1"),
        ("/v1", "/v10/models", "/v1/v10/models"),
        ("/v1", "/api/chat", "/v1/api/chat"),
        ("/api/v11", "/v1/models", "/api/v11/v1/models"),
        ("/v1/v1", "/v1/models", "/v1/v1/models"),
        ("", "models", "/models"),
    ] {
        assert_eq!(join(base, request), full, "{base} + {request}");
    }
}

#[test]
fn names_of_kinds_are_read_back() {
    for kind in EngineKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    let error = "lmstudio".parse::<EngineKind>().unwrap_err();
    assert_eq!(error, "unknown engine; known are auto, ollama, llama-cpp, vllm, sglang, openai");
}

#[test]
fn secrets_are_not_printed() {
    let target = Target {
        url: "http://me:pa55@engine:8000/v1".into(),
        headers: vec![("x-team".into(), "hush1".into())],
        api_key: Some("hush2".into()),
        timeout: Duration::from_secs(1),
        ..Target::default()
    };
    let text = format!("{target:?}");
    assert!(text.contains("engine:8000/v1") && text.contains("x-team"), "{text}");
    assert!(!text.contains("hush") && !text.contains("pa55"), "{text}");
}

#[test]
fn a_target_that_cannot_be_asked_says_why_without_its_secrets() {
    let bad = |url: &str, header: (&str, &str), key: &str| {
        let target = Target {
            url: url.into(),
            headers: vec![(header.0.into(), header.1.into())],
            api_key: Some(key.into()),
            timeout: Duration::from_secs(1),
            ..Target::default()
        };
        Probe::new(&target, None).err().expect("refused").to_string()
    };
    assert_eq!(bad("ftp://x", ("a", "b"), "k"), "cannot be asked: url: not http://host or https://host");
    assert!(bad("engine", ("a", "b"), "k").starts_with("cannot be asked: url: "));
    assert_eq!(bad("http://x", ("a b", "c"), "k"), "cannot be asked: a header name is not valid");
    assert_eq!(
        bad("http://x", ("a", "b"), "hu\nsh"),
        "cannot be asked: the api key holds a character that no header may hold"
    );
}

#[tokio::test]
async fn every_question_carries_headers_key_base_path_and_the_engines_own_host() {
    let fake = Fake::start().await;
    fake.json("/team/v1/models", json!({"data": []}));
    let target = Target {
        url: format!("{}/team/", fake.url),
        headers: vec![("x-team".into(), "blue".into())],
        api_key: Some("k1\n".into()),
        ..fake.target()
    };
    let probe = Probe::new(&target, None).unwrap();
    let (description, engine) = detect(&probe, EngineKind::Auto).await.unwrap();
    assert_eq!(description.kind, EngineKind::OpenAi);
    engine.inventory().await.unwrap();
    let asked = fake.asked();
    assert!(asked.len() > 6, "{asked:?}");
    for question in asked {
        assert!(question.path.starts_with("/team/"), "{question:?}");
        assert_eq!(question.headers["x-team"], "blue");
        assert_eq!(question.headers["authorization"], "Bearer k1");
        assert_eq!(question.headers["host"], fake.url.trim_start_matches("http://"));
    }
}

#[tokio::test]
async fn an_authorization_header_of_the_endpoint_wins_over_its_key() {
    let fake = Fake::start().await;
    fake.set("/v1/models", Answer::Locked("Basic eDp5", json!({"data": []})));
    let headers = vec![("Authorization".into(), "Basic eDp5".into())];
    let probe = Probe::new(&Target { headers, api_key: Some("other".into()), ..fake.target() }, None).unwrap();
    assert!(detect(&probe, EngineKind::OpenAi).await.is_ok());
}

#[tokio::test]
async fn an_engine_that_hangs_or_stalls_runs_into_the_time_limit() {
    let fake = Fake::start().await;
    for answer in [Answer::Hang, Answer::Stall] {
        fake.otherwise(answer.clone());
        let started = Instant::now();
        let outcome = detect(&impatient(&fake), EngineKind::Auto).await;
        assert!(is_late(&outcome), "{answer:?}: {:?}", outcome.err());
        assert!(started.elapsed() < Duration::from_secs(5), "{answer:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_told_in_the_systems_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let probe = Probe::new(&Target { url, timeout: Duration::from_secs(5), ..Target::default() }, None).unwrap();
    let error = detect(&probe, EngineKind::Auto).await.err().expect("refused").to_string();
    assert!(error.starts_with("GET /v1/models: Connection refused"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let fake = Fake::start().await;
    fake.text("/v1/models", 302, "");
    let error = detect(&fake.probe(), EngineKind::Auto).await.err();
    assert_eq!(error, Some(ProbeError::Status { path: "/v1/models".into(), status: 302 }));
}

#[tokio::test]
async fn garbage_is_an_error_with_a_short_reason() {
    let fake = Fake::start().await;
    let deep = "[".repeat(100_000);
    let cases: [(&[u8], &str); 5] = [
        (b"<html>secret</html>", "GET /v1/models: the answer is not JSON"),
        (b"\xff\xfe\x00", "GET /v1/models: the answer is not JSON"),
        (deep.as_bytes(), "GET /v1/models: the answer is not JSON"),
        (b"[1, 2]", "GET /v1/models: no list under `data`"),
        (b"{\"data\": 7}", "GET /v1/models: no list under `data`"),
    ];
    let (_, engine) = detect(&fake.probe(), EngineKind::OpenAi).await.unwrap();
    for (body, reason) in cases {
        fake.set("/v1/models", Answer::Full(200, body.into()));
        assert_eq!(engine.inventory().await.unwrap_err().to_string(), reason);
    }
    fake.json("/v1/models", json!({"data": [7, {"id": 3}, {"id": "ok"}, null]}));
    let (inventory, _) = engine.inventory().await.unwrap();
    let arriero_core::endpoint::Inventory::Known(models) = inventory else { panic!("not known") };
    assert_eq!(models.len(), 1);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_not_read_on() {
    let fake = Fake::start().await;
    let (_, engine) = detect(&fake.probe(), EngineKind::OpenAi).await.unwrap();
    fake.set("/v1/models", Answer::Full(200, vec![b' '; (8 << 20) + 1]));
    assert_eq!(engine.inventory().await.unwrap_err(), ProbeError::TooLarge { path: "/v1/models".into() });
}
