//! What requests show: who is ejected, and for how long.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, Health};
use arriero_core::{
    EjectionLimits, EndpointId, EngineClass, Grant, HealthLimits, Outcome, PathClasses, PoolSpec, Reason, Submit,
};
use common::failing::{
    FAILURE, FIRST, THREE, ejecting, end_at, flood, limits, only, out_for, seconds, start, tried_elsewhere, two,
};
use common::{Bench, endpoint, known, pool, request, request_for};

#[test]
fn failures_in_a_row_eject_and_anything_else_does_not() {
    use Outcome::*;
    let mut bench = two();
    for harmless in [
        vec![ConnectFailed, UpstreamError, Complete, Timeout, MidStream],
        vec![Complete, Busy],
        vec![Complete, ClientGone, Rejected, ClientGone, Rejected],
        vec![ConnectFailed, ClientGone, UpstreamError, Complete],
    ] {
        for outcome in harmless {
            bench.advance(seconds(2));
            end_at(&mut bench, "a", &[outcome]);
            assert!(!bench.endpoint("a").half_open);
        }
    }
    end_at(&mut bench, "a", &[ConnectFailed, ClientGone, Timeout, Rejected, MidStream]);
    assert_eq!(out_for(&bench, "a"), FIRST, "what proves nothing does not end the row either");
    assert_eq!((bench.health("a"), bench.endpoint("a").figures.times_ejected), (Health::Up, 1));
    let (granted, there) = flood(&mut bench, "a", 20);
    assert_eq!((granted.len(), there), (8, 0), "the others wait for the endpoint that works");
    assert_eq!(bench.endpoint("b").in_flight(), 8);
}

#[test]
fn without_limits_nobody_is_ejected() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 8), endpoint("b", 8)])]);
    end_at(&mut bench, "a", &[FAILURE; 50]);
    assert!(!bench.endpoint("a").half_open);
    let never = EjectionLimits { failures: 0, share: None, ..limits() };
    let mut bench = Bench::new(vec![ejecting(vec![endpoint("a", 8), endpoint("b", 8)], never)]);
    end_at(&mut bench, "a", &[FAILURE; 50]);
    assert!(!bench.endpoint("a").half_open);
}

#[test]
fn each_failed_trial_doubles_the_time_up_to_the_longest() {
    let limits = EjectionLimits { longest: seconds(60), ..limits() };
    let mut bench = Bench::new(vec![ejecting(vec![endpoint("a", 8), endpoint("b", 8)], limits)]);
    end_at(&mut bench, "a", &THREE);
    for (count, expected) in [5, 10, 20, 40, 60, 60].into_iter().enumerate() {
        assert_eq!(out_for(&bench, "a"), seconds(expected));
        assert_eq!(bench.endpoint("a").figures.times_ejected, count as u64 + 1);
        bench.advance(seconds(expected) - Duration::from_millis(1));
        let facts = tried_elsewhere(&bench, "a");
        assert_eq!(bench.refused(facts), Reason::AllTried, "still out");
        bench.advance(Duration::from_millis(1));
        end_at(&mut bench, "a", &[FAILURE]);
    }
}

#[test]
fn a_share_ejects_once_there_are_enough_requests() {
    let by_share = EjectionLimits { failures: 0, share: Some(0.5), requests: 10, window: seconds(30), ..limits() };
    let endpoints = || vec![endpoint("a", 8), endpoint("b", 8)];
    let mut bench = Bench::new(vec![ejecting(endpoints(), by_share)]);
    for _ in 0..4 {
        end_at(&mut bench, "a", &[Outcome::Complete, FAILURE]);
    }
    end_at(&mut bench, "a", &[FAILURE]);
    assert!(!bench.endpoint("a").half_open, "nine requests say nothing");
    end_at(&mut bench, "a", &[FAILURE]);
    assert_eq!(out_for(&bench, "a"), FIRST);

    let mut bench = Bench::new(vec![ejecting(endpoints(), by_share)]);
    for _ in 0..200 {
        bench.advance(seconds(1));
        end_at(&mut bench, "a", &[Outcome::Complete, Outcome::Complete, FAILURE]);
    }
    assert!(!bench.endpoint("a").half_open, "a third is not half");

    let mut bench = Bench::new(vec![ejecting(endpoints(), by_share)]);
    for _ in 0..200 {
        end_at(&mut bench, "a", &[FAILURE]);
        bench.advance(Duration::from_millis(3500));
    }
    assert!(!bench.endpoint("a").half_open, "never ten of them within 30 s");
    bench.advance(seconds(30));
    end_at(&mut bench, "a", &[Outcome::Complete; 11]);
    end_at(&mut bench, "a", &[FAILURE; 10]);
    assert!(!bench.endpoint("a").half_open, "what failed before the window is forgotten");
    end_at(&mut bench, "a", &[FAILURE]);
    assert!(bench.endpoint("a").half_open);
}

#[test]
fn the_last_that_can_serve_a_model_stays() {
    let mut bench = two();
    let (a, b) = (bench.id("a"), bench.id("b"));
    for (id, models) in [(a, vec!["rare", "common"]), (b, vec!["common"])] {
        bench.fleet.describe(bench.now, id, EngineClass::Slots, PathClasses::ALL, known(&models));
    }
    for number in 0..20 {
        let grant = bench.grant(request_for(number, "rare"));
        bench.finish(grant.ticket, FAILURE);
    }
    assert!(!bench.endpoint("a").half_open, "nobody else has the model");
    let mut facts = request_for(30, "common");
    facts.tried = [b].into_iter().collect();
    let grant = bench.grant(facts);
    bench.finish(grant.ticket, FAILURE);
    assert!(bench.endpoint("a").half_open, "somebody else has this one");
    assert_eq!(bench.grant(request_for(31, "common")).endpoint, b);
    for number in 0..8 {
        assert_eq!(
            bench.grant(request_for(40 + number, "rare")).endpoint,
            a,
            "and the rare one is served there as ever"
        );
    }
}

#[test]
fn an_ejected_endpoint_serves_again_when_the_others_go() {
    for keep_last in [true, false] {
        let limits = EjectionLimits { keep_last, ..limits() };
        let health = Some(HealthLimits::default());
        let spec = ejecting(vec![endpoint("a", 8), endpoint("b", 1)], limits);
        let mut bench = Bench::new(vec![PoolSpec { health, ..spec }]);
        bench.probe("a", true);
        bench.probe("b", true);
        end_at(&mut bench, "a", &THREE);
        let running = bench.grant(request(1));
        assert_eq!(running.endpoint, bench.id("b"));
        let waiter = bench.wait(request(2));
        for _ in 0..2 {
            assert!(bench.probe("b", false).is_empty());
        }
        let ends = bench.probe("b", false);
        if keep_last {
            let (resolved, grant) = Bench::only_grant(ends);
            assert_eq!((resolved, grant.endpoint), (waiter, bench.id("a")), "the last one is used all the same");
            let (_, there) = flood(&mut bench, "a", 7);
            assert_eq!(there, 7, "as much as it takes");
            let waiter = bench.wait(request(3));
            let (resolved, _) = Bench::only_grant(bench.finish(grant.ticket, FAILURE));
            assert_eq!(resolved, waiter, "slots that free are used");
            assert_eq!(out_for(&bench, "a"), FIRST, "what it had to do anyway is not held against it");
        } else {
            assert!(matches!(ends[0].verdict, Err(Reason::NoneReady { .. })));
            assert!(matches!(bench.refused(request(3)), Reason::NoneReady { .. }));
        }
    }
}

#[test]
fn one_that_is_busy_or_full_is_waited_for_before_an_ejected_one_is_used() {
    let mut bench = Bench::new(vec![ejecting(vec![endpoint("a", 8), endpoint("b", 1)], limits())]);
    end_at(&mut bench, "a", &THREE);
    let running = bench.grant(request(1));
    bench.wait(request(2));
    bench.finish(running.ticket, Outcome::Busy);
    bench.wait(request(3));
    let (_, grant) = Bench::only_grant(bench.advance(seconds(1)));
    assert_eq!(grant.endpoint, bench.id("b"));
}

#[test]
fn requests_that_use_no_model_prove_nothing() {
    let mut bench = two();
    let metadata = |bench: &mut Bench, outcome| {
        let mut facts = tried_elsewhere(bench, "a");
        facts.metadata_only = true;
        let grant = bench.grant(facts);
        bench.fleet.first_token(bench.now, grant.ticket);
        bench.finish(grant.ticket, outcome);
    };
    for _ in 0..2 {
        end_at(&mut bench, "a", &[FAILURE]);
        metadata(&mut bench, Outcome::Complete);
    }
    (0..5).for_each(|_| metadata(&mut bench, FAILURE));
    assert!(!bench.endpoint("a").half_open);
    end_at(&mut bench, "a", &[FAILURE]);
    bench.advance(FIRST);
    metadata(&mut bench, Outcome::Complete);
    assert!(bench.endpoint("a").half_open);
}

#[test]
fn it_survives_a_reload_unless_it_is_switched_off_or_another_engine_sits_there() {
    let named = |url: &str| EndpointSpec { url: url.into(), ..endpoint("a", 8) };
    let spec = |url: &str, limits| PoolSpec { ejection: limits, ..pool("p", vec![named(url), endpoint("b", 8)]) };
    let mut bench = Bench::new(vec![spec("http://a", Some(limits()))]);
    end_at(&mut bench, "a", &THREE);
    let id: EndpointId = bench.id("a");
    bench.apply(vec![spec("http://a", Some(EjectionLimits { window: seconds(60), ..limits() }))]);
    assert_eq!((bench.id("a"), out_for(&bench, "a")), (id, FIRST));
    bench.apply(vec![spec("http://other", Some(limits()))]);
    assert_eq!((bench.id("a"), out_for(&bench, "a"), bench.endpoint("a").half_open), (id, Duration::ZERO, false));
    bench.advance(Duration::from_millis(1));
    end_at(&mut bench, "a", &THREE);
    assert_eq!(out_for(&bench, "a"), FIRST, "counted anew");
    bench.apply(vec![spec("http://other", None)]);
    assert_eq!((out_for(&bench, "a"), bench.endpoint("a").half_open), (Duration::ZERO, false));
}

#[test]
fn a_pool_that_panics_uses_ejected_ones_too() {
    let last = EjectionLimits { keep_last: false, ..limits() };
    for panic in [false, true] {
        let spec = ejecting(vec![endpoint("a", 8), endpoint("b", 8)], last);
        let mut bench = Bench::new(vec![PoolSpec { panic, ..spec }]);
        for name in ["a", "b"] {
            for _ in 0..3 {
                let facts = only(&bench, name);
                let grant = bench.grant(facts);
                bench.finish(grant.ticket, FAILURE);
            }
            assert!(bench.endpoint(name).half_open);
        }
        match bench.submit(request(9)) {
            Submit::Granted(_) => assert!(panic),
            Submit::Rejected(Reason::NoneReady { .. }) => assert!(!panic),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_engine_that_dies_takes_no_request_along() {
    let mut bench = two();
    let a = bench.id("a");
    let (dying, well): (Vec<Grant>, Vec<Grant>) =
        flood(&mut bench, "a", 16).0.into_iter().partition(|grant| grant.endpoint == a);
    assert_eq!(dying.len(), 8);
    for grant in well {
        bench.finish(grant.ticket, Outcome::Complete);
    }
    for (count, ticket) in dying.into_iter().map(|grant| grant.ticket).enumerate() {
        assert!(bench.fleet.may_retry(ticket, 2), "victim {count}");
        bench.finish(ticket, Outcome::UpstreamError);
        let mut facts = request(50 + count as u64);
        (facts.attempt, facts.tried) = (1, vec![a]);
        assert_eq!(bench.grant(facts).endpoint, bench.id("b"));
    }
    bench.advance(FIRST);
    let trial = start(&mut bench, "a");
    bench.fleet.first_token(bench.now, trial);
    assert!(!bench.fleet.may_retry(trial, 2), "the budget is spent, and this endpoint works");
}

#[test]
fn whoever_flees_a_busy_engine_needs_no_budget_while_another_is_not() {
    let mut bench = two();
    let (a, b) = (bench.id("a"), bench.id("b"));
    let (at_a, at_b): (Vec<Grant>, Vec<Grant>) =
        flood(&mut bench, "a", 16).0.into_iter().partition(|grant| grant.endpoint == a);
    let (last, others) = at_b.split_last().expect("eight");
    for grant in others {
        bench.finish(grant.ticket, Outcome::Complete);
    }
    for (count, ticket) in at_a.into_iter().map(|grant| grant.ticket).enumerate() {
        assert!(bench.fleet.may_retry(ticket, 2), "victim {count}");
        bench.finish(ticket, Outcome::Busy);
        let mut facts = request(70 + count as u64);
        (facts.attempt, facts.tried) = (1, vec![a]);
        if count < 7 {
            assert_eq!(bench.grant(facts).endpoint, b);
        }
    }
    // b says so, too: nobody is left to flee to
    assert!(!bench.fleet.may_retry(last.ticket, 2), "a rests, and so nobody may be overrun");
}
