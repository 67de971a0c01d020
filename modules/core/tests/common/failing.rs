//! What the tests of ejection share: a pool of two, and ways to fail at one of them.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use arriero_core::endpoint::EndpointSpec;
use arriero_core::{EjectionLimits, Grant, Outcome, PoolSpec, RequestFacts, Submit, Ticket};

use super::{Bench, endpoint, pool, request};

pub const FIRST: Duration = Duration::from_secs(5);

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub fn limits() -> EjectionLimits {
    EjectionLimits { share: None, ..EjectionLimits::default() }
}

/// A pool that ejects by failures in a row only, unless `limits` say otherwise.
pub fn ejecting(endpoints: Vec<EndpointSpec>, limits: EjectionLimits) -> PoolSpec {
    PoolSpec { ejection: Some(limits), ..pool("p", endpoints) }
}

pub fn two() -> Bench {
    Bench::new(vec![ejecting(vec![endpoint("a", 8), endpoint("b", 8)], limits())])
}

/// A request that only `name` may take.
pub fn only(bench: &Bench, name: &str) -> RequestFacts {
    let mut facts = request(1);
    facts.among = Some([bench.id(name)].into_iter().collect());
    facts
}

/// A request that only `name` may take because it failed everywhere else.
pub fn tried_elsewhere(bench: &Bench, name: &str) -> RequestFacts {
    let id = bench.id(name);
    let mut facts = request(1);
    facts.tried = bench.fleet.endpoints().iter().map(|endpoint| endpoint.id).filter(|other| *other != id).collect();
    facts
}

pub fn start(bench: &mut Bench, name: &str) -> Ticket {
    let facts = tried_elsewhere(bench, name);
    bench.grant(facts).ticket
}

pub fn end_at(bench: &mut Bench, name: &str, outcomes: &[Outcome]) {
    for outcome in outcomes {
        let ticket = start(bench, name);
        bench.finish(ticket, *outcome);
    }
}

pub const FAILURE: Outcome = Outcome::UpstreamError;
pub const THREE: [Outcome; 3] = [FAILURE; 3];

/// For how long it is still out.
pub fn out_for(bench: &Bench, name: &str) -> Duration {
    bench.endpoint(name).ejected_until - bench.now
}

/// Grants until nobody gets one at once: how many at `name`, and all tickets.
pub fn flood(bench: &mut Bench, name: &str, count: u64) -> (Vec<Grant>, usize) {
    let id = bench.id(name);
    let granted: Vec<Grant> = (0..count)
        .filter_map(|number| match bench.submit(request(100 + number)) {
            Submit::Granted(grant) => Some(grant),
            _ => None,
        })
        .collect();
    let there = granted.iter().filter(|grant| grant.endpoint == id).count();
    (granted, there)
}
