//! What the tests of pins share: requests of a key or an id, and a pool that knows one key.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use arriero_core::{EndpointId, HealthLimits, Outcome, Pin, PinTo, PoolId, PoolSpec, RequestFacts};

use super::{Bench, endpoint, pool, request};

pub const TTL: Duration = Duration::from_secs(600);

pub fn keyed(id: u64, key: u64, hard: bool) -> RequestFacts {
    let mut facts = request(id);
    facts.pin = Some(Pin { to: PinTo::Key { key, ttl: TTL }, hard });
    facts
}

pub fn with_id(id: u64, state: u64, hard: bool) -> RequestFacts {
    let mut facts = request(id);
    facts.pin = Some(Pin { to: PinTo::Id(state), hard });
    facts
}

pub fn pool_id(bench: &Bench) -> PoolId {
    bench.applied.pools["p"].id
}

/// A pool of two with two slots each; `key` was answered by the returned one.
pub fn settled(key: u64) -> (Bench, EndpointId) {
    let health = Some(HealthLimits { rise: 1, fall: 1, ..HealthLimits::default() });
    let mut bench = Bench::new(vec![PoolSpec { health, ..pool("p", vec![endpoint("a", 2), endpoint("b", 2)]) }]);
    bench.probe("a", true);
    bench.probe("b", true);
    let grant = bench.grant(keyed(1, key, false));
    bench.finish(grant.ticket, Outcome::Complete);
    (bench, grant.endpoint)
}

pub fn name(bench: &Bench, id: EndpointId) -> String {
    bench.fleet.endpoints().get(id).unwrap().spec.name.to_string()
}
