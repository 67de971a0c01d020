//! The rule by hand-made figures. Prompts of 10 tokens are 40 characters: at factor 3, 120 tokens.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::contract::{Stage, endpoint, request};
use arriero_core::{EndpointId, Event, Module, Outcome, Pick, RequestFacts, RequestId, Usage};
use arriero_token_backlog::{Options, TokenBacklog};

const FAST: EndpointId = EndpointId(0);
const SLOW: EndpointId = EndpointId(1);

/// The factor stands still: answers have as many tokens as estimated.
fn stage(caps: [Option<u32>; 2]) -> Stage {
    let mut stage = Stage::new::<TokenBacklog>(Options::default(), 1);
    stage.join(endpoint("fast", caps[0]));
    stage.join(endpoint("slow", caps[1]));
    stage
}

fn numbered(id: u64) -> RequestFacts {
    let mut facts = request("m", 10);
    facts.id = RequestId(id);
    facts
}

/// Runs one request alone on an endpoint, in so many milliseconds.
fn run(stage: &mut Stage, id: EndpointId, millis: u64, output: Option<u32>) {
    let facts = Arc::new(numbered(1_000_000));
    stage.start_at(id, &facts);
    stage.pass(Duration::from_millis(millis));
    end(stage, id, output);
}

/// Ends the oldest request of an endpoint; prompt and answer are `10 + output` tokens.
fn end(stage: &mut Stage, id: EndpointId, output: Option<u32>) {
    let job = stage.endpoints.get_mut(id).expect("it joined").jobs.remove(0);
    let usage = Usage { prompt_tokens: Some(10), output_tokens: output, ..Usage::default() };
    let outcome = Outcome::Complete;
    stage.tell(&Event::Ended { endpoint: id, request: &job.request, outcome, usage: &usage, mine: true });
}

fn told(stage: &Stage) -> String {
    stage.explain(&numbered(0)).1.summary
}

/// 120 tokens in 1.2 s and in 12 s: 10 and 100 ms per token.
fn timed(caps: [Option<u32>; 2]) -> Stage {
    let mut stage = stage(caps);
    run(&mut stage, FAST, 1_200, Some(110));
    run(&mut stage, SLOW, 12_000, Some(110));
    stage
}

#[test]
fn the_score_is_backlog_and_own_tokens_by_time_per_token() {
    let mut stage = timed([None; 2]);
    assert_eq!(told(&stage), "fast: 0 tokens queued, 1200 ms; slow: 0 tokens queued, 12000 ms");
    for expected in [1, 2, 3] {
        assert_eq!(stage.start(&numbered(expected)), Pick::Endpoint(FAST));
    }
    assert_eq!(told(&stage), "fast: 360 tokens queued, 4800 ms; slow: 0 tokens queued, 12000 ms");
    let picks: Vec<Pick> = (4..=11).map(|id| stage.start(&numbered(id))).collect();
    let on_slow = picks.iter().position(|pick| *pick == Pick::Endpoint(SLOW));
    assert_eq!(on_slow, Some(6), "nine on the fast one make it 12 s, too: the shorter queue. {picks:?}");
}

#[test]
fn without_any_time_the_shorter_queue() {
    let mut stage = stage([None; 2]);
    let picks: Vec<Pick> = (0..4).map(|id| stage.start(&numbered(id))).collect();
    assert_eq!(picks, [FAST, SLOW, FAST, SLOW].map(Pick::Endpoint));
}

#[test]
fn a_new_endpoint_is_tried_while_empty_only() {
    let mut stage = stage([None; 2]);
    run(&mut stage, FAST, 1_200, Some(110));
    assert_eq!(stage.start(&numbered(1)), Pick::Endpoint(SLOW), "no time yet: score 0");
    for id in 2..20 {
        assert_eq!(stage.start(&numbered(id)), Pick::Endpoint(FAST), "it has no time and is not empty");
    }
}

#[test]
fn time_per_token_moves_by_a_tenth() {
    let mut stage = timed([None; 2]);
    run(&mut stage, FAST, 2_400, Some(110));
    assert!(told(&stage).starts_with("fast: 0 tokens queued, 1320 ms"), "10 + 0.1 (20 - 10): {}", told(&stage));
}

#[test]
fn the_queue_weight_follows_wall_time_against_the_score() {
    let mut stage = timed([None; 2]);
    run(&mut stage, FAST, 2_400, Some(110));
    stage.start(&numbered(1));
    let told_now = told(&stage);
    assert!(told_now.starts_with("fast: 120 tokens queued, 2772 ms"), "(120 x 1.1 + 120) x 11: {told_now}");
    end(&mut stage, FAST, None);
    for _ in 0..40 {
        run(&mut stage, FAST, 1_000_000, Some(110));
    }
    let alone = score(&stage);
    stage.start_at(FAST, &Arc::new(numbered(2)));
    assert!((score(&stage) / alone - 3.0).abs() < 0.01, "at most twice the queue");
}

/// The first score of the explanation, in milliseconds.
fn score(stage: &Stage) -> f64 {
    let told = told(stage);
    let figure = told.split(" tokens queued, ").nth(1).and_then(|rest| rest.split(' ').next());
    figure.and_then(|figure| figure.parse().ok()).expect("a score")
}

#[test]
fn the_factor_moves_towards_what_was_seen() {
    let mut stage = timed([None; 2]);
    run(&mut stage, FAST, 200, Some(10));
    stage.start(&numbered(1));
    assert!(told(&stage).starts_with("fast: 110 tokens queued"), "2.75 x 40: {}", told(&stage));
}

#[test]
fn failures_and_untold_lengths_teach_nothing() {
    let mut stage = timed([None; 2]);
    let before = told(&stage);
    run(&mut stage, FAST, 50_000, None);
    let facts = Arc::new(numbered(5));
    stage.start_at(FAST, &facts);
    stage.pass(Duration::from_secs(50));
    stage.endpoints.get_mut(FAST).expect("it joined").jobs.clear();
    let usage = Usage { prompt_tokens: Some(10), output_tokens: Some(5), ..Usage::default() };
    let outcome = Outcome::MidStream;
    stage.tell(&Event::Ended { endpoint: FAST, request: &facts, outcome, usage: &usage, mine: true });
    assert_eq!(told(&stage), before);
}

#[test]
fn with_caps_it_waits_for_the_one_it_chose() {
    let mut stage = timed([Some(1), Some(2)]);
    assert_eq!(stage.start(&numbered(1)), Pick::Endpoint(FAST));
    assert_eq!(stage.pick(&numbered(2)), Pick::WaitFor(FAST));
    stage.reserved = (0..9).map(|_| (FAST, 1.0)).collect();
    assert_eq!(stage.pick(&numbered(3)), Pick::Endpoint(SLOW), "those who wait count as queued");
    stage.reserved.clear();
    let mut uncapped = numbered(4);
    uncapped.uncapped = true;
    assert_eq!(stage.pick(&uncapped), Pick::Endpoint(FAST), "without caps it is sent at once, as in the study");
}

#[test]
fn ranges_are_told() {
    let wrong = |options| TokenBacklog::build(options).err().expect("out of range");
    assert!(wrong(Options { token_factor: 0.0, ..Options::default() }).contains("token-factor: found 0,"));
    assert!(wrong(Options { time_alpha: 1.5, ..Options::default() }).contains("time-alpha: found 1.5, allowed 0 to 1"));
    assert!(wrong(Options { weight_alpha: f64::NAN, ..Options::default() }).contains("weight-alpha: found NaN"));
}
