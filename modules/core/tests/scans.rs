//! How many waiters a scan asks for: a slot that none of a group can use costs one look, not one per waiter.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arriero_core::{Context, Needs, Outcome, Pick, PoolSpec, RequestFacts, Strategy, StrategySpec};
use common::{Bench, endpoint, pool_with, request_for};

/// Takes the first free endpoint, else waits for the last; counts how often it is asked, and notes what was promised to
/// the first endpoint of the fleet when it was asked for model `other`.
#[derive(Clone, Default)]
struct Asked {
    times: Arc<AtomicUsize>,
    promised: Arc<AtomicUsize>,
}

impl Strategy for Asked {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.full_endpoints = true;
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        self.times.fetch_add(1, Ordering::Relaxed);
        if request.model.as_deref() == Some("other") {
            let first = cx.table.iter().next().unwrap().id;
            self.promised.store(cx.reserved_count(first), Ordering::Relaxed);
        }
        match cx.free().next() {
            Some(endpoint) if request.model.as_deref() != Some("other") => Pick::Endpoint(endpoint.id),
            _ => Pick::WaitFor(*cx.candidates.last().unwrap()),
        }
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}

/// `a` and `b` serve `m` and have one slot each; `c` serves `other` and has one that is never taken.
fn bench(asked: &Asked) -> Bench {
    let endpoints = vec![endpoint("a", 1), endpoint("b", 1), endpoint("c", 1)];
    let strategies = vec![StrategySpec { module: "asked", strategy: Box::new(asked.clone()) }];
    let mut bench = Bench::new(vec![PoolSpec { strategies, ..pool_with("p", endpoints, vec![]) }]);
    for (name, model) in [("a", "m"), ("b", "m"), ("c", "other")] {
        bench.lists(name, &[model]);
    }
    bench
}

fn asks(asked: &Asked) -> usize {
    asked.times.swap(0, Ordering::Relaxed)
}

#[test]
fn a_slot_that_a_group_cannot_use_costs_one_look_at_it() {
    let asked = Asked::default();
    let mut bench = bench(&asked);
    let held = [bench.grant(request_for(1, "m")), bench.grant(request_for(2, "m"))];
    for id in 3..100 {
        bench.wait(request_for(id, "m"));
    }
    asks(&asked);
    bench.wait(request_for(100, "m"));
    assert_eq!(asks(&asked), 1, "98 wait, c is free");
    let (_, grant) = Bench::only_grant(bench.finish(held[0].ticket, Outcome::Complete));
    assert_eq!(grant.endpoint, bench.id("a"));
    assert!(asks(&asked) <= 3, "one that starts, and one that finds that nobody else can");
}

#[test]
fn who_was_turned_away_somewhere_speaks_only_for_himself() {
    let asked = Asked::default();
    let mut bench = bench(&asked);
    let held = [bench.grant(request_for(1, "m")), bench.grant(request_for(2, "m"))];
    let mut again = request_for(3, "m");
    (again.tried, again.attempt) = (vec![bench.id("a")], 1);
    bench.wait(again);
    let next = bench.wait(request_for(4, "m"));
    bench.wait(request_for(5, "m"));
    let (waiter, grant) = Bench::only_grant(bench.finish(held[0].ticket, Outcome::Complete));
    assert_eq!((waiter, grant.endpoint), (next, bench.id("a")), "the first in line cannot use a");
}

#[test]
fn the_work_of_those_who_are_not_asked_is_promised_too() {
    let asked = Asked::default();
    let mut bench = bench(&asked);
    let _held = [bench.grant(request_for(1, "m")), bench.grant(request_for(2, "m"))];
    for id in 3..13 {
        bench.wait(request_for(id, "m"));
    }
    bench.wait(request_for(13, "other"));
    assert_eq!(asked.promised.load(Ordering::Relaxed), 5, "ten wait for a and b, in turn");
}
