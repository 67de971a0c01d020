//! Which weights are loaded, and how fast engines are found to be.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::endpoint::{ModelState, Rates, ResidentModel};
use arriero_core::{Outcome, Sample, Usage};
use common::{Bench, Counting, endpoint, pool, pool_with, request_for};

fn bench() -> Bench {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 8)])]);
    bench.lists("a", &["m", "n"]);
    bench
}

fn state(bench: &Bench, model: &str) -> ModelState {
    bench.fleet.endpoints().get(bench.id("a")).unwrap().model(model).cloned().unwrap_or_default()
}

fn is(bench: &Bench, model: &str) -> (bool, bool) {
    let state = state(bench, model);
    (state.resident, state.loading)
}

const ABSENT: (bool, bool) = (false, false);
const LOADING: (bool, bool) = (false, true);
const RESIDENT: (bool, bool) = (true, false);

fn sample(bench: &mut Bench, age: Duration, residents: &[&str]) {
    let resident = |local: &&str| ResidentModel { local: (*local).into(), size_vram: Some(5), loading: false };
    let at = arriero_core::Time(bench.now.0 - age.as_micros() as u64);
    let sample = Sample { at, residents: Some(residents.iter().map(resident).collect()), ..Sample::default() };
    let id = bench.id("a");
    bench.fleet.sample(bench.now, id, sample);
}

#[test]
fn the_first_request_loads_the_next_finds_it_loading_and_a_token_proves_it() {
    let mut bench = bench();
    assert_eq!(is(&bench, "m"), ABSENT);
    let first = bench.grant(request_for(1, "m"));
    let second = bench.grant(request_for(2, "m"));
    assert!(first.cold && second.cold, "both must be allowed the load's time");
    let jobs = &bench.fleet.endpoints().get(first.endpoint).unwrap().jobs;
    assert_eq!((jobs[0].cold, jobs[1].cold), (true, false), "but one pays it");
    assert_eq!(is(&bench, "m"), LOADING);
    bench.fleet.first_token(bench.now, first.ticket);
    assert_eq!(is(&bench, "m"), RESIDENT);
    assert!(!bench.grant(request_for(3, "m")).cold);

    let mut other_options = request_for(4, "m");
    other_options.runner_key = 7;
    assert!(bench.grant(other_options).cold, "other runner options make the engine load anew");
}

#[test]
fn a_sample_leads_unless_it_is_older_than_what_we_did() {
    let mut bench = bench();
    sample(&mut bench, Duration::ZERO, &["m"]);
    assert_eq!((is(&bench, "m"), state(&bench, "m").size_vram), (RESIDENT, Some(5)));
    bench.advance(Duration::from_secs(2));
    let grant = bench.grant(request_for(1, "n"));
    sample(&mut bench, Duration::from_millis(500), &["m"]);
    assert_eq!(is(&bench, "n"), LOADING, "the report was taken before the load began");
    bench.advance(Duration::from_secs(2));
    sample(&mut bench, Duration::ZERO, &[]);
    assert_eq!((is(&bench, "m"), is(&bench, "n")), (ABSENT, LOADING), "m was evicted, n is still awaited");
    bench.finish(grant.ticket, Outcome::ClientGone);
    assert_eq!(is(&bench, "n"), ABSENT, "nobody waits for it any more");
}

#[test]
fn a_load_that_ended_after_the_sample_was_taken_stands() {
    let mut bench = bench();
    bench.advance(Duration::from_secs(5));
    let grant = bench.grant(request_for(1, "m"));
    bench.fleet.first_token(bench.now, grant.ticket);
    sample(&mut bench, Duration::from_millis(300), &[]);
    assert_eq!(is(&bench, "m"), RESIDENT);
    bench.advance(Duration::from_secs(1));
    sample(&mut bench, Duration::ZERO, &[]);
    assert_eq!(is(&bench, "m"), ABSENT);
}

#[test]
fn an_older_sample_than_the_one_in_hand_is_dropped() {
    let mut bench = bench();
    bench.advance(Duration::from_secs(5));
    sample(&mut bench, Duration::ZERO, &["m"]);
    sample(&mut bench, Duration::from_secs(1), &["n"]);
    assert_eq!((is(&bench, "m"), is(&bench, "n")), (RESIDENT, ABSENT));
}

#[test]
fn what_the_engine_tells_is_learned() {
    let counting = Counting::default();
    let heard = counting.heard.clone();
    let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 8)], vec![counting])]);
    bench.lists("a", &["m"]);
    let usage = Usage {
        prompt_tokens: Some(1000),
        cached_tokens: Some(500),
        output_tokens: Some(64),
        load_ms: Some(4000.0),
        prefill_ms: Some(250.0),
        decode_ms: Some(64.0 * 20.0),
        ..Usage::default()
    };
    for id in 0..40 {
        let grant = bench.grant(request_for(id, "m"));
        bench.advance(Duration::from_secs(6));
        bench.fleet.finish(bench.now, grant.ticket, Outcome::Complete, &usage);
    }
    let rates = state(&bench, "m").rates;
    assert!((rates.prefill_ms_per_token - 0.5).abs() < 0.05, "cached tokens cost nothing: {rates:?}");
    assert!((rates.decode_ms_per_token - 20.0).abs() < 1.0, "{rates:?}");
    assert!((rates.output_tokens - 64.0).abs() < 8.0, "{rates:?}");
    assert_eq!((rates.load_ms, rates.samples), (Some(4000.0), 40));
    assert_eq!(heard.lock().unwrap().learned, 40);
}

/// One streamed request: 400 prompt tokens at 1 ms, 50 output tokens at 30 ms.
fn streamed(bench: &mut Bench, id: u64, outcome: Outcome) {
    let mut facts = request_for(id, "m");
    (facts.stream, facts.prompt_tokens) = (true, 400);
    let grant = bench.grant(facts);
    bench.advance(Duration::from_millis(400));
    bench.fleet.first_token(bench.now, grant.ticket);
    bench.advance(Duration::from_millis(49 * 30));
    let usage = Usage { output_tokens: Some(50), ..Usage::default() };
    bench.fleet.finish(bench.now, grant.ticket, outcome, &usage);
}

#[test]
fn an_engine_that_tells_nothing_is_timed_while_a_request_is_alone() {
    let mut bench = bench();
    sample(&mut bench, Duration::ZERO, &["m"]);
    for id in 0..40 {
        streamed(&mut bench, id, Outcome::Complete);
    }
    let alone = state(&bench, "m").rates;
    assert!((alone.prefill_ms_per_token - 1.0).abs() < 0.1, "{alone:?}");
    assert!((alone.decode_ms_per_token - 30.0).abs() < 2.0, "{alone:?}");
    assert_eq!(alone.load_ms, None);

    let company = bench.grant(request_for(100, "m"));
    bench.advance(Duration::from_secs(100));
    let usage = Usage { output_tokens: Some(50), ..Usage::default() };
    let slow = bench.grant(request_for(101, "m"));
    bench.advance(Duration::from_secs(100));
    bench.fleet.finish(bench.now, slow.ticket, Outcome::Complete, &usage);
    bench.fleet.finish(bench.now, company.ticket, Outcome::Complete, &usage);
    let after = state(&bench, "m").rates;
    assert_eq!(after.decode_ms_per_token, alone.decode_ms_per_token, "in company, times say nothing");
}

#[test]
fn attempts_that_did_not_complete_teach_nothing() {
    let mut bench = bench();
    for outcome in [Outcome::ClientGone, Outcome::MidStream, Outcome::Timeout, Outcome::Busy, Outcome::Rejected] {
        bench.advance(Duration::from_secs(60));
        streamed(&mut bench, 1, outcome);
    }
    assert_eq!(state(&bench, "m").rates, Rates::default());
}

#[test]
fn a_cold_first_token_teaches_the_load() {
    let mut bench = bench();
    let mut facts = request_for(1, "m");
    (facts.stream, facts.prompt_tokens) = (true, 400);
    let grant = bench.grant(facts);
    bench.advance(Duration::from_millis(5100));
    bench.fleet.first_token(bench.now, grant.ticket);
    let before = state(&bench, "m").rates;
    bench.finish(grant.ticket, Outcome::Complete);
    let rates = state(&bench, "m").rates;
    let load = rates.load_ms.expect("learned");
    assert!((load - (5100.0 - 400.0 * before.prefill_ms_per_token)).abs() < 1.0, "{load}");
    assert_eq!(rates.prefill_ms_per_token, before.prefill_ms_per_token, "a load is no prefill");
}

#[test]
fn one_strange_request_does_not_carry_a_new_figure_away() {
    let mut bench = bench();
    let grant = bench.grant(request_for(1, "m"));
    let usage = Usage { prompt_tokens: Some(100), prefill_ms: Some(1e9), ..Usage::default() };
    bench.fleet.finish(bench.now, grant.ticket, Outcome::Complete, &usage);
    assert_eq!(state(&bench, "m").rates.prefill_ms_per_token, 4.0 * Rates::default().prefill_ms_per_token);
    let grant = bench.grant(request_for(2, "m"));
    let usage = Usage { prefill_ms: Some(f64::NAN), decode_ms: Some(f64::INFINITY), output_tokens: Some(9), ..usage };
    bench.fleet.finish(bench.now, grant.ticket, Outcome::Complete, &usage);
    let rates = state(&bench, "m").rates;
    assert!(rates.prefill_ms_per_token.is_finite() && rates.decode_ms_per_token.is_finite(), "{rates:?}");
}

#[test]
fn invented_model_names_do_not_fill_the_memory() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 8)])]);
    let a = bench.id("a");
    let any = arriero_core::Inventory::Any;
    bench.fleet.describe(bench.now, a, Default::default(), Default::default(), any);
    for id in 0..5000 {
        let grant = bench.grant(request_for(id, &format!("model-{id}")));
        bench.finish(grant.ticket, Outcome::UpstreamError);
    }
    assert!(bench.fleet.endpoints().get(a).unwrap().models.len() <= 512);
}
