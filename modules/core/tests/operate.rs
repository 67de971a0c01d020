//! The operator's word: weights, caps and states at run time, over reloads, and back to the configuration's.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, Health};
use arriero_core::{
    EjectionLimits, HealthLimits, Operated, Operation, Outcome, Pin, PinTo, PoolSpec, Reason, State, Submit,
};
use common::{Bench, Counting, Heard, endpoint, pool, pool_with, request, request_for};

fn operate(bench: &mut Bench, name: &str, operation: Operation) -> usize {
    let id = bench.id(name);
    bench.fleet.operate(bench.now, id, &[operation]).len()
}

fn weight(bench: &Bench, name: &str) -> u32 {
    bench.fleet.endpoints().get(bench.id(name)).unwrap().spec.weight
}

fn cap(bench: &Bench, name: &str) -> Option<u32> {
    bench.fleet.endpoints().get(bench.id(name)).unwrap().cap(bench.now)
}

#[test]
fn a_weight_beats_the_file_survives_reloads_and_goes_back() {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let counting = Counting { heard: heard.clone(), ..Counting::default() };
    let spec = |weight| EndpointSpec { weight, ..endpoint("a", 4) };
    let mut bench = Bench::new(vec![pool_with("p", vec![spec(10)], vec![counting])]);
    assert_eq!(heard.lock().unwrap().joins, 1);

    operate(&mut bench, "a", Operation::Weight(Some(7)));
    assert_eq!(weight(&bench, "a"), 7);
    assert_eq!(heard.lock().unwrap().joins, 2, "for a strategy it left and joined");
    operate(&mut bench, "a", Operation::Weight(Some(7)));
    assert_eq!(heard.lock().unwrap().joins, 2, "the same weight again is no news");

    bench.apply(vec![pool("p", vec![spec(20)])]);
    assert_eq!(weight(&bench, "a"), 7, "the file's new word waits");
    assert_eq!(heard.lock().unwrap().joins, 2);
    operate(&mut bench, "a", Operation::Weight(None));
    assert_eq!(weight(&bench, "a"), 20);
    operate(&mut bench, "a", Operation::Weight(Some(10_000)));
    assert_eq!(weight(&bench, "a"), 256, "256 is the most");
    let told = bench.fleet.operated(bench.id("a"));
    assert_eq!(told, Operated { weight: Some(256), ..Operated::default() });
}

#[test]
fn a_cap_beats_everything_and_a_higher_one_frees_waiters_at_once() {
    let mut bench = Bench::new(vec![pool("p", vec![EndpointSpec { slots: Some(2), ..endpoint("a", 1) }])]);
    let held = bench.grant(request(1));
    bench.wait(request(2));
    bench.wait(request(3));
    assert_eq!(operate(&mut bench, "a", Operation::Cap(Some(Some(2)))), 1, "room for one more");
    assert_eq!(operate(&mut bench, "a", Operation::Cap(Some(None))), 1, "room for all");
    assert_eq!((cap(&bench, "a"), bench.in_flight()), (None, 3));

    bench.apply(vec![pool("p", vec![endpoint("a", 5)])]);
    assert_eq!(cap(&bench, "a"), None, "a reload does not undo it");
    operate(&mut bench, "a", Operation::Cap(Some(Some(1))));
    assert!(bench.finish(held.ticket, Outcome::Complete).is_empty());
    bench.wait(request(4));
    assert_eq!(bench.in_flight(), 2, "a lower cap ends nothing, and lets nothing in");
    assert_eq!(operate(&mut bench, "a", Operation::Cap(None)), 1, "back to the file's 5");
    assert_eq!(cap(&bench, "a"), Some(5));
}

#[test]
fn drain_takes_only_what_is_bound_there_and_maint_nothing() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 2)])]);
    let id = bench.id("a");
    let bound = |number, hard| {
        let mut facts = request(number);
        facts.pin = Some(Pin { to: PinTo::Endpoint(id), hard });
        facts
    };
    bench.state("a", State::Drain);
    assert!(matches!(bench.refused(request(1)), Reason::NoneReady { .. }));
    let first = bench.grant(bound(2, true));
    assert_eq!(first.module, "affinity");

    operate(&mut bench, "a", Operation::Weight(Some(0)));
    bench.state("a", State::Ready);
    assert!(matches!(bench.refused(request(3)), Reason::NoneReady { .. }), "weight 0 is the same");
    let second = bench.grant(bound(4, false));
    bench.wait(bound(5, true));

    let settled = bench.state("a", State::Maint);
    assert_eq!(settled.len(), 1, "who waits for it has nothing to wait for");
    assert!(matches!(settled[0].verdict, Err(Reason::PinnedAway { .. })));
    assert!(matches!(bench.refused(bound(6, true)), Reason::PinnedAway { .. }));
    assert!(matches!(bench.refused(bound(7, false)), Reason::NoneReady { .. }), "nobody else is there");
    for ticket in [first.ticket, second.ticket] {
        bench.finish(ticket, Outcome::Complete);
    }
    bench.assert_idle();
}

#[test]
fn a_model_whose_endpoint_is_out_of_service_is_not_unknown() {
    let endpoints = vec![endpoint("a", 1), EndpointSpec { weight: 0, ..endpoint("b", 1) }];
    for state in [State::Drain, State::Maint] {
        let mut bench = Bench::new(vec![pool("p", endpoints.clone())]);
        bench.lists("a", &["m"]);
        bench.lists("b", &["n"]);
        bench.state("a", state);
        for (model, expected) in [("m", true), ("n", true), ("o", false)] {
            let reason = bench.refused(request_for(1, model));
            assert_eq!(matches!(reason, Reason::NoneReady { .. }), expected, "{state:?}, {model}: {reason:?}");
            assert_eq!(reason == Reason::UnknownModel, !expected);
        }
    }
}

#[test]
fn nobody_waits_for_the_trial_of_one_in_maintenance() {
    let ejection = Some(EjectionLimits { failures: 1, keep_last: false, ..EjectionLimits::default() });
    let mut bench = Bench::new(vec![PoolSpec { ejection, ..pool("p", vec![endpoint("a", 4)]) }]);
    let a = bench.id("a");
    let mut facts = request(1);
    facts.pin = Some(Pin { to: PinTo::Endpoint(a), hard: true });
    let failed = bench.grant(facts.clone());
    bench.finish(failed.ticket, Outcome::UpstreamError);
    assert!(matches!(bench.refused(facts.clone()), Reason::PinnedAway { retry_after: 5 }), "out for five seconds");
    bench.advance(Duration::from_secs(5));
    let trial = bench.grant(facts.clone());
    let waits = bench.wait(facts.clone());
    let settled = bench.state("a", State::Maint);
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0].waiter, waits, "the trial shows nothing any more");
    assert!(matches!(bench.refused(facts), Reason::PinnedAway { .. }));
    bench.finish(trial.ticket, Outcome::Complete);
    bench.assert_idle();
}

#[test]
fn after_maintenance_one_good_check_is_enough() {
    let spec = PoolSpec { health: Some(HealthLimits::default()), ..pool("p", vec![endpoint("a", 1)]) };
    let mut bench = Bench::new(vec![spec]);
    bench.probe("a", true);
    for _ in 0..3 {
        bench.probe("a", false);
    }
    assert_eq!((bench.health("a"), bench.fleet.turned()), (Health::Down, vec![bench.id("a")]));
    assert!(bench.fleet.turned().is_empty(), "told once");
    bench.state("a", State::Maint);
    bench.state("a", State::Ready);
    let waits = bench.wait(request(1));
    let (waiter, _) = Bench::only_grant(bench.probe("a", true));
    assert_eq!((waiter, bench.health("a")), (waits, Health::Up));
}

#[test]
fn an_endpoint_that_left_the_file_is_forgotten_with_its_word() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    let a = bench.id("a");
    bench.state("b", State::Drain);
    let held = bench.grant(request(1));
    assert_eq!(held.endpoint, a);
    operate(&mut bench, "a", Operation::Weight(Some(3)));
    bench.apply(vec![pool("p", vec![endpoint("b", 1)])]);
    assert_eq!(operate(&mut bench, "a", Operation::State(State::Ready)), 0, "too late: it leaves");
    assert!(bench.fleet.endpoints().get(a).unwrap().leaving);
    bench.apply(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    assert_eq!((bench.id("a"), weight(&bench, "a")), (a, 1), "it came back before its last request ended");
    assert_eq!(bench.fleet.operated(a), Operated::default());
    assert_eq!(bench.fleet.operated(bench.id("b")).state, State::Drain, "b stayed, and drains");
    bench.finish(held.ticket, Outcome::Complete);
    assert!(matches!(bench.submit(request(2)), Submit::Granted(grant) if grant.endpoint == a));
}
