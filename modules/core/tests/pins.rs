//! Requests that belong to one endpoint: by a key that was served there before, by a state that it holds, by name.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, Health};
use arriero_core::{
    AffinityLimits, EndpointId, HealthLimits, Outcome, Pin, PinTo, PoolId, PoolSpec, Reason, RequestFacts, State,
};
use common::{Bench, Counting, Heard, endpoint, pool, pool_with, request, request_for};

const TTL: Duration = Duration::from_secs(600);

fn keyed(id: u64, key: u64, hard: bool) -> RequestFacts {
    let mut facts = request(id);
    facts.pin = Some(Pin { to: PinTo::Key { key, ttl: TTL }, hard });
    facts
}

fn with_id(id: u64, state: u64, hard: bool) -> RequestFacts {
    let mut facts = request(id);
    facts.pin = Some(Pin { to: PinTo::Id(state), hard });
    facts
}

fn pool_id(bench: &Bench) -> PoolId {
    bench.applied.pools["p"].id
}

/// A pool of two with two slots each; `key` was answered by the returned one.
fn settled(key: u64) -> (Bench, EndpointId) {
    let health = Some(HealthLimits { rise: 1, fall: 1, ..HealthLimits::default() });
    let mut bench = Bench::new(vec![PoolSpec { health, ..pool("p", vec![endpoint("a", 2), endpoint("b", 2)]) }]);
    bench.probe("a", true);
    bench.probe("b", true);
    let grant = bench.grant(keyed(1, key, false));
    bench.finish(grant.ticket, Outcome::Complete);
    (bench, grant.endpoint)
}

fn name(bench: &Bench, id: EndpointId) -> String {
    bench.fleet.endpoints().get(id).unwrap().spec.name.to_string()
}

#[test]
fn a_key_stays_where_it_was_served_and_waits_for_a_slot_there() {
    let (mut bench, home) = settled(7);
    let first = bench.grant(keyed(2, 7, false));
    let second = bench.grant(keyed(3, 7, false));
    assert_eq!((first.endpoint, second.endpoint), (home, home), "though the other is idle");
    assert_eq!((first.module, second.module), ("affinity", "affinity"));
    let third = bench.wait(keyed(4, 7, false));
    let other = bench.grant(request(5));
    assert_ne!(other.endpoint, home, "a free request passes by");
    let (waiter, grant) = Bench::only_grant(bench.finish(second.ticket, Outcome::Complete));
    assert_eq!((waiter, grant.endpoint), (third, home));
    assert_eq!(bench.fleet.pinned(pool_id(&bench), PinTo::Key { key: 7, ttl: TTL }), Some(home));
    for ticket in [first.ticket, grant.ticket, other.ticket] {
        bench.finish(ticket, Outcome::Complete);
    }
    bench.assert_idle();
}

#[test]
fn many_who_wait_for_one_endpoint_do_not_hide_others() {
    let (mut bench, home) = settled(7);
    let held: Vec<_> = (10..12).map(|id| bench.grant(keyed(id, 7, false)).ticket).collect();
    for id in 100..400 {
        bench.wait(keyed(id, 7, false));
    }
    let free: Vec<_> = (20..22).map(|id| bench.grant(request(id))).collect();
    assert!(free.iter().all(|grant| grant.endpoint != home));
    let last = bench.wait(request(500));
    let (waiter, _) = Bench::only_grant(bench.finish(free[0].ticket, Outcome::Complete));
    assert_eq!(waiter, last, "the first 300 do not want this slot");
    let (waiter, _) = Bench::only_grant(bench.finish(held[0], Outcome::Complete));
    assert!(waiter < last);
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
fn a_key_that_was_never_answered_binds_nobody_hard() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 2), endpoint("b", 2)])]);
    let first = bench.grant(keyed(1, 7, true));
    assert!(bench.fleet.may_retry(first.ticket, 2), "nothing is lost elsewhere");
    bench.finish(first.ticket, Outcome::ConnectFailed);
    let mut again = keyed(1, 7, true);
    (again.attempt, again.tried) = (1, vec![first.endpoint]);
    let second = bench.grant(again);
    assert_ne!(second.endpoint, first.endpoint);
    bench.fleet.first_token(bench.now, second.ticket);
    assert!(!bench.fleet.may_retry(second.ticket, 3), "now there is");
    bench.finish(second.ticket, Outcome::MidStream);
    assert_eq!(bench.grant(keyed(2, 7, true)).endpoint, second.endpoint);
}

#[test]
fn an_id_is_found_where_its_state_is() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 2), endpoint("b", 2)])]);
    let (p, b) = (pool_id(&bench), bench.id("b"));
    assert_eq!(bench.grant(with_id(1, 9, true)).endpoint, bench.id("a"), "nobody knows it: the strategy decides");
    assert_eq!(bench.fleet.affinity(p).count(), 0, "and nothing is noted");
    bench.fleet.pin(bench.now, p, 9, b);
    bench.fleet.pin(bench.now, p, 10, EndpointId(99));
    assert_eq!(bench.grant(with_id(2, 9, true)).endpoint, b);
    let rows: Vec<_> = bench.fleet.affinity(p).collect();
    assert_eq!((rows.len(), rows[0].is_id, rows[0].key, rows[0].endpoint), (1, true, 9, b), "99 is none of the pool's");
    assert_eq!(rows[0].until - bench.now, Duration::from_secs(24 * 3600));

    bench.state("b", State::Maint);
    assert_eq!(bench.grant(with_id(3, 9, false)).endpoint, bench.id("a"));
    assert_eq!(bench.fleet.pinned(p, PinTo::Id(9)), Some(b), "the state is still at b");
    assert_eq!(bench.fleet.clear_affinity(p, Some(9)), 1);
    assert_eq!(bench.fleet.pinned(p, PinTo::Id(9)), None);
}

#[test]
fn a_busy_endpoint_is_waited_for() {
    let (mut bench, home) = settled(7);
    let held = bench.grant(keyed(2, 7, false));
    bench.finish(held.ticket, Outcome::Busy);
    let waits = bench.wait(keyed(3, 7, false));
    let due = bench.fleet.next_deadline().expect("its back-off ends");
    let (waiter, grant) = Bench::only_grant(bench.advance(due - bench.now));
    assert_eq!((waiter, grant.endpoint), (waits, home));
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
fn keys_survive_reloads_and_go_with_their_endpoint() {
    let (mut bench, home) = settled(7);
    let (p, home_name) = (pool_id(&bench), name(&bench, home));
    bench.apply(vec![pool("q", vec![]), pool("p", vec![endpoint("b", 3), endpoint("c", 3), endpoint("a", 3)])]);
    let to = PinTo::Key { key: 7, ttl: TTL };
    assert_eq!((pool_id(&bench), bench.fleet.pinned(p, to)), (p, Some(home)));

    let moved = EndpointSpec { url: "http://elsewhere".into(), ..endpoint(&home_name, 3) };
    bench.apply(vec![pool("p", vec![moved.clone(), endpoint("c", 3)])]);
    assert_eq!(bench.fleet.pinned(p, to), None, "another engine sits there now");
    bench.fleet.pin(bench.now, p, 9, home);
    bench.apply(vec![pool("p", vec![endpoint("c", 3)])]);
    assert_eq!(bench.fleet.affinity(p).count(), 0, "it is gone");
}

#[test]
fn what_is_remembered_is_bounded_in_number_and_time() {
    let spec = PoolSpec {
        affinity: AffinityLimits { keys: 500, ids: 3, ..AffinityLimits::default() },
        ..pool("p", vec![endpoint("a", 2), endpoint("b", 2)])
    };
    let mut bench = Bench::new(vec![spec]);
    let p = pool_id(&bench);
    let serve = |bench: &mut Bench, key| {
        let grant = bench.grant(keyed(key, key, false));
        bench.finish(grant.ticket, Outcome::Complete);
    };
    for key in 0..700 {
        serve(&mut bench, key);
        bench.fleet.pin(bench.now, p, key, bench.id("a"));
    }
    assert_eq!(bench.fleet.affinity(p).filter(|row| !row.is_id).count(), 500, "the pool's bound");
    assert_eq!(bench.fleet.affinity(p).filter(|row| row.is_id).count(), 3);
    let to = |key| PinTo::Key { key, ttl: TTL };
    assert!(bench.fleet.pinned(p, to(199)).is_none() && bench.fleet.pinned(p, to(200)).is_some());

    bench.advance(TTL / 2);
    serve(&mut bench, 300);
    bench.advance(TTL / 2);
    let keys: Vec<u64> = bench.fleet.affinity(p).filter(|row| !row.is_id).map(|row| row.key).collect();
    assert_eq!(keys, [300], "used since");
    bench.fleet.clear_affinity(p, None);
    assert_eq!(bench.fleet.affinity(p).count(), 0);
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

#[test]
fn who_waits_is_free_when_the_tie_is_forgotten() {
    let (mut bench, home) = settled(7);
    let held = [bench.grant(keyed(2, 7, false)), bench.grant(keyed(3, 7, false))];
    let waits = bench.wait(keyed(4, 7, false));
    bench.fleet.clear_affinity(pool_id(&bench), Some(7));
    assert!(bench.fleet.next_deadline().unwrap() <= bench.now, "at once");
    let (waiter, grant) = Bench::only_grant(bench.advance(Duration::ZERO));
    assert_eq!(waiter, waits);
    assert_ne!(grant.endpoint, home);

    let mut short = keyed(5, 8, false);
    short.pin = Some(Pin { to: PinTo::Key { key: 8, ttl: Duration::from_secs(5) }, hard: false });
    bench.finish(grant.ticket, Outcome::Complete);
    let first = bench.grant(short.clone());
    bench.finish(held[0].ticket, Outcome::Complete);
    bench.finish(held[1].ticket, Outcome::Complete);
    let second = bench.grant(short.clone());
    assert_eq!(first.endpoint, second.endpoint);
    bench.wait(short);
    assert!(bench.advance(Duration::from_millis(4900)).is_empty());
    let (_, third) = Bench::only_grant(bench.advance(Duration::from_millis(1100)));
    assert_ne!(third.endpoint, first.endpoint, "the tie was too old before a slot came");
}

#[test]
fn strategies_hear_of_pinned_requests_and_that_they_did_not_pick_them() {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let counting = Counting { heard: heard.clone(), ..Counting::default() };
    let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 2), endpoint("b", 2)], vec![counting])]);
    for id in 0..3 {
        let grant = bench.grant(keyed(id, 7, false));
        bench.fleet.first_token(bench.now, grant.ticket);
        bench.finish(grant.ticket, Outcome::Complete);
    }
    let heard = heard.lock().unwrap();
    assert_eq!((heard.started, heard.ended), (3, 3));
    assert_eq!((heard.mine_started, heard.mine_ended), (1, 1), "the first one only");
}
