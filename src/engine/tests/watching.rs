//! The poll loop against engines that come, change and go. Waits are on conditions, with wide bounds.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::Verdicts;
use arriero_core::endpoint::Inventory;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::fake::{Answer, Fake};
use crate::engine::{Description, EngineKind, Limits, Lists, Load, Sink, Steer, Target, steer, watch};

#[derive(Clone, Debug)]
pub(super) enum Told {
    Described(Description, Inventory, Lists),
    Probed(bool, String),
    Sampled(Load),
}

pub(super) struct Notes {
    pub(super) told: Mutex<Vec<Told>>,
    /// What the sink makes of them.
    pub(super) verdicts: Mutex<Verdicts>,
    news: Notify,
}

impl Notes {
    fn add(&self, told: Told) {
        self.told.lock().push(told);
        self.news.notify_one();
    }

    /// Waits until something told after `from` meets the condition; returns the place behind it.
    pub(super) async fn until(&self, from: usize, what: &str, met: impl Fn(&Told) -> bool) -> usize {
        let search = async {
            loop {
                if let Some(at) = self.told.lock().iter().skip(from).position(&met) {
                    return from + at + 1;
                }
                self.news.notified().await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), search).await {
            Ok(at) => at,
            Err(_) => panic!("never: {what}; told were {:?}", self.told.lock()),
        }
    }
}

impl Sink for Notes {
    fn described(&self, description: Description, inventory: Inventory, lists: Lists) {
        self.add(Told::Described(description, inventory, lists));
    }
    fn probed(&self, ok: bool, why: &str) -> Verdicts {
        self.add(Told::Probed(ok, why.into()));
        *self.verdicts.lock()
    }
    fn sampled(&self, load: Load) {
        self.add(Told::Sampled(load));
    }
}

pub(super) struct Watching {
    pub(super) notes: Arc<Notes>,
    pub(super) steer: Steer,
    pub(super) task: JoinHandle<()>,
}

pub(super) fn quick() -> Limits {
    let step = Duration::from_millis(20);
    Limits { every: step, poll: Some(step), inventory: Duration::from_secs(3600), ..Limits::default() }
}

pub(super) fn watching(target: Target, kind: EngineKind, limits: Limits) -> Watching {
    let notes =
        Arc::new(Notes { told: Mutex::default(), verdicts: Mutex::new(Verdicts::Settled), news: Notify::new() });
    let (steer, steered) = steer();
    let task = tokio::spawn(watch(target, None, kind, limits, notes.clone(), steered));
    Watching { notes, steer, task }
}

pub(super) fn is_described(kind: EngineKind) -> impl Fn(&Told) -> bool {
    move |told| matches!(told, Told::Described(description, ..) if description.kind == kind)
}

pub(super) fn is_up(told: &Told) -> bool {
    matches!(told, Told::Probed(true, why) if why.is_empty())
}

pub(super) fn is_down(told: &Told) -> bool {
    matches!(told, Told::Probed(false, why) if !why.is_empty())
}

pub(super) fn is_sampled(told: &Told) -> bool {
    matches!(told, Told::Sampled(_))
}

#[tokio::test]
async fn an_engine_that_comes_up_later_is_described_before_it_counts_as_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = Target { url: format!("http://{address}"), timeout: Duration::from_secs(5), ..Target::default() };
    let watched = watching(target, EngineKind::Auto, quick());
    let notes = &watched.notes;
    let at = notes.until(0, "down while nothing listens", is_down).await;
    assert!(notes.told.lock().iter().all(is_down));
    let fake = Fake::on(TcpListener::bind(address).await.unwrap());
    fake.otherwise(Answer::Full(503, vec![]));
    let at = notes
        .until(at, "down while it answers 503", |told| matches!(told, Told::Probed(false, why) if why.contains("503")))
        .await;
    // All at once, so that no half-set engine is seen.
    fake.be_ollama();
    let described = notes.until(at, "described", is_described(EngineKind::Ollama)).await;
    let up = notes.until(at, "up", is_up).await;
    assert!(described < up);
    notes.until(up, "sampled", is_sampled).await;
}

#[tokio::test]
async fn stopping_ends_the_watch_even_within_a_question() {
    let fake = Fake::start().await;
    fake.otherwise(Answer::Hang);
    let target = Target { timeout: Duration::from_secs(600), ..fake.target() };
    let watched = watching(target, EngineKind::Auto, quick());
    fake.until_asked("/v1/models", 1).await;
    drop(watched.steer);
    tokio::time::timeout(Duration::from_secs(20), watched.task).await.expect("ends").unwrap();
    assert!(watched.notes.told.lock().is_empty());
}

#[tokio::test]
async fn an_engine_swapped_behind_the_same_address_is_detected_anew() {
    let fake = Fake::start().await;
    fake.be_ollama();
    let watched = watching(fake.target(), EngineKind::Auto, quick());
    let at = watched.notes.until(0, "Ollama", is_described(EngineKind::Ollama)).await;
    fake.clear().otherwise(Answer::Full(503, vec![]));
    let at = watched.notes.until(at, "down", is_down).await;
    fake.be_vllm();
    let at = watched.notes.until(at, "vLLM", is_described(EngineKind::Vllm)).await;
    let has_figures = |told: &Told| matches!(told, Told::Sampled(load) if load.running == Some(7));
    watched.notes.until(at, "its load", has_figures).await;
}

#[tokio::test]
async fn what_was_only_guessed_is_looked_at_again() {
    // A gateway says 404 to everything until its engine is there.
    let fake = Fake::start().await;
    let limits = Limits { inventory: Duration::from_millis(20), ..quick() };
    let watched = watching(fake.target(), EngineKind::Auto, limits);
    let at = watched.notes.until(0, "the guess", is_described(EngineKind::OpenAi)).await;
    let mut at = watched.notes.until(at, "up", is_up).await;
    for _ in 0..5 {
        at = watched.notes.until(at, "samples", is_sampled).await;
    }
    fake.be_vllm();
    watched.notes.until(at, "vLLM", is_described(EngineKind::Vllm)).await;
    let guesses = watched.notes.told.lock().iter().filter(|told| is_described(EngineKind::OpenAi)(told)).count();
    assert!(guesses <= 2, "{guesses}");
}

#[tokio::test]
async fn a_model_in_memory_that_no_inventory_listed_asks_for_a_new_one_once() {
    let fake = Fake::start().await;
    fake.be_ollama();
    let watched = watching(fake.target(), EngineKind::Ollama, quick());
    let at = watched.notes.until(0, "sampled", is_sampled).await;
    fake.json("/api/tags", json!({"models": [{"name": "new:1b"}]}));
    fake.json("/api/ps", json!({"models": [{"name": "new:1b"}, {"name": "ghost:1b"}]}));
    let lists_new = |told: &Told| matches!(told, Told::Described(_, Inventory::Known(models), _) if models[0].local.as_ref() == "new:1b");
    let mut at = watched.notes.until(at, "the new model", lists_new).await;
    // The ghost stays unlisted: once more at most, then only samples.
    for _ in 0..5 {
        at = watched.notes.until(at, "samples", is_sampled).await;
    }
    let inventories = fake.count("/api/tags");
    assert!(inventories <= 3, "{inventories}");
}

#[tokio::test]
async fn a_changed_list_is_told_and_an_unchanged_one_is_not() {
    let fake = Fake::start().await;
    fake.be_openai();
    let limits = Limits { inventory: Duration::from_millis(20), ..quick() };
    let watched = watching(fake.target(), EngineKind::OpenAi, limits);
    let mut at = watched.notes.until(0, "described", is_described(EngineKind::OpenAi)).await;
    for _ in 0..10 {
        at = watched.notes.until(at, "samples", is_sampled).await;
    }
    let described = watched.notes.told.lock().iter().filter(|told| matches!(told, Told::Described(..))).count();
    assert_eq!(described, 1);
    fake.json("/v1/models", json!({"data": [{"id": "big", "max_model_len": 4096}]}));
    let says_length =
        |told: &Told| matches!(told, Told::Described(_, _, lists) if lists.models[0]["max_model_len"] == 4096);
    watched.notes.until(at, "the new entry", says_length).await;
}

#[tokio::test]
async fn without_health_checks_nothing_fails_and_a_new_engine_is_still_found() {
    let fake = Fake::start().await;
    fake.be_vllm();
    let watched = watching(fake.target(), EngineKind::Auto, Limits { health: false, ..quick() });
    let at = watched.notes.until(0, "vLLM", is_described(EngineKind::Vllm)).await;
    let at = watched.notes.until(at, "sampled", is_sampled).await;
    fake.clear().otherwise(Answer::Full(500, vec![]));
    fake.until_asked("/v1/models", fake.count("/v1/models") + 2).await;
    fake.be_ollama();
    watched.notes.until(at, "Ollama", is_described(EngineKind::Ollama)).await;
    assert!(!watched.notes.told.lock().iter().any(|told| matches!(told, Told::Probed(..))));
}

#[tokio::test]
async fn a_target_that_cannot_be_asked_is_down_and_stops_like_any() {
    let target = Target { url: "gopher://x".into(), ..Target::default() };
    let watched = watching(target, EngineKind::Auto, quick());
    watched.notes.until(0, "down", is_down).await;
    drop(watched.steer);
    tokio::time::timeout(Duration::from_secs(20), watched.task).await.expect("ends").unwrap();
}
