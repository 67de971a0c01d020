//! Lists of unlike engines, odd ones among them.
#![allow(clippy::unwrap_used)]

use super::*;

fn same(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}

fn sources<'a>(lists: &'a [Value]) -> Vec<Source<'a>> {
    lists.iter().map(|list| Source { list, public: &same }).collect()
}

#[test]
fn models_are_united_by_id() {
    let lists = [
        json!({"object": "list", "data": [
            {"id": "b", "object": "model", "created": 5, "owned_by": "vllm", "max_model_len": 4096},
            {"id": "a", "owned_by": "x"}]}),
        json!({"data": [{"id": "b", "owned_by": "other", "max_model_len": 2048}, {"id": "c", "max_model_len": 1}]}),
        json!({"data": [{"id": "a", "max_model_len": 9}]}),
    ];
    let expected = json!({"object": "list", "data": [
        {"id": "a", "object": "model", "owned_by": "x", "max_model_len": 9},
        {"id": "b", "object": "model", "created": 5, "owned_by": "vllm", "max_model_len": 2048},
        {"id": "c", "object": "model", "max_model_len": 1}]});
    let merged = models(&sources(&lists), Dialect::OpenAi);
    assert_eq!(merged, expected);
    assert_eq!(model_by_id(&merged, "c").unwrap()["max_model_len"], 1);
    assert_eq!(model_by_id(&merged, "d"), None);
}

#[test]
fn odd_lists_spoil_nothing() {
    let lists = [
        json!(null),
        json!({"data": "x"}),
        json!({"data": [1, {"id": 7}, {}, {"id": "a"}]}),
        json!({"error": "no"}),
        json!({"data": [], "models": [{"name": "t:latest", "modified_at": "1970-01-01T00:01:00Z"}]}),
    ];
    let merged = models(&sources(&lists), Dialect::OpenAi);
    let tag = json!({"id": "t:latest", "object": "model", "created": 60, "owned_by": "library"});
    assert_eq!(merged["data"], json!([{"id": "a", "object": "model"}, tag]));
    assert_eq!(models(&sources(&[json!([{"id": "bare"}])]), Dialect::OpenAi)["data"][0]["id"], "bare");
    assert_eq!(models(&[], Dialect::OpenAi), json!({"object": "list", "data": []}));
    assert_eq!(tags(&sources(&[json!(1), json!({"models": null})])), json!({"models": []}));
}

#[test]
fn public_names_replace_the_engines_own() {
    let list = json!({"models": [{"name": "q:8b", "model": "q:8b", "size": 1}, {"name": "secret"}]});
    let public = |local: &str| if local == "q:8b" { vec!["fast".to_owned(), "gpt".to_owned()] } else { Vec::new() };
    let merged = tags(&[Source { list: &list, public: &public }]);
    let row = |name: &str| json!({"name": name, "model": name, "size": 1});
    assert_eq!(merged, json!({"models": [row("fast"), row("gpt")]}));
}

#[test]
fn anthropic_gets_its_own_list() {
    let lists = [json!({"data": [{"id": "a", "created": 1_700_000_000}, {"id": "b", "created": u64::MAX}]})];
    let expected = json!({"has_more": false, "first_id": "a", "last_id": "b", "data": [
        {"type": "model", "id": "a", "display_name": "a", "created_at": "2023-11-14T22:13:20Z"},
        {"type": "model", "id": "b", "display_name": "b", "created_at": "1970-01-01T00:00:00Z"}]});
    assert_eq!(models(&sources(&lists), Dialect::Anthropic), expected);
    assert_eq!(models(&[], Dialect::Anthropic)["first_id"], Value::Null);
}

#[test]
fn the_newest_tag_wins_whatever_its_time_zone() {
    let row = |digest: &str, time: &str| json!({"models": [{"name": "m", "digest": digest, "modified_at": time}]});
    let lists = [
        row("old", "2026-01-01T12:00:00Z"),
        row("new", "2026-01-01T11:00:00.5-07:00"),
        row("broken", "yesterday"),
        row("middle", "2026-01-01T19:00:00+01:00"),
    ];
    assert_eq!(tags(&sources(&lists))["models"][0]["digest"], "new");
    assert_eq!(tags(&sources(&lists))["models"].as_array().unwrap().len(), 1);
}

#[test]
fn times_are_read_with_fraction_and_offset() {
    assert_eq!(parse_instant("1970-01-01T00:00:01Z"), Some((1, 0)));
    assert_eq!(parse_instant("1970-01-01T02:00:00.25+01:30"), Some((1800, 250_000_000)));
    assert_eq!(parse_instant("1970-01-01T00:00:00.123456789123-00:01"), Some((60, 123_456_789)));
    for text in [
        "",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00:00+1",
        "1970-01-01T00:00:00.xZ",
        "ü".repeat(20).as_str(),
    ] {
        assert_eq!(parse_instant(text), None, "{text}");
    }
}

#[test]
fn the_best_loaded_copy_stands_for_a_running_model() {
    let lists = [
        json!({"models": [{"name": "m", "size_vram": 5, "expires_at": "2026-01-01T00:00:00Z"}]}),
        json!({"models": [{"name": "m", "size_vram": 9, "expires_at": "2025-01-01T00:00:00Z"}]}),
        json!({"models": [{"name": "n", "size_vram": 1, "expires_at": "2027-01-01T00:00:00Z"}]}),
    ];
    let merged = ps(&sources(&lists));
    assert_eq!(merged["models"][0]["name"], "n");
    assert_eq!((&merged["models"][1]["name"], &merged["models"][1]["size_vram"]), (&json!("m"), &json!(9)));
}

#[test]
fn the_lowest_version_is_told() {
    assert_eq!(version(["0.12.0", "0.9.6", "0.10.1"]), Some("0.9.6"));
    assert_eq!(version(["0.9.0", "0.9.0-rc1"]), Some("0.9.0-rc1"));
    assert_eq!(version(["unknown", "0.2"]), Some("0.2"));
    assert_eq!(version([]), None);
}
