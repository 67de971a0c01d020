//! What the fleet learns in company, what endpoints lend each other, and how a slow-down shows.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::cost::{Reserved, completion};
use arriero_core::endpoint::{EndpointSpec, Rates};
use arriero_core::{Grant, Outcome, RequestFacts, Usage};
use common::{Bench, endpoint, pool, request_for};

/// Two endpoints with four slots each; both list `m` and `n`.
fn bench() -> Bench {
    let slots = |name: &str| EndpointSpec { slots: Some(4), ..endpoint(name, 4) };
    let mut bench = Bench::new(vec![pool("p", vec![slots("a"), slots("b")])]);
    bench.lists("a", &["m", "n"]);
    bench.lists("b", &["m", "n"]);
    bench
}

fn only_on(bench: &Bench, name: &str, id: u64, model: &str) -> RequestFacts {
    let mut facts = request_for(id, model);
    facts.among = Some([bench.id(name)].into_iter().collect());
    (facts.stream, facts.prompt_tokens) = (true, 500);
    facts
}

fn rates(bench: &Bench, name: &str, model: &str) -> Rates {
    bench.endpoint(name).rates(Some(model))
}

/// An engine that works on one request takes 500 ms for the prompt and 10 ms for each of 100 tokens, times `slowness`; a
/// second one at once adds `crowding`.
fn serve(bench: &mut Bench, name: &str, model: &str, at_once: u64, crowding: f64, slowness: f64) {
    let stretch = slowness * (1.0 + crowding * (at_once as f64 - 1.0));
    let grants: Vec<Grant> = (0..at_once).map(|id| bench.grant(only_on(bench, name, id, model))).collect();
    bench.advance(Duration::from_secs_f64(0.5 * stretch));
    grants.iter().for_each(|grant| bench.fleet.first_token(bench.now, grant.ticket));
    bench.advance(Duration::from_secs_f64(stretch));
    for grant in grants {
        let usage = Usage {
            output_tokens: Some(100),
            prefill_ms: Some(500.0 * stretch),
            decode_ms: Some(1000.0 * stretch),
            ..Usage::default()
        };
        bench.fleet.finish(bench.now, grant.ticket, Outcome::Complete, &usage);
    }
}

fn near(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 0.12, "found {found}, expected {expected}");
}

#[test]
fn company_is_taken_out_of_what_an_engine_tells() {
    let mut bench = bench();
    for _ in 0..20 {
        serve(&mut bench, "a", "m", 1, 0.5, 1.0);
        serve(&mut bench, "a", "m", 3, 0.5, 1.0);
    }
    let rates = rates(&bench, "a", "m");
    near(rates.decode_ms_per_token, 10.0);
    assert!((0.42..0.52).contains(&rates.crowding), "drawn a little to what is usual: {}", rates.crowding);
    near(rates.prefill_ms_per_token, 1.0);
}

#[test]
fn lengths_are_shared_and_speeds_are_lent_until_there_is_an_own_one() {
    let mut bench = bench();
    for _ in 0..6 {
        serve(&mut bench, "a", "m", 1, 0.25, 1.0);
    }
    let (lender, lent) = (rates(&bench, "a", "m"), rates(&bench, "b", "m"));
    assert_eq!((lent.samples, lent.output_tokens), (0, lender.output_tokens));
    near(lent.output_tokens, 102.0);
    near(lent.decode_ms_per_token, 10.0);
    assert_eq!(rates(&bench, "b", "n"), Rates::default(), "nobody knows n");

    // b turns out to need three times as long, and that holds for what it has not served
    for _ in 0..4 {
        serve(&mut bench, "b", "m", 1, 0.25, 3.0);
    }
    near(rates(&bench, "b", "m").decode_ms_per_token, 30.0);
    serve(&mut bench, "a", "n", 1, 0.25, 1.0);
    near(rates(&bench, "a", "n").decode_ms_per_token, 10.0);
    near(rates(&bench, "b", "n").decode_ms_per_token, 30.0);
}

/// The price of one more request for `m`.
fn price(bench: &Bench, name: &str) -> f64 {
    let facts = only_on(bench, name, 0, "m");
    completion(bench.endpoint(name), &facts, bench.now, Reserved::default()).total()
}

#[test]
fn slow_answers_show_at_once_and_are_forgotten() {
    let mut bench = bench();
    for _ in 0..20 {
        serve(&mut bench, "a", "m", 1, 0.25, 1.0);
    }
    let usual = price(&bench, "a");
    for _ in 0..2 {
        serve(&mut bench, "a", "m", 1, 0.25, 5.0);
    }
    assert!(price(&bench, "a") > 3.0 * usual, "{} {usual}", price(&bench, "a"));
    bench.advance(Duration::from_secs(300));
    assert!(price(&bench, "a") < 2.0 * usual, "two requests change little of what was learned");
    for _ in 0..2 {
        serve(&mut bench, "a", "m", 1, 0.25, 1.0);
    }
    assert!(price(&bench, "a") < 1.7 * usual, "{} {usual}", price(&bench, "a"));
}

#[test]
fn who_became_slow_is_asked_again_after_a_while() {
    let mut bench = bench();
    for _ in 0..20 {
        serve(&mut bench, "a", "m", 1, 0.25, 1.0);
    }
    let usual = price(&bench, "a");
    for _ in 0..30 {
        serve(&mut bench, "a", "m", 1, 0.25, 5.0);
    }
    let slow = price(&bench, "a");
    assert!(slow > 3.0 * usual, "{slow} {usual}");
    bench.advance(Duration::from_secs(40));
    assert!(price(&bench, "a") < 2.5 * usual, "{} {usual}", price(&bench, "a"));
}

#[test]
fn a_prompt_that_gets_no_answer_makes_its_engine_dear() {
    let mut bench = bench();
    for _ in 0..20 {
        serve(&mut bench, "a", "m", 1, 0.25, 1.0);
    }
    bench.grant(only_on(&bench, "a", 1, "m"));
    bench.advance(Duration::from_millis(3000));
    let waits = price(&bench, "a");
    assert!(waits < 4000.0, "it may wait behind somebody else's: {waits}");
    bench.advance(Duration::from_secs(30));
    assert!(price(&bench, "a") > 4.0 * waits, "{}", price(&bench, "a"));
}

#[test]
fn many_overdue_answers_show_a_slow_down_one_long_one_does_not() {
    let mut bench = bench();
    for _ in 0..20 {
        serve(&mut bench, "a", "m", 1, 0.25, 1.0);
    }
    let start = |bench: &mut Bench| {
        let grant = bench.grant(only_on(bench, "a", 1, "m"));
        bench.advance(Duration::from_millis(500));
        bench.fleet.first_token(bench.now, grant.ticket);
    };
    start(&mut bench);
    let one = price(&bench, "a");
    bench.advance(Duration::from_millis(2500));
    near(price(&bench, "a"), one);
    start(&mut bench);
    start(&mut bench);
    let three = price(&bench, "a");
    bench.advance(Duration::from_secs(15));
    assert!(price(&bench, "a") > 2.0 * three, "{} {three}", price(&bench, "a"));
}

#[test]
fn patience_for_the_first_byte_follows_what_was_learned() {
    let mut bench = bench();
    let first = bench.grant(only_on(&bench, "a", 1, "m"));
    assert_eq!(first.first_byte_within, None, "nothing is known");
    bench.finish(first.ticket, Outcome::ClientGone);
    for _ in 0..6 {
        serve(&mut bench, "a", "m", 1, 0.25, 1.0);
    }
    let grant = bench.grant(only_on(&bench, "a", 2, "m"));
    let within = grant.first_byte_within.unwrap();
    assert!(within >= Duration::from_secs(10), "{within:?}");
    let mut long = only_on(&bench, "a", 3, "m");
    long.prompt_tokens = 50_000;
    assert!(bench.grant(long).first_byte_within.unwrap() > Duration::from_secs(250));
    let mut whole = only_on(&bench, "a", 4, "m");
    whole.stream = false;
    assert_eq!(bench.grant(whole).first_byte_within, None, "its answer comes when it is whole");
}
