//! A rack of endpoints as a pick finds it: models, jobs, load reports. Shared by the benchmarks and the test of allocations.
#![allow(dead_code, unreachable_pub, reason = "shared by a benchmark and a test; not every user needs everything")]

use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, ModelInfo, ResidentModel};
use arriero_core::{
    AppliedPool, Context, EndpointId, EngineClass, Event, Fleet, Grant, Inventory, Module, Outcome, PathClasses, Pick,
    Pin, PinTo, PoolSpec, Promises, RequestFacts, RequestId, Sample, Strategy, StrategySpec, Submit, Time, Usage,
};

pub mod waiting;

/// Models of the rack; every endpoint lists all of them and holds three.
pub const MODELS: u64 = 12;
/// Slots of an engine with slots.
pub const SLOTS: u32 = 4;

/// A module by name.
pub type Made = (&'static str, Box<dyn Strategy>);

fn made<M: Module>() -> Made {
    (M::NAME, M::build(M::Options::default()).expect("defaults are fine"))
}

/// The modules that do not price.
pub fn plain() -> Vec<Made> {
    vec![
        made::<arriero_first::First>(),
        made::<arriero_hash::Hash>(),
        made::<arriero_least_connection::LeastConnection>(),
        made::<arriero_random::Random>(),
        made::<arriero_round_robin::RoundRobin>(),
    ]
}

/// Those that do.
pub fn priced() -> Vec<Made> {
    vec![
        made::<arriero_auto::Auto>(),
        made::<arriero_model_affinity::ModelAffinity>(),
        made::<arriero_prefix_affinity::PrefixAffinity>(),
        made::<arriero_queue_aware::QueueAware>(),
        made::<arriero_token_backlog::TokenBacklog>(),
    ]
}

/// A request for the `number`-th model, counted round.
pub fn request(number: u64) -> RequestFacts {
    let mut facts = RequestFacts::default();
    facts.id = RequestId(number);
    facts.model = Some(format!("model-{}", number % MODELS).into());
    (facts.prompt_tokens, facts.stream) = (500, true);
    (facts.session, facts.hash_key) = (Some(number), Some(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    facts.prompt_blocks = (0..8).map(|block| number % 50 * 100 + block).collect();
    facts
}

/// Endpoints with work.
pub struct Rack {
    pub fleet: Fleet,
    pub now: Time,
    pub pool: AppliedPool,
    next: u64,
}

impl Rack {
    /// `count` endpoints without work that list all models and hold three each.
    pub fn idle(count: usize, class: EngineClass, strategies: Vec<Made>) -> Rack {
        let slots = (class == EngineClass::Slots).then_some(SLOTS);
        let spec = |place: usize| {
            let name: Arc<str> = format!("endpoint-{place}").into();
            EndpointSpec { identity: name.clone(), name, weight: 1, slots, ..EndpointSpec::default() }
        };
        let strategies = strategies.into_iter().map(|(module, strategy)| StrategySpec { module, strategy }).collect();
        let pool = PoolSpec {
            name: "rack".into(),
            endpoints: (0..count).map(spec).collect(),
            strategies,
            ..PoolSpec::default()
        };
        let (mut fleet, now) = (Fleet::new(1), Time::from_millis(1_000_000));
        let pool = fleet.apply(now, vec![pool]).pools["rack"].clone();
        for (place, id) in pool.endpoints.iter().enumerate() {
            let info = |model: u64| {
                let name: Arc<str> = format!("model-{model}").into();
                ModelInfo { local: name.clone(), name, size: Some(5_000_000_000), ..ModelInfo::default() }
            };
            let inventory = Inventory::Known((0..MODELS).map(info).collect());
            fleet.describe(now, *id, class, PathClasses::ALL, inventory);
            fleet.sample(now, *id, report(place, 0, class, now));
        }
        Rack { fleet, now, pool, next: 0 }
    }

    /// The same with work: of engines with slots each fifth is idle, each fifth full; batching ones hold 4 to 11 requests.
    pub fn busy(count: usize, class: EngineClass) -> Rack {
        let mut rack = Rack::idle(count, class, Vec::new());
        for place in 0..count {
            let jobs = if class == EngineClass::Slots { place % 5 } else { 4 + place % 8 };
            for nth in 0..jobs {
                let grant = rack.hold(place, ((place + nth) % 3 + place) as u64);
                rack.now = rack.now + Duration::from_millis(1);
                if nth % 2 == 0 {
                    rack.fleet.first_token(rack.now, grant.ticket);
                }
            }
            let id = rack.pool.endpoints[place];
            rack.fleet.sample(rack.now, id, report(place, jobs as u32, class, rack.now));
        }
        rack.now = rack.now + Duration::from_millis(400);
        rack
    }

    /// A request of the given model takes a slot of the given endpoint.
    fn hold(&mut self, place: usize, model: u64) -> Grant {
        let mut facts = request(model);
        (facts.id, self.next) = (RequestId(self.next), self.next + 1);
        facts.pin = Some(Pin { to: PinTo::Endpoint(self.pool.endpoints[place]), hard: true });
        let strategy = arriero_core::StrategyId(0);
        match self.fleet.submit(self.now, self.pool.id, strategy, Arc::new(facts), self.now) {
            Submit::Granted(grant) => grant,
            other => panic!("{other:?}"),
        }
    }

    /// Lets a strategy get to know the endpoints, and take two turns on each.
    pub fn introduce(&self, strategy: &mut dyn Strategy) {
        let ids = &self.pool.endpoints;
        self.tell(strategy, &Event::Membership { joined: ids, left: &[] });
        for (number, endpoint) in ids.iter().chain(ids).enumerate() {
            let request = Arc::new(request(number as u64));
            self.tell(strategy, &Event::Started { endpoint: *endpoint, request: &request, mine: true });
            self.tell(strategy, &Event::Sampled { endpoint: *endpoint });
            let (outcome, usage) = (Outcome::Complete, Usage { output_tokens: Some(100), ..Usage::default() });
            let ended = Event::Ended { endpoint: *endpoint, request: &request, outcome, usage: &usage, mine: true };
            self.tell(strategy, &ended);
        }
    }

    fn tell(&self, strategy: &mut dyn Strategy, event: &Event<'_>) {
        strategy.observe(event, &mut self.context(&self.pool.endpoints, &mut fastrand::Rng::with_seed(1)));
    }

    /// What a strategy sees.
    pub fn context<'a>(&'a self, candidates: &'a [EndpointId], rng: &'a mut fastrand::Rng) -> Context<'a> {
        Context {
            now: self.now,
            rng,
            table: self.fleet.endpoints(),
            candidates,
            uncapped: false,
            behind: 0,
            reserved: Promises::NONE,
            explain: None,
            compare: None,
        }
    }

    /// The candidates that a pool would show.
    pub fn shown(&self, strategy: &dyn Strategy) -> Vec<EndpointId> {
        let full_too = strategy.needs().full_endpoints;
        let is_shown = |id: &EndpointId| {
            full_too || self.fleet.endpoints().get(*id).is_some_and(|endpoint| endpoint.is_free(self.now))
        };
        self.pool.endpoints.iter().copied().filter(is_shown).collect()
    }

    /// One pick.
    pub fn pick(
        &self,
        strategy: &dyn Strategy,
        facts: &RequestFacts,
        shown: &[EndpointId],
        rng: &mut fastrand::Rng,
    ) -> Pick {
        strategy.pick(facts, &mut self.context(shown, rng))
    }
}

/// A load report: all our jobs run, three models are loaded.
pub fn report(place: usize, running: u32, class: EngineClass, at: Time) -> Sample {
    let resident = |nth: usize| ResidentModel {
        local: format!("model-{}", (place + nth) as u64 % MODELS).into(),
        size_vram: Some(6_000_000_000),
        loading: false,
    };
    let tells = class == EngineClass::Slots;
    Sample {
        at,
        running: Some(running),
        waiting: Some(0),
        residents: tells.then(|| (0..3).map(resident).collect()),
        ..Sample::default()
    }
}
