//! The things that a driver may do to the fleet, each done by the herd.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, ResidentModel};
use arriero_core::{
    AffinityLimits, EjectionLimits, EngineClass, HealthLimits, Inventory, Operation, Outcome, PathClasses, Pin, PinTo,
    PoolId, PoolSpec, Sample, SlowStart, StrategySpec,
};

use super::super::{Counting, Rule, endpoint, known, request};
use super::{HOSTS, Herd, MODELS, QUEUE, nth};

/// One thing that a driver does. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Step {
    Submit { pool: usize, strategy: usize, model: usize, class: i16, bytes: u64, pin: Option<(u8, bool)> },
    FirstToken { attempt: usize },
    Finish { attempt: usize, outcome: Outcome, retry: bool },
    Cancel { waiter: usize },
    Advance { millis: u64 },
    Sample { endpoint: usize, slots: Option<u32>, waiting: u32, resident: Option<usize> },
    Describe { endpoint: usize, batching: bool, models: u8 },
    Probed { endpoint: usize, ok: bool },
    Operate { endpoint: usize, operation: Operation },
    Pin { pool: usize, id: u8, endpoint: usize },
    Forget { pool: usize, key: Option<u8> },
    Explain { pool: usize, model: usize },
    Apply { pools: usize, hosts: u8, cap: u32, health: bool, tag: u32, gentle: bool },
}

impl Herd {
    /// Does one thing.
    pub fn act(&mut self, step: &Step) {
        match *step {
            Step::Submit { pool, strategy, model, class, bytes, pin } => {
                self.submitted += 1;
                self.submit_new(pool, strategy, model, class, bytes, pin);
            }
            Step::FirstToken { attempt } => {
                if let Some(ticket) = nth(self.running.keys(), attempt) {
                    self.fleet.first_token(self.now, ticket);
                    self.catch_up(); // it may have brought an endpoint back
                }
            }
            Step::Finish { attempt, outcome, retry } => {
                if let Some(ticket) = nth(self.running.keys(), attempt) {
                    self.finish(ticket, outcome, retry);
                }
            }
            Step::Cancel { waiter } => {
                if let Some(id) = nth(self.waiting.keys(), waiter) {
                    self.waiting.remove(&id);
                    self.cancelled += 1;
                    let settled = self.fleet.cancel(self.now, id);
                    self.settle(settled);
                    assert!(self.fleet.cancel(self.now, id).is_empty(), "a second cancel changes nothing");
                }
            }
            Step::Advance { millis } => self.advance(Duration::from_millis(millis)),
            Step::Sample { endpoint, slots, waiting, resident } => self.sample(endpoint, slots, waiting, resident),
            Step::Describe { endpoint, batching, models } => self.describe(endpoint, batching, models),
            Step::Probed { endpoint, ok } => {
                if let Some(id) = self.endpoint(endpoint) {
                    let settled = self.fleet.probed(self.now, id, ok);
                    self.settle(settled);
                }
            }
            Step::Operate { endpoint, operation } => {
                if let Some(id) = self.endpoint(endpoint) {
                    let settled = self.fleet.operate(self.now, id, &[operation]);
                    self.settle(settled);
                }
            }
            Step::Pin { pool, id, endpoint } => {
                if let (Some(pool), Some(endpoint)) = (self.pool(pool), self.endpoint(endpoint)) {
                    self.fleet.pin(self.now, pool, id.into(), endpoint);
                }
            }
            Step::Forget { pool, key } => {
                if let Some(pool) = self.pool(pool) {
                    self.fleet.clear_affinity(pool, key.map(u64::from));
                    self.catch_up();
                }
            }
            Step::Explain { pool, model } => self.explain(pool, model),
            Step::Apply { pools, hosts, cap, health, tag, gentle } => {
                self.apply(pools, hosts, cap, health, tag, gentle)
            }
        }
    }

    fn submit_new(
        &mut self,
        pool: usize,
        strategy: usize,
        model: usize,
        class: i16,
        bytes: u64,
        pin: Option<(u8, bool)>,
    ) {
        let Some(name) = nth(self.applied.pools.keys(), pool) else { return };
        self.next_request += 1;
        let mut facts = request(self.next_request);
        facts.model = (model < MODELS.len()).then(|| MODELS[model].into());
        (facts.class, facts.body_bytes) = (class, bytes);
        facts.uncapped = self.next_request.is_multiple_of(7);
        facts.pin = pin.map(|(number, hard)| Pin { to: self.pin_to(number), hard });
        if self.next_request.is_multiple_of(5) {
            let of_pool = self.applied.pools[&name].endpoints.iter().copied();
            facts.among = Some(of_pool.skip(self.next_request as usize % 2).collect());
        }
        self.submit(name.to_string(), strategy, Arc::new(facts), self.now);
    }

    /// A few keys, ids and endpoints.
    fn pin_to(&self, number: u8) -> PinTo {
        let (kind, number) = (number % 3, number / 3 % 6);
        match kind {
            0 => PinTo::Key { key: number.into(), ttl: Duration::from_secs(15) },
            1 => PinTo::Id(number.into()),
            _ => PinTo::Endpoint(self.endpoint(number.into()).unwrap_or_default()),
        }
    }

    fn pool(&self, index: usize) -> Option<PoolId> {
        let name = nth(self.applied.pools.keys(), index)?;
        Some(self.applied.pools[&name].id)
    }

    fn sample(&mut self, endpoint: usize, slots: Option<u32>, waiting: u32, resident: Option<usize>) {
        let Some(id) = self.endpoint(endpoint) else { return };
        let model = |model: usize| ResidentModel { local: MODELS[model % 3].into(), ..ResidentModel::default() };
        let residents = resident.map(|first| vec![model(first)]);
        let running = self.fleet.endpoints().get(id).map(|endpoint| endpoint.in_flight());
        let sample = Sample { at: self.now, running, waiting: Some(waiting), slots, residents, kv_used: None };
        let settled = self.fleet.sample(self.now, id, sample);
        self.settle(settled);
    }

    fn describe(&mut self, endpoint: usize, batching: bool, models: u8) {
        let Some(id) = self.endpoint(endpoint) else { return };
        let class = if batching { EngineClass::Batching } else { EngineClass::Slots };
        let listed: Vec<&str> = (0..3).filter(|bit| models & (1 << bit) != 0).map(|bit| MODELS[bit]).collect();
        let inventory = if models & 8 != 0 { Inventory::Any } else { known(&listed) };
        let settled = self.fleet.describe(self.now, id, class, PathClasses::ALL, inventory);
        self.settle(settled);
    }

    fn explain(&mut self, pool: usize, model: usize) {
        let Some(name) = nth(self.applied.pools.keys(), pool) else { return };
        let applied = &self.applied.pools[&name];
        let mut facts = request(0);
        facts.model = Some(MODELS[model % 3].into());
        let careless = applied.strategies[2]; // picks at random
        let first = self.fleet.explain(self.now, applied.id, careless, &facts).verdict;
        let second = self.fleet.explain(self.now, applied.id, careless, &facts).verdict;
        assert_eq!(first, second, "a dry run disturbed the next one");
    }

    pub(super) fn apply(&mut self, pools: usize, hosts: u8, cap: u32, health: bool, tag: u32, gentle: bool) {
        let spec = |host: &str| EndpointSpec {
            max_in_flight: (cap > 0).then_some(cap),
            weight: 1 + cap,
            backup: host == "c" || host == "b",
            slow_start: gentle.then_some(SlowStart { over: Duration::from_secs(8), new: true }),
            ..endpoint(host, 0)
        };
        let chosen = |offset: usize| {
            let hosts = (0..3).filter(move |bit| hosts & (1 << bit) != 0).map(move |bit| HOSTS[offset + bit]);
            hosts.map(spec).collect::<Vec<EndpointSpec>>()
        };
        self.panic = gentle && tag == 0;
        let mut specs = Vec::new();
        // The pools swap halves of the hosts, so that endpoints also move between pools.
        for (place, name) in ["p", "q"].into_iter().enumerate().take(1 + pools % 2) {
            specs.push(PoolSpec {
                name: name.into(),
                endpoints: chosen(3 * ((place + tag as usize) % 2)),
                queue: QUEUE,
                health: health.then(HealthLimits::default),
                strategies: vec![
                    self.strategy(Rule::Least, 0),
                    self.strategy(Rule::Bound, tag),
                    self.strategy(Rule::Careless, 0),
                ],
                backup_one: gentle,
                panic: self.panic,
                ejection: (!gentle || tag == 1).then(EjectionLimits::default),
                affinity: AffinityLimits { keys: 4, ids: 5, ..AffinityLimits::default() },
                ..PoolSpec::default()
            });
        }
        let mut applied = self.fleet.apply(self.now, specs);
        let settled = std::mem::take(&mut applied.resolutions);
        self.applied = applied;
        self.settle(settled);
    }

    fn strategy(&mut self, rule: Rule, tag: u32) -> StrategySpec {
        let counting = Counting { rule, tag, ..Counting::default() };
        self.heard.push(counting.heard.clone());
        StrategySpec { module: "counting", strategy: Box::new(counting) }
    }
}
