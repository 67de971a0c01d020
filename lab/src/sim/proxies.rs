//! One proxy of a run: the real fleet with what a driver keeps beside it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arriero_core::{
    AppliedPool, BLOCK_TOKENS, EndpointId, EndpointSet, Fleet, Needs, PathClass, RequestFacts, RequestId, Time,
    WaiterId,
};

use super::deployment::{Asked, Deployment, Routed, Timers};
use crate::workload::{PREFIX_TOKENS, Request};

/// A proxy.
pub(super) struct Replica {
    pub(super) fleet: Fleet,
    pools: Vec<PoolSeat>,
    /// Engines by endpoint, and the other way round.
    engine_of: HashMap<EndpointId, usize>,
    endpoint_of: Vec<Option<(EndpointId, usize)>>,
    ids: BTreeMap<Arc<str>, EndpointId>,
    /// Whose waiter it is.
    pub(super) waiting: HashMap<WaiterId, usize>,
    /// For when a tick is planned.
    pub(super) ticks_at: Option<Time>,
}

struct PoolSeat {
    applied: AppliedPool,
    needs: Vec<Needs>,
    timers: Timers,
}

impl Replica {
    /// A proxy with this set-up in force, at time zero. `urls`: those of the engines, in their order.
    pub(super) fn new(seed: u64, deployment: &dyn Deployment, urls: &[Arc<str>]) -> Replica {
        let mut fleet = Fleet::new(seed);
        let specs = deployment.pools();
        let known: Vec<_> = specs
            .iter()
            .map(|spec| {
                let needs: Vec<Needs> = spec.strategies.iter().map(|own| own.strategy.needs()).collect();
                let endpoints: Vec<_> =
                    spec.endpoints.iter().map(|own| (own.identity.clone(), own.url.clone())).collect();
                (spec.name.clone(), needs, endpoints)
            })
            .collect();
        let mut applied = fleet.apply(Time::ZERO, specs);
        let mut replica = Replica {
            fleet,
            pools: Vec::new(),
            engine_of: HashMap::new(),
            endpoint_of: vec![None; urls.len()],
            ids: BTreeMap::new(),
            waiting: HashMap::new(),
            ticks_at: None,
        };
        for (place, (name, needs, endpoints)) in known.into_iter().enumerate() {
            let Some(pool) = applied.pools.remove(&name) else { continue };
            for ((identity, url), id) in endpoints.into_iter().zip(&pool.endpoints) {
                if let Some(engine) = urls.iter().position(|known| *known == url) {
                    replica.engine_of.insert(*id, engine);
                    replica.endpoint_of[engine] = Some((*id, place));
                }
                replica.ids.insert(identity, *id);
            }
            replica.pools.push(PoolSeat { applied: pool, needs, timers: deployment.timers(place) });
        }
        replica
    }

    /// The engine behind an endpoint.
    pub(super) fn engine(&self, endpoint: EndpointId) -> Option<usize> {
        self.engine_of.get(&endpoint).copied()
    }

    /// The endpoint that an engine is, if it is one.
    pub(super) fn endpoint(&self, engine: usize) -> Option<EndpointId> {
        self.endpoint_of[engine].map(|(endpoint, _)| endpoint)
    }

    /// The timers that hold for an engine.
    pub(super) fn timers(&self, engine: usize) -> Option<Timers> {
        self.endpoint_of[engine].map(|(_, pool)| self.pools[pool].timers)
    }

    /// The pool and the strategy that a route names.
    pub(super) fn seat(&self, routed: &Routed) -> (arriero_core::PoolId, arriero_core::StrategyId) {
        let pool = &self.pools[routed.pool].applied;
        (pool.id, pool.strategies[routed.strategy])
    }

    /// The facts of a request, as the proxy makes them.
    pub(super) fn facts(&self, index: usize, request: &Request, routed: &Routed, seed: u64) -> RequestFacts {
        let needs = &self.pools[routed.pool].needs[routed.strategy];
        let mut facts = RequestFacts::default();
        facts.id = RequestId(index as u64 + 1);
        facts.route = routed.route.clone();
        facts.model = Some(routed.model.clone());
        facts.path_class = PathClass::OpenAi;
        facts.class = routed.class;
        facts.prompt_tokens = request.prompt_tokens;
        facts.stream = true;
        facts.body_bytes = u64::from(request.prompt_tokens) * 4;
        facts.uncapped = routed.uncapped;
        let ids = |names: &Vec<Arc<str>>| names.iter().filter_map(|name| self.ids.get(name).copied()).collect();
        facts.among = routed.among.as_ref().map(ids).map(|set: Vec<EndpointId>| EndpointSet::from_iter(set));
        if !needs.keys.is_empty() {
            facts.hash_key = Some(xxhash_rust::xxh3::xxh3_64(routed.model.as_bytes()));
        }
        if needs.prompt_blocks {
            facts.prompt_blocks = blocks(index, request, seed);
        }
        facts
    }
}

/// The most blocks that the proxy hashes.
const MOST_BLOCKS: usize = 256;

/// Hashes of the prompt's 1 KiB blocks: those that a trace's block names stand for, then such as nobody else has.
fn blocks(index: usize, request: &Request, seed: u64) -> Arc<[u64]> {
    let count = ((request.prompt_tokens / BLOCK_TOKENS) as usize).min(MOST_BLOCKS);
    let per_name = (PREFIX_TOKENS / BLOCK_TOKENS) as usize;
    let hash = |name: u64, part: usize, salt: u64| {
        let mut bytes = name.to_le_bytes().to_vec();
        bytes.extend((part as u64).to_le_bytes());
        xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, salt)
    };
    let own = seed ^ 0x6f77_6e20_626c_6f63;
    (0..count)
        .map(|place| match request.blocks.get(place / per_name) {
            Some(name) => hash(*name, place % per_name, 0),
            None => hash(index as u64, place, own),
        })
        .collect()
}

/// Asks the set-up where a request goes.
pub(super) fn route(deployment: &dyn Deployment, model: &str, request: &Request, lot: u64) -> Option<Routed> {
    let path = "/v1/chat/completions";
    deployment.route(&Asked { model, path, prompt_tokens: request.prompt_tokens, lot })
}
