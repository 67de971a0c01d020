//! The fleet's promises, one by one: caps, queue, health, reload, residency.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use arriero_core::{
    EngineClass, Fleet, HealthLimits, Inventory, Outcome, PathClasses, QueueLimits, Reason, Submit, Time, Usage,
};
use common::{Bench, endpoint, known, pool, request};

#[test]
fn a_cap_is_never_exceeded_and_a_freed_slot_goes_to_the_first_waiter() {
    let mut bench = Bench::new(vec![pool("p", vec![endpoint("a", 1)])]);
    let first = bench.grant(request(1));
    let second = bench.wait(request(2));
    let third = bench.wait(request(3));
    let resolutions = bench.finish(first.ticket, Outcome::Complete);
    assert_eq!(resolutions.len(), 1, "one slot, one grant");
    assert_eq!(resolutions[0].waiter, second);
    let grant = resolutions[0].verdict.as_ref().unwrap();
    assert!(bench.finish(first.ticket, Outcome::Complete).is_empty(), "a second finish changes nothing");
    assert!(bench.fleet.cancel(bench.now, third).is_empty());
    assert!(bench.finish(grant.ticket, Outcome::Complete).is_empty(), "the cancelled waiter gets nothing");
    bench.assert_idle();
}
