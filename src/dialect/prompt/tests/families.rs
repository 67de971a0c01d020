//! Each family of paths: which fields make its prompt, in which order; what stands for a picture.

use serde_json::{Value, json};

use super::*;

fn of(class: PathClass, body: &Value) -> Vec<u64> {
    blocks(class, body.to_string().as_bytes(), SALT).to_vec()
}

/// The body with one more field.
fn with(body: &Value, field: &str, value: &Value) -> Value {
    let mut body = body.clone();
    body[field] = value.clone();
    body
}

#[test]
fn each_family_has_its_fields_in_its_order() {
    for (class, fields) in [
        (PathClass::OpenAi, &["tools", "messages"][..]),
        (PathClass::OpenAi, &["lora_path", "prompt"]),
        (PathClass::LlamaCpp, &["lora", "input_extra", "input_prefix", "prompt", "input_suffix"]),
        (PathClass::Responses, &["previous_response_id", "instructions", "tools", "input"]),
        (PathClass::Ollama, &["template", "tools", "system", "messages"]),
        (PathClass::Ollama, &["context", "template", "system", "prompt", "suffix"]),
        (PathClass::Anthropic, &["tools", "system", "messages"]),
    ] {
        let long = Value::from(words(2 * BLOCK_BYTES));
        let bare = fields.iter().fold(json!({}), |body, field| with(&body, field, &long));
        let all = of(class, &bare);
        assert_eq!(all.len(), 2 * fields.len(), "{fields:?}");
        for (place, field) in fields.iter().enumerate() {
            let other = of(class, &with(&bare, field, &Value::from(format!("{}, and more", words(2 * BLOCK_BYTES)))));
            let alike = all.iter().zip(&other).take_while(|(one, other)| one == other).count();
            assert_eq!(alike, 2 * (place + 1), "{class:?} {field}: what stands before it and its own beginning stay");
            let other = of(class, &with(&bare, field, &Value::from("changed")));
            let alike = all.iter().zip(&other).take_while(|(one, other)| one == other).count();
            assert_eq!(alike, 2 * place, "{class:?} {field}: nothing from there on stays");
        }
        for field in ["model", "temperature", "stream", "max_tokens", "options", "user", "metadata", "keep_alive"] {
            assert_eq!(all, of(class, &with(&bare, field, &json!({"x": long}))), "{class:?} {field} is no prompt");
        }
    }
}

#[test]
fn families_without_generated_text_have_no_blocks() {
    let long = words(3000);
    let body =
        json!({"input": long, "prompt": long, "messages": [long], "query": long, "documents": [long], "text": long});
    for class in [PathClass::Embeddings, PathClass::Rerank, PathClass::Media, PathClass::Tokens, PathClass::Other] {
        assert!(of(class, &body).is_empty(), "{class:?}");
    }
    assert!(of(PathClass::OpenAi, &json!({"input": long})).is_empty(), "moderations");
}

#[test]
fn the_same_chat_is_the_same_under_two_apis() {
    let body = json!({"tools": [{"name": "t"}], "messages": [message("user", &words(3000))]});
    assert_eq!(of(PathClass::OpenAi, &body), of(PathClass::Ollama, &body));
}

#[test]
fn prompts_of_tokens_and_lists_of_prompts_count() {
    let tokens: Vec<u32> = (0..2000).collect();
    let longer: Vec<u32> = (0..3000).collect();
    let begun = of(PathClass::OpenAi, &json!({"prompt": tokens}));
    assert!(begun.len() > 5);
    assert!(of(PathClass::OpenAi, &json!({"prompt": longer})).starts_with(&begun));
    let lists =
        [vec![words(2000)], vec![words(2000), words(1500)]].map(|list| of(PathClass::OpenAi, &json!({"prompt": list})));
    assert_eq!((lists[0].len(), lists[1].len()), (1, 3));
    assert!(lists[1].starts_with(&lists[0]));
}

#[test]
fn media_are_length_and_hash() {
    let picture = |last: char| format!("{}{last}", "iVBOR/w0KGgo".repeat(20_000));
    let after = words(2 * BLOCK_BYTES);
    type Body = fn(&str, &str) -> Value;
    let cases: [(PathClass, Body); 9] = [
        (PathClass::Ollama, |data, after| json!({"messages": [{"role": "user", "images": ["AAAA", data]}, after]})),
        (PathClass::Ollama, |data, after| json!({"images": [data], "prompt": after})),
        (PathClass::Anthropic, |data, after| {
            let source = json!({"type": "base64", "media_type": "image/png", "data": data});
            json!({"messages": [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": after}]}]})
        }),
        (PathClass::OpenAi, |data, after| {
            let url = json!({"url": format!("data:image/png;base64,{data}")});
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url}, {"type": "text", "text": after}]}]})
        }),
        (PathClass::OpenAi, |data, after| {
            let sound = json!({"data": data, "format": "wav"});
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": sound}, {"type": "text", "text": after}]}]})
        }),
        (
            PathClass::OpenAi,
            |data, after| json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": data}}, {"type": "text", "text": after}]}]}),
        ),
        (
            PathClass::OpenAi,
            |data, after| json!({"messages": [{"role": "user", "content": format!("data:video/mp4;base64,{data}")}, after]}),
        ),
        (
            PathClass::Responses,
            |data, after| json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": data}, {"type": "input_text", "text": after}]}]}),
        ),
        (PathClass::LlamaCpp, |data, after| json!({"prompt": {"multimodal_data": [data], "prompt_string": after}})),
    ];
    for (class, body) in cases {
        let one = body(&picture('a'), &after);
        let blocks = of(class, &one);
        assert!((2..=3).contains(&blocks.len()), "{} blocks of {:.200}", blocks.len(), one.to_string());
        assert_eq!(blocks, of(class, &one));
        let other = of(class, &body(&picture('b'), &after));
        assert!(blocks.iter().zip(&other).all(|(one, other)| one != other), "{:.200}", one.to_string());
        let slashes = one.to_string().replace('/', "\\/");
        assert_eq!(blocks, super::blocks(class, slashes.as_bytes(), SALT).to_vec(), "escaped slashes");
    }
}

#[test]
fn text_that_mentions_media_stays_text() {
    let begun = json!({"messages": [message("user", &format!("data: {}", words(2500)))]});
    let more = json!({"messages": [message("user", &format!("data: {}", words(2500))), message("user", &words(2000))]});
    let begun = of(PathClass::OpenAi, &begun);
    assert_eq!(begun.len(), 2);
    assert!(of(PathClass::OpenAi, &more).starts_with(&begun));
    let tool = json!({"tools": [{"properties": {"url": {"type": "string", "description": words(3000)}}}]});
    assert_eq!(of(PathClass::OpenAi, &tool).len(), 2, "a property that is called like one");
}
