//! What a dry run tells: the decision, and of every other endpoint why it cannot take the request. It changes nothing.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use arriero_core::endpoint::EndpointSpec;
use arriero_core::{
    Decision, Dry, EngineClass, HealthLimits, Inventory, Outcome, PathClass, PathClasses, Pin, PinTo, PoolSpec, Reason,
    RequestFacts, Sample, State,
};
use common::{Bench, Counting, Rule, endpoint, pool, pool_with, request, request_for};

fn dry(bench: &mut Bench, facts: &RequestFacts) -> Dry {
    let pool = bench.applied.pools["p"].clone();
    bench.fleet.explain(bench.now, pool.id, pool.strategies[0], facts)
}

/// Why not, by name.
fn reasons(bench: &Bench, dry: &Dry) -> BTreeMap<String, String> {
    let name = |id| bench.fleet.endpoints().get(id).unwrap().spec.name.to_string();
    dry.others.iter().map(|(id, why)| (name(*id), why.clone())).collect()
}

#[test]
fn every_endpoint_that_is_no_candidate_has_its_reason() {
    let mut endpoints: Vec<EndpointSpec> =
        ["ok", "full", "drained", "maint", "down", "fresh", "busy", "other", "mute", "unknown", "told", "tried"]
            .map(|name| endpoint(name, 1))
            .into();
    endpoints.push(EndpointSpec { weight: 0, ..endpoint("weightless", 1) });
    endpoints.push(EndpointSpec { backup: true, ..endpoint("backup", 1) });
    let health = Some(HealthLimits { rise: 1, fall: 1, ..HealthLimits::default() });
    let mut bench = Bench::new(vec![PoolSpec { health, ..pool("p", endpoints.clone()) }]);
    for name in endpoints.iter().map(|endpoint| endpoint.name.to_string()).filter(|name| name != "fresh") {
        bench.probe(&name, true);
        match name.as_str() {
            "other" => drop(bench.lists(&name, &["something-else"])),
            "unknown" => {}
            _ => drop(bench.lists(&name, &["m"])),
        }
    }
    let now = bench.now;
    let (mute, told, busy, full) = (bench.id("mute"), bench.id("told"), bench.id("busy"), bench.id("full"));
    let speaks = PathClasses::of(&[PathClass::Ollama]);
    bench.fleet.describe(now, mute, EngineClass::Slots, speaks, Inventory::Any);
    bench.state("drained", State::Drain);
    bench.state("maint", State::Maint);
    for (id, outcome) in [(busy, Some(Outcome::Busy)), (full, None)] {
        let mut facts = request_for(1, "m");
        facts.pin = Some(Pin { to: PinTo::Endpoint(id), hard: true });
        let grant = bench.grant(facts);
        outcome.map(|outcome| bench.finish(grant.ticket, outcome));
    }
    bench.apply(vec![PoolSpec { health, ..pool("p", endpoints.iter().cloned().map(uncap_told).collect()) }]);
    bench.fleet.describe(now, told, EngineClass::Batching, PathClasses::ALL, common::known(&["m"]));
    bench.fleet.sample(now, told, Sample { at: now, waiting: Some(3), ..Sample::default() });
    bench.probe("down", false);

    let mut facts = request_for(2, "m");
    facts.tried = vec![bench.id("tried")];
    let told = dry(&mut bench, &facts);
    assert_eq!(told.verdict, Decision::Start { endpoint: bench.id("ok"), module: "counting" });
    let expected = [
        ("backup", "backup, not needed"),
        ("busy", "busy for 1.0 s"),
        ("down", "down"),
        ("drained", "drain"),
        ("fresh", "not checked yet"),
        ("full", "full 1/1"),
        ("maint", "maint"),
        ("mute", "does not speak this path"),
        ("other", "does not have the model"),
        ("told", "full by its own report"),
        ("tried", "failed this request before"),
        ("unknown", "models not known yet"),
        ("weightless", "weight 0"),
    ];
    let expected = expected.into_iter().map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
    assert_eq!(reasons(&bench, &told), expected);

    facts.among = Some([bench.id("down")].into_iter().collect());
    let told = dry(&mut bench, &facts);
    assert!(matches!(told.verdict, Decision::Reject(Reason::NoneReady { .. })));
    assert_eq!(reasons(&bench, &told)["ok"], "not in the route's subset");
}

fn uncap_told(spec: EndpointSpec) -> EndpointSpec {
    match &*spec.name {
        "told" => EndpointSpec { max_in_flight: None, ..spec },
        _ => spec,
    }
}

#[test]
fn a_bound_request_is_told_as_such() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    let b = bench.id("b");
    let mut facts = request(1);
    facts.pin = Some(Pin { to: PinTo::Endpoint(b), hard: true });
    let told = dry(&mut bench, &facts);
    assert_eq!(told.verdict, Decision::Start { endpoint: b, module: "affinity" });
    assert_eq!(told.explanation.summary, "bound to b: has a slot");
    bench.grant(facts.clone());
    let told = dry(&mut bench, &facts);
    assert_eq!((told.verdict, &*told.explanation.summary), (Decision::WaitFor(b), "bound to b: waits for it"));
    assert_eq!(bench.in_flight(), 1, "nothing was started");
    bench.state("b", State::Maint);
    assert!(matches!(dry(&mut bench, &facts).verdict, Decision::Reject(Reason::PinnedAway { .. })));
}

#[test]
fn a_dry_run_notes_no_key_and_no_fault() {
    for rule in [Rule::Panics, Rule::Careless] {
        let strategy = Counting { rule, ..Counting::default() };
        let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 0), endpoint("b", 1)], vec![strategy])]);
        let mut facts = request(1);
        let to = PinTo::Key { key: 1, ttl: std::time::Duration::from_secs(60) };
        facts.pin = Some(Pin { to, hard: false });
        for _ in 0..10 {
            dry(&mut bench, &facts);
        }
        assert!(bench.fleet.faults().is_empty(), "{rule:?}: what was not done is no fault");
        assert_eq!(bench.fleet.affinity(bench.applied.pools["p"].id).count(), 0);
    }
}

#[test]
fn an_unknown_pool_is_told() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    let old = bench.applied.pools["p"].clone();
    bench.apply(vec![]);
    let told = bench.fleet.explain(bench.now, old.id, old.strategies[0], &request(1));
    assert_eq!((told.verdict, told.others.len()), (Decision::Reject(Reason::PoolGone), 0));
}
