//! Requests that belong to an endpoint which cannot take them just now: who waits, who goes elsewhere, who is refused.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::endpoint::Health;
use arriero_core::{HealthLimits, Outcome, Pin, PinTo, PoolSpec, Reason, State};
use common::failing::{THREE, ejecting, end_at, limits};
use common::pinned::{keyed, name, pool_id, settled, with_id};
use common::{Bench, endpoint, pool, request, request_for};

#[test]
fn a_busy_endpoint_is_waited_for_by_the_hard_and_left_by_the_soft() {
    let (mut bench, home) = settled(7);
    let held = [bench.grant(keyed(2, 7, false)), bench.grant(keyed(3, 7, false))];
    let moves = bench.wait(keyed(4, 7, false));
    let (waiter, moved) = Bench::only_grant(bench.finish(held[0].ticket, Outcome::Busy));
    assert_eq!(waiter, moves, "it does not wait for the end of the back-off");
    assert_ne!(moved.endpoint, home);
    assert_eq!(bench.grant(keyed(5, 7, false)).endpoint, moved.endpoint, "the key followed");

    let (mut bench, home) = settled(7);
    let held = bench.grant(keyed(2, 7, false));
    bench.finish(held.ticket, Outcome::Busy);
    let waits = bench.wait(keyed(3, 7, true));
    let due = bench.fleet.next_deadline().expect("its back-off ends");
    let (waiter, trial) = Bench::only_grant(bench.advance(due - bench.now));
    assert_eq!((waiter, trial.endpoint), (waits, home));
    assert_ne!(bench.grant(keyed(4, 7, false)).endpoint, home, "one request tries first");
}

#[test]
fn where_all_rest_the_soft_wait_for_whoever_is_back_first() {
    let (mut bench, home) = settled(7);
    let names = ["a", "b"];
    let held = [bench.grant(request(2)), bench.grant(request(3))];
    assert_ne!(held[0].endpoint, held[1].endpoint);
    for grant in held.iter().filter(|grant| grant.endpoint != home).chain(held.iter().filter(|g| g.endpoint == home)) {
        bench.finish(grant.ticket, Outcome::Busy);
        bench.advance(Duration::from_millis(100));
    }
    assert!(names.iter().all(|name| bench.endpoint(name).busy_until > bench.now));
    let waits = bench.wait(keyed(4, 7, false));
    let due = bench.fleet.next_deadline().expect("a back-off ends");
    let (waiter, grant) = Bench::only_grant(bench.advance(due - bench.now));
    assert_eq!(waiter, waits);
    assert_ne!(grant.endpoint, home, "home rests for 100 ms longer");
}

#[test]
fn who_is_bound_to_the_last_is_served_there_like_others() {
    let names = ["a", "b"];
    let endpoints = || names.map(|name| endpoint(name, 2)).to_vec();
    let health = Some(HealthLimits { rise: 1, fall: 1, ..HealthLimits::default() });
    let spec = PoolSpec { health, ..ejecting(endpoints(), limits()) };
    let mut bench = Bench::new(vec![spec]);
    let (p, a) = (pool_id(&bench), bench.id("a"));
    names.iter().for_each(|name| drop(bench.probe(name, true)));
    bench.fleet.pin(bench.now, p, 9, a);
    end_at(&mut bench, "a", &THREE);
    bench.advance(Duration::from_millis(1));
    assert!(matches!(bench.refused(with_id(1, 9, true)), Reason::PinnedAway { .. }), "b serves all others");
    bench.probe("b", false);
    let first = bench.grant(request(2));
    let second = bench.grant(with_id(3, 9, true));
    assert_eq!((first.endpoint, second.endpoint), (a, a), "a was ejected, but is the last");
    let waits = bench.wait(with_id(4, 9, true));
    let (waiter, grant) = Bench::only_grant(bench.finish(first.ticket, Outcome::ClientGone));
    assert_eq!((waiter, grant.endpoint, grant.module), (waits, a, "affinity"));
    assert!(!bench.fleet.may_retry(grant.ticket, 2), "its state is nowhere else");

    for panic in [false, true] {
        let mut bench = Bench::new(vec![PoolSpec { panic, health, ..pool("p", endpoints()) }]);
        let (p, a) = (pool_id(&bench), bench.id("a"));
        bench.fleet.pin(bench.now, p, 9, a);
        bench.probe("a", false);
        bench.probe("b", false);
        match panic {
            true => assert_eq!(bench.grant(with_id(1, 9, true)).endpoint, a),
            false => assert!(matches!(bench.refused(with_id(1, 9, true)), Reason::PinnedAway { .. })),
        }
    }
}

#[test]
fn a_hard_one_waits_for_the_first_check_of_its_endpoint() {
    let health = Some(HealthLimits::default());
    let mut bench = Bench::new(vec![PoolSpec { health, ..pool("p", vec![endpoint("a", 2), endpoint("b", 2)]) }]);
    let a = bench.id("a");
    let named = |id, hard| {
        let mut facts = request(id);
        facts.pin = Some(Pin { to: PinTo::Endpoint(a), hard });
        facts
    };
    let (hard, soft) = (bench.wait(named(1, true)), bench.wait(named(2, false)));
    let (waiter, _) = Bench::only_grant(bench.probe("b", true));
    assert_eq!(waiter, soft);
    let (waiter, grant) = Bench::only_grant(bench.probe("a", true));
    assert_eq!((waiter, grant.endpoint), (hard, a));
}

#[test]
fn soft_moves_and_stays_there_hard_is_refused() {
    for hard in [false, true] {
        let (mut bench, home) = settled(7);
        let home_name = name(&bench, home);
        bench.probe(&home_name, false);
        assert_eq!(bench.health(&home_name), Health::Down);
        if hard {
            assert!(matches!(bench.refused(keyed(2, 7, true)), Reason::PinnedAway { .. }));
            bench.probe(&home_name, true);
            assert_eq!(bench.grant(keyed(3, 7, true)).endpoint, home);
        } else {
            let moved = bench.grant(keyed(2, 7, false));
            assert_ne!(moved.endpoint, home);
            assert_ne!(moved.module, "affinity", "the strategy chose");
            bench.probe(&home_name, true);
            assert_eq!(bench.grant(keyed(3, 7, false)).endpoint, moved.endpoint, "it is at home there now");
        }
    }
}

#[test]
fn those_who_wait_hard_are_refused_when_their_endpoint_goes_and_the_soft_go_elsewhere() {
    let (mut bench, home) = settled(7);
    let held: Vec<_> = (10..12).map(|id| bench.grant(keyed(id, 7, false)).ticket).collect();
    let soft = bench.wait(keyed(2, 7, false));
    let hard = bench.wait(keyed(3, 7, true));
    let home_name = name(&bench, home);
    let mut settled = bench.probe(&home_name, false);
    settled.sort_by_key(|resolution| resolution.waiter);
    assert_eq!(settled.iter().map(|resolution| resolution.waiter).collect::<Vec<_>>(), [soft, hard]);
    assert_ne!(settled[0].verdict.as_ref().unwrap().endpoint, home);
    assert!(matches!(settled[1].verdict, Err(Reason::PinnedAway { .. })));
    for ticket in held {
        bench.finish(ticket, Outcome::UpstreamError);
    }
}

#[test]
fn a_slot_that_frees_while_its_endpoint_drains_goes_to_who_is_bound_there() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 1)])]);
    let a = bench.id("a");
    let named = |id| {
        let mut facts = request(id);
        facts.pin = Some(Pin { to: PinTo::Endpoint(a), hard: true });
        facts
    };
    let (held, other) = (bench.grant(named(1)), bench.grant(request(2)));
    bench.state("a", State::Drain);
    let (free, bound) = (bench.wait(request(3)), bench.wait(named(4)));
    let (waiter, grant) = Bench::only_grant(bench.finish(held.ticket, Outcome::Complete));
    assert_eq!((waiter, grant.endpoint), (bound, a), "the one before it may not go there");
    let (waiter, _) = Bench::only_grant(bench.finish(other.ticket, Outcome::Complete));
    assert_eq!(waiter, free);
}

#[test]
fn a_pin_to_whom_the_request_cannot_concern_is_none() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1), endpoint("b", 2)])]);
    let a = bench.id("a");
    bench.lists("a", &["here"]);
    bench.lists("b", &["there"]);
    let mut facts = request_for(1, "there");
    facts.pin = Some(Pin { to: PinTo::Endpoint(a), hard: true });
    assert_eq!(bench.grant(facts.clone()).endpoint, bench.id("b"), "a does not have that model");
    facts.model = Some("nowhere".into());
    assert_eq!(bench.refused(facts.clone()), Reason::UnknownModel);
    facts.model = Some("here".into());
    bench.state("a", State::Maint);
    assert!(matches!(bench.refused(facts.clone()), Reason::PinnedAway { .. }), "a has this one, and is away");

    bench.apply(vec![pool("p", vec![endpoint("b", 2)])]);
    facts.model = Some("there".into());
    assert_eq!(bench.grant(facts).endpoint, bench.id("b"), "a is none of the pool's any more");
}
