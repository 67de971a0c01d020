//! A driver that does to a fleet what a proxy does, keeps its own books, and compares after every step.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, ResidentModel};
use arriero_core::{
    AffinityLimits, Applied, EndpointId, EngineClass, Fleet, Grant, HealthLimits, Inventory, Operation, Outcome,
    PathClasses, Pin, PinTo, PoolId, PoolSpec, QueueLimits, Reason, RequestFacts, Resolution, Sample, SlowStart, State,
    StrategySpec, Submit, Ticket, Time, Usage, WaiterId,
};

mod books;

use super::{Counting, Heard, Rule, endpoint, known, request};

pub const MODELS: [&str; 3] = ["small", "large", "rare"];
const HOSTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const QUEUE: QueueLimits = QueueLimits { max_requests: 40, max_bytes: 4000, timeout: Duration::from_secs(20) };

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

struct Waiting {
    pool: String,
    strategy: usize,
    facts: Arc<RequestFacts>,
    arrival: Time,
    deadline: Time,
}

struct Running {
    grant: Grant,
    pool: String,
    strategy: usize,
    facts: Arc<RequestFacts>,
    arrival: Time,
}

pub struct Herd {
    pub fleet: Fleet,
    pub now: Time,
    applied: Applied,
    waiting: BTreeMap<WaiterId, Waiting>,
    running: BTreeMap<Ticket, Running>,
    /// Listeners of every strategy ever handed over; those still shared are at work.
    heard: Vec<Arc<Mutex<Heard>>>,
    next_request: u64,
    pub submitted: u64,
    pub granted: u64,
    pub refused: u64,
    pub cancelled: u64,
    pub retried: u64,
    /// Grants of requests that were bound to their endpoint.
    pub pinned: u64,
    /// Who was granted what, in order.
    pub trace: Vec<(u64, Ticket, EndpointId)>,
}

impl Herd {
    pub fn new(seed: u64) -> Herd {
        let mut herd = Herd {
            fleet: Fleet::new(seed),
            now: Time::from_millis(1),
            applied: Applied::default(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            heard: Vec::new(),
            next_request: 0,
            submitted: 0,
            granted: 0,
            refused: 0,
            cancelled: 0,
            retried: 0,
            pinned: 0,
            trace: Vec::new(),
        };
        herd.apply(1, 0b111, 2, false, 0, false);
        herd
    }

    /// Does one thing and compares the books.
    pub fn step(&mut self, step: &Step) {
        self.act(step);
        self.check();
    }

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

    fn submit(&mut self, pool: String, strategy: usize, facts: Arc<RequestFacts>, arrival: Time) {
        let Some(applied) = self.applied.pools.get(pool.as_str()) else { return };
        let strategies = &applied.strategies;
        let strategy = strategy % strategies.len();
        match self.fleet.submit(self.now, applied.id, strategies[strategy], facts.clone(), arrival) {
            Submit::Granted(grant) => {
                let waiting = Waiting { pool, strategy, facts, arrival, deadline: self.now };
                self.check_order(&waiting, WaiterId(u64::MAX));
                self.run(waiting, grant);
            }
            Submit::Queued(id) => {
                let deadline = self.now + QUEUE.timeout;
                let waiting = Waiting { pool, strategy, facts, arrival, deadline };
                assert!(self.waiting.insert(id, waiting).is_none(), "a waiter's number came twice");
            }
            Submit::Rejected(_) => self.refused += 1,
        }
        self.catch_up();
    }

    fn finish(&mut self, ticket: Ticket, outcome: Outcome, retry: bool) {
        let Some(Running { grant, pool, strategy, facts, arrival }) = self.running.remove(&ticket) else { return };
        let again = retry && outcome.is_endpoint_failure() && self.fleet.may_retry(ticket, 2);
        let usage = Usage { prompt_tokens: Some(100), output_tokens: Some(50), ..Usage::default() };
        let settled = self.fleet.finish(self.now, ticket, outcome, &usage);
        self.settle(settled);
        assert!(self.fleet.finish(self.now, ticket, outcome, &usage).is_empty(), "a second finish changes nothing");
        if again {
            let mut facts = (*facts).clone();
            facts.attempt += 1;
            facts.tried.push(grant.endpoint);
            self.retried += 1;
            self.submit(pool, strategy, Arc::new(facts), arrival);
        }
    }

    /// Lets time pass as a driver would: it stops at every deadline.
    fn advance(&mut self, span: Duration) {
        let until = self.now + span;
        let mut stops = 0;
        while let Some(due) = self.fleet.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.catch_up();
            stops += 1;
            assert!(stops < 10_000, "deadlines that do not move");
        }
        self.now = until;
        self.catch_up();
        assert!(self.waiting.values().all(|waiting| waiting.deadline > until), "a waiter waits beyond its timeout");
    }

    fn catch_up(&mut self) {
        let settled = self.fleet.tick(self.now);
        self.settle(settled);
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

    fn apply(&mut self, pools: usize, hosts: u8, cap: u32, health: bool, tag: u32, gentle: bool) {
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
                panic: gentle && tag == 0,
                affinity: AffinityLimits { keys: 5, ids: 5, ..AffinityLimits::default() },
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

    fn settle(&mut self, settled: Vec<Resolution>) {
        let mut granted = Vec::new();
        for Resolution { waiter, verdict } in settled {
            let waiting = self.waiting.remove(&waiter).expect("resolved twice, or after a cancel");
            match verdict {
                Ok(grant) => granted.push((waiter, waiting, grant)),
                Err(Reason::QueueTimeout { .. }) => {
                    assert!(waiting.deadline <= self.now, "timed out too early");
                    self.refused += 1;
                }
                Err(_) => self.refused += 1,
            }
        }
        for (id, waiting, grant) in granted {
            self.check_order(&waiting, id);
            self.run(waiting, grant);
        }
    }

    /// The least-connection rule asks for nothing but a free slot: so nobody alike may have waited longer.
    fn check_order(&self, first: &Waiting, id: WaiterId) {
        let changeable = matches!(first.facts.pin, Some(Pin { to: PinTo::Key { .. } | PinTo::Id(_), .. }));
        if first.strategy != 0 || !first.facts.tried.is_empty() || changeable {
            return;
        }
        let alike = self.waiting.iter().filter(|(_, other)| {
            (&other.pool, other.strategy, other.facts.class) == (&first.pool, first.strategy, first.facts.class)
                && (&other.facts.model, other.facts.pin) == (&first.facts.model, first.facts.pin)
                && (&other.facts.among, other.facts.uncapped) == (&first.facts.among, first.facts.uncapped)
                && other.facts.tried.is_empty()
        });
        for (other, waiting) in alike {
            assert!((waiting.arrival, *other) > (first.arrival, id), "{id:?} overtook {other:?} of its group");
        }
    }

    fn run(&mut self, waiting: Waiting, grant: Grant) {
        let endpoint = self.fleet.endpoints().get(grant.endpoint).expect("a grant names a living endpoint");
        let capped = endpoint.jobs.iter().filter(|job| !job.request.uncapped).count() as u32;
        let within = waiting.facts.uncapped || endpoint.cap(self.now).is_none_or(|cap| capped <= cap);
        assert!(within, "granted beyond the cap");
        assert!(waiting.facts.admits(grant.endpoint), "granted to an endpoint outside the route's subset");
        let pinned = grant.module == "affinity";
        assert!(!endpoint.leaving && endpoint.state != State::Maint, "granted to an endpoint in maintenance");
        assert!(pinned || endpoint.takes_work(), "granted to an endpoint that drains");
        assert!(!waiting.facts.tried.contains(&grant.endpoint), "granted to an endpoint that failed the request");
        let desperate = !endpoint.works(self.now) && !endpoint.knows_models();
        let serves = endpoint.can_serve(waiting.facts.model.as_deref()) || desperate;
        assert!(serves, "granted to an endpoint without the model");
        assert!(!pinned || endpoint.works(self.now), "bound to an endpoint that does not work");
        self.granted += 1;
        self.pinned += u64::from(pinned);
        self.trace.push((waiting.facts.id.0, grant.ticket, grant.endpoint));
        let Waiting { pool, strategy, facts, arrival, .. } = waiting;
        let ticket = grant.ticket;
        let running = Running { grant, pool, strategy, facts, arrival };
        assert!(self.running.insert(ticket, running).is_none(), "a ticket came twice");
    }

    fn endpoint(&self, index: usize) -> Option<EndpointId> {
        let ids: BTreeSet<EndpointId> = self.fleet.endpoints().iter().map(|endpoint| endpoint.id).collect();
        nth(ids.iter(), index)
    }
}

fn nth<'a, T: Clone + 'a>(mut all: impl ExactSizeIterator<Item = &'a T>, index: usize) -> Option<T> {
    if all.len() == 0 {
        return None;
    }
    let place = index % all.len();
    all.nth(place).cloned()
}
