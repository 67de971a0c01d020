//! The model where it is not in JSON: in a multipart form (transcriptions), and in the query. It is read, judged and
//! exchanged there like anywhere else; every other byte stays.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use axum::Json;
use axum::response::IntoResponse;
use common::{Proxy, eventually, reqwest_client};
use scripted::Scripted;
use serde_json::{Value, json};
use stage::ask;

const SPEECH: &str = "/v1/audio/transcriptions";
const CHAT: &str = "/v1/chat/completions";
const BOUNDARY: &str = "----form7MA4YWxkTrZu0gW";

async fn engine() -> Scripted {
    Scripted::start(|_| Json(json!({ "text": "a mule train" })).into_response()).await
}

/// The engine's name of `public` is `the/engine's own`; clients may also say `whisper`.
async fn front(engine: &Scripted, route: &str) -> Proxy {
    let text = format!(
        "pools:\n  p: {{ health: none, endpoints: [{{ url: {:?}, engine: openai, models: {{ public: \"the/engine's own\", same: same }} }}] }}\n\
         routes:\n  - {{ name: r, pool: p, aliases: {{ whisper: public }}, {route} }}\n",
        engine.url()
    );
    Proxy::start_degraded(&text).await
}

/// A file with everything in it that could be taken for the form's own bytes.
fn sound() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    bytes.extend_from_slice(
        b"\r\n--\r\n------form7MA4YWxkTrZu0g\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nfake\r\n",
    );
    bytes
}

fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes()
}

fn file() -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"mule.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
    );
    [head.into_bytes(), sound(), b"\r\n".to_vec()].concat()
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), format!("--{BOUNDARY}--\r\n").into_bytes()].concat()
}

async fn send(proxy: &Proxy, target: &str, content_type: &str, body: Vec<u8>) -> (u16, Value) {
    let request = reqwest_client().post(proxy.url(target)).header("content-type", content_type).body(body);
    stage::json_of(request.send().await.unwrap()).await
}

async fn send_form(proxy: &Proxy, target: &str, body: Vec<u8>) -> (u16, Value) {
    send(proxy, target, &format!("multipart/form-data; boundary={BOUNDARY}"), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_of_a_form_is_exchanged_and_nothing_else() {
    let engine = engine().await;
    let proxy = front(&engine, "").await;
    let own = "the/engine's own";
    for (asked, wanted) in [("public", own), ("whisper", own), ("same", "same")] {
        for last in [false, true] {
            let parts = |model: &str| {
                let (model, language) = (field("model", model), field("language", "es"));
                if last { form(&[file(), language, model]) } else { form(&[model, language, file()]) }
            };
            for path in [SPEECH, "/v1/audio/translations"] {
                let (status, body) = send_form(&proxy, path, parts(asked)).await;
                assert_eq!((status, &body["text"]), (200, &json!("a mule train")), "{asked} {last}: {body}");
                let seen = engine.posts().pop().unwrap();
                assert_eq!(seen.target, path);
                assert!(seen.body == parts(wanted), "{asked} {last}: {} bytes arrived", seen.body.len());
                assert_eq!(seen.header("content-length"), Some(parts(wanted).len().to_string().as_str()));
                assert_eq!(seen.header("content-type"), Some(&*format!("multipart/form-data; boundary={BOUNDARY}")));
            }
        }
    }
    let logged = |name: &str| proxy.lines().iter().any(|line| line["model"] == name);
    let all = async || ["public", "whisper", "same"].into_iter().all(logged);
    assert!(eventually(all).await, "the log names the model as the client did: {:?}", proxy.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_a_model_gets_the_default() {
    let engine = engine().await;
    let proxy = front(&engine, "default_model: whisper").await;
    let parts = [field("language", "es"), file()];
    let (status, body) = send_form(&proxy, SPEECH, form(&parts)).await;
    assert_eq!(status, 200, "{body}");
    let seen = engine.posts().pop().unwrap().body;
    let part = b"name=\"model\"\r\n\r\nthe/engine's own\r\n";
    assert!(seen.windows(part.len()).any(|window| window == part), "the model is in the form");
    let kept = parts.concat();
    assert!(seen.windows(kept.len()).any(|window| window == kept), "the client's parts are as they were");
    assert!(seen.ends_with(format!("--{BOUNDARY}--\r\n").as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_can_be_read_in_two_ways_is_400() {
    let engine = engine().await;
    let proxy = front(&engine, "").await;
    let model = || field("model", "public");
    for (what, body, code) in [
        ("two models", form(&[model(), file(), field("model", "same")]), "model_ambiguous"),
        ("twice the same", form(&[model(), model(), file()]), "model_ambiguous"),
        ("another case", form(&[field("Model", "public"), file()]), "model_ambiguous"),
        ("cut off", [model(), file()].concat(), "invalid_request"),
        ("no form at all", b"{\"model\":\"public\"}".to_vec(), "invalid_request"),
    ] {
        let (status, body) = send_form(&proxy, SPEECH, body).await;
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some(code)), "{what}: {body}");
        assert!(body["error"]["message"].is_string(), "{what}: {body}");
    }
    let (status, body) = send(&proxy, SPEECH, "multipart/form-data", form(&[model(), file()])).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid_request")), "no boundary: {body}");
    let (status, body) = send_form(&proxy, SPEECH, form(&[field("model", "nobody"), file()])).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")), "{body}");
    assert!(engine.posts().is_empty(), "no engine has seen any of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_the_query_counts_and_is_exchanged_there() {
    let engine = engine().await;
    let proxy = front(&engine, "").await;
    let mut bare = ask("whisper", false, 1);
    bare.as_object_mut().unwrap().remove("model");
    let json = "application/json";
    for (query, named, expected) in [
        ("?model=whisper", None, "?model=the%2Fengine%27s%20own"),
        ("?a=1&model=public&b=%20", None, "?a=1&model=the%2Fengine%27s%20own&b=%20"),
        ("?model=same", None, "?model=same"),
        ("?model=whisper", Some("whisper"), "?model=the%2Fengine%27s%20own"),
        ("?x=y", Some("whisper"), "?x=y"),
    ] {
        let body = |name: &str| if named.is_some() { ask(name, false, 1) } else { bare.clone() };
        let (status, answer) =
            send(&proxy, &format!("{CHAT}{query}"), json, body("whisper").to_string().into_bytes()).await;
        assert_eq!(status, 200, "{query} {named:?}: {answer}");
        let seen = engine.posts().pop().unwrap();
        let own = if query.contains("same") { "same" } else { "the/engine's own" };
        let expected_body = match named {
            Some(_) => body(own).to_string(),
            None => format!("{{\"model\":\"{own}\",{}", &bare.to_string()[1..]), // for engines that do not read the query
        };
        assert_eq!(seen.body, expected_body, "{query} {named:?}");
        let (path, told) = seen.target.split_at(CHAT.len());
        assert_eq!(path, CHAT);
        let plain = |text: &str| text.replace('+', "%20").replace("%27", "'").replace("%2F", "/");
        assert_eq!(plain(told), plain(expected), "{query} {named:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_contradicts_is_400() {
    let engine = engine().await;
    let proxy = front(&engine, "").await;
    let chat = || ask("whisper", false, 1).to_string().into_bytes();
    let json = "application/json";
    for query in ["?model=same", "?model=public", "?model=whisper&model=whisper", "?Model=whisper", "?mod%65l=same"] {
        let (status, body) = send(&proxy, &format!("{CHAT}{query}"), json, chat()).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("model_ambiguous")), "{query}: {body}");
    }
    let speech = form(&[field("model", "whisper"), file()]);
    let (status, body) = send_form(&proxy, &format!("{SPEECH}?model=same"), speech).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("model_ambiguous")), "{body}");
    let (status, body) = send(&proxy, "/v1/messages?model=same", json, chat()).await;
    assert_eq!((status, &body["type"]), (400, &json!("error")), "{body}");
    let (status, body) = send(&proxy, "/api/chat?model=same", json, chat()).await;
    assert!(status == 400 && body["error"].is_string(), "{body}");
    assert!(engine.posts().is_empty());
}
