//! What a new configuration keeps, ends and begins.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use arriero_core::endpoint::EndpointSpec;
use arriero_core::{Outcome, Reason, State, Submit};
use common::{Bench, Counting, Heard, Rule, endpoint, pool, pool_with, request, request_for};

fn listening(rule: Rule) -> (Counting, Arc<Mutex<Heard>>) {
    let counting = Counting { rule, ..Counting::default() };
    let heard = counting.heard.clone();
    (counting, heard)
}

#[test]
fn everything_that_stays_keeps_its_state() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    let before = bench.applied.pools["p"].clone();
    let held = [bench.grant(request(1)), bench.grant(request(2))];
    let waiter = bench.wait(request(3));
    bench.apply(vec![pool("p", vec![endpoint("b", 1), endpoint("a", 1)])]);
    let after = &bench.applied.pools["p"];
    assert_eq!((after.id, &after.strategies), (before.id, &before.strategies));
    assert_eq!(after.endpoints, [before.endpoints[1], before.endpoints[0]], "the specification's order");
    assert!(bench.applied.joined.is_empty() && bench.applied.left.is_empty() && bench.applied.resolutions.is_empty());
    assert_eq!(bench.in_flight(), 2);
    let (resolved, _) = Bench::only_grant(bench.finish(held[0].ticket, Outcome::Complete));
    assert_eq!(resolved, waiter);
}

#[test]
fn a_strategy_is_new_when_its_options_are_and_hears_only_of_what_begins_after_it() {
    let (first, old) = listening(Rule::Least);
    let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 4)], vec![first])]);
    let old_id = bench.applied.pools["p"].strategies[0];
    let early = bench.grant(request(1));
    let (second, new) = listening(Rule::Bound);
    let (again, _) = listening(Rule::Least);
    let (twin, _) = listening(Rule::Least);
    bench.apply(vec![pool_with("p", vec![endpoint("a", 4), endpoint("b", 4)], vec![second, again, twin])]);
    let ids = &bench.applied.pools["p"].strategies;
    assert_eq!((ids[1], ids[2]), (old_id, old_id), "equal strategies are one, and it stays");
    assert_ne!(ids[0], old_id);
    let late = bench.grant(request(2));
    bench.finish(early.ticket, Outcome::Complete);
    bench.finish(late.ticket, Outcome::Complete);
    let (old, new) = (old.lock().unwrap(), new.lock().unwrap());
    assert_eq!((old.started, old.ended, old.mine_ended), (2, 2, 1));
    assert_eq!((new.started, new.ended, new.mine_ended), (1, 1, 1));
    assert_eq!((old.members.len(), new.members.len()), (2, 2));
}

#[test]
fn a_strategy_hears_of_a_new_weight_and_of_nothing_when_nothing_changed() {
    let (counting, heard) = listening(Rule::Least);
    let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 1), endpoint("b", 1)], vec![counting])]);
    bench.apply(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    assert_eq!(heard.lock().unwrap().joins, 2);
    bench.apply(vec![pool("p", vec![EndpointSpec { weight: 9, ..endpoint("a", 1) }, endpoint("b", 1)])]);
    let heard = heard.lock().unwrap();
    assert_eq!((heard.joins, heard.members.len()), (3, 2), "it left and joined");
}

#[test]
fn a_removed_endpoint_finishes_what_it_runs_and_is_then_forgotten() {
    let (counting, heard) = listening(Rule::Least);
    let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 1), endpoint("b", 1)], vec![counting])]);
    let a = bench.id("a");
    let grants = [bench.grant(request(1)), bench.grant(request(2))];
    bench.apply(vec![pool("p", vec![endpoint("b", 1)])]);
    assert_eq!((bench.applied.left.as_slice(), heard.lock().unwrap().members.len()), ([a].as_slice(), 1));
    assert!(bench.fleet.endpoints().get(a).unwrap().leaving);
    let on_a = grants.iter().find(|grant| grant.endpoint == a).unwrap();
    bench.wait(request(3));
    assert!(bench.finish(on_a.ticket, Outcome::Complete).is_empty(), "its slot is nobody's");
    assert!(bench.fleet.endpoints().get(a).is_none());
    assert_eq!(heard.lock().unwrap().ended, 1);

    bench.apply(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    assert_ne!(bench.id("a"), a, "an id is never used again");
    assert_eq!(bench.applied.resolutions.len(), 1, "and its slot goes to the waiter at once");
}

#[test]
fn an_endpoint_that_comes_back_in_time_or_moves_keeps_its_slots() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    let a = bench.id("a");
    let held = bench.grant(request(1));
    bench.apply(vec![pool("p", vec![endpoint("b", 1)])]);
    bench.apply(vec![pool("p", vec![endpoint("b", 1)]), pool("q", vec![endpoint("a", 1)])]);
    assert_eq!((bench.id("a"), bench.applied.joined.as_slice()), (a, [a].as_slice()));
    let Submit::Queued(waiter) = bench.submit_to("q", 0, request(2)) else { panic!("a's slot is held from p") };
    let (resolved, grant) = Bench::only_grant(bench.finish(held.ticket, Outcome::Complete));
    assert_eq!((resolved, grant.endpoint), (waiter, a));
}

#[test]
fn waiters_of_a_removed_pool_or_model_are_told() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)]), pool("q", vec![endpoint("b", 1)])]);
    bench.lists("b", &["m"]);
    let old = bench.applied.pools["p"].clone();
    let held = bench.grant(request(1));
    bench.wait(request(2));
    assert!(matches!(bench.submit_to("q", 0, request_for(3, "m")), Submit::Granted(_)));
    let Submit::Queued(other) = bench.submit_to("q", 0, request_for(4, "m")) else { panic!("b is full") };
    let bare = EndpointSpec { models: Some(vec![("n".into(), "n".into())]), ..endpoint("b", 1) };
    bench.apply(vec![pool("q", vec![bare])]);
    let reasons: Vec<_> = bench.applied.resolutions.iter().map(|end| end.verdict.as_ref().err().cloned()).collect();
    assert_eq!(reasons, [Some(Reason::PoolGone), Some(Reason::UnknownModel)]);
    assert_eq!(bench.applied.resolutions[1].waiter, other);
    let late = bench.fleet.submit(bench.now, old.id, old.strategies[0], request(5).into(), bench.now);
    assert!(matches!(late, Submit::Rejected(Reason::PoolGone)));
    assert!(bench.finish(held.ticket, Outcome::Complete).is_empty());
    assert!(bench.fleet.find_endpoint("a").is_none());
}

#[test]
fn a_request_of_the_old_generation_is_still_answered() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    let old = bench.applied.pools["p"].clone();
    let held = bench.grant(request(1));
    let waiter = bench.wait(request(2));
    bench.apply(vec![pool_with("p", vec![endpoint("a", 1)], vec![listening(Rule::Bound).0])]);
    let (resolved, grant) = Bench::only_grant(bench.finish(held.ticket, Outcome::Complete));
    assert_eq!((resolved, grant.module), (waiter, "least-connection"), "its strategy is gone, its turn is not");
    bench.finish(grant.ticket, Outcome::Complete);
    let late = bench.fleet.submit(bench.now, old.id, old.strategies[0], request(3).into(), bench.now);
    assert!(matches!(late, Submit::Granted(_)));
}

#[test]
fn an_operator_drain_survives_a_reload() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    let a = bench.id("a");
    bench.state("a", State::Drain);
    bench.apply(vec![pool("p", vec![endpoint("a", 5), endpoint("b", 1)])]);
    assert_ne!(bench.grant(request(1)).endpoint, a);
    bench.wait(request(2));
    let (_, grant) = Bench::only_grant(bench.state("a", State::Ready));
    assert_eq!(grant.endpoint, a);
}
