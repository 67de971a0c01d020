//! Where a request goes when caches, queues and reports differ.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::endpoint::{Endpoint, ModelState};
use arriero_core::event::{Event, Outcome, Usage};
use arriero_core::learn::batching::Iteration;
use arriero_core::{BLOCK_TOKENS, EndpointId, EngineClass, Module, Pick, RequestFacts, RequestId, Sample, Time};
use arriero_prefix_affinity::{Options, PrefixAffinity, RuleName, UNKNOWN_TOKENS};

const ONE: EndpointId = EndpointId(0);
const TWO: EndpointId = EndpointId(1);

/// A batching engine that has the model `m`; its iterations take `slowness` times those of a fast one.
fn engine(name: &str, slowness: f64) -> Endpoint {
    let mut engine = Endpoint { class: EngineClass::Batching, ..endpoint(name, None) };
    let iteration = Iteration::of(12.0 * slowness, 0.05 * slowness, 0.07 * slowness, 6.5e-5 * slowness);
    engine.models.insert("m".into(), ModelState { resident: true, iteration, ..ModelState::default() });
    engine
}

fn stage(options: Options, engines: Vec<Endpoint>) -> Stage {
    let mut stage = Stage::new::<PrefixAffinity>(options, 1);
    for engine in engines {
        stage.join(engine);
    }
    stage
}

fn two_equal() -> Stage {
    stage(Options::default(), vec![engine("one", 1.0), engine("two", 1.0)])
}

/// Turn `turn` of a conversation: two blocks that all share, then sixteen per turn.
fn turn(number: u64, conversation: u64, turn: u64) -> RequestFacts {
    let own = (0..16 * turn).map(|block| 1_000_000 * (conversation + 1) + block);
    let blocks: Arc<[u64]> = [1, 2].into_iter().chain(own).collect();
    let mut facts = plain(number, 256 * blocks.len() as u32 + 9);
    facts.prompt_blocks = blocks;
    facts
}

/// A request that shares nothing with others.
fn plain(number: u64, prompt_tokens: u32) -> RequestFacts {
    let mut facts = request("m", prompt_tokens);
    facts.id = RequestId(number);
    facts
}

/// Ends the oldest request of an endpoint, and tells how much of its prompt was cached.
fn end(stage: &mut Stage, id: EndpointId, cached: u32) {
    let job = stage.endpoints.get_mut(id).expect("it is there").jobs.remove(0);
    let usage = Usage { cached_tokens: Some(cached), ..Usage::default() };
    let outcome = Outcome::Complete;
    stage.tell(&Event::Ended { endpoint: id, request: &job.request, outcome, usage: &usage, mine: true });
}

fn picked(stage: &Stage, facts: &RequestFacts) -> EndpointId {
    match stage.pick(facts) {
        Pick::Endpoint(id) => id,
        other => panic!("expected an endpoint, found {other:?}"),
    }
}

#[test]
fn a_conversation_returns_to_its_cache() {
    for home in [ONE, TWO] {
        let mut stage = two_equal();
        stage.start_at(home, &Arc::new(turn(1, 7, 1)));
        stage.end(home);
        assert_eq!(picked(&stage, &turn(2, 7, 2)), home);
        let (_, told) = stage.explain(&turn(2, 7, 2));
        let saved = told.candidates[0].terms.iter().find(|term| term.name == "cached").map(|term| term.ms);
        assert!(saved.is_some_and(|ms| ms < 0.0), "{}", told.summary);
    }
}

#[test]
fn company_outweighs_a_cache() {
    let mut stage = two_equal();
    stage.start_at(ONE, &Arc::new(turn(1, 7, 1)));
    stage.end(ONE);
    for number in 2..7 {
        stage.start_at(ONE, &Arc::new(plain(number, 6000)));
    }
    assert_eq!(picked(&stage, &turn(9, 7, 2)), TWO, "five long prompts are ahead of it there");
}

#[test]
fn what_all_share_draws_nobody() {
    let mut stage = two_equal();
    for number in 0..200 {
        stage.start(&turn(number, number, 1));
        if number >= 20 {
            let fuller = if stage.endpoints.get(ONE).map(|one| one.in_flight()) > Some(10) { ONE } else { TWO };
            stage.end(fuller);
        }
        stage.pass(Duration::from_millis(50));
    }
    let held = |id| stage.endpoints.get(id).map_or(0, |engine| engine.in_flight());
    assert!(held(ONE).abs_diff(held(TWO)) <= 4, "{} and {} requests", held(ONE), held(TWO));
}

#[test]
fn prompts_go_to_the_faster_engine_until_it_is_crowded() {
    let mut stage = stage(Options::default(), vec![engine("fast", 1.0), engine("slow", 5.0)]);
    let mut fast = 0;
    while picked(&stage, &plain(fast, 1000)) == ONE {
        stage.start_at(ONE, &Arc::new(plain(fast, 1000)));
        fast += 1;
        assert!(fast < 200, "the slow one is of some use");
    }
    assert!(fast >= 3, "five times slower, but only {fast} went to the fast one first");
}

#[test]
fn who_was_away_or_left_holds_nothing() {
    let mut stage = two_equal();
    let home = TWO;
    stage.start_at(home, &Arc::new(turn(1, 7, 8)));
    stage.end(home);
    let saves = |stage: &Stage| stage.explain(&turn(2, 7, 8)).1.summary.contains("cached");
    assert!(saves(&stage));
    stage.endpoints.get_mut(home).expect("it is there").figures.times_down += 1;
    assert!(!saves(&stage), "it was restarted");
    stage.start_at(home, &Arc::new(turn(3, 7, 8)));
    assert!(saves(&stage));
    let job = stage.endpoints.get_mut(home).expect("it is there").jobs.remove(0);
    let (outcome, usage) = (Outcome::ConnectFailed, Usage::default());
    stage.tell(&Event::Ended { endpoint: home, request: &job.request, outcome, usage: &usage, mine: true });
    assert!(!saves(&stage), "nobody listens there");
    stage.start_at(home, &Arc::new(turn(5, 7, 8)));
    assert!(saves(&stage));
    stage.endpoints.get_mut(home).expect("it is there").spec.url = "http://elsewhere".into();
    assert!(!saves(&stage), "it moved: another engine, though it was not asked yet");
    stage.start_at(home, &Arc::new(turn(4, 7, 8)));
    stage.leave(home);
    assert!(!saves(&stage));
}

#[test]
fn how_much_a_cache_holds_is_learned_from_what_it_tells() {
    let options = Options { cache_tokens: None, ..Options::default() };
    let mut stage = stage(options, vec![engine("one", 1.0)]);
    for number in 0..2000 {
        let facts = turn(number, number % 40, 4);
        stage.start_at(ONE, &Arc::new(facts));
        end(&mut stage, ONE, 512);
    }
    let next = matched(&stage, 0);
    assert!(next < 600.0, "conversations are told as gone when they come again, but {next} tokens are believed there");
}

#[test]
fn a_cache_does_not_grow_by_what_was_never_noted() {
    let options = Options { cache_tokens: None, ..Options::default() };
    let mut stage = stage(options, vec![engine("one", 1.0)]);
    // as after a restart of the proxy: the engine knows conversations that nobody here has seen
    for number in 0..50 {
        stage.start_at(ONE, &Arc::new(turn(number, number, 4)));
        end(&mut stage, ONE, 16_000);
    }
    assert!(matched(&stage, 0) > 16_000.0);
    let blocks = turn(0, 0, 4).prompt_blocks.len() as u64;
    let taken = UNKNOWN_TOKENS / u64::from(BLOCK_TOKENS);
    for number in 0..taken / blocks * 2 {
        stage.start_at(ONE, &Arc::new(turn(number, 1000 + number, 4)));
        end(&mut stage, ONE, 512);
    }
    let left = matched(&stage, 0);
    assert!(
        left < 600.0,
        "it holds as much as before, so the first ones are gone, but {left} tokens are believed there"
    );
}

/// Tokens that `ONE` is believed to hold of a conversation, from the price's terms.
fn matched(stage: &Stage, conversation: u64) -> f64 {
    let facts = turn(1, conversation, 4);
    let (_, told) = stage.explain(&facts);
    let term = |name| told.candidates[0].terms.iter().find(|term| term.name == name).map_or(0.0, |term| term.ms);
    f64::from(facts.prompt_tokens) * -term("cached") / term("prefill")
}

#[test]
fn slot_engines_have_a_cache_once_they_told_of_it() {
    let mut slots = endpoint("slots", Some(4));
    slots.models.insert("m".into(), ModelState { resident: true, ..ModelState::default() });
    let mut stage = stage(Options::default(), vec![slots]);
    stage.start_at(ONE, &Arc::new(turn(1, 7, 2)));
    assert!(!stage.explain(&turn(2, 7, 2)).1.summary.contains("cached"));
    end(&mut stage, ONE, 100);
    assert!(stage.explain(&turn(2, 7, 2)).1.summary.contains("cached"));
}

#[test]
fn a_full_engine_is_held_until_its_waiters_are_answered() {
    let mut stage = stage(Options::default(), vec![engine("one", 1.0)]);
    stage.start_at(ONE, &Arc::new(turn(1, 1, 1)));
    stage.pass(Duration::from_millis(100));
    let now = stage.now;
    let row = stage.endpoints.get_mut(ONE).expect("it is there");
    row.sample = Some(Sample { at: now, running: Some(0), waiting: Some(1), ..Sample::default() });
    (row.jobs_at_sample, row.unanswered_at_sample) = (1, 1);
    assert_eq!(stage.pick(&turn(2, 2, 1)), Pick::WaitFor(ONE));
    stage.endpoints.get_mut(ONE).expect("it is there").jobs[0].first_token = Some(Time::from_millis(150));
    assert_eq!(stage.pick(&turn(2, 2, 1)), Pick::Endpoint(ONE), "it waited for the next iteration only");
    let row = stage.endpoints.get_mut(ONE).expect("it is there");
    row.sample.as_mut().expect("just set").kv_used = Some(0.95);
    assert_eq!(stage.pick(&turn(2, 2, 1)), Pick::WaitFor(ONE));
}

#[test]
fn options_are_checked() {
    let refused = |options: Options| PrefixAffinity::build(options).err().unwrap_or_default();
    assert!(refused(Options { weight: -1.0, ..Options::default() }).contains("weight: found -1"));
    assert!(refused(Options { index_bytes: 10, ..Options::default() }).contains("index-bytes: found 10"));
    let read: Options =
        serde_json::from_str(r#"{ "rule": "lmetric", "cache-tokens": 360000 }"#).expect("known options");
    assert_eq!((read.rule, read.cache_tokens), (RuleName::Lmetric, Some(360_000)));
}
