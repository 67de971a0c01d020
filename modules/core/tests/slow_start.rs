//! Weight and cap grow after an endpoint came back, and waiters get the slots that grow.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use arriero_core::endpoint::{Endpoint, EndpointSpec};
use arriero_core::{HealthLimits, Outcome, PoolSpec, SlowStart, State};
use common::{Bench, endpoint, pool, request};

const OVER: Duration = Duration::from_secs(10);

fn slow(name: &str, cap: u32, new: bool) -> EndpointSpec {
    EndpointSpec { weight: 100, slow_start: Some(SlowStart { over: OVER, new }), ..endpoint(name, cap) }
}

fn checked(endpoints: Vec<EndpointSpec>) -> PoolSpec {
    PoolSpec { health: Some(HealthLimits { rise: 1, fall: 1, ..HealthLimits::default() }), ..pool("p", endpoints) }
}

fn see<'a>(bench: &'a Bench, name: &str) -> &'a Endpoint {
    bench.fleet.endpoints().get(bench.id(name)).unwrap()
}

/// Weight and cap now.
fn share(bench: &Bench, name: &str) -> (f64, Option<u32>) {
    let endpoint = see(bench, name);
    (endpoint.effective_weight(bench.now), endpoint.cap(bench.now))
}

#[test]
fn it_grows_evenly_after_a_failure_and_not_after_the_start() {
    let mut bench = Bench::new(vec![checked(vec![slow("a", 10, false)])]);
    bench.probe("a", true);
    assert_eq!(share(&bench, "a"), (100.0, Some(10)), "nothing failed yet");
    bench.probe("a", false);
    bench.advance(Duration::from_secs(60));
    bench.probe("a", true);
    assert_eq!(share(&bench, "a"), (1.0, Some(1)));
    for (weight, cap) in [(25.0, 2), (50.0, 5), (75.0, 7), (100.0, 10), (100.0, 10)] {
        bench.advance(Duration::from_millis(2500));
        assert_eq!(share(&bench, "a"), (weight, Some(cap)));
    }
}

#[test]
fn a_new_endpoint_ramps_only_if_asked_and_if_the_pool_ran() {
    let mut bench = Bench::new(vec![pool("p", vec![slow("a", 10, true)])]);
    assert_eq!(share(&bench, "a").0, 100.0, "the pool is as new as it");
    bench.apply(vec![pool("p", vec![slow("a", 10, true), slow("b", 10, true), slow("c", 10, false)])]);
    let shares = ["a", "b", "c"].map(|name| share(&bench, name).0);
    assert_eq!(shares, [100.0, 1.0, 100.0]);
    bench.advance(OVER / 2);
    bench.apply(vec![pool("p", vec![slow("b", 10, true)])]);
    assert_eq!(share(&bench, "b").0, 50.0, "a reload that keeps it does not begin anew");

    let mut bench = Bench::new(vec![checked(vec![slow("a", 10, true)])]);
    bench.apply(vec![checked(vec![slow("a", 10, true), slow("b", 10, true)])]);
    bench.advance(Duration::from_secs(30));
    bench.probe("a", true);
    bench.probe("b", true);
    assert_eq!(["a", "b"].map(|name| share(&bench, name).0), [100.0, 1.0], "from its first good check on");
}

#[test]
fn maintenance_ends_with_a_ramp_and_a_drain_does_not() {
    let mut bench = Bench::new(vec![pool("p", vec![slow("a", 10, false)])]);
    bench.state("a", State::Drain);
    bench.state("a", State::Ready);
    assert_eq!(share(&bench, "a").0, 100.0);
    bench.state("a", State::Maint);
    bench.state("a", State::Ready);
    assert_eq!(share(&bench, "a").0, 1.0);
}

#[test]
fn a_growing_cap_wakes_the_queue_by_itself() {
    let mut bench = Bench::new(vec![pool("p", vec![slow("a", 4, false)])]);
    bench.state("a", State::Maint);
    bench.state("a", State::Ready);
    let back = bench.now;
    let mut running = vec![bench.grant(request(0)).ticket];
    for id in 1..5 {
        bench.wait(request(id));
    }
    for seconds in [5.0, 7.5, 10.0] {
        let due = bench.fleet.next_deadline().expect("a slot is to come");
        let waited = (due - back).as_secs_f64();
        assert!((waited - seconds).abs() < 0.001, "the next slot comes after {waited} s, expected {seconds}");
        let (_, grant) = Bench::only_grant(bench.advance(due - bench.now));
        running.push(grant.ticket);
        assert_eq!(see(&bench, "a").in_flight() as usize, running.len());
    }
    let (_, last) = Bench::only_grant(bench.finish(running[0], Outcome::Complete));
    running.push(last.ticket);
    for ticket in &running[1..] {
        bench.finish(*ticket, Outcome::Complete);
    }
    bench.assert_idle();
    assert_eq!(bench.fleet.next_deadline(), None, "nobody waits, nothing is due");
}

#[test]
fn no_time_means_at_once() {
    let at_once = EndpointSpec { slow_start: Some(SlowStart { over: Duration::ZERO, new: true }), ..endpoint("a", 4) };
    let mut bench = Bench::new(vec![pool("p", vec![at_once])]);
    bench.state("a", State::Maint);
    bench.state("a", State::Ready);
    assert_eq!(share(&bench, "a"), (1.0, Some(4)));
}
