//! Requests that belong to one endpoint: by a key that was served there before, by a state that it holds, by name.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arriero_core::endpoint::EndpointSpec;
use arriero_core::{AffinityLimits, EndpointId, Outcome, Pin, PinTo, PoolSpec, State};
use common::pinned::{TTL, keyed, name, pool_id, settled, with_id};
use common::{Bench, Counting, Heard, endpoint, pool, pool_with, request};

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
fn a_reload_forgets_no_key_and_a_smaller_bound_is_come_to_step_by_step() {
    let spec = |keys| PoolSpec {
        affinity: AffinityLimits { keys, ..AffinityLimits::default() },
        ..pool("p", vec![endpoint("a", 1), endpoint("b", 1)])
    };
    let mut bench = Bench::new(vec![spec(10_000)]);
    let p = pool_id(&bench);
    let serve = |bench: &mut Bench, key| {
        let grant = bench.grant(keyed(key, key, false));
        bench.finish(grant.ticket, Outcome::Complete);
    };
    (0..5000).for_each(|key| serve(&mut bench, key));
    bench.apply(vec![spec(10_000)]);
    serve(&mut bench, 5000);
    assert_eq!(bench.fleet.affinity_len(p), 5001);

    bench.apply(vec![spec(1000)]);
    let mut before = bench.fleet.affinity_len(p);
    for key in 5001..5101 {
        serve(&mut bench, key);
        let after = bench.fleet.affinity_len(p);
        assert!(before - after < 100, "{before} entries, then {after}");
        before = after;
    }
    assert_eq!(before, 1000);
    let newest = PinTo::Key { key: 5000, ttl: TTL };
    assert!(bench.fleet.pinned(p, newest).is_some(), "the longest unused went");
    bench.apply(vec![spec(0)]);
    assert_eq!(bench.fleet.affinity_len(p), 0, "no route remembers keys");
}

#[test]
fn whoever_waits_for_one_of_many_endpoints_gets_its_slot() {
    const HERD: u64 = 200;
    let names: Vec<String> = (0..HERD).map(|number| format!("e{number}")).collect();
    let mut bench = Bench::new(vec![pool("p", names.iter().map(|name| endpoint(name, 1)).collect())]);
    let bound = |bench: &Bench, id: u64, name: &str| {
        let mut facts = request(id);
        facts.pin = Some(Pin { to: PinTo::Endpoint(bench.id(name)), hard: true });
        facts
    };
    let held: Vec<_> = names.iter().map(|name| bench.grant(bound(&bench, 0, name))).collect();
    let waits: Vec<_> = names.iter().map(|name| (0..2).map(|id| bench.wait(bound(&bench, id, name))).min()).collect();
    let waiting = bench.fleet.waiting_by_endpoint();
    assert_eq!((waiting.len() as u64, waiting.values().all(|count| *count == (2, 2))), (HERD, true));
    for (held, first) in held.into_iter().zip(waits).rev() {
        let (waiter, grant) = Bench::only_grant(bench.finish(held.ticket, Outcome::Complete));
        assert_eq!((Some(waiter), grant.endpoint), (first, held.endpoint));
    }
}

#[test]
fn a_description_moves_the_clock_too() {
    let (mut bench, _) = settled(7);
    let p = pool_id(&bench);
    bench.now = bench.now + TTL;
    bench.lists("a", &["m"]);
    assert_eq!(bench.fleet.affinity(p).count(), 0);
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
