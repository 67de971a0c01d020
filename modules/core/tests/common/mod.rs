//! What the fleet's tests share: a bench with a virtual clock, small specifications, and a counting strategy.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod failing;
pub mod herd;
pub mod pinned;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, ModelInfo};
use arriero_core::{
    Applied, Context, EndpointId, EngineClass, Event, Fleet, Grant, Inventory, Needs, Operation, Outcome, PathClasses,
    Pick, PoolSpec, QueueLimits, RequestFacts, RequestId, Resolution, State, Strategy, StrategySpec, Submit, Ticket,
    Time, Usage, WaiterId,
};

/// What a [`Counting`] strategy heard.
#[derive(Debug, Default)]
pub struct Heard {
    pub started: u64,
    pub ended: u64,
    pub mine_started: u64,
    pub mine_ended: u64,
    pub samples: u64,
    pub learned: u64,
    pub members: BTreeMap<EndpointId, i64>,
    pub joins: u64,
}

/// How a [`Counting`] strategy picks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The free candidate with the fewest attempts.
    #[default]
    Least,
    /// The candidate given by the request's number, free or not.
    Bound,
    /// A random endpoint of the fleet, however wrong.
    Careless,
    /// Panics.
    Panics,
    /// The first candidate, also when it is full; any other once somebody else waits for the first.
    Queueing,
    /// Nobody before this moment (milliseconds), then the least.
    Patient(u64),
}

/// A strategy that counts what it hears.
#[derive(Default)]
pub struct Counting {
    pub rule: Rule,
    pub tag: u32,
    pub heard: Arc<Mutex<Heard>>,
}

impl Strategy for Counting {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.full_endpoints = matches!(self.rule, Rule::Bound | Rule::Careless | Rule::Queueing);
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        match self.rule {
            Rule::Patient(until) if cx.now < Time::from_millis(until) => Pick::Wait,
            Rule::Least | Rule::Patient(_) => {
                let least = cx.free().min_by_key(|endpoint| endpoint.in_flight());
                least.map_or(Pick::Wait, |endpoint| Pick::Endpoint(endpoint.id))
            }
            Rule::Queueing => {
                let first = cx.candidates[0];
                let is_free = cx.free().next().is_some_and(|endpoint| endpoint.id == first);
                match cx.reserved_ms(first) > 0.0 || is_free {
                    true => cx.free().next().map_or(Pick::Wait, |endpoint| Pick::Endpoint(endpoint.id)),
                    false => Pick::WaitFor(first),
                }
            }
            Rule::Bound => {
                let bound = cx.endpoints().nth(request.id.0 as usize % cx.candidates.len()).unwrap();
                match bound.is_free(cx.now) && cx.reserved_count(bound.id) == 0 {
                    true => Pick::Endpoint(bound.id),
                    false => Pick::WaitFor(bound.id),
                }
            }
            Rule::Careless => {
                let all: Vec<EndpointId> = cx.table.iter().map(|endpoint| endpoint.id).collect();
                Pick::Endpoint(all[cx.rng.usize(0..all.len())])
            }
            Rule::Panics => panic!("this strategy always panics"),
        }
    }

    fn observe(&mut self, event: &Event<'_>, _cx: &mut Context<'_>) {
        let mut heard = self.heard.lock().unwrap();
        match event {
            Event::Started { mine, .. } => {
                heard.started += 1;
                heard.mine_started += u64::from(*mine);
            }
            Event::Ended { mine, .. } => {
                heard.ended += 1;
                heard.mine_ended += u64::from(*mine);
                assert!(heard.ended <= heard.started, "an end without a start");
            }
            Event::Sampled { .. } => heard.samples += 1,
            Event::Learned { .. } => heard.learned += 1,
            Event::Membership { joined, left } => {
                heard.joins += joined.len() as u64;
                left.iter().for_each(|id| *heard.members.entry(*id).or_default() -= 1);
                joined.iter().for_each(|id| *heard.members.entry(*id).or_default() += 1);
                heard.members.retain(|_, count| *count != 0);
                assert!(heard.members.values().all(|count| *count == 1), "joined twice or left twice");
            }
            _ => {}
        }
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({ "rule": format!("{:?}", self.rule), "tag": self.tag })
    }
}

/// An endpoint with a cap.
pub fn endpoint(name: &str, cap: u32) -> EndpointSpec {
    EndpointSpec {
        identity: name.into(),
        name: name.into(),
        weight: 1,
        max_in_flight: Some(cap),
        ..EndpointSpec::default()
    }
}

/// A pool without health checks that runs one [`Counting`] strategy.
pub fn pool(name: &str, endpoints: Vec<EndpointSpec>) -> PoolSpec {
    pool_with(name, endpoints, vec![Counting::default()])
}

/// A pool without health checks that runs these strategies.
pub fn pool_with(name: &str, endpoints: Vec<EndpointSpec>, strategies: Vec<Counting>) -> PoolSpec {
    let spec = |strategy| StrategySpec { module: "counting", strategy: Box::new(strategy) };
    PoolSpec {
        name: name.into(),
        endpoints,
        queue: QueueLimits::default(),
        health: None,
        strategies: strategies.into_iter().map(spec).collect(),
        ..PoolSpec::default()
    }
}

/// An inventory.
pub fn known(models: &[&str]) -> Inventory {
    let info = |name: &&str| ModelInfo { name: (*name).into(), local: (*name).into(), ..ModelInfo::default() };
    Inventory::Known(models.iter().map(info).collect())
}

/// A request without a model.
pub fn request(id: u64) -> RequestFacts {
    let mut facts = RequestFacts::default();
    facts.id = RequestId(id);
    facts.prompt_tokens = 100;
    facts
}

/// A request for a model.
pub fn request_for(id: u64, model: &str) -> RequestFacts {
    let mut facts = request(id);
    facts.model = Some(model.into());
    facts
}

/// A fleet, its clock, and the pool and strategy that requests go to.
pub struct Bench {
    pub fleet: Fleet,
    pub now: Time,
    pub applied: Applied,
}

impl Bench {
    pub fn new(pools: Vec<PoolSpec>) -> Bench {
        let mut fleet = Fleet::new(7);
        let now = Time::from_millis(1000);
        let applied = fleet.apply(now, pools);
        Bench { fleet, now, applied }
    }

    pub fn apply(&mut self, pools: Vec<PoolSpec>) {
        self.applied = self.fleet.apply(self.now, pools);
    }

    pub fn advance(&mut self, span: Duration) -> Vec<Resolution> {
        self.now = self.now + span;
        self.fleet.tick(self.now)
    }

    pub fn id(&self, name: &str) -> EndpointId {
        self.fleet.find_endpoint(name).expect("the endpoint exists")
    }

    /// Describes an endpoint that lists these models.
    pub fn lists(&mut self, name: &str, models: &[&str]) -> Vec<Resolution> {
        let id = self.id(name);
        self.fleet.describe(self.now, id, EngineClass::Slots, PathClasses::ALL, known(models))
    }

    pub fn submit(&mut self, facts: RequestFacts) -> Submit {
        let name = self.applied.pools.keys().next().unwrap().clone();
        self.submit_to(&name, 0, facts)
    }

    pub fn submit_to(&mut self, pool: &str, strategy: usize, facts: RequestFacts) -> Submit {
        let pool = &self.applied.pools[pool];
        self.fleet.submit(self.now, pool.id, pool.strategies[strategy], Arc::new(facts), self.now)
    }

    /// The only grant among resolutions.
    pub fn only_grant(resolutions: Vec<Resolution>) -> (WaiterId, Grant) {
        let [Resolution { waiter, verdict }] = <[Resolution; 1]>::try_from(resolutions).expect("one resolution");
        (waiter, verdict.expect("a grant"))
    }

    pub fn probe(&mut self, name: &str, ok: bool) -> Vec<Resolution> {
        let id = self.id(name);
        self.fleet.probed(self.now, id, ok)
    }

    /// The operator says whether an endpoint takes work.
    pub fn state(&mut self, name: &str, state: State) -> Vec<Resolution> {
        let id = self.id(name);
        self.fleet.operate(self.now, id, &[Operation::State(state)])
    }

    pub fn health(&self, name: &str) -> arriero_core::endpoint::Health {
        self.fleet.endpoints().get(self.id(name)).unwrap().health
    }

    pub fn verdicts(&self, name: &str) -> arriero_core::Verdicts {
        self.fleet.verdicts(self.id(name))
    }

    pub fn endpoint(&self, name: &str) -> &arriero_core::endpoint::Endpoint {
        self.fleet.endpoints().get(self.id(name)).expect("the endpoint exists")
    }

    pub fn grant(&mut self, facts: RequestFacts) -> Grant {
        match self.submit(facts) {
            Submit::Granted(grant) => grant,
            other => panic!("expected a grant, got {other:?}"),
        }
    }

    pub fn wait(&mut self, facts: RequestFacts) -> WaiterId {
        match self.submit(facts) {
            Submit::Queued(waiter) => waiter,
            other => panic!("expected to wait, got {other:?}"),
        }
    }

    pub fn refused(&mut self, facts: RequestFacts) -> arriero_core::Reason {
        match self.submit(facts) {
            Submit::Rejected(reason) => reason,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    pub fn finish(&mut self, ticket: Ticket, outcome: Outcome) -> Vec<Resolution> {
        self.fleet.finish(self.now, ticket, outcome, &Usage::default())
    }

    pub fn in_flight(&self) -> u32 {
        self.fleet.endpoints().iter().map(|endpoint| endpoint.in_flight()).sum()
    }

    pub fn assert_idle(&self) {
        assert_eq!(self.in_flight(), 0, "slots leaked");
        for id in self.fleet.pool_ids() {
            let view = self.fleet.pool_view(id).unwrap();
            assert_eq!((view.queued, view.queued_bytes, view.live), (0, 0, 0), "pool {} is not idle", view.name);
        }
    }
}
