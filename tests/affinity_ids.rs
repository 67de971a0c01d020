//! Ids that an engine made lead back to it, whatever the balance says: responses and conversations of OpenAI's API.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use std::sync::atomic::{AtomicU32, Ordering};

use axum::Json;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use common::{PATIENCE, Proxy, eventually, reqwest_client};
use herd::{QUICK, get, name, pool_at, set, to_state, who};
use reqwest::Method;
use scripted::{Scripted, Seen};
use serde_json::{Value, json};
use stage::json_of;

const RESPONSES: &str = "/v1/responses";
const TURNS: &str = "balance: round-robin";

/// An engine that numbers what it makes: `resp_a_1`, `conv_a_2` ...
async fn maker(name: String) -> Scripted {
    let count = AtomicU32::new(0);
    Scripted::start(move |seen| made(seen, &name, count.fetch_add(1, Ordering::SeqCst) + 1)).await
}

fn made(seen: &Seen, name: &str, nth: u32) -> Response {
    if seen.target == "/v1/conversations" {
        return Json(json!({ "id": format!("conv_{name}_{nth}"), "object": "conversation" })).into_response();
    }
    let id = format!("resp_{name}_{nth}");
    let asked: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    if asked["stream"] != true {
        return Json(json!({ "id": id, "object": "response", "status": "completed", "output": [] })).into_response();
    }
    let response = json!({ "object": "response", "id": id, "output": [] });
    let event = |kind: &str| format!("event: {kind}\ndata: {}\n\n", json!({ "type": kind, "response": response }));
    ([("content-type", "text/event-stream")], event("response.created") + &event("response.completed")).into_response()
}

async fn makers(count: usize) -> Vec<Scripted> {
    let mut engines = Vec::new();
    for nth in 0..count {
        engines.push(maker(name(nth)).await);
    }
    engines
}

fn config(engines: &[Scripted], pool: &str, route: &str) -> String {
    let urls: Vec<String> = engines.iter().map(Scripted::url).collect();
    format!("pools: {{ {} }}\nroutes: [{{ name: r, pool: p, {route} }}]\n", pool_at(&urls, &[], pool))
}

/// Who answers a request, and the id in the answer.
async fn ask(proxy: &Proxy, path: &str, more: Value) -> (String, String) {
    let mut body = json!({ "model": "m", "input": "Where does the herd sleep?" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let sent = reqwest_client().post(proxy.url(path)).json(&body).send();
    let answer = tokio::time::timeout(PATIENCE, sent).await.expect("in time").expect("an answer");
    assert_eq!(answer.status(), 200, "{body}");
    let name = who(&answer);
    let text = answer.text().await.unwrap();
    let after = text.split("\"id\":\"").nth(1).unwrap_or_else(|| panic!("no id in {text}"));
    (name, after.split('"').next().unwrap().to_owned())
}

/// A request without a body; gives who was asked.
async fn bare(proxy: &Proxy, method: Method, path: &str) -> String {
    who(&reqwest_client().request(method, proxy.url(path)).send().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_response_goes_to_its_engine() {
    let engines = makers(3).await;
    let proxy = Proxy::start(&config(&engines, "", TURNS)).await;
    for stream in [false, true] {
        let mut ids = Vec::new();
        for nth in 0..3 {
            let (by, id) = ask(&proxy, RESPONSES, json!({ "stream": stream })).await;
            assert_eq!(by, name(nth), "turns");
            assert!(id.starts_with(&format!("resp_{by}_")), "{id}");
            ids.push((by, id));
        }
        for (by, id) in ids.iter_mut().rev() {
            for _ in 0..3 {
                let follows = json!({ "previous_response_id": id, "stream": stream });
                let (again, next) = ask(&proxy, RESPONSES, follows).await;
                assert_eq!(again, *by, "{id}");
                assert_ne!(next, *id);
                *id = next; // the next follows this one
            }
        }
        for (by, id) in &ids {
            for (method, tail) in [
                (Method::GET, ""),
                (Method::GET, "?include[]=reasoning"),
                (Method::GET, "/input_items?limit=1"),
                (Method::POST, "/cancel"),
                (Method::DELETE, ""),
            ] {
                let path = format!("{RESPONSES}/{id}{tail}");
                assert_eq!(bare(&proxy, method.clone(), &path).await, *by, "{method} {path}");
                let place = usize::from(by.as_bytes()[0] - b'a');
                let seen = engines[place].all().into_iter().any(|seen| seen.method == method && seen.target == path);
                assert!(seen, "{method} {path} reached {by}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_where_it_began() {
    let engines = makers(3).await;
    let proxy = Proxy::start(&config(&engines, "", &format!("{TURNS}, allow: [conversations]"))).await;
    let mut talks = Vec::new();
    for nth in 0..3 {
        let (by, id) = ask(&proxy, "/v1/conversations", json!({})).await;
        assert_eq!((by, &id), (name(nth), &format!("conv_{}_1", name(nth))));
        talks.push((name(nth), id));
    }
    for (by, id) in talks.iter().rev() {
        for told in [json!(id), json!({ "id": id })] {
            assert_eq!(ask(&proxy, RESPONSES, json!({ "conversation": told })).await.0, *by, "{id}");
        }
        assert_eq!(bare(&proxy, Method::GET, &format!("/v1/conversations/{id}/items")).await, *by);
        assert_eq!(bare(&proxy, Method::DELETE, &format!("/v1/conversations/{id}")).await, *by);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_goes_by_the_strategy() {
    let engines = makers(3).await;
    let proxy = Proxy::start(&config(&engines, "", TURNS)).await;
    let mut names = String::new();
    for nth in 0..6 {
        let unknown = json!({ "previous_response_id": format!("resp_elsewhere_{nth}") });
        names += &ask(&proxy, RESPONSES, unknown).await.0;
    }
    for _ in 0..3 {
        names += &bare(&proxy, Method::GET, "/v1/responses/resp_elsewhere_9").await;
    }
    assert_eq!(names, "abcabcabc");
    // and an id that another path's body names is none
    let chat = json!({ "model": "m", "messages": [], "previous_response_id": "resp_b_1" });
    ask(&proxy, RESPONSES, json!({})).await; // a
    let answer = reqwest_client().post(proxy.url(herd::CHAT)).json(&chat).send().await.unwrap();
    assert_eq!(who(&answer), "b", "the turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_answers_for_an_engine_that_cannot() {
    let mut engines = makers(2).await;
    let proxy = Proxy::start(&config(&engines, &format!("{QUICK}, retries: 3"), TURNS)).await;
    let (_, id) = ask(&proxy, RESPONSES, json!({})).await;
    assert_eq!(id, "resp_a_1");
    let others = || engines[1].all().iter().filter(|seen| seen.target.starts_with(RESPONSES)).count();
    let refused = async || {
        let follows = json!({ "model": "m", "input": "x", "previous_response_id": "resp_a_1" });
        let answer = reqwest_client().post(proxy.url(RESPONSES)).json(&follows).send().await.unwrap();
        let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let (status, body) = json_of(answer).await;
        assert_eq!((status, &body["error"]["type"]), (503, &json!("server_error")), "{body}");
        assert!(after.is_some_and(|after| after.parse::<u32>().is_ok_and(|seconds| seconds >= 1)));
        let asked = reqwest_client().get(proxy.url("/v1/responses/resp_a_1")).send().await.unwrap();
        assert_eq!(asked.status(), 503);
    };
    to_state(&proxy, "a", "maint").await;
    refused().await;
    to_state(&proxy, "a", "drain").await;
    assert_eq!(
        ask(&proxy, RESPONSES, json!({ "previous_response_id": id })).await.0,
        "a",
        "what drains serves its own"
    );
    set(&proxy, "a", json!({ "state": "ready", "weight": 0 })).await;
    assert_eq!(ask(&proxy, RESPONSES, json!({ "previous_response_id": id })).await.0, "a", "so does weight 0");
    assert_eq!(others(), 0);
    drop(engines.remove(0));
    let gone = eventually(async || herd::endpoint(&proxy, "a").await["health"] == "down").await;
    assert!(gone, "{}", herd::endpoint(&proxy, "a").await);
    let others = || engines[0].all().iter().filter(|seen| seen.target.starts_with(RESPONSES)).count();
    refused().await;
    assert_eq!(others(), 0, "nobody else was asked");
    assert_eq!(ask(&proxy, RESPONSES, json!({})).await.0, "b", "what follows nothing is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_survive_a_reload_and_are_told() {
    let engines = makers(3).await;
    let proxy = Proxy::start(&config(&engines, "", TURNS)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(ask(&proxy, RESPONSES, json!({ "stream": true })).await);
    }
    proxy.reload(&config(&engines, "retries: 1", "balance: least-connection")).await;
    for (by, id) in &ids {
        assert_eq!(ask(&proxy, RESPONSES, json!({ "previous_response_id": id })).await.0, *by);
    }
    let table = get(&proxy, "api/affinity?pool=p").await;
    let rows = table["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &table["entries"]), (6, &json!(6)), "{table}");
    for row in rows {
        assert_eq!((&row["kind"], &row["pool"]), (&json!("id"), &json!("p")), "{row}");
        let left = row["expires_in_s"].as_f64().unwrap();
        assert!(left > 86_000.0 && left <= 86_400.0, "a day: {row}");
    }
    let key = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(ids[1].1.as_bytes()));
    assert!(rows.iter().any(|row| row["key"] == key && row["endpoint"] == "b"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pools_the_one_that_knows_is_asked() {
    let engines = makers(4).await;
    let urls: Vec<String> = engines.iter().map(|engine| format!("url: {:?}, engine: openai", engine.url())).collect();
    let text = format!(
        "pools:\n  p0: {{ endpoints: [{{ name: a, {} }}, {{ name: b, {} }}] }}\n  \
         p1: {{ endpoints: [{{ name: c, {} }}, {{ name: d, {} }}] }}\nroutes:\n  \
         - {{ name: r, pool: {{ p0: 50, p1: 50 }}, {TURNS} }}\n",
        urls[0], urls[1], urls[2], urls[3]
    );
    let proxy = Proxy::start(&text).await;
    let mut makers = String::new();
    for nth in 0..20 {
        let (by, id) = ask(&proxy, RESPONSES, json!({ "stream": nth % 2 == 0 })).await;
        for _ in 0..3 {
            assert_eq!(ask(&proxy, RESPONSES, json!({ "previous_response_id": id })).await.0, by, "{id}");
        }
        assert_eq!(bare(&proxy, Method::GET, &format!("{RESPONSES}/{id}")).await, by, "{id}");
        makers += &by;
    }
    let of_first = makers.matches(['a', 'b']).count();
    assert!((1..20).contains(&of_first), "both pools made some: {makers}"); // all in one pool: 2 in a million
}

/// The id is noted before the answer ends, and found wherever the pieces are cut.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_pieces_is_known_at_once() {
    let (first, pieces) = Scripted::streaming("text/event-stream").await;
    let second = maker("b".to_owned()).await;
    let engines = [first, second];
    let proxy = Proxy::start(&config(&engines, "", TURNS)).await;
    let url = proxy.url(RESPONSES);
    let body = json!({ "model": "m", "input": "x", "stream": true });
    let asking = tokio::spawn(async move { reqwest_client().post(url).json(&body).send().await.unwrap() });
    let event =
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_slow\"}}\n\n";
    for byte in event.as_bytes() {
        pieces.unbounded_send(Ok(Bytes::copy_from_slice(&[*byte]))).unwrap();
    }
    let answer = asking.await.unwrap();
    assert_eq!(who(&answer), "a");
    let known = eventually(async || get(&proxy, "api/affinity").await["entries"] == 1);
    assert!(known.await, "while the answer still runs");
    for _ in 0..3 {
        assert_eq!(bare(&proxy, Method::GET, "/v1/responses/resp_slow").await, "a");
    }
    drop(pieces);
    assert_eq!(answer.text().await.unwrap(), event);
}
