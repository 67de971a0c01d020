//! The OpenAPI document says what the router does: no more, no less.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Api;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn document() -> Value {
    serde_json::to_value(crate::admin::document()).expect("a document")
}

#[tokio::test]
async fn every_documented_path_answers_and_no_other_method_does() {
    let api = Api::open(None);
    let mut documented = 0;
    for (path, described) in document()["paths"].as_object().expect("paths") {
        let real = path.replace("{name}", "gpu-1").replace("{pool}", "chat").replace("{route}", "chat");
        assert!(!real.contains('{'), "an unknown parameter in {path}");
        for method in METHODS {
            let status = api.call(&method.to_uppercase(), &real, "{}").await.status.as_u16();
            if described.get(method).is_some() {
                assert!(![404, 405].contains(&status) && status < 500, "{method} {path}: {status}");
                documented += 1;
            } else {
                assert_eq!(status, 405, "{method} {path} answers, but is not documented");
            }
        }
    }
    assert_eq!(documented, 23, "a route was added: do the README and `arriero ctl` have it?");
}

#[test]
fn routes_cannot_come_past_the_document() {
    let source = include_str!("../router.rs");
    assert!(source.contains(".routes(routes!("), "the router is made elsewhere now: look there");
    for way_past in [".route(", ".route_service(", ".nest", ".fallback_service("] {
        assert!(!source.contains(way_past), "{way_past} adds routes that the document does not know");
    }
}

#[test]
fn every_type_that_is_named_is_described() {
    let document = document();
    let described: BTreeSet<&String> = document["components"]["schemas"].as_object().expect("schemas").keys().collect();
    let mut named = BTreeSet::new();
    names(&document, &mut named);
    assert!(named.len() > 20, "{named:?}");
    for name in &named {
        assert!(described.contains(name), "{name}");
    }
    for name in described {
        assert!(document["components"]["schemas"][name].get("description").is_some(), "{name} has no words");
    }
}

fn names(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let name =
                fields.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/components/schemas/"));
            named.extend(name.map(str::to_owned));
            fields.values().for_each(|value| names(value, named));
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, named)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_served_and_says_which_paths_need_no_token() {
    let served = Api::open(None).get("/openapi.json").await.json();
    assert_eq!(served, document());
    assert_eq!(served["openapi"].as_str().map(|version| &version[..2]), Some("3."));
    assert_eq!(served["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    for (path, described) in served["paths"].as_object().expect("paths") {
        for (method, operation) in described.as_object().expect("operations") {
            let open = operation.get("security") == Some(&serde_json::json!([{}]));
            assert_eq!(open, ["/", "/health", "/ready"].contains(&path.as_str()), "{method} {path}: {operation}");
            assert!(operation["summary"].is_string() || operation["description"].is_string(), "{method} {path}");
        }
    }
}
