//! A pick allocates nothing that grows with the fleet; a look at a thousand waiters is a look at a few.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use allocation_counter::measure;
use arriero_core::EngineClass;

#[path = "../benches/common/mod.rs"]
mod common;
use common::{Rack, plain, priced, request};

/// Allocations and bytes of one pick, over some requests.
fn allocated(count: usize, class: EngineClass, name: &str) -> (u64, u64) {
    let mut rack = Rack::busy(count, class);
    let (_, mut strategy) = plain().into_iter().chain(priced()).find(|(known, _)| *known == name).unwrap();
    rack.introduce(strategy.as_mut());
    let shown = rack.shown(strategy.as_ref());
    let mut rng = fastrand::Rng::with_seed(1);
    let requests: Vec<_> = (0..24).map(request).collect();
    let mut picks = |rack: &Rack| {
        for facts in &requests {
            rack.pick(strategy.as_ref(), facts, &shown, &mut rng);
        }
    };
    // what prices find out about an endpoint is kept, and its room is used again
    picks(&rack);
    rack.now = rack.now + Duration::from_secs(1);
    let info = measure(|| picks(&rack));
    (info.count_total, info.bytes_total)
}

#[test]
fn a_pick_allocates_nothing_that_grows_with_the_fleet() {
    for (name, _) in plain().into_iter().chain(priced()) {
        for class in [EngineClass::Slots, EngineClass::Batching] {
            let (small, large) = (allocated(8, class, name), allocated(512, class, name));
            assert!(large.0 <= small.0 && large.1 <= small.1, "{name}, {class:?}: {small:?} at 8, {large:?} at 512");
        }
    }
}
