//! What each route answers, and what it refuses.

use serde_json::{Value, json};

use super::fake::{Fake, NASTY};
use super::{Api, Told};
use crate::admin::control::{Control, StatRow};
use crate::admin::stat::{COLUMNS, csv};

/// A name in a path.
fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn what_runs_is_told() {
    let api = Api::open(None);
    let status = api.get("/api/status").await;
    assert_eq!((status.status.as_u16(), status.headers["etag"].as_bytes()), (200, &b"\"7\""[..]));
    assert_eq!(status.headers["cache-control"], "no-store");
    let status = status.json();
    assert_eq!(status["generation"]["generation"], 7);
    assert_eq!(status["pools"][1]["endpoints"][0]["name"], NASTY);
    for (path, at, expected) in [
        ("/api/pools", "/0/queue/queued", json!(4)),
        ("/api/endpoints", "/1/backup", json!(true)),
        ("/api/endpoints/gpu-1", "/health", json!("up")),
        ("/api/routes", "/0/targets/0/goes_by", json!("least-connection")),
        ("/api/queues", "/1/pool", json!("embed")),
        ("/api/generation", "/file", json!("arriero.yaml")),
        ("/api/stats", "/1/svname", json!("gpu-1")),
        ("/api/affinity", "/rows/0/key", json!("00000000deadbeef")),
        ("/api/affinity?pool=embed&limit=1", "/entries", json!(0)),
        ("/api/health", "/status", json!("ok")),
    ] {
        let told = api.get(path).await;
        assert_eq!(told.status, 200, "{path}");
        assert_eq!(told.json().pointer(at), Some(&expected), "{path}");
    }
    for (path, text) in [("/health", "ok\n"), ("/ready", "ready\n"), ("/metrics", "arriero_config_generation 7\n")] {
        let told = api.get(path).await;
        assert_eq!((told.status.as_u16(), &told.body[..]), (200, text.as_bytes()), "{path}");
    }
}

#[tokio::test]
async fn names_travel_percent_encoded() {
    let api = Api::open(None);
    for name in ["gpu-1", "http://10.0.0.2:8000/v1", NASTY] {
        let told = api.get(&format!("/api/endpoints/{}", encoded(name))).await;
        assert_eq!(told.json()["name"], name);
    }
    let told = api.get("/api/endpoints/gpu-2").await;
    assert_eq!((told.status.as_u16(), told.message().as_str()), (404, "there is no endpoint `gpu-2`"));
    let allowed = told.json()["error"]["allowed"].as_str().map(str::to_owned).expect("those that there are");
    assert!(allowed.starts_with("gpu-1, http://10.0.0.2:8000/v1, "), "{allowed}");
    assert_eq!(api.get("/api/endpoints/%ff").await.status, 400);
}

#[tokio::test]
async fn an_endpoint_is_changed_as_written() {
    let api = Api::open(None);
    for (body, field, expected) in [
        (r#"{"weight":256}"#, "weight", json!(256)),
        (r#"{"weight":0}"#, "weight", json!(0)),
        (r#"{"weight":"file"}"#, "weight", json!(10)),
        (r#"{"max_in_flight":3}"#, "max_in_flight", json!(3)),
        (r#"{"max_in_flight":"none"}"#, "max_in_flight", Value::Null),
        (r#"{"state":"drain"}"#, "state", json!("drain")),
        (r#"{"state":"maint","weight":2}"#, "weight", json!(2)),
        (r#"{"weight":5}"#, "state", json!("maint")),
        (r#"{"state":"ready"}"#, "state", json!("ready")),
    ] {
        let told = api.call("PATCH", "/api/endpoints/gpu-1", body).await;
        assert_eq!((told.status.as_u16(), &told.json()[field]), (200, &expected), "{body}");
    }
    assert_eq!(api.get("/api/endpoints/http:%2F%2F10.0.0.2:8000%2Fv1").await.json()["weight"], 10, "others stay");
}

#[tokio::test]
async fn a_change_that_makes_no_sense_is_refused_and_told_why() {
    let api = Api::open(None);
    for (body, status, words) in [
        ("{}", 422, "nothing to change"),
        (r#"{"weight":257}"#, 422, "weight 257 is out of range"),
        (r#"{"weight":-1}"#, 422, "`weight` is a whole number from 0 to 256, or \"file\""),
        (r#"{"weight":"none"}"#, 422, "`weight` is a whole number"),
        (r#"{"weight":1.5}"#, 422, "`weight` is a whole number"),
        (r#"{"weight":null,"state":"drain"}"#, 422, "`weight` is a whole number"),
        (r#"{"max_in_flight":0}"#, 422, "max_in_flight 0 is out of range"),
        (r#"{"max_in_flight":"auto"}"#, 422, "\"none\" or \"file\""),
        (r#"{"state":"down"}"#, 422, "expected one of `ready`, `drain`, `maint`"),
        (r#"{"wieght":1}"#, 422, "unknown field `wieght`"),
        (r#"{"weight":1"#, 400, "EOF"),
        ("", 400, "EOF"),
        ("[]", 422, "nothing to change"),
    ] {
        let told = api.call("PATCH", "/api/endpoints/gpu-1", body).await;
        assert_eq!(told.status, status, "{body}: {:?}", told.body);
        assert!(told.message().contains(words), "{body}: {}", told.message());
    }
    let told = api.get("/api/endpoints/gpu-1").await.json();
    assert_eq!((&told["weight"], &told["state"]), (&json!(10), &json!("ready")), "nothing was changed by halves");
    assert_eq!(api.call("PATCH", "/api/endpoints/nope", r#"{"weight":1}"#).await.status, 404);
}

#[tokio::test]
async fn membership_and_balance_make_generations() {
    let api = Api::open(None);
    let joined = api.call("POST", "/api/pools/chat/endpoints", r#"{"url":"http://10.0.0.9:1","name":"new"}"#).await;
    assert_eq!((joined.status.as_u16(), joined.headers["etag"].as_bytes()), (200, &b"\"8\""[..]));
    assert_eq!(joined.json(), json!({ "generation": 8, "changes": ["endpoint joined pool chat"] }));
    assert_eq!(api.get("/api/endpoints/new").await.status, 200);
    assert_eq!(api.call("PUT", "/api/routes/chat/balance", r#""hash""#).await.json()["generation"], 9);
    assert_eq!(api.get("/api/routes").await.json()[0]["module"], "hash");
    assert_eq!(api.call("PUT", "/api/routes/chat/balance", r#"{"hash":{}}"#).await.json()["generation"], 10);
    assert_eq!(api.call("DELETE", "/api/endpoints/new", "").await.json()["generation"], 11);
    assert_eq!(api.get("/api/endpoints/new").await.status, 404);
    assert_eq!(api.call("POST", "/api/reload", "").await.json()["generation"], 12);
    let changed = api.get("/api/generation").await.json()["changed_here"].as_array().map(Vec::len);
    assert_eq!(changed, Some(5));
    for (method, path, body, status) in [
        ("POST", "/api/pools/nope/endpoints", r#"{"url":"http://x"}"#, 404),
        ("POST", "/api/pools/chat/endpoints", r#""http://x""#, 422),
        ("POST", "/api/pools/chat/endpoints", r#"{"name":"x"}"#, 422),
        ("PUT", "/api/routes/nope/balance", r#""hash""#, 404),
        ("PUT", "/api/routes/chat/balance", "7", 422),
        ("DELETE", "/api/endpoints/nope", "", 404),
    ] {
        let told = api.call(method, path, body).await;
        assert_eq!(told.status, status, "{method} {path} {body}: {:?}", told.body);
    }
    let last = api.call("DELETE", &format!("/api/endpoints/{}", encoded(NASTY)), "").await;
    assert_eq!((last.status.as_u16(), last.message().contains("last endpoint")), (409, true));
    assert_eq!(api.get("/api/generation").await.json()["generation"], 12, "what was refused made no generation");
}

#[tokio::test]
async fn a_broken_configuration_is_told_with_its_places() {
    let api = Api::open(None);
    api.call("POST", "/api/pools/chat/endpoints", r#"{"url":"http://10.0.0.9:1"}"#).await;
    let told = api.call("POST", "/api/reload", "").await;
    assert_eq!(told.status, 422);
    assert_eq!(told.message(), "the new configuration is broken, the old one stays: unknown key `wieght`");
    let finding = &told.json()["error"]["findings"][0];
    assert_eq!((&finding["line"], &finding["column"]), (&json!(3), &json!(5)));
    assert!(finding["text"].as_str().is_some_and(|text| text.starts_with("arriero.yaml:3:5: ")), "{finding}");
}

#[tokio::test]
async fn a_change_for_another_generation_is_held_back() {
    let api = Api::open(None);
    let change = async |method: &str, path: &str, tag: &str| -> Told {
        api.ask(method, path, &[("host", "localhost"), ("if-match", tag)], r#"{"state":"drain"}"#).await
    };
    for path in ["/api/reload", "/api/endpoints/gpu-1"] {
        let method = if path == "/api/reload" { "POST" } else { "PATCH" };
        let stale = change(method, path, "\"6\"").await;
        assert_eq!(stale.status, 412, "{path}");
        assert!(stale.message().contains("generation 7 is in force"), "{path}: {}", stale.message());
        assert_eq!(change(method, path, "latest").await.status, 422, "{path}");
    }
    assert_eq!(api.get("/api/endpoints/gpu-1").await.json()["state"], "ready");
    assert_eq!(change("PATCH", "/api/endpoints/gpu-1", "7").await.status, 200);
    assert_eq!(change("POST", "/api/reload", "\"7\"").await.json()["generation"], 8);
    assert_eq!(change("POST", "/api/reload", "*").await.json()["generation"], 9);
}

#[tokio::test]
async fn a_request_is_explained_with_its_body_as_it_is() {
    let api = Api::open(None);
    for (body, bytes) in [
        (r#"{"path":"/v1/chat/completions","body":{"model":"m"}}"#, "13 bytes"),
        (r#"{"path":"/v1/chat/completions","body":"{ \"model\": \"m\" }"}"#, "16 bytes"),
        (r#"{"path":"/v1/models","method":"GET"}"#, "0 bytes"),
    ] {
        let told = api.call("POST", "/api/explain", body).await.json();
        assert_eq!(told["summary"], bytes, "{body}");
        assert_eq!(told["verdict"], json!({ "what": "send", "endpoint": "gpu-1", "module": "queue-aware" }));
    }
    let told = api.call("POST", "/api/explain", r#"{"path":"/nowhere"}"#).await.json();
    assert_eq!(told["verdict"]["status"], 404);
    for broken in ["{}", r#"{"path":"/","hedaers":{}}"#] {
        assert_eq!(api.call("POST", "/api/explain", broken).await.status, 422, "{broken}");
    }
}

#[tokio::test]
async fn only_explain_takes_large_bodies() {
    let api = Api::open(None);
    let body = |megabytes: usize| format!(r#"{{"path":"/","body":"{}"}}"#, "x".repeat(megabytes << 20));
    assert_eq!(api.call("POST", "/api/explain", &body(31)).await.status, 200);
    assert_eq!(api.call("POST", "/api/explain", &body(32)).await.status, 413);
    assert_eq!(api.call("PATCH", "/api/endpoints/gpu-1", &body(1)).await.status, 413);
    assert_eq!(api.call("POST", "/api/pools/chat/endpoints", &body(1)).await.status, 413);
}

#[tokio::test]
async fn affinity_is_cleared_and_its_keys_are_checked() {
    let api = Api::open(None);
    assert_eq!(api.call("DELETE", "/api/affinity?pool=chat&key=DEADBEEF", "").await.json(), json!({ "cleared": 1 }));
    for query in ["key=xyz", "key=", "key=%2Bff", "key=00000000000000000", "kee=1", "limit=-1"] {
        for method in ["GET", "DELETE"] {
            let told = api.call(method, &format!("/api/affinity?{query}"), "").await;
            assert_eq!(told.status, 422, "{method} {query}: {:?}", told.body);
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_in_json() {
    let api = Api::open(None);
    for (method, path, status) in
        [("GET", "/nope", 404), ("GET", "/api/", 404), ("PUT", "/api/status", 405), ("GET", "/api/reload", 405)]
    {
        let told = api.call(method, path, "").await;
        assert_eq!(told.status, status, "{method} {path}");
        assert!(told.message().contains(path), "{}", told.message());
        assert_eq!(told.json()["error"]["allowed"], "GET /openapi.json lists what there is");
    }
}

#[tokio::test]
async fn statistics_come_in_haproxys_form() {
    let told = Api::open(None).get("/api/stats.csv").await;
    let text = String::from_utf8(told.body.to_vec()).expect("text");
    assert!(text.starts_with("# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,"), "{text}");
    assert!(text.contains("\nchat,gpu-1,4,,3,,,,,,,,,,,,,UP,"), "{text}");
    assert!(text.contains("\nembed,\"a,\"\"b\"\"\nc\",4,,3,"), "a comma, a quote and a line's end are quoted: {text}");
    assert!(text.ends_with(",182,,\n\n"), "{text}");
    let plain = csv(&Fake::new().stats()[..2]);
    for line in plain.trim_end().lines() {
        assert_eq!(line.matches(',').count(), COLUMNS.len(), "{line}");
    }
    let kinds: Vec<&str> = plain.trim_end().lines().skip(1).filter_map(|line| line.split(',').nth(32)).collect();
    assert_eq!((COLUMNS[32], kinds), ("type", vec!["0", "2"]));
}

#[test]
fn no_figure_is_missing_from_the_columns() {
    // a row with every field filled, made from the fields' names in the schema
    let schema = serde_json::to_value(crate::admin::document()).expect("a document");
    let fields = schema["components"]["schemas"]["StatRow"]["properties"].as_object().expect("its fields");
    for field in fields.keys() {
        assert!(COLUMNS.contains(&field.as_str()), "{field}");
    }
    assert!(fields.len() == 38 && serde_json::from_value::<StatRow>(json!({})).is_ok());
}
