//! The retry budget, and what is counted for statistics.
#![allow(clippy::unwrap_used)]

mod common;

use arriero_core::{Outcome, PoolSpec, RequestFacts, RetryLimits, Ticket};
use common::{Bench, endpoint, pool, request};

fn retry(id: u64) -> RequestFacts {
    let mut facts = request(id);
    facts.attempt = 1;
    facts
}

fn limited(budget: f64, at_least: u32) -> Bench {
    let retry = RetryLimits { budget, at_least };
    Bench::new(vec![PoolSpec { retry, ..pool("p", vec![endpoint("a", 50), endpoint("b", 50)]) }])
}

fn may(bench: &Bench, ticket: Ticket) -> bool {
    bench.fleet.may_retry(ticket, 5)
}

#[test]
fn the_budget_is_the_larger_of_share_and_number() {
    let mut bench = limited(0.5, 1);
    let first = bench.grant(request(0)).ticket;
    assert!(may(&bench, first));
    bench.grant(retry(1));
    assert!(!may(&bench, first), "one of two is half of them: spent");
    for id in 2..5 {
        bench.grant(request(id));
    }
    assert!(may(&bench, first), "one of five");

    let mut none = limited(0.0, 0);
    let ticket = none.grant(request(0)).ticket;
    assert!(!may(&none, ticket), "no budget at all");
}

#[test]
fn a_retry_that_succeeds_frees_the_budget_at_its_first_token() {
    let mut bench = limited(0.0, 1);
    let first = bench.grant(request(0)).ticket;
    let retries = |bench: &Bench| bench.fleet.pool_view(bench.applied.pools["p"].id).unwrap().retries;
    let again = bench.grant(retry(1)).ticket;
    assert!(!may(&bench, first));
    bench.fleet.first_token(bench.now, again);
    assert!(may(&bench, first), "it has succeeded");
    bench.fleet.first_token(bench.now, again);
    bench.finish(again, Outcome::Complete);
    assert_eq!(retries(&bench), 0, "given back once");
    let again = bench.grant(retry(2)).ticket;
    assert_eq!(retries(&bench), 1);
    bench.finish(again, Outcome::ConnectFailed);
    assert!(may(&bench, first), "or at its end");
}

#[test]
fn a_retry_that_waits_counts() {
    let retry_limits = RetryLimits { budget: 0.0, at_least: 1 };
    let spec = PoolSpec { retry: retry_limits, ..pool("p", vec![endpoint("a", 1), endpoint("b", 1)]) };
    let mut bench = Bench::new(vec![spec]);
    let (first, second) = (bench.grant(request(0)).ticket, bench.grant(request(1)).ticket);
    let waits = bench.wait(retry(2));
    assert!(!may(&bench, first));
    bench.fleet.cancel(bench.now, waits);
    assert!(may(&bench, first));
    bench.finish(first, Outcome::Complete);
    bench.finish(second, Outcome::Complete);
    bench.assert_idle();
}

#[test]
fn picks_and_peaks_are_counted() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 2)])]);
    let grants: Vec<Ticket> = (0..2).map(|id| bench.grant(request(id)).ticket).collect();
    let waits: Vec<_> = (2..5).map(|id| bench.wait(request(id))).collect();
    for waiter in waits {
        bench.fleet.cancel(bench.now, waiter);
    }
    for ticket in grants {
        bench.finish(ticket, Outcome::Complete);
    }
    let ticket = bench.grant(request(9)).ticket;
    bench.finish(ticket, Outcome::Complete);
    let view = bench.fleet.pool_view(bench.applied.pools["p"].id).unwrap();
    assert_eq!((view.most_queued, view.most_live, view.picks), (3, 2, 3));
    let figures = bench.fleet.endpoints().get(bench.id("a")).unwrap().figures;
    assert_eq!((figures.picks, figures.most_in_flight), (3, 2));
    bench.assert_idle();
}
