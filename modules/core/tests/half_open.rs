//! How an ejected endpoint comes back: one request tries, the rest follow.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, Health};
use arriero_core::{HealthLimits, Outcome, PoolSpec, SlowStart, Ticket};
use common::failing::{FAILURE, FIRST, THREE, ejecting, end_at, flood, limits, only, out_for, seconds, start, two};
use common::{Bench, Counting, Rule, endpoint, pool_with, request};

#[test]
fn what_served_well_for_long_is_forgiven() {
    let mut bench = two();
    end_at(&mut bench, "a", &THREE);
    bench.advance(FIRST);
    end_at(&mut bench, "a", &[FAILURE]);
    bench.advance(seconds(10));
    end_at(&mut bench, "a", &[Outcome::Complete]);
    end_at(&mut bench, "a", &THREE);
    assert_eq!(out_for(&bench, "a"), seconds(20), "it had just come back");
    bench.advance(seconds(20));
    end_at(&mut bench, "a", &[Outcome::Complete]);
    bench.advance(seconds(31));
    end_at(&mut bench, "a", &THREE);
    assert_eq!(out_for(&bench, "a"), seconds(20), "a window of service forgives one of three");
    bench.advance(seconds(20));
    end_at(&mut bench, "a", &[Outcome::Complete]);
    bench.advance(seconds(3600));
    end_at(&mut bench, "a", &THREE);
    assert_eq!(out_for(&bench, "a"), FIRST);
}

#[test]
fn half_open_takes_one_request_until_its_answer_begins() {
    let mut bench = two();
    end_at(&mut bench, "a", &THREE);
    bench.advance(FIRST);
    for inconclusive in [Outcome::ClientGone, Outcome::Rejected] {
        let (granted, there) = flood(&mut bench, "a", 6);
        assert_eq!(there, 1, "one request tries");
        for grant in granted {
            bench.finish(grant.ticket, if grant.endpoint == bench.id("a") { inconclusive } else { Outcome::Complete });
        }
        assert!(bench.endpoint("a").half_open, "{inconclusive:?} proves nothing");
    }
    let (granted, there) = flood(&mut bench, "a", 6);
    assert_eq!(there, 1);
    let a = bench.id("a");
    let trial = granted.iter().find(|grant| grant.endpoint == a).unwrap();
    bench.fleet.first_token(bench.now, trial.ticket);
    assert!(!bench.endpoint("a").half_open);
    assert!(flood(&mut bench, "a", 6).1 > 1, "it is back");
}

#[test]
fn a_trial_that_is_answered_whole_brings_it_back_and_one_that_fails_ejects_again() {
    let mut bench = two();
    end_at(&mut bench, "a", &THREE);
    bench.advance(FIRST);
    end_at(&mut bench, "a", &[Outcome::Complete, FAILURE, FAILURE]);
    assert!(!bench.endpoint("a").half_open, "back, and counted from the start");
    end_at(&mut bench, "a", &[FAILURE]);
    assert_eq!(out_for(&bench, "a"), seconds(10));
    bench.advance(seconds(10));
    end_at(&mut bench, "a", &[FAILURE]);
    assert_eq!(out_for(&bench, "a"), seconds(20), "one failure is enough for one that is half-open");
}

#[test]
fn nobody_waits_for_a_trial_that_hangs() {
    // This strategy binds every other request to `a`, and would wait for it.
    let bound = Counting { rule: Rule::Bound, ..Counting::default() };
    let spec = pool_with("p", vec![endpoint("a", 2), endpoint("b", 100)], vec![bound]);
    let mut bench = Bench::new(vec![PoolSpec { ejection: Some(limits()), ..spec }]);
    end_at(&mut bench, "a", &THREE);
    bench.advance(FIRST);
    let trial = bench.grant(request(2));
    assert_eq!(trial.endpoint, bench.id("a"));
    for number in 0..50 {
        assert_eq!(bench.grant(request(number)).endpoint, bench.id("b"));
    }
    bench.advance(seconds(60));
    bench.finish(trial.ticket, Outcome::Timeout);
    assert_eq!(out_for(&bench, "a"), seconds(10));
}

#[test]
fn attempts_from_before_count_neither_for_nor_against_it() {
    let mut bench = two();
    let old: Vec<Ticket> = (0..4).map(|_| start(&mut bench, "a")).collect();
    end_at(&mut bench, "a", &THREE);
    bench.finish(old[0], FAILURE);
    assert_eq!((out_for(&bench, "a"), bench.endpoint("a").figures.times_ejected), (FIRST, 1));
    bench.fleet.first_token(bench.now, old[1]);
    bench.finish(old[1], Outcome::Complete);
    assert!(bench.endpoint("a").half_open, "it began when all was well");
    bench.advance(FIRST);
    bench.finish(old[2], FAILURE);
    assert_eq!(out_for(&bench, "a"), Duration::ZERO, "it is half-open now");
    let trial = start(&mut bench, "a");
    bench.fleet.first_token(bench.now, trial);
    bench.finish(old[3], FAILURE);
    end_at(&mut bench, "a", &[FAILURE, FAILURE]);
    assert!(!bench.endpoint("a").half_open, "two failures since it is back, not three");
}

#[test]
fn a_success_ends_the_ejection_of_one_that_is_used_as_the_last() {
    let mut bench = two();
    end_at(&mut bench, "a", &THREE);
    bench.advance(Duration::from_millis(1));
    let facts = only(&bench, "a");
    let grant = bench.grant(facts);
    assert_eq!(grant.endpoint, bench.id("a"), "the route's subset holds nobody else");
    bench.finish(grant.ticket, Outcome::Complete);
    assert!(!bench.endpoint("a").half_open);
}

#[test]
fn waiters_get_the_trial_when_the_time_is_over() {
    let mut bench = Bench::new(vec![ejecting(vec![endpoint("a", 8), endpoint("b", 1)], limits())]);
    end_at(&mut bench, "a", &THREE);
    bench.grant(request(1));
    let first = bench.wait(request(2));
    let second = bench.wait(request(3));
    assert_eq!(bench.fleet.next_deadline(), Some(bench.now + FIRST));
    let (resolved, trial) = Bench::only_grant(bench.advance(FIRST));
    assert_eq!((resolved, trial.endpoint), (first, bench.id("a")));
    bench.fleet.first_token(bench.now, trial.ticket);
    let (resolved, _) = Bench::only_grant(bench.advance(Duration::ZERO));
    assert_eq!(resolved, second, "and the rest with the first token");
}

#[test]
fn checks_do_not_shorten_it_but_a_restart_does() {
    let health = Some(HealthLimits::default());
    let spec = ejecting(vec![endpoint("a", 8), endpoint("b", 8)], limits());
    let mut bench = Bench::new(vec![PoolSpec { health, ..spec }]);
    bench.probe("a", true);
    bench.probe("b", true);
    end_at(&mut bench, "a", &THREE);
    for _ in 0..10 {
        bench.probe("a", true);
    }
    assert_eq!(out_for(&bench, "a"), FIRST);
    for ok in [false, false, false, true, true] {
        assert!(flood(&mut bench, "a", 1).1 == 0);
        bench.probe("a", ok);
    }
    assert_eq!((bench.health("a"), out_for(&bench, "a")), (Health::Up, Duration::ZERO));
    assert_eq!(flood(&mut bench, "a", 5).1, 1, "it was away and came back: one request tries at once");
}

#[test]
fn coming_back_begins_the_slow_start() {
    let slow = Some(SlowStart { over: seconds(100), new: false });
    let specs = ["a", "b"].map(|name| EndpointSpec { slow_start: slow, ..endpoint(name, 10) });
    let mut bench = Bench::new(vec![ejecting(specs.into(), limits())]);
    assert_eq!(bench.endpoint("a").cap(bench.now), Some(10));
    end_at(&mut bench, "a", &THREE);
    bench.advance(FIRST);
    end_at(&mut bench, "a", &[Outcome::Complete]);
    bench.advance(seconds(50));
    assert_eq!(bench.endpoint("a").cap(bench.now), Some(5));
    bench.advance(seconds(50));
    assert_eq!(bench.endpoint("a").cap(bench.now), Some(10));
}
