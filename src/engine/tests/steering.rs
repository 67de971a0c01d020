//! A watch's pace and what others make of it: verdicts, failed requests, rest. Without the step that is tested, the next
//! check would come later than any wait here allows.

use std::time::Duration;

use arriero_core::Verdicts;
use serde_json::json;

use super::fake::{Answer, Fake};
use super::watching::{Told, Watching, is_described, is_down, is_up, quick, watching};
use crate::engine::{Check, EngineKind, Limits};

const HOUR: Duration = Duration::from_secs(3600);
const STEP: Duration = Duration::from_millis(20);

fn slow() -> Limits {
    Limits { every: HOUR, fast_every: Some(HOUR), down_every: Some(HOUR), ..quick() }
}

/// Ten more checks: at doubling steps the last would come after minutes.
async fn ten_checks(watched: &Watching, before_each: impl Fn()) {
    let mut at = watched.notes.until(0, "a check", |told| matches!(told, Told::Probed(..))).await;
    for _ in 0..10 {
        before_each();
        at = watched.notes.until(at, "the next check", |told| matches!(told, Told::Probed(..))).await;
    }
}

#[tokio::test]
async fn what_is_down_is_asked_at_its_own_pace() {
    let fake = Fake::start().await;
    let watched = watching(fake.target(), EngineKind::Vllm, Limits { down_every: Some(STEP), ..slow() });
    *watched.notes.verdicts.lock() = Verdicts::Down;
    ten_checks(&watched, || ()).await;
}

#[tokio::test]
async fn changing_verdicts_are_settled_fast() {
    let fake = Fake::start().await;
    let watched = watching(fake.target(), EngineKind::Vllm, Limits { fast_every: Some(STEP), ..slow() });
    *watched.notes.verdicts.lock() = Verdicts::Changing;
    ten_checks(&watched, || ()).await;
}

#[tokio::test]
async fn a_failed_request_brings_the_next_check_forward() {
    let fake = Fake::start().await;
    fake.be_vllm();
    let watched = watching(fake.target(), EngineKind::Vllm, Limits { fast_every: Some(STEP), ..slow() });
    ten_checks(&watched, || watched.steer.request_failed()).await;
}

#[tokio::test]
async fn a_stream_of_failed_requests_does_not_put_the_check_off() {
    let fake = Fake::start().await;
    fake.be_vllm();
    let fast = Duration::from_millis(200);
    let watched = watching(fake.target(), EngineKind::Vllm, Limits { fast_every: Some(fast), ..slow() });
    let failing = async {
        loop {
            watched.steer.request_failed();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = failing => {}
        () = ten_checks(&watched, || ()) => {}
    }
}

#[tokio::test]
async fn a_watch_at_rest_asks_nothing_and_then_everything() {
    let fake = Fake::start().await;
    fake.be_ollama();
    let watched = watching(fake.target(), EngineKind::Auto, quick());
    let at = watched.notes.until(0, "up", is_up).await;
    watched.steer.rest(true);
    watched.steer.rest(true);
    // The task hears of it, and a question that was on its way arrives.
    tokio::time::sleep(5 * STEP).await;
    let (asked, told) = (fake.asked().len(), watched.notes.told.lock().len());
    tokio::time::sleep(20 * STEP).await;
    assert_eq!((fake.asked().len(), watched.notes.told.lock().len()), (asked, told), "it rests");
    fake.clear().be_vllm();
    watched.steer.rest(false);
    let at = watched.notes.until(at, "another engine sits there now", is_described(EngineKind::Vllm)).await;
    watched.notes.until(at, "up", is_up).await;
    watched.steer.rest(true);
    drop(watched.steer);
    tokio::time::timeout(Duration::from_secs(20), watched.task).await.expect("ends at rest, too").expect("no panic");
}

#[tokio::test]
async fn an_own_check_alone_says_whether_it_is_well() {
    let fake = Fake::start().await;
    fake.be_vllm().text("/own", 503, "");
    let own = Check { path: "/own".into(), ..Check::default() };
    let watched = watching(fake.target(), EngineKind::Auto, Limits { check: Some(own), ..quick() });
    let at = watched.notes.until(0, "down, though its kind's own question would pass", is_down).await;
    assert_eq!(fake.count("/health"), 0, "it is not asked then");
    fake.text("/own", 200, "");
    let at = watched.notes.until(at, "what it is", is_described(EngineKind::Vllm)).await;
    let at = watched.notes.until(at, "up", is_up).await;
    fake.text("/health", 500, "");
    let asked = fake.count("/own");
    fake.until_asked("/own", asked + 5).await;
    assert!(!watched.notes.told.lock().iter().skip(at).any(is_down), "only the own check counts");
}

#[tokio::test]
async fn an_own_check_passes_for_an_engine_that_does_not_tell_what_it_is() {
    let fake = Fake::start().await;
    fake.otherwise(Answer::Full(503, vec![])).json("/own", json!({}));
    let own = Check { path: "/own".into(), ..Check::default() };
    let watched = watching(fake.target(), EngineKind::Auto, Limits { check: Some(own), ..quick() });
    watched.notes.until(0, "up", is_up).await;
    assert!(watched.notes.told.lock().iter().all(is_up), "and is not described");
}
