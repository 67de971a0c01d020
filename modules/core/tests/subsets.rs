//! A route's `where:` and `caps: false`: who is a candidate, who waits, and what is told of the strategies.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::{
    Chosen, Context, KeySource, Needs, Outcome, Pick, Reason, RequestFacts, Sample, State, Strategy, StrategySpec,
};
use common::{Bench, endpoint, pool, request, request_for};

/// A request for one of these endpoints.
fn among(bench: &Bench, mut facts: RequestFacts, names: &[&str]) -> RequestFacts {
    facts.among = Some(names.iter().map(|name| bench.id(name)).collect());
    facts
}

fn uncapped(id: u64) -> RequestFacts {
    let mut facts = request(id);
    facts.uncapped = true;
    facts
}

#[test]
fn only_the_subset_is_used_and_a_full_subset_waits() {
    let mut bench = Bench::new(vec![pool("p", ["a", "b", "c"].map(|name| endpoint(name, 1)).into())]);
    let facts = |bench: &Bench, id| among(bench, request(id), &["c", "b"]);
    let both = [facts(&bench, 1), facts(&bench, 2)];
    let held = both.map(|facts| bench.grant(facts));
    assert_eq!(held.each_ref().map(|grant| grant.endpoint), [bench.id("b"), bench.id("c")]);
    let third = bench.wait(facts(&bench, 3));
    let elsewhere = bench.grant(request(4));
    assert_eq!(elsewhere.endpoint, bench.id("a"), "a waiter of a subset hides nobody");
    assert!(bench.finish(elsewhere.ticket, Outcome::Complete).is_empty(), "a is not for the third");
    let (waiter, grant) = Bench::only_grant(bench.finish(held[1].ticket, Outcome::Complete));
    assert_eq!((waiter, grant.endpoint), (third, bench.id("c")));
}

#[test]
fn what_is_missing_is_judged_within_the_subset() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    bench.lists("a", &["m"]);
    bench.lists("b", &["n"]);
    let facts = among(&bench, request_for(1, "n"), &["a"]);
    assert_eq!(bench.refused(facts), Reason::UnknownModel, "b has it, but is not in the subset");
    bench.state("b", State::Drain);
    let facts = among(&bench, request_for(2, "n"), &["b"]);
    assert!(matches!(bench.refused(facts), Reason::NoneReady { .. }), "nobody is left of the subset");
    let mut facts = among(&bench, request_for(3, "m"), &["a"]);
    facts.tried = vec![bench.id("a")];
    assert_eq!(bench.refused(facts), Reason::AllTried);
    let nobody = among(&bench, request(4), &[]);
    assert!(matches!(bench.refused(nobody), Reason::NoneReady { .. }), "an empty subset has nobody");
}

#[test]
fn a_retry_stays_in_the_subset() {
    let mut bench = Bench::new(vec![pool("p", ["a", "b", "c"].map(|name| endpoint(name, 1)).into())]);
    let facts = among(&bench, request(1), &["a"]);
    let grant = bench.grant(facts);
    assert!(!bench.fleet.may_retry(grant.ticket, 2), "nobody else is in the subset");
    let facts = among(&bench, request(2), &["b", "c"]);
    let grant = bench.grant(facts);
    assert!(bench.fleet.may_retry(grant.ticket, 2));
}

#[test]
fn groups_of_waiters_are_kept_apart_by_subset() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    let (a, b) = (bench.grant(request(0)), bench.grant(request(1)));
    let crowd: Vec<_> = (2..102).map(|id| among(&bench, request(id), &["a"])).collect();
    for facts in crowd {
        bench.wait(facts);
    }
    let facts = among(&bench, request(200), &["b"]);
    let last = bench.wait(facts);
    let (waiter, _) = Bench::only_grant(bench.finish(b.ticket, Outcome::Complete));
    assert_eq!(waiter, last, "a hundred that wait for a hide nobody who waits for b");
    assert_eq!(bench.finish(a.ticket, Outcome::Complete).len(), 1);
}

#[test]
fn without_caps_nobody_waits_and_everybody_counts() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    let held: Vec<_> = (1..=10).map(|id| bench.grant(uncapped(id))).collect();
    assert_eq!(bench.in_flight(), 10);
    let counts: Vec<u32> = bench.fleet.endpoints().iter().map(|endpoint| endpoint.in_flight()).collect();
    assert_eq!(counts, [5, 5], "the strategy saw them all as free");
    let capped = bench.wait(request(11));
    let on_a: Vec<_> = held.iter().filter(|grant| grant.endpoint == bench.id("a")).map(|grant| grant.ticket).collect();
    let (last, others) = on_a.split_last().unwrap();
    for ticket in others {
        assert!(bench.finish(*ticket, Outcome::Complete).is_empty(), "the cap of 1 is still filled");
    }
    let (waiter, grant) = Bench::only_grant(bench.finish(*last, Outcome::Complete));
    assert_eq!((waiter, grant.endpoint), (capped, bench.id("a")));
}

#[test]
fn without_caps_a_request_passes_those_that_wait_for_slots() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    bench.grant(request(0));
    for id in 1..=100 {
        bench.wait(request_for(id, &format!("model-{id}")));
    }
    assert_eq!(bench.grant(uncapped(101)).endpoint, bench.id("a"));
}

#[test]
fn without_caps_a_back_off_is_waited_for_a_slot_is_not() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    let busy = bench.grant(uncapped(1));
    bench.grant(uncapped(2));
    bench.finish(busy.ticket, Outcome::Busy);
    let waiter = bench.wait(uncapped(3));
    let (granted, _) = Bench::only_grant(bench.advance(Duration::from_secs(2)));
    assert_eq!(granted, waiter, "the endpoint is full, but its back-off is over");
}

/// Goes by another module once it heard a sample.
#[derive(Default)]
struct Chooser {
    heard: bool,
}

impl Strategy for Chooser {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.keys = [KeySource::Session, KeySource::Path { depth: Some(2) }].into();
        needs
    }

    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        cx.free().next().map_or(Pick::Wait, |endpoint| Pick::Endpoint(endpoint.id))
    }

    fn observe(&mut self, event: &arriero_core::Event<'_>, _cx: &mut Context<'_>) {
        self.heard |= matches!(event, arriero_core::Event::Sampled { .. });
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({ "hello": 1 })
    }

    fn chosen(&self) -> Option<Chosen> {
        self.heard.then_some(Chosen { module: "inner", why: "a sample came" })
    }
}

#[test]
fn what_a_strategy_needs_and_has_come_to_is_told_and_signs_its_grants() {
    let mut spec = pool("p", vec![endpoint("a", 2)]);
    spec.strategies = vec![StrategySpec { module: "chooser", strategy: Box::new(Chooser::default()) }];
    let mut bench = Bench::new(vec![spec]);
    let pool = bench.applied.pools["p"].id;
    {
        let [view] = <[_; 1]>::try_from(bench.fleet.strategies(pool).collect::<Vec<_>>()).unwrap();
        assert_eq!((view.id, view.module), (bench.applied.pools["p"].strategies[0], "chooser"));
        assert_eq!((view.options["hello"].as_u64(), view.chosen), (Some(1), None));
        assert_eq!(*view.needs.keys, [KeySource::Session, KeySource::Path { depth: Some(2) }]);
    }
    assert_eq!(bench.grant(request(1)).module, "chooser");
    let (now, a) = (bench.now, bench.id("a"));
    bench.fleet.sample(now, a, Sample { at: now, ..Sample::default() });
    let chosen = bench.fleet.strategies(pool).next().unwrap().chosen;
    assert_eq!(chosen, Some(Chosen { module: "inner", why: "a sample came" }));
    assert_eq!(bench.grant(request(2)).module, "inner");
    assert_eq!(bench.fleet.strategies(arriero_core::PoolId(99)).count(), 0);
}
