//! Every row of the endpoint table, and the tricks that try to get round a block.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::dialect::table::CONTROL_NAMES;

fn kind_of(method: &str, path: &str) -> EndpointKind {
    classify(&method.parse().unwrap(), path).kind
}

#[test]
fn inference_endpoints_go_by_model() {
    assert_eq!(kind_of("POST", "/v1/chat/completions"), EndpointKind::Route(PathClass::OpenAi));
    assert_eq!(kind_of("POST", "/v1/chat/completions?beta=true"), EndpointKind::Route(PathClass::OpenAi));
    assert_eq!(kind_of("POST", "/v1/messages"), EndpointKind::Route(PathClass::Anthropic));
    assert_eq!(kind_of("POST", "/v1/responses"), EndpointKind::Route(PathClass::Responses));
    assert_eq!(kind_of("POST", "/api/chat"), EndpointKind::Route(PathClass::Ollama));
    assert_eq!(kind_of("POST", "/v1/rerank"), EndpointKind::Route(PathClass::Rerank));
    assert_eq!(kind_of("POST", "/infill"), EndpointKind::Route(PathClass::LlamaCpp));
    assert_eq!(kind_of("POST", "/tokenize"), EndpointKind::Route(PathClass::Tokens));
    assert_eq!(kind_of("GET", "/api/chat"), EndpointKind::WrongMethod("POST"));
}

#[test]
fn every_routed_path_is_met_by_post_and_blocked_by_nothing() {
    for (path, class) in ROUTES {
        assert_eq!(kind_of("POST", path), EndpointKind::Route(*class), "{path}");
        assert_eq!(kind_of("POST", &format!("/.{path}/")), EndpointKind::Route(*class), "the slow way, {path}");
    }
}

#[test]
fn encoding_a_hundred_times_is_malformed_and_cheap() {
    let path = format!("/api/%{}70ull", "25".repeat(100));
    assert_eq!(kind_of("POST", &path), EndpointKind::Malformed);
}

#[test]
fn lists_and_local_answers() {
    assert_eq!(kind_of("GET", "/v1/models"), EndpointKind::Merge(Merge::Models));
    assert_eq!(kind_of("GET", "/v1/models/org%2Fqwen:7b"), EndpointKind::Merge(Merge::ModelById("org/qwen:7b".into())));
    assert_eq!(kind_of("GET", "/v1/models/org/qwen"), EndpointKind::Merge(Merge::ModelById("org/qwen".into())));
    assert_eq!(kind_of("HEAD", "/api/tags"), EndpointKind::Merge(Merge::Tags));
    assert_eq!(kind_of("GET", "/api/ps"), EndpointKind::Merge(Merge::Ps));
    assert_eq!(kind_of("HEAD", "/"), EndpointKind::Local(Local::Root));
    assert_eq!(kind_of("GET", "/api/version"), EndpointKind::Local(Local::Version));
    assert_eq!(kind_of("GET", "/readyz"), EndpointKind::Local(Local::Ready));
    assert_eq!(kind_of("OPTIONS", "/v1/chat/completions"), EndpointKind::Local(Local::Options));
    assert_eq!(kind_of("OPTIONS", "*"), EndpointKind::Local(Local::Options));
    assert_eq!(kind_of("DELETE", "/v1/responses/resp_1"), EndpointKind::Stateful);
    assert_eq!(kind_of("POST", "/v1/responses/resp_1/cancel"), EndpointKind::Stateful);
    assert_eq!(kind_of("GET", "/favicon.ico"), EndpointKind::Other);
}

#[test]
fn control_endpoints_are_named() {
    let rows = [
        ("POST", "/api/pull", "pull"),
        ("DELETE", "/api/delete", "delete"),
        ("HEAD", "/api/blobs/sha256:00", "blobs"),
        ("GET", "/api/me", "node"),
        ("GET", "/slots", "slots"),
        ("POST", "/slots/0?action=erase", "slots"),
        ("POST", "/props", "props"),
        ("POST", "/v1/load_lora_adapter", "lora"),
        ("POST", "/models/unload", "models"),
        ("DELETE", "/v1/models/ft:x", "models"),
        ("POST", "/sleep?level=2", "sleep"),
        ("POST", "/reset_prefix_cache", "cache"),
        ("POST", "/update_weights_from_disk", "weights"),
        ("POST", "/start_profile", "profile"),
        ("POST", "/v1/files", "files"),
        ("POST", "/v1/messages/batches", "batches"),
        ("GET", "/v1/organization/usage", "account"),
        ("GET", "/docs/oauth2-redirect", "docs"),
        ("GET", "/metrics", "metrics"),
    ];
    for (method, path, name) in rows {
        assert_eq!(kind_of(method, path), EndpointKind::Control(name), "{method} {path}");
    }
    for (name, ..) in CONTROLS {
        assert!(CONTROL_NAMES.contains(name), "{name} is not listed");
    }
    for name in CONTROL_NAMES {
        assert!(CONTROLS.iter().any(|row| row.0 == *name), "{name} blocks nothing");
    }
}

#[test]
fn no_spelling_gets_round_a_block() {
    let spellings = [
        "//api//pull",
        "/api/./pull",
        "/v1/../api/pull",
        "/api/chat/../pull",
        "/api/pull/",
        "/%61pi/pull",
        "/api%2Fpull",
        "/api%2fpull",
        "/api/%70ull",
        "/api/%2570ull",
        "/api/%252570ull",
        "/api\\pull",
        "/api%5Cpull",
        "/API/Pull",
        "/v1/models/../../api/pull",
        "/v1/models/%2e%2e/%2E%2e/api/pull",
        "/x/%2e%2e/api/pull",
        "/../../api/pull",
        "/api/pull?x=/v1/chat/completions",
        "/api/pull#/v1",
        "/v1/models/..%2f..%2fapi/pull",
        "/api/pull%3Fx",
        "/.//api/pull",
        "/api/pull/extra",
        "api/pull",
        "/api/%2e/pull",
        "/api/%25%37%30ull",
    ];
    for path in spellings {
        let kind = kind_of("POST", path);
        let refused = matches!(kind, EndpointKind::Control("pull") | EndpointKind::Malformed);
        assert!(refused || path == "/api/pull%3Fx" && kind == EndpointKind::Other, "{path} is {kind:?}");
    }
}

#[test]
fn unknown_paths_must_be_written_plainly() {
    for path in [
        "/a//b",
        "/a/../b",
        "/a%2Fb",
        "/a%252Fb",
        "/a%00b",
        "/a\\b",
        "/%ff",
        "/a;b",
        "/a/%2e%2e/b",
        "/v1/responses/a%2Fb",
    ] {
        assert_eq!(kind_of("GET", path), EndpointKind::Malformed, "{path}");
    }
    for path in ["/a/b", "/a/b/", "/a%20b", "/100%", "/%zz", "/a%C3%BC"] {
        assert_eq!(kind_of("GET", path), EndpointKind::Other, "{path}");
    }
}

#[test]
fn known_paths_are_sent_on_in_canonical_form() {
    let judged = classify(&Method::POST, "//v1/chat/./completions/?x=1");
    assert_eq!((judged.kind, judged.path.as_str()), (EndpointKind::Route(PathClass::OpenAi), "/v1/chat/completions"));
    assert!(judged.tricky);
    assert!(!classify(&Method::POST, "/v1/chat/completions?x=1").tricky);
}

proptest::proptest! {
    #[test]
    fn any_path_is_judged(path in "[/a-z.%0-9\\\\;?#A-F]{0,60}", bytes in proptest::collection::vec(0u8.., 0..40)) {
        let judged = classify(&Method::POST, &path);
        proptest::prop_assert!(judged.path.starts_with('/'));
        proptest::prop_assert!(!judged.path.contains("//") && !judged.path.split('/').any(|s| s == ".."));
        classify(&Method::GET, &String::from_utf8_lossy(&bytes));
    }

    /// Encoding letters and slashes of a blocked path in any way and any number of times keeps it blocked.
    #[test]
    fn encoded_blocks_stay_blocked(rounds in proptest::collection::vec(proptest::collection::vec(proptest::bool::ANY, 9), 0..3)) {
        let mut path = "/api/pull".to_owned();
        for round in rounds {
            path = path.bytes().zip(round.into_iter().cycle()).map(|(byte, encode)| {
                if encode { format!("%{byte:02x}") } else { char::from(byte).to_string() }
            }).collect();
        }
        proptest::prop_assert_eq!(kind_of("POST", &path), EndpointKind::Control("pull"), "{}", path);
    }
}
