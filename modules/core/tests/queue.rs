//! Who waits, in what order, how long, and who gets a slot that frees.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::{EndpointId, Outcome, QueueLimits, Reason, Submit, Time};
use common::{Bench, Counting, Rule, endpoint, pool, pool_with, request, request_for};

#[test]
fn a_cap_is_never_exceeded_and_a_freed_slot_goes_to_the_first_waiter() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    let first = bench.grant(request(1));
    let second = bench.wait(request(2));
    let third = bench.wait(request(3));
    let (waiter, grant) = Bench::only_grant(bench.finish(first.ticket, Outcome::Complete));
    assert_eq!(waiter, second);
    assert!(bench.finish(first.ticket, Outcome::Complete).is_empty(), "a second finish changes nothing");
    assert!(bench.fleet.cancel(bench.now, third).is_empty());
    assert!(bench.finish(grant.ticket, Outcome::Complete).is_empty(), "the cancelled waiter gets nothing");
    bench.assert_idle();
}

#[test]
fn a_lower_class_goes_first_and_a_retry_keeps_its_place() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    let held = bench.grant(request(1));
    let normal = bench.wait(request(2));
    let mut urgent = request(3);
    urgent.class = -5;
    let urgent = bench.wait(urgent);
    let mut retry = request(4);
    retry.attempt = 1;
    let applied = bench.applied.pools["p"].clone();
    let early = Time::from_millis(10);
    let submit = bench.fleet.submit(bench.now, applied.id, applied.strategies[0], retry.into(), early);
    let Submit::Queued(retry) = submit else { panic!("the only slot is taken: {submit:?}") };

    let mut ticket = held.ticket;
    for expected in [urgent, retry, normal] {
        bench.now = bench.now + Duration::from_millis(100);
        let (waiter, grant) = Bench::only_grant(bench.finish(ticket, Outcome::Complete));
        assert_eq!(waiter, expected);
        assert!(grant.waited >= Duration::from_millis(100));
        ticket = grant.ticket;
    }
}

#[test]
fn the_queue_is_bounded_in_number_bytes_and_time() {
    let mut spec = pool("p", vec![endpoint("a", 1)]);
    spec.queue = QueueLimits { max_requests: 2, max_bytes: 100, timeout: Duration::from_secs(3) };
    let mut bench = Bench::new(vec![spec]);
    let held = bench.grant(request(1));
    let mut heavy = request(2);
    heavy.body_bytes = 101;
    assert!(matches!(bench.refused(heavy.clone()), Reason::QueueFull { .. }));
    heavy.body_bytes = 60;
    bench.wait(heavy.clone());
    assert!(matches!(bench.refused(heavy), Reason::QueueFull { .. }), "60 + 60 bytes are too many");
    bench.wait(request(3));
    assert!(matches!(bench.refused(request(4)), Reason::QueueFull { .. }), "two wait already");

    assert_eq!(bench.fleet.next_deadline(), Some(bench.now + Duration::from_secs(3)));
    assert!(bench.advance(Duration::from_millis(2999)).is_empty());
    let over = bench.advance(Duration::from_millis(1));
    assert_eq!(over.len(), 2);
    assert!(over.iter().all(|end| matches!(end.verdict, Err(Reason::QueueTimeout { retry_after: 1..=60 }))));
    bench.finish(held.ticket, Outcome::Complete);
    bench.assert_idle();
}

#[test]
fn a_slot_that_frees_too_late_goes_to_nobody_whose_time_is_over() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    let held = bench.grant(request(1));
    bench.wait(request(2));
    bench.now = bench.now + Duration::from_secs(61);
    let ends = bench.finish(held.ticket, Outcome::Complete);
    assert!(matches!(ends[0].verdict, Err(Reason::QueueTimeout { .. })), "no tick came in between");
    bench.assert_idle();
}

#[test]
fn retry_after_follows_the_rate_at_which_requests_are_answered() {
    let mut spec = pool("p", vec![endpoint("a", 1)]);
    spec.queue.max_requests = 4;
    let mut bench = Bench::new(vec![spec]);
    for id in 0..120 {
        let grant = bench.grant(request(id));
        bench.advance(Duration::from_secs(4));
        bench.finish(grant.ticket, Outcome::Complete);
    }
    let _held = bench.grant(request(1000));
    for id in 1001..=1004 {
        bench.wait(request(id));
    }
    let Reason::QueueFull { retry_after } = bench.refused(request(1005)) else { panic!("four wait already") };
    assert!((18..=22).contains(&retry_after), "five at one in 4 s, but Retry-After is {retry_after}");
}

#[test]
fn a_burst_of_some_models_hides_no_other() {
    let names: Vec<String> = (0..8).map(|host| format!("host-{host}")).collect();
    let endpoints = names.iter().map(|name| endpoint(name, 1)).collect();
    let mut bench = Bench::new(vec![pool("p", endpoints)]);
    for name in &names {
        bench.lists(name, &[&name.replace("host", "model")]);
    }
    let held: Vec<_> = (0..8).map(|model| bench.grant(request_for(model, &format!("model-{model}")))).collect();
    for id in 0..280 {
        bench.wait(request_for(100 + id, &format!("model-{}", id % 7)));
    }
    let rare = bench.wait(request_for(999, "model-7"));
    let (waiter, grant) = Bench::only_grant(bench.finish(held[7].ticket, Outcome::Complete));
    assert_eq!(waiter, rare, "the idle endpoint serves it though 280 wait before it");
    assert_eq!(grant.endpoint, held[7].endpoint);
}

#[test]
fn many_freed_slots_are_all_filled() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    bench.grant(request(0));
    for id in 1..=300 {
        bench.wait(request(id));
    }
    bench.apply(vec![pool("p", vec![endpoint("a", 251)])]);
    assert_eq!(bench.applied.resolutions.len(), 250);
    assert_eq!(bench.in_flight(), 251);
}

#[test]
fn a_bound_request_waits_for_its_endpoint_while_another_is_free() {
    let strategies = vec![Counting { rule: Rule::Bound, ..Counting::default() }];
    let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 1), endpoint("b", 1)], strategies)]);
    let even = bench.grant(request(0));
    let waiter = bench.wait(request(2));
    let odd = bench.grant(request(1));
    assert_ne!(even.endpoint, odd.endpoint);
    assert!(bench.finish(odd.ticket, Outcome::Complete).is_empty(), "the wrong slot frees");
    let (resolved, grant) = Bench::only_grant(bench.finish(even.ticket, Outcome::Complete));
    assert_eq!((resolved, grant.endpoint), (waiter, even.endpoint));
}

#[test]
fn what_one_waiter_reserves_the_next_one_sees() {
    let strategies = vec![Counting { rule: Rule::Queueing, ..Counting::default() }];
    let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 1), endpoint("b", 1)], strategies)]);
    let first = bench.grant(request(1));
    let second = bench.wait(request(2));
    let third = bench.grant(request(3));
    assert_ne!(first.endpoint, third.endpoint, "the second waits for the first's endpoint: the third goes elsewhere");
    let (waiter, grant) = Bench::only_grant(bench.finish(first.ticket, Outcome::Complete));
    assert_eq!((waiter, grant.endpoint), (second, first.endpoint));
}

#[test]
fn a_strategy_that_panics_or_picks_wrongly_hurts_nobody() {
    let rules = [Rule::Panics, Rule::Careless];
    let strategies = rules.map(|rule| Counting { rule, ..Counting::default() }).into();
    let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 2), endpoint("b", 2)], strategies)]);
    let endpoints: Vec<EndpointId> = (0..4).map(|id| bench.grant(request(id)).endpoint).collect();
    assert_eq!(endpoints[0..2].iter().filter(|id| **id == bench.id("a")).count(), 1, "least connection answers");
    let faults = bench.fleet.faults();
    assert_eq!((faults.len(), faults[0].panics), (1, 4));

    // Everything is full now: the careless one picks all the same, and waits.
    for id in 10..20 {
        assert!(matches!(bench.submit_to("p", 1, request(id)), Submit::Queued(_)));
    }
    assert_eq!(bench.in_flight(), 4);
    assert!(bench.fleet.faults()[1].refused_picks > 0);
}

#[test]
fn a_hesitating_strategy_is_asked_again_and_a_grant_that_nobody_took_is_given_back() {
    let strategies = vec![Counting { rule: Rule::Patient(5000), ..Counting::default() }];
    let mut bench = Bench::new(vec![pool_with("p", vec![endpoint("a", 1)], strategies)]);
    let first = bench.wait(request(1));
    let rescan = bench.fleet.next_deadline().unwrap();
    assert!(rescan <= bench.now + Duration::from_secs(1), "a free endpoint and a waiter: ask again soon");

    // Time passes without a tick; the next request's scan grants the slot to the one before it.
    bench.now = Time::from_millis(6000);
    let second = bench.wait(request(2));
    assert_eq!(bench.fleet.next_deadline(), Some(Time::ZERO), "there is something to hand out at once");
    let (waiter, _) = Bench::only_grant(bench.fleet.cancel(bench.now, first));
    assert_eq!(waiter, second, "the first one's client left meanwhile: its slot went on");
}
