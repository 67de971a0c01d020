//! Normal endpoints, then backups, then (in a pool that panics) those that do not seem to work.
#![allow(clippy::unwrap_used)]

mod common;

use arriero_core::endpoint::{EndpointSpec, Health};
use arriero_core::{HealthLimits, Outcome, PoolSpec, Reason, State};
use common::{Bench, endpoint, pool, request};

fn backup(name: &str, cap: u32) -> EndpointSpec {
    EndpointSpec { backup: true, ..endpoint(name, cap) }
}

/// The names of those that `count` requests at once go to.
fn goes_to(bench: &mut Bench, count: u64) -> Vec<String> {
    let grants: Vec<_> = (0..count).map(|id| bench.grant(request(id))).collect();
    let mut names: Vec<String> =
        grants.iter().map(|grant| bench.fleet.endpoints().get(grant.endpoint).unwrap().spec.name.to_string()).collect();
    for grant in grants {
        bench.finish(grant.ticket, Outcome::Complete);
    }
    names.sort();
    names
}

#[test]
fn all_backups_serve_or_the_first_that_is_usable() {
    for (backup_one, expected) in [(false, ["b", "b", "c", "c"]), (true, ["b", "b", "b", "b"])] {
        let endpoints = vec![endpoint("a", 4), backup("b", 4), backup("c", 4)];
        let mut bench = Bench::new(vec![PoolSpec { backup_one, ..pool("p", endpoints) }]);
        assert_eq!(goes_to(&mut bench, 4), ["a"; 4], "backups are not needed");
        bench.state("a", State::Drain);
        assert_eq!(goes_to(&mut bench, 4), expected);
        bench.state("b", State::Maint);
        assert_eq!(goes_to(&mut bench, 4), ["c"; 4], "the next one, when the first cannot");
        bench.state("a", State::Ready);
        assert_eq!(goes_to(&mut bench, 4), ["a"; 4]);
    }
}

#[test]
fn the_only_backup_at_work_is_waited_for() {
    let endpoints = vec![endpoint("a", 1), backup("b", 1), backup("c", 1)];
    let mut bench = Bench::new(vec![PoolSpec { backup_one: true, ..pool("p", endpoints) }]);
    bench.state("a", State::Maint);
    let held = bench.grant(request(1));
    let waits = bench.wait(request(2));
    let (waiter, grant) = Bench::only_grant(bench.finish(held.ticket, Outcome::Complete));
    assert_eq!((waiter, grant.endpoint), (waits, bench.id("b")));
}

fn checked(panic: bool) -> Bench {
    let endpoints = vec![endpoint("a", 2), backup("b", 2)];
    let health = Some(HealthLimits { rise: 1, fall: 1, ..HealthLimits::default() });
    let mut bench = Bench::new(vec![PoolSpec { panic, health, ..pool("p", endpoints) }]);
    bench.probe("a", true);
    bench.probe("b", true);
    bench
}

#[test]
fn when_nobody_is_up_a_pool_that_panics_tries_all_the_same() {
    let mut calm = checked(false);
    for name in ["a", "b"] {
        calm.probe(name, false);
    }
    assert!(matches!(calm.refused(request(1)), Reason::NoneReady { .. }));

    let mut bench = checked(true);
    bench.probe("a", false);
    assert_eq!(goes_to(&mut bench, 2), ["b"; 2], "somebody is up");
    bench.probe("b", false);
    assert_eq!((bench.health("a"), bench.health("b")), (Health::Down, Health::Down));
    let first = bench.grant(request(2));
    assert_eq!(first.endpoint, bench.id("a"), "the normal one before the backup");
    let second = bench.grant(request(3));
    let waits = bench.wait(request(4));
    assert!(bench.fleet.may_retry(first.ticket, 1), "the backup is another one to try");
    let (waiter, _) = Bench::only_grant(bench.finish(second.ticket, Outcome::ConnectFailed));
    assert_eq!(waiter, waits, "a freed slot is given on");
    bench.state("a", State::Maint);
    assert_eq!(goes_to(&mut bench, 2), ["b"; 2], "maintenance is respected even then");
}

#[test]
fn a_pool_that_panics_waits_for_a_first_check() {
    let health = Some(HealthLimits { rise: 1, fall: 1, ..HealthLimits::default() });
    let endpoints = vec![endpoint("a", 2), endpoint("b", 2)];
    let mut bench = Bench::new(vec![PoolSpec { panic: true, health, ..pool("p", endpoints) }]);
    bench.probe("a", false);
    let waits = bench.wait(request(1));
    let (waiter, grant) = Bench::only_grant(bench.probe("b", true));
    assert_eq!((waiter, grant.endpoint), (waits, bench.id("b")), "b was not checked yet");
}
