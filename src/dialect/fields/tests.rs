//! The scanner against examples, against serde_json, and against noise.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

fn chat(body: &str) -> Result<Fields, FieldError> {
    scan("/v1/chat/completions", body.as_bytes())
}

fn model(body: &str) -> Option<String> {
    chat(body).unwrap().model.map(|model| model.name)
}

#[test]
fn the_model_is_found_wherever_it_stands() {
    for body in [r#"{"model":"a/b:c","x":1}"#, r#" { "x" : [1,{"model":"no"}] , "model" : "a/b:c" } "#] {
        let token = chat(body).unwrap().model.unwrap();
        assert_eq!(token.name, "a/b:c");
        assert_eq!(&body[token.range], r#""a/b:c""#);
    }
    assert_eq!(model(r#"{"\u006dodel":"q\u0077en\/\"\u00fc\ud83d\ude00"}"#).as_deref(), Some("qwen/\"ü😀"));
    assert_eq!(model(r#"{"models":"x","messages":[{"model":"y"}],"options":{"model":"z"}}"#), None);
    assert_eq!(model(r#"{"model":null}"#), None);
    assert_eq!(model(r#"{"model":""}"#), None);
}

#[test]
fn ambiguous_models_are_refused() {
    for body in [
        r#"{"model":"a","model":"a"}"#,
        r#"{"model":null,"model":"a"}"#,
        r#"{"model":"a","\u006d\u006fdel":"b"}"#,
        r#"{"model":"a","x":{"y":[1]},"model":"b"}"#,
    ] {
        assert_eq!(chat(body), Err(FieldError::DuplicateModel), "{body}");
    }
    assert_eq!(chat(r#"{"model":"a","Model":"b"}"#), Err(FieldError::ModelCase("Model".into())));
    assert_eq!(chat(r#"{"MOD\u0045L":"b"}"#), Err(FieldError::ModelCase("MODEL".into())));
}

#[test]
fn odd_models_are_refused() {
    for body in [r#"{"model":1}"#, r#"{"model":true}"#, r#"{"model":["a"]}"#, r#"{"model":{"a":1}}"#] {
        assert_eq!(chat(body), Err(FieldError::ModelNotString), "{body}");
    }
    for body in [r#"{"model":"a\u0000"}"#, r#"{"model":"a\n"}"#, r#"{"model":"\ud800"}"#] {
        assert_eq!(chat(body), Err(FieldError::ModelCharacters), "{body}");
    }
    assert_eq!(scan("/", b"{\"model\":\"\xff\"}"), Err(FieldError::ModelCharacters));
    let long = |n| format!(r#"{{"model":"{}"}}"#, "m".repeat(n));
    assert!(chat(&long(MAX_MODEL)).is_ok());
    assert_eq!(chat(&long(MAX_MODEL + 1)), Err(FieldError::ModelTooLong));
    assert_eq!(chat(&long(100_000)), Err(FieldError::ModelTooLong));
}

#[test]
fn bodies_that_are_no_json_object_are_refused() {
    for (body, error) in [
        ("", FieldError::Empty),
        (" \n", FieldError::Empty),
        ("[]", FieldError::NotAnObject),
        ("\u{feff}{}", FieldError::NotAnObject),
        ("model=a", FieldError::NotAnObject),
        ("{", FieldError::Truncated),
        (r#"{"model":"a""#, FieldError::Truncated),
        (r#"{"model":"a"#, FieldError::Truncated),
        (r#"{"a":1"#, FieldError::Truncated),
        ("{} {}", FieldError::Trailing),
        (r#"{"model":"a"}{"model":"b"}"#, FieldError::Trailing),
        ("{}\0", FieldError::Trailing),
    ] {
        assert_eq!(chat(body), Err(error), "{body}");
    }
    for body in [
        "{a:1}",
        "{'a':1}",
        r#"{"a":1,}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":-}"#,
        r#"{"a":NaN}"#,
        r#"{"a":nul}"#,
        r#"{"a":truex}"#,
        r#"{"a" 1}"#,
        r#"{"a":1 2}"#,
        r#"{"\x":1}"#,
        r#"{"\u12g4":1}"#,
        r#"{"model":"\u12g4"}"#,
        "{\"\n\":1}",
        "{\"model\":\"\n\"}",
        r#"{"a":[1}"#,
        r#"{"a":{"b":1]}"#,
        "{,}",
        r#"{"a":1}/**/"#,
        r#"{/**/"a":1}"#,
        r#"{"a":1,,"b":2}"#,
        r#"{"a"::1}"#,
        r#"{1:2}"#,
        "{\"a\":\u{a0}1}",
    ] {
        let error = chat(body).unwrap_err();
        assert!(matches!(error, FieldError::Syntax { .. } | FieldError::Trailing), "{body}: {error:?}");
    }
    assert_eq!(chat(r#"{"a":x}"#), Err(FieldError::Syntax { offset: 5 }));
}

#[test]
fn depth_and_keys_are_bounded() {
    let deep = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(chat(&deep(128)).is_ok());
    assert_eq!(chat(&deep(129)), Err(FieldError::TooDeep));
    assert_eq!(chat(&format!(r#"{{"a":{}"#, "[".repeat(1 << 20))), Err(FieldError::TooDeep));
    let key = |bytes: usize| format!(r#"{{"a":{{"{}":1}}}}"#, "k".repeat(bytes));
    assert!(chat(&key(4094)).is_ok());
    assert_eq!(chat(&key(4095)), Err(FieldError::KeyTooLong));
    assert_eq!(scan("/", br#"{"\ud800":1}"#), Err(FieldError::BadKey));
}

#[test]
fn the_other_fields_are_read() {
    let fields = chat(
        r#"{"stream":true,"max_tokens":100,"max_completion_tokens":50,"keep_alive":"5m",
            "stream_options":{"include_usage":true},"options":{"num_predict":70,"temperature":0.5}}"#,
    )
    .unwrap();
    assert_eq!((fields.stream, fields.max_output, fields.include_usage), (Some(true), Some(50), true));
    assert_eq!(fields.keep_alive.as_deref(), Some("5m"));
    assert_eq!(fields.runner_key, 0);
    let fields =
        chat(r#"{"stream":null,"options":{"num_predict":-1},"keep_alive":0,"max_tokens":99999999999}"#).unwrap();
    assert_eq!((fields.stream, fields.max_output, fields.include_usage), (None, Some(u32::MAX), false));
    assert_eq!(fields.keep_alive.as_deref(), Some("0"));
    let fields =
        chat(r#"{"stream":"yes","max_tokens":"7","options":[1,{"num_ctx":1}],"stream_options":true}"#).unwrap();
    assert_eq!(fields, Fields { body_bytes: fields.body_bytes, ..Fields::default() });
}

#[test]
fn the_runner_key_depends_on_the_set_only() {
    let key = |options: &str| chat(&format!(r#"{{"options":{options}}}"#)).unwrap().runner_key;
    assert_eq!(key(r#"{"num_ctx":4096,"num_gpu":1}"#), key(r#"{"num_gpu":1,"temperature":1,"num_ctx":4096.0}"#));
    assert_ne!(key(r#"{"num_ctx":4096}"#), key(r#"{"num_ctx":8192}"#));
    assert_ne!(key(r#"{"num_ctx":4096}"#), key(r#"{"num_batch":4096}"#));
    assert_ne!(key(r#"{"use_mmap":false}"#), 0);
    assert_eq!(key(r#"{"num_gpu":-1,"num_ctx":null,"seed":1}"#), 0);
    assert_eq!(key(r#"{"a":{"num_ctx":4096}}"#), 0);
}

#[test]
fn show_takes_a_name_for_the_model() {
    let show = |body: &str| scan("/api/show", body.as_bytes()).map(|fields| fields.model.map(|model| model.name));
    assert_eq!(show(r#"{"name":"a"}"#), Ok(Some("a".into())));
    assert_eq!(show(r#"{"name":"a","model":"a"}"#), Ok(Some("a".into())));
    assert_eq!(show(r#"{"name":"","model":"a"}"#), Ok(Some("a".into())));
    assert_eq!(show(r#"{"name":"a","model":"b"}"#), Err(FieldError::DuplicateModel));
    assert_eq!(show(r#"{"name":"a","name":"a"}"#), Err(FieldError::DuplicateModel));
    assert_eq!(show(r#"{"Name":"a"}"#), Err(FieldError::ModelCase("Name".into())));
    assert_eq!(model(r#"{"name":"a"}"#), None);
}

#[test]
fn prompts_are_measured_without_media() {
    let bytes = |body: &str| chat(body).unwrap().text_bytes;
    assert_eq!(bytes(r#"{"prompt":"12345678","suffix":"1234","user":"x"}"#), 12);
    assert_eq!(bytes(r#"{"messages":[{"role":"user","content":"1234"},{"role":"user","images":["QUJD"]}]}"#), 12);
    let part = r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:xx"}}]}]}"#;
    assert_eq!(bytes(part), "image_url".len() as u64);
    assert_eq!(bytes(r#"{"prompt":[[1,2],[3]]}"#), 12);
}

#[test]
fn an_error_stays_whatever_follows() {
    let mut scanner = Scanner::new("/v1/chat/completions");
    scanner.push(br#"{"model":"a"#).unwrap();
    scanner.push(br#"b","#).unwrap();
    assert_eq!(scanner.push(br#""model":"c"}"#), Err(FieldError::DuplicateModel));
    assert_eq!(scanner.push(b"}"), Err(FieldError::DuplicateModel));
    assert_eq!(scanner.finish(), Err(FieldError::DuplicateModel));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z\"\\\\ \n]{0,80}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any_key(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] =
        &["model", "stream", "options", "num_ctx", "max_tokens", "messages", "content", "stream_options"];
    prop_oneof![prop::sample::select(KNOWN).prop_map(str::to_owned), any::<String>()]
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    let model = prop_oneof![4 => any::<String>().prop_map(Value::from), 1 => any_json()];
    let fields = prop::collection::hash_map(any_key(), any_json(), 0..8);
    (prop::option::of(model), fields).prop_map(|(model, fields)| {
        let mut object: Map<String, Value> = fields.into_iter().collect();
        object.extend(model.map(|model| ("model".to_owned(), model)));
        object
    })
}

/// Cuts `body` at the given places (taken modulo its length) and scans the pieces.
fn scan_in_pieces(body: &[u8], cuts: &[usize]) -> Result<Fields, FieldError> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).chain([0, body.len()]).collect();
    cuts.sort_unstable();
    let mut scanner = Scanner::new("/v1/chat/completions");
    cuts.windows(2).try_for_each(|pair| scanner.push(&body[pair[0]..pair[1]]))?;
    scanner.finish()
}

/// What serde_json takes for the model of a body: `None` if it takes the body for broken.
fn reference_model(body: &[u8]) -> Option<Option<String>> {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        model: Option<String>,
    }
    serde_json::from_slice::<Body>(body).ok().map(|body| body.model.filter(|model| !model.is_empty()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn valid_objects_are_read_as_serde_json_reads_them(object in any_object(), pretty: bool, cuts: Vec<usize>) {
        let value = Value::Object(object.clone());
        let body = if pretty { serde_json::to_vec_pretty(&value).unwrap() } else { serde_json::to_vec(&value).unwrap() };
        let whole = chat(std::str::from_utf8(&body).unwrap());
        prop_assert_eq!(&scan_in_pieces(&body, &cuts), &whole);
        let named = object.get("model").and_then(Value::as_str).filter(|model| !model.is_empty());
        match whole {
            Ok(fields) => {
                prop_assert_eq!(fields.stream, object.get("stream").and_then(Value::as_bool));
                prop_assert_eq!(fields.body_bytes, body.len() as u64);
                let token = fields.model;
                prop_assert_eq!(token.as_ref().map(|token| token.name.as_str()), named);
                if let Some(token) = token {
                    prop_assert_eq!(serde_json::from_slice::<String>(&body[token.range]).unwrap(), token.name);
                }
            }
            Err(FieldError::ModelNotString) => prop_assert!(!object["model"].is_string() && !object["model"].is_null()),
            Err(FieldError::ModelCharacters) => prop_assert!(named.unwrap().chars().any(char::is_control)),
            Err(FieldError::ModelTooLong) => prop_assert!(named.unwrap().len() > MAX_MODEL),
            Err(FieldError::ModelCase(key)) => prop_assert!(object.contains_key(&key)),
            Err(error) => prop_assert!(false, "{error:?} on {}", value),
        }
    }

    #[test]
    fn mutated_bodies_are_accepted_only_where_serde_json_agrees(
        object in any_object(),
        edits in prop::collection::vec((any::<usize>(), any::<u8>(), 0..4u8), 1..5),
        cuts: Vec<usize>,
    ) {
        let mut body = serde_json::to_vec(&Value::Object(object)).unwrap();
        for (place, byte, edit) in edits {
            let place = place % body.len().max(1);
            let structural = b"{}[]\",:\\ 0u"[usize::from(byte) % 11];
            match edit {
                0 => body.truncate(place),
                1 => body.insert(place.min(body.len()), structural),
                2 if place < body.len() => drop(body.remove(place)),
                _ if place < body.len() => body[place] = byte,
                _ => {}
            }
        }
        let ours = scan_in_pieces(&body, &cuts);
        prop_assert_eq!(&ours, &scan("/v1/chat/completions", &body));
        if let Ok(fields) = ours {
            let model = fields.model.map(|model| model.name);
            let reference = reference_model(&body);
            prop_assert!(reference == Some(model) || only_text_is_wrong(&body), "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn noise_never_panics(bytes: Vec<u8>, text in "[\\[\\]{}:,\"\\\\a-fnrtu0-9.eE+ -]{0,200}") {
        let _ = scan("/api/show", &bytes);
        let object = format!("{{{text}}}");
        if scan("/v1/chat/completions", object.as_bytes()).is_ok() {
            prop_assert!(reference_model(object.as_bytes()).is_some() || only_text_is_wrong(object.as_bytes()), "{}", object);
        }
    }
}

/// What is wrong is inside a string: the scanner leaves that to the engine where it does not need the string.
fn only_text_is_wrong(body: &[u8]) -> bool {
    let Err(error) = serde_json::from_slice::<Value>(body) else { return false };
    let words = error.to_string();
    ["invalid escape", "control character", "surrogate", "hex escape", "unicode code point"]
        .iter()
        .any(|w| words.contains(w))
}

#[test]
fn text_that_nobody_wants_is_left_to_the_engine() {
    for body in [r#"{"a":"\x","model":"m"}"#, r#"{"a":["\u12g4"],"model":"m"}"#, "{\"a\":\"\n\",\"model\":\"m\"}"] {
        assert_eq!(chat(body).unwrap().model.unwrap().name, "m", "{body}");
    }
}

#[test]
fn a_long_body_is_scanned_chunk_by_chunk() {
    let mut scanner = Scanner::new("/v1/chat/completions");
    let chunk = "some text with \\\"quotes\\\" and\\nlines ".repeat(1000);
    scanner.push(br#"{"messages":[{"content":""#).unwrap();
    for _ in 0..200 {
        scanner.push(chunk.as_bytes()).unwrap();
    }
    scanner.push(br#""}],"model":"last"}"#).unwrap();
    let fields = scanner.finish().unwrap();
    assert_eq!(fields.model.unwrap().name, "last");
    assert_eq!(fields.text_bytes, chunk.len() as u64 * 200);
    assert_eq!(fields.body_bytes, chunk.len() as u64 * 200 + 25 + 19);
}
