//! Conversations that go on keep their blocks; what engines do not see makes no difference; noise does no harm.
#![allow(clippy::unwrap_used)]

mod families;
mod plain;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use plain::{canonical, escaped};

const SALT: u64 = 7;

/// Blocks of a chat in OpenAI's form.
fn chat(body: &str) -> Arc<[u64]> {
    blocks(PathClass::OpenAi, body.as_bytes(), SALT)
}

/// Text that hardly repeats.
fn words(bytes: usize) -> String {
    (0..bytes.div_ceil(8)).map(|word| format!("w{word:06} ")).collect::<String>()[..bytes].to_owned()
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// A body whose tools and messages are these.
fn body(messages: &[Value]) -> String {
    json!({"model": "m", "stream": true, "tools": [{"name": "weather"}], "messages": messages}).to_string()
}

/// A message of a conversation: plain, in parts, or with a picture.
fn any_message() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-z \\n\"\\\\é😀]{0,60}", (0usize..3000).prop_map(words)];
    (0u8..4, text).prop_map(|(kind, text)| match kind {
        0 => message("user", &text),
        1 => message("assistant", &text),
        2 => json!({"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": text}]}),
        _ => json!({"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{text}")}}, {"type": "text", "text": "what?"}
        ]}),
    })
}

/// Any JSON, with keys that mean something to us among others.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[\\u{0}-\\u{20}\"\\\\/]{0,8}".prop_map(Value::from),
        Just(Value::from("data:x/y;base64,AAAA")),
        (0usize..2500).prop_map(|bytes| Value::from(words(bytes))),
    ];
    let keys = "(data|url|images|cache_control|role|content|text|[a-z\"é]{0,5})";
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_conversation_that_goes_on_keeps_its_blocks(all in prop::collection::vec(any_message(), 0..12), cut in 0usize..12) {
        let whole = chat(&body(&all));
        let begun = chat(&body(&all[..cut.min(all.len())]));
        prop_assert!(whole.starts_with(&begun));
    }

    #[test]
    fn blocks_are_those_of_the_plain_reading(tools in any_value(), messages in any_value(), pad in 0usize..1100) {
        let messages = json!([message("user", &words(pad)), messages, message("user", &words(1500))]);
        let body = json!({"tools": tools, "other": messages, "messages": messages});
        let mut expected = Chain::new(SALT);
        text::Take::take(&mut expected, &canonical(&body, &OPENAI));
        for text in [body.to_string(), serde_json::to_string_pretty(&body).unwrap(), escaped(&body)] {
            prop_assert_eq!(&*chat(&text), expected.hashes(), "{}", text);
        }
    }

    #[test]
    fn noise_does_no_harm(noise in prop::collection::vec(any::<u8>(), 0..300), all in prop::collection::vec(any_message(), 1..4),
                          class in 0usize..4, places in prop::collection::vec(any::<prop::sample::Index>(), 4)) {
        let class = [PathClass::OpenAi, PathClass::Responses, PathClass::Ollama, PathClass::Anthropic][class];
        blocks(class, &noise, SALT);
        let mut broken = body(&all).into_bytes();
        for (place, byte) in places.iter().zip(&noise) {
            let place = place.index(broken.len());
            match byte % 3 {
                0 => broken[place] = b"{}[]\",:\\u0 n"[usize::from(*byte) % 12],
                1 if broken.len() > 1 => drop(broken.remove(place)),
                _ => broken.truncate(place.max(1)),
            }
            prop_assert!(blocks(class, &broken, SALT).len() <= MAX_BLOCKS);
        }
    }
}

#[test]
fn the_same_prompt_however_it_is_written_has_the_same_blocks() {
    let text = words(3000);
    let first = chat(&format!(
        r#"{{"model":"m","tools":[{{"a":1}}],"messages":[{{"role":"user","content":"é/\n😀{text}"}}]}}"#
    ));
    let other = format!(
        "\n{{ \"messages\" : [ {{ \"r\\u006fle\" :\t\"user\" , \"content\" : \"\\u00E9\\/\\u000a\\ud83d\\uDE00{text}\" }} ] ,\r\n\
         \"temperature\" : 1 , \"t\\u006fols\" : [ {{ \"a\" : 1 }} ], \"stream\": true }} \n"
    );
    assert_eq!(first.len(), 2);
    assert_eq!(first, chat(&other));
}

#[test]
fn what_differs_in_the_prompt_differs_from_there_on() {
    let of = |first: &str, last: &str| {
        let all = [
            message("system", first),
            message("user", &words(4000)),
            message("user", last),
            message("user", &words(1500)),
        ];
        chat(&body(&all))
    };
    let one = of("a", "one");
    assert_eq!(one.len(), 5);
    assert!(one.iter().zip(of("b", "one").iter()).all(|(one, other)| one != other));
    assert_eq!(one[..3], of("a", "two")[..3]);
    assert_ne!(one[4], of("a", "two")[4]);
}

#[test]
fn order_counts_inside_objects_and_not_among_fields() {
    let long = words(2000);
    let chat = |fields: &str| chat(&format!("{{{fields}}}"));
    let first = chat(&format!(r#""tools":[{{"a":1,"b":2}}],"messages":["{long}"]"#));
    assert_eq!(first, chat(&format!(r#""messages":["{long}"],"tools":[{{"a":1,"b":2}}]"#)));
    assert_ne!(first, chat(&format!(r#""tools":[{{"b":2,"a":1}}],"messages":["{long}"]"#)));
    assert_eq!(
        first,
        chat(&format!(r#""tools":7,"tools":[{{"a":1,"b":2}}],"messages":["{long}"]"#)),
        "the last counts"
    );
    assert_ne!(first, chat(&format!(r#""tools":[{{"a":"1","b":2}}],"messages":["{long}"]"#)), "a text is no number");
}

#[test]
fn fields_that_say_nothing_are_as_if_missing() {
    let long = words(2000);
    let bare = chat(&format!(r#"{{"messages":["{long}"]}}"#));
    assert_eq!(bare.len(), 1);
    for nothing in ["null", "[ ]", "[]", "{}", "\"\""] {
        assert_eq!(bare, chat(&format!(r#"{{"tools":{nothing},"messages":["{long}"]}}"#)), "{nothing}");
    }
}

#[test]
fn marks_of_caching_move_without_a_trace() {
    let turn = |marked: bool, text: &str| {
        let mark = if marked { r#","cache_control":{"type":"ephemeral"}"# } else { "" };
        format!(r#"{{"role":"user","content":[{{"type":"text","text":"{text}"{mark}}}]}}"#)
    };
    let of = |messages: &[String]| {
        let body = format!(r#"{{"system":"be kind","messages":[{}]}}"#, messages.join(","));
        blocks(PathClass::Anthropic, body.as_bytes(), SALT)
    };
    let first = of(&[turn(true, &words(5000))]);
    let second = of(&[turn(false, &words(5000)), turn(true, &words(3000))]);
    assert_eq!((first.len(), second.len()), (4, 7));
    assert!(second.starts_with(&first));
}

#[test]
fn a_long_prompt_has_256_blocks_and_no_more() {
    let of = |bytes: usize| chat(&body(&[message("user", &words(bytes))]));
    let (all, more) = (of(300_000), of(3_000_000));
    assert_eq!((all.len(), MAX_BLOCKS * BLOCK_BYTES), (256, 256 << 10));
    assert_eq!(all, more);
    assert!(all.starts_with(&of(100_000)));
    assert!((97..=98).contains(&of(100_000).len()));
}

#[test]
fn only_full_blocks_have_a_hash() {
    let overhead = canonical(&json!({"prompt": ""}), &OPENAI).len() + "\u{0}prompt\u{0}".len();
    let of = |bytes: usize| chat(&json!({"prompt": words(bytes)}).to_string()).len();
    assert_eq!(overhead, 8, "an empty prompt is left out; a mark, the name, a mark");
    let full = BLOCK_BYTES - overhead;
    assert_eq!((of(1), of(full - 1), of(full), of(full + BLOCK_BYTES - 1), of(full + BLOCK_BYTES)), (0, 0, 1, 1, 2));
}

#[test]
fn models_and_tenants_share_no_blocks() {
    let body = body(&[message("user", &words(2000))]);
    let names = [None, Some(""), Some("a"), Some("b"), Some("ab")];
    let mut seen: Vec<u64> = Vec::new();
    for (model, tenant) in names.iter().flat_map(|model| names.map(|tenant| (*model, tenant))) {
        let salt = salt(model, tenant);
        assert_eq!(salt, super::salt(model, tenant));
        let blocks = blocks(PathClass::OpenAi, body.as_bytes(), salt);
        assert_eq!(blocks.len(), 2);
        assert!(blocks.iter().all(|hash| !seen.contains(hash)), "{model:?} {tenant:?}");
        seen.extend(blocks.iter());
    }
}

#[test]
fn garbage_has_no_blocks() {
    let long = words(3000);
    let cases = [
        "",
        " ",
        "null",
        "[]",
        "\"",
        "{",
        "{}",
        "{]",
        "{\"messages\"",
        "{\"messages\":",
        "{\"messages\":[}",
        "{,}",
        "{\"a\":1,",
    ];
    for text in cases.map(str::to_owned).into_iter().chain([
        format!("[{{\"messages\":[\"{long}\"]}}]"),
        format!("{{\"messages\":[\"{long}\"]"),
        format!("{{\"messages\":[\"{long}"),
        format!("{{\"messages\" [\"{long}\"]}}"),
        format!("{{\"messages\":]\"{long}\"]}}"),
        format!("{{messages:[\"{long}\"]}}"),
        format!("{{\"messages\":[\"{long}\"] 1}}"),
    ]) {
        assert!(chat(&text).is_empty(), "{text}");
    }
    assert!(!chat(&format!("{{\"messages\":[\"{long}\"]}} and more")).is_empty(), "was checked elsewhere");
    let deep = format!("{{\"messages\":{}\"{long}\"{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(chat(&deep).len(), 198);
}
