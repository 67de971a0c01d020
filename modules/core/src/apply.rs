//! A new configuration, in one step. State is kept by identity: pools by name, endpoints by identity (also when they
//! move to another pool), strategies by module and options. Endpoints that no pool names drain and are forgotten when
//! idle. Waiters keep their places; those of a removed pool end with [`Reason::PoolGone`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::candidates::Tiers;
use crate::ejection;
use crate::endpoint::{Endpoint, EndpointId, EndpointSpec, Health};
use crate::event::Event;
use crate::fleet::Fleet;
use crate::guarded::Guarded;
use crate::operate;
use crate::pool::Pool;
use crate::residency;
use crate::spec::{Applied, AppliedPool, Operated, PoolId, PoolSpec, StrategyId, StrategySpec};
use crate::time::Time;

/// What a configuration changed among the endpoints.
#[derive(Default)]
struct Changes {
    /// Named by the new configuration.
    named: BTreeSet<EndpointId>,
    /// Their weight changed: for strategies they left and joined.
    reweighted: BTreeSet<EndpointId>,
    /// Another engine sits behind them now.
    moved: BTreeSet<EndpointId>,
    joined: Vec<EndpointId>,
    left: Vec<EndpointId>,
}

impl Fleet {
    /// Applies a configuration: all pools at once. Every effect on waiters is in [`Applied::resolutions`].
    pub fn apply(&mut self, now: Time, pools: Vec<PoolSpec>) -> Applied {
        let mut changes = Changes::default();
        let mut known: BTreeMap<Arc<str>, EndpointId> =
            self.ledger.table.iter().map(|endpoint| (endpoint.spec.identity.clone(), endpoint.id)).collect();
        for record in self.ledger.records.values_mut() {
            record.pools.clear();
        }

        let mut applied = Applied::default();
        let mut old: BTreeMap<Arc<str>, Pool> =
            std::mem::take(&mut self.pools).into_values().map(|pool| (pool.name.clone(), pool)).collect();
        let mut planned = Vec::with_capacity(pools.len());
        for spec in pools {
            let pool = old.remove(&spec.name).unwrap_or_else(|| self.new_pool(spec.name.clone()));
            let specs = spec.endpoints.iter();
            let endpoints: Vec<EndpointId> = specs
                .map(|endpoint| self.place_endpoint(now, endpoint, &pool, &spec, &mut known, &mut changes))
                .collect();
            planned.push((pool, spec, endpoints));
        }
        self.remove_unnamed(&mut changes);
        for mut gone in old.into_values() {
            gone.refuse_all(&mut self.ledger);
        }
        for (mut pool, spec, endpoints) in planned {
            let strategies = self.configure_pool(now, &mut pool, spec, &endpoints, &changes);
            applied.pools.insert(pool.name.clone(), AppliedPool { id: pool.id, endpoints, strategies });
            self.pools.insert(pool.id, pool);
        }
        for id in &changes.left {
            self.ledger.forget_if_gone(*id);
        }
        for pool in self.pools.values_mut() {
            pool.sweep(&mut self.ledger, now);
            pool.dispatch(&mut self.ledger, now);
        }
        applied.joined = changes.joined;
        applied.left = changes.left;
        applied.resolutions = self.take_settled();
        applied
    }

    fn new_pool(&mut self, name: Arc<str>) -> Pool {
        let id = PoolId(self.next_pool);
        self.next_pool += 1;
        Pool::new(id, name, self.seed)
    }

    /// Finds or makes the endpoint, and gives it its configuration.
    fn place_endpoint(
        &mut self,
        now: Time,
        spec: &EndpointSpec,
        pool: &Pool,
        limits: &PoolSpec,
        known: &mut BTreeMap<Arc<str>, EndpointId>,
        changes: &mut Changes,
    ) -> EndpointId {
        let table = &mut self.ledger.table;
        let is_new = !known.contains_key(&spec.identity);
        let id = *known.entry(spec.identity.clone()).or_insert_with(|| {
            let spec = spec.clone();
            table.insert(Endpoint { spec, ..Endpoint::default() })
        });
        let record = self.ledger.records.entry(id).or_default();
        if is_new || record.removed {
            changes.joined.push(id);
            record.joins_slowly = !pool.endpoints.is_empty() && spec.slow_start.is_some_and(|slow| slow.new);
        }
        record.removed = false;
        if !record.pools.contains(&pool.id) {
            record.pools.push(pool.id);
        }
        if let Some(endpoint) = table.get_mut(id) {
            let weight_before = endpoint.spec.weight;
            let moved = !is_new && endpoint.spec.url != spec.url;
            if moved {
                residency::moved(endpoint);
                changes.moved.insert(id);
                record.streaks = Default::default();
            }
            endpoint.spec = spec.clone();
            endpoint.leaving = false;
            record.configured_weight = spec.weight;
            operate::compose(endpoint, record);
            if !is_new && endpoint.spec.weight != weight_before {
                changes.reweighted.insert(id);
            }
            endpoint.rename_models();
            if is_new {
                self.remembered.recall(endpoint);
            }
            ejection::configure(endpoint, record, limits.ejection, moved, now);
            record.streaks.configure(endpoint, limits.health);
            if endpoint.health == Health::Up && std::mem::take(&mut record.joins_slowly) {
                endpoint.begin_ramp(now);
            }
        }
        changes.named.insert(id);
        id
    }

    /// Endpoints that no pool names any more take no new work.
    fn remove_unnamed(&mut self, changes: &mut Changes) {
        for (id, record) in &mut self.ledger.records {
            if changes.named.contains(id) || record.removed {
                continue;
            }
            record.removed = true;
            record.operated = Operated::default();
            if let Some(endpoint) = self.ledger.table.get_mut(*id) {
                operate::compose(endpoint, record);
                endpoint.leaving = true;
            }
            changes.left.push(*id);
        }
    }

    /// Gives a pool its endpoints, limits and strategies, and tells the strategies who joined and left.
    fn configure_pool(
        &mut self,
        now: Time,
        pool: &mut Pool,
        spec: PoolSpec,
        endpoints: &[EndpointId],
        changes: &Changes,
    ) -> Vec<StrategyId> {
        let mut seen = BTreeSet::new();
        let distinct: Vec<EndpointId> = endpoints.iter().copied().filter(|id| seen.insert(*id)).collect();
        let before = std::mem::replace(&mut pool.endpoints, distinct);
        let changed = |id: &EndpointId| changes.reweighted.contains(id);
        let joined: Vec<EndpointId> =
            pool.endpoints.iter().copied().filter(|id| !before.contains(id) || changed(id)).collect();
        let left: Vec<EndpointId> = before.into_iter().filter(|id| !seen.contains(id) || changed(id)).collect();
        pool.queue.keep(&pool.endpoints);
        (pool.limits, pool.retry) = (spec.queue, spec.retry);
        pool.tiers = Tiers { backup_one: spec.backup_one, panic: spec.panic };
        pool.memory.configure(spec.affinity);
        if !left.is_empty() || !changes.moved.is_empty() {
            let (stay, moved) = (&pool.endpoints, &changes.moved);
            pool.memory.retain(|id| stay.contains(&id) && !moved.contains(&id));
        }

        let mut old = std::mem::take(&mut pool.strategies);
        let newcomers_from = StrategyId(self.next_strategy);
        let mut ids = Vec::with_capacity(spec.strategies.len());
        for StrategySpec { module, strategy } in spec.strategies {
            let options = strategy.options();
            let is_same = |running: &Guarded| running.module == module && running.options == options;
            if let Some(running) = pool.strategies.iter().find(|running| is_same(running)) {
                ids.push(running.id);
                continue;
            }
            let running = match old.iter().position(is_same) {
                Some(place) => old.remove(place),
                None => {
                    let id = StrategyId(self.next_strategy);
                    self.next_strategy += 1;
                    Guarded::new(id, module, strategy, self.ledger.next_ticket())
                }
            };
            ids.push(running.id);
            pool.strategies.push(running);
        }
        let (since, seed) = (self.ledger.next_ticket(), self.seed);
        pool.configure_shadows(spec.shadows, &ids, &mut self.next_strategy, since, seed);
        let everyone = pool.endpoints.clone();
        let changed = !joined.is_empty() || !left.is_empty();
        pool.tell(&self.ledger.table, now, None, |hearer| {
            if hearer.id >= newcomers_from {
                return Some(Event::Membership { joined: &everyone, left: &[] });
            }
            changed.then_some(Event::Membership { joined: &joined, left: &left })
        });
        ids
    }
}
