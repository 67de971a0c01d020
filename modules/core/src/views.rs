//! What others may look at: endpoints, pools, faults, and the dry run. Nothing here changes a decision.

use std::collections::BTreeMap;

use crate::candidates;
use crate::endpoint::{EndpointId, Endpoints};
use crate::facts::RequestFacts;
use crate::fleet::Fleet;
use crate::pool::Verdict;
use crate::shadow::Shadow;
use crate::spec::{Decision, Dry, Faults, PoolId, PoolView, StrategyId, StrategyView};
use crate::strategy::{Explanation, Reason};
use crate::time::Time;

impl Fleet {
    /// What would be decided now, and why. Disturbs nothing.
    pub fn explain(&mut self, now: Time, pool: PoolId, strategy: StrategyId, facts: &RequestFacts) -> Dry {
        let Some(pool) = self.pools.get_mut(&pool) else {
            let verdict = Decision::Reject(Reason::PoolGone);
            return Dry { verdict, explanation: Explanation::default(), others: Vec::new() };
        };
        let table = &self.ledger.table;
        let (rng, hesitates) = (pool.rng.clone(), pool.hesitates);
        let faults: Vec<(u64, u64)> =
            pool.strategies.iter().map(|running| (running.panics, running.refused_picks)).collect();
        let (verdict, explanation) = pool.decide(table, now, strategy, facts, true);
        (pool.rng, pool.hesitates) = (rng, hesitates);
        for (running, faults) in pool.strategies.iter_mut().zip(faults) {
            (running.panics, running.refused_picks) = faults;
        }
        let mut candidates = Vec::new();
        candidates::candidates_into(&mut candidates, &pool.endpoints, table, facts, now, pool.tiers);
        let chosen = match &verdict {
            Verdict::Start(choice) => Some(choice.endpoint),
            _ => None,
        };
        let others = pool.endpoints.iter().filter(|id| Some(**id) != chosen).filter_map(|id| {
            let why = candidates::why_not(table.get(*id)?, facts, &candidates, now)?;
            Some((*id, why))
        });
        let others = others.collect();
        let verdict = match verdict {
            Verdict::Start(choice) => Decision::Start { endpoint: choice.endpoint, module: choice.module },
            Verdict::WaitFor(endpoint) => Decision::WaitFor(endpoint),
            Verdict::Wait => Decision::Wait,
            Verdict::Reject(reason) => Decision::Reject(reason),
        };
        Dry { verdict, explanation: explanation.unwrap_or_default(), others }
    }

    /// Every endpoint of the fleet, those that drain included.
    pub fn endpoints(&self) -> &Endpoints {
        &self.ledger.table
    }

    /// The pools.
    pub fn pool_ids(&self) -> impl Iterator<Item = PoolId> + '_ {
        self.pools.keys().copied()
    }

    /// A pool as others see it.
    pub fn pool_view(&self, pool: PoolId) -> Option<PoolView<'_>> {
        let pool = self.pools.get(&pool)?;
        Some(PoolView {
            name: &pool.name,
            endpoints: &pool.endpoints,
            queued: pool.queue.len(),
            queued_bytes: pool.queue.bytes(),
            oldest_since: pool.queue.oldest_since(),
            drains_per_s: pool.drain_rate.per_second(self.latest),
            live: pool.live,
            most_queued: pool.most_queued,
            most_live: pool.most_live,
            retries: pool.retries(),
            picks: pool.picks,
        })
    }

    /// By the endpoint that requests are bound to: how many wait for it, and the most that ever did. Endpoints for whom
    /// nobody ever waited are left out.
    pub fn waiting_by_endpoint(&self) -> BTreeMap<EndpointId, (usize, usize)> {
        self.pools.values().flat_map(|pool| pool.queue.bound_to()).collect()
    }

    /// The strategies that a pool runs: what they want to know, and what they have come to. None for an unknown pool.
    pub fn strategies(&self, pool: PoolId) -> impl Iterator<Item = StrategyView<'_>> {
        let pool = self.pools.get(&pool);
        let running = pool.into_iter().flat_map(|pool| pool.strategies.iter().map(move |running| (pool, running)));
        running.map(|(pool, running)| StrategyView {
            id: running.id,
            module: running.module,
            options: &running.options,
            needs: &running.needs,
            chosen: running.chosen(),
            shadows: pool.shadows.iter().filter(|one| one.beside == running.id).map(Shadow::view).collect(),
        })
    }

    /// The endpoint of this identity.
    pub fn find_endpoint(&self, identity: &str) -> Option<EndpointId> {
        self.ledger.table.iter().find(|endpoint| &*endpoint.spec.identity == identity).map(|endpoint| endpoint.id)
    }

    /// The strategies that panicked or picked what they may not.
    pub fn faults(&self) -> Vec<Faults> {
        let all = self.pools.values().flat_map(|pool| {
            pool.strategies.iter().map(|running| Faults {
                pool: pool.name.clone(),
                module: running.module,
                panics: running.panics,
                refused_picks: running.refused_picks,
            })
        });
        all.filter(|faults| faults.panics + faults.refused_picks > 0).collect()
    }
}
