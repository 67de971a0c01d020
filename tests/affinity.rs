//! Requests that belong together stay at one endpoint: by a cookie of ours, by keys of their own. Ids that engines make
//! are in `affinity_ids.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/secure.rs"]
mod secure;
#[path = "common/stage.rs"]
mod stage;

use arriero_lab::http::{Fault, FaultKind};
use axum::response::IntoResponse;
use common::{Proxy, eventually, free_port};
use herd::{CHAT, QUICK, asked, bring_up, chat, chats, engines, get, herd, pool_at, send, take_down, to_state, who};
use scripted::Scripted;
use secure::{Pair, Two};
use serde_json::{Value, json};
use stage::{FAST, ask, json_of, ollama, start};

const TURNS: &str = "balance: round-robin";

/// The cookies that an answer sets.
fn cookies(answer: &reqwest::Response) -> Vec<String> {
    answer.headers().get_all("set-cookie").iter().map(|line| line.to_str().unwrap().to_owned()).collect()
}

/// A client without a cookie: who answered, and the cookie that it sends from then on.
async fn newcomer(proxy: &Proxy) -> (String, String) {
    let answer = chat(proxy, &[]).await;
    let [line] = &cookies(&answer)[..] else { panic!("not one cookie: {:?}", cookies(&answer)) };
    (who(&answer), line.split(';').next().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_sets_a_cookie_and_it_binds() {
    let engines = engines(3, FAST).await;
    let proxy = Proxy::start(&herd(&engines, &[], "", &format!("{TURNS}, affinity: {{ insert_cookie: way }}"))).await;
    let line = cookies(&chat(&proxy, &[]).await).pop().unwrap();
    let (value, rest) = line.strip_prefix("way=").unwrap().split_at(16);
    assert!(value.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()), "{line}");
    assert_eq!(rest, "; Path=/; HttpOnly; SameSite=Lax");
    // newcomers take turns, holders stay, and are told nothing new
    let holders = [newcomer(&proxy).await, newcomer(&proxy).await, newcomer(&proxy).await];
    assert_eq!(holders.iter().map(|(name, _)| name.as_str()).collect::<String>(), "bca");
    for (name, cookie) in &holders {
        for header in [cookie.clone(), format!("other=1; {cookie}"), format!("{cookie}; way2=x")] {
            let answer = chat(&proxy, &[("cookie", &header)]).await;
            assert_eq!((who(&answer), cookies(&answer)), (name.clone(), vec![]), "{header}");
        }
    }
    assert_eq!(newcomer(&proxy).await.0, "b", "holders took nobody's turn");
    assert_eq!(asked(&engines), [5, 5, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_names_nobody_is_replaced() {
    let engines = engines(3, FAST).await;
    let route = format!("{TURNS}, affinity: {{ insert_cookie: way }}");
    let proxy = Proxy::start(&herd(&engines, &[], "", &route)).await;
    let (_, gone) = newcomer(&proxy).await;
    proxy.reload(&herd(&engines, &[], "", &route).replacen("{ name: a,", "{ name: z,", 1)).await;
    herd::until_health(&proxy, "z", "up").await;
    let left = &gone;
    for cookie in [left, "way=ffffffffffffffff", "way=", "way=zz", "way", "way=00000000000000000000001"] {
        let answer = chat(&proxy, &[("cookie", cookie)]).await;
        let fresh = cookies(&answer).pop().unwrap_or_else(|| panic!("{cookie}: no new cookie"));
        let again = chat(&proxy, &[("cookie", fresh.split(';').next().unwrap())]).await;
        assert_eq!(who(&again), who(&answer), "{cookie}: the new one binds");
        assert_eq!(cookies(&again), Vec::<String>::new(), "{cookie}");
    }
    assert_eq!(asked(&engines).iter().sum::<u64>(), 13);
    // each strange cookie took a turn, and was followed by one that was bound
    assert!(asked(&engines).iter().all(|count| *count >= 2), "{:?}", asked(&engines));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_drains_still_serves_its_holders() {
    let engines = engines(3, FAST).await;
    let proxy = Proxy::start(&herd(&engines, &[], "", &format!("{TURNS}, affinity: {{ insert_cookie: way }}"))).await;
    let (name, cookie) = newcomer(&proxy).await;
    for (change, word) in [(json!({ "state": "drain" }), "drain"), (json!({ "state": "ready", "weight": 0 }), "weight")]
    {
        herd::set(&proxy, &name, change).await;
        assert_eq!(chats(&proxy, &[("cookie", &cookie)], 5).await, "aaaaa", "{word}");
        let fresh = chats(&proxy, &[], 6).await;
        assert_eq!((fresh.matches('b').count(), fresh.matches('c').count()), (3, 3), "{word}: {fresh}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn soft_holders_of_one_in_maintenance_move_for_good() {
    let engines = engines(3, FAST).await;
    let proxy =
        Proxy::start(&herd(&engines, &[], QUICK, &format!("{TURNS}, affinity: {{ insert_cookie: way }}"))).await;
    let (_, cookie) = newcomer(&proxy).await;
    to_state(&proxy, "a", "maint").await;
    let answer = chat(&proxy, &[("cookie", &cookie)]).await;
    let (name, new) = (who(&answer), cookies(&answer).pop().expect("a new cookie"));
    assert_ne!(name, "a");
    let new = new.split(';').next().unwrap().to_owned();
    to_state(&proxy, "a", "ready").await;
    assert_eq!(chats(&proxy, &[("cookie", &new)], 4).await, name.repeat(4));
    assert_eq!(chats(&proxy, &[("cookie", &cookie)], 2).await, "aa", "the old cookie names the old one still");
    take_down(&proxy, &engines[0], "a").await;
    assert_ne!(who(&chat(&proxy, &[("cookie", &cookie)]).await), "a", "down is no better");
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_holders_are_refused_in_their_own_api() {
    let engines = [start(ollama(&["m"], FAST)).await, start(ollama(&["m"], FAST)).await]; // they speak all three
    let route = format!("{TURNS}, affinity: {{ insert_cookie: way, hard: true }}");
    let text = herd(&engines, &[], QUICK, &route).replace("engine: openai", "engine: ollama");
    let proxy = Proxy::start(&text).await;
    let (_, cookie) = newcomer(&proxy).await;
    let before = asked(&engines);
    to_state(&proxy, "a", "maint").await;
    for path in [CHAT, "/v1/messages", "/api/chat"] {
        let client = common::reqwest_client();
        let request = client.post(proxy.url(path)).header("cookie", &cookie).json(&ask("m", true, 1));
        let answer = request.send().await.unwrap();
        let after: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().expect("seconds");
        assert!(after >= 1, "{path}");
        assert_eq!(cookies(&answer), Vec::<String>::new(), "{path}: the old cookie is kept");
        let (status, body) = json_of(answer).await;
        assert_eq!(status, 503, "{path}: {body}");
        match path {
            CHAT => assert!(body["error"]["message"].is_string() && body["error"]["type"] == "server_error", "{body}"),
            "/v1/messages" => assert!(body["type"] == "error" && body["error"]["message"].is_string(), "{body}"),
            _ => assert!(body["error"].is_string(), "{body}"),
        }
    }
    assert_eq!(asked(&engines), before, "nobody was asked");
    assert_eq!(chats(&proxy, &[], 3).await, "bbb", "newcomers are served");
    to_state(&proxy, "a", "ready").await;
    assert_eq!(chats(&proxy, &[("cookie", &cookie)], 2).await, "aa");
    take_down(&proxy, &engines[0], "a").await;
    assert_eq!(send(&proxy, &[("cookie", &cookie)], &ask("m", false, 1)).await.status(), 503);
    bring_up(&proxy, &engines[0], "a").await;
    assert_eq!(chats(&proxy, &[("cookie", &cookie)], 2).await, "aa");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_tied_to_an_engine_that_failed_him() {
    let engines = engines(2, FAST).await;
    let pool = "retries: 0, ejection: none";
    let route = format!("{TURNS}, affinity: {{ insert_cookie: way }}");
    let proxy = Proxy::start(&herd(&engines, &[], pool, &route)).await;
    engines[0].set_fault(Fault::always(FaultKind::Error));
    let failed = send(&proxy, &[], &ask("m", false, 1)).await;
    assert_eq!((failed.status().as_u16(), who(&failed), cookies(&failed)), (500, "a".to_owned(), vec![]));
    assert_eq!(newcomer(&proxy).await.0, "b");
}

/// The engine's own cookies pass beside ours; over TLS ours is `Secure`; with a time it is renewed by each answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_fits_its_connection() {
    let engine = Scripted::start(|_| ([("set-cookie", "own=1")], axum::Json(json!({ "id": "x" }))).into_response());
    let engine = engine.await;
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let pair = Pair::new(&["alpha.test"]).write(dir.path(), "alpha");
    let text = format!(
        "  tls: {{ bind: \"127.0.0.1:{port}\", tls: [{pair}] }}\npools: {{ {} }}\n\
         routes: [{{ name: r, pool: p, affinity: {{ insert_cookie: way, ttl: 1h }} }}]\n",
        pool_at(&[engine.url()], &[], "")
    );
    let proxy = Proxy::start(&text).await;
    let clear = cookies(&chat(&proxy, &[]).await);
    assert_eq!(clear.len(), 2, "{clear:?}");
    assert_eq!(clear[0], "own=1");
    let value = clear[1].split(';').next().unwrap().to_owned();
    let expected = format!("{value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
    assert_eq!(clear[1], expected);
    assert_eq!(cookies(&chat(&proxy, &[("cookie", &value)]).await)[1], expected, "renewed");
    let two = Two::over(secure::connect(port, "alpha.test", &["h2"]).await).await;
    let request = http::Request::post(format!("https://alpha.test{CHAT}")).header("content-type", "application/json");
    let (status, head, _) = two.ask(request, ask("m", false, 1).to_string().as_bytes()).await;
    let lines: Vec<_> = head.get_all("set-cookie").iter().collect();
    assert_eq!(
        (status, lines[0].to_str().unwrap(), lines[1].to_str().unwrap()),
        (200, "own=1", &*(expected + "; Secure"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_that_a_request_has_counts() {
    let engines = engines(4, FAST).await;
    let by = "affinity: { by: [session, { header: x-user }, { cookie: sid }, { body: team }, api-key] }";
    let proxy = Proxy::start(&herd(&engines, &[], "", &format!("{TURNS}, {by}"))).await;
    let talk = async |headers: &[(&str, &str)], more: Value| {
        let mut body = ask("m", false, 1);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        who(&send(&proxy, headers, &body).await)
    };
    let none = json!({});
    // each new key takes its turn once
    let keys: [(&[(&str, &str)], Value); 4] = [
        (&[("x-session-id", "s1")], none.clone()),
        (&[("x-user", "u1")], none.clone()),
        (&[("cookie", "x=1; sid=c1")], none.clone()),
        (&[], json!({ "team": "b1" })),
    ];
    for (nth, (headers, more)) in keys.iter().enumerate() {
        assert_eq!(talk(headers, more.clone()).await, herd::name(nth), "{headers:?}");
    }
    assert_eq!(talk(&[("authorization", "Bearer k1")], none.clone()).await, "a", "the fifth key");
    for _ in 0..3 {
        for (nth, (headers, more)) in keys.iter().enumerate() {
            assert_eq!(talk(headers, more.clone()).await, herd::name(nth), "{headers:?}");
        }
    }
    // the first in the list wins over all others that the request has, too
    let all = [("x-session-id", "s1"), ("x-user", "u1"), ("cookie", "sid=c1"), ("authorization", "Bearer k1")];
    assert_eq!(talk(&all, json!({ "team": "b1" })).await, "a");
    assert_eq!(talk(&all[1..], json!({ "team": "b1" })).await, "b");
    assert_eq!(talk(&all[2..], json!({ "team": "b1" })).await, "c");
    assert_eq!(talk(&all[3..], json!({ "team": "b1" })).await, "d");
    assert_eq!(talk(&[("x-api-key", "k1")], none.clone()).await, "a", "the same key in another header");
    // without any: in turns, and nothing is noted
    let free = [talk(&[], none.clone()).await, talk(&[], none.clone()).await, talk(&[], none).await];
    assert_eq!(free.concat(), "bcd");
    assert_eq!(get(&proxy, "api/affinity").await["entries"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_on_with_each_use_and_ends_without() {
    let engines = engines(2, FAST).await;
    let route = format!("{TURNS}, affinity: {{ by: {{ header: x-user }}, ttl: 2s }}");
    let proxy = Proxy::start(&herd(&engines, &[], "", &route)).await;
    assert_eq!(chats(&proxy, &[("x-user", "u")], 1).await, "a");
    let left = async || {
        let shown = get(&proxy, "api/affinity").await;
        shown["rows"][0]["expires_in_s"].as_f64().unwrap_or(0.0)
    };
    for _ in 0..2 {
        assert!(eventually(async || left().await < 1.2).await);
        assert_eq!(chats(&proxy, &[("x-user", "u")], 1).await, "a");
        let renewed = left().await;
        assert!(renewed > 1.2 && renewed <= 2.0, "{renewed}");
    }
    assert!(eventually(async || get(&proxy, "api/affinity").await["entries"] == 0).await, "it ends");
    assert_eq!(chats(&proxy, &[("x-user", "u")], 2).await, "bb", "the next turn, and there it stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_reloads_and_move_only_when_they_must() {
    let engines = engines(3, FAST).await;
    let route = |more: &str| format!("{TURNS}, affinity: {{ by: {{ header: x-user }} }} {more}");
    let proxy = Proxy::start(&herd(&engines, &[], QUICK, &route(""))).await;
    for (user, name) in [("u", "a"), ("v", "b"), ("w", "c")] {
        assert_eq!(chats(&proxy, &[("x-user", user)], 1).await, name);
    }
    proxy.reload(&herd(&engines, &[], &format!("{QUICK}, retries: 1"), &route(", aliases: { n: m }"))).await;
    for (user, name) in [("u", "a"), ("w", "c"), ("v", "b")] {
        assert_eq!(chats(&proxy, &[("x-user", user)], 3).await, name.repeat(3), "after the reload");
    }
    take_down(&proxy, &engines[0], "a").await;
    let moved = chats(&proxy, &[("x-user", "u")], 1).await;
    assert_ne!(moved, "a");
    assert_eq!(chats(&proxy, &[("x-user", "v")], 2).await, "bb", "others stay");
    bring_up(&proxy, &engines[0], "a").await;
    assert_eq!(chats(&proxy, &[("x-user", "u")], 3).await, moved.repeat(3), "it stays where it went");
    // a retry moves a key as well
    engines[1].set_fault(Fault::always(FaultKind::Busy));
    let elsewhere = chats(&proxy, &[("x-user", "v")], 1).await;
    assert_ne!(elsewhere, "b");
    engines[1].set_fault(Fault::none());
    assert!(eventually(async || herd::endpoint(&proxy, "b").await["busy_for_s"].is_null()).await);
    assert_eq!(chats(&proxy, &[("x-user", "v")], 2).await, elsewhere.repeat(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_bounded_and_the_longest_unused_goes() {
    let engines = engines(2, FAST).await;
    let route = format!("{TURNS}, affinity: {{ by: {{ header: x-user }}, entries: 3 }}");
    let proxy = Proxy::start(&herd(&engines, &[], "", &route)).await;
    let talk = async |user: &str| chats(&proxy, &[("x-user", user)], 1).await;
    let first = [talk("1").await, talk("2").await, talk("3").await];
    assert_eq!(first.concat(), "aba");
    assert_eq!(talk("1").await, "a", "used again: the oldest is 2");
    assert_eq!(talk("4").await, "b");
    assert_eq!(get(&proxy, "api/affinity?pool=p").await["entries"], 3);
    assert_eq!(talk("1").await + &talk("3").await + &talk("4").await, "aab");
    assert_eq!(talk("2").await, "a", "2 was forgotten: the next turn is a's");
}

/// A key goes by its hash to a pool, and stays in the pool that knows it.
#[tokio::test(flavor = "multi_thread")]
async fn over_two_pools_a_key_stays_in_its_own() {
    let engines = engines(4, FAST).await;
    let url = |nth: usize| engines[nth].url();
    let text = format!(
        "pools:\n  p0: {{ endpoints: [{{ name: a, url: {:?} }}, {{ name: b, url: {:?} }}] }}\n  \
         p1: {{ endpoints: [{{ name: c, url: {:?} }}, {{ name: d, url: {:?} }}] }}\nroutes:\n  \
         - {{ name: r, pool: {{ p0: 50, p1: 50 }}, {TURNS}, affinity: {{ by: {{ header: x-user }} }} }}\n",
        url(0),
        url(1),
        url(2),
        url(3)
    );
    let proxy = Proxy::start(&text).await;
    let mut homes = String::new();
    for user in 0..40 {
        let user = user.to_string();
        let names = chats(&proxy, &[("x-user", &user)], 4).await;
        assert_eq!(names, names[..1].repeat(4), "{user}");
        homes += &names[..1];
    }
    for name in ["a", "b", "c", "d"] {
        // of 40 keys each pool expects 20 (standard deviation 3.2), and deals them in turns
        assert!((4..=16).contains(&homes.matches(name).count()), "{homes}");
    }
}
