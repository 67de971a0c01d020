//! How the proxy is set up in a run: pools and routes. A scenario brings its own ([`Declared`]); an operator's real
//! configuration can take its place.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::EndpointSpec;
use arriero_core::{EjectionLimits, HealthLimits, PoolSpec, QueueLimits, StrategySpec, Usage};

use super::arms::{Arm, Caps};
use super::engines;
use super::scenario::{Profile, Scenario};

/// What a request shows to routes.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The model's name, as the client wrote it.
    pub model: &'a str,
    /// The path.
    pub path: &'a str,
    /// Prompt length, tokens.
    pub prompt_tokens: u32,
    /// Chance for routes that split by weight: any number.
    pub lot: u64,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Routed {
    /// The pool, by its place in [`Deployment::pools`].
    pub pool: usize,
    /// The strategy, by its place in that pool.
    pub strategy: usize,
    /// The route's name.
    pub route: Arc<str>,
    /// The model after aliases.
    pub model: Arc<str>,
    /// The route knows no caps.
    pub uncapped: bool,
    /// The route's subset: identities of endpoints. `None` = the whole pool.
    pub among: Option<Vec<Arc<str>>>,
    /// Priority class, lower first.
    pub class: i16,
    /// Further attempts after the first.
    pub retries: u32,
}

/// The timers of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// To the first byte.
    pub first_byte: Option<Duration>,
    /// Between two parts of an answer.
    pub between_chunks: Option<Duration>,
    /// Between health checks.
    pub check_every: Duration,
    /// How long one check may take.
    pub check_timeout: Duration,
    /// Between samples; `None` = by the engine's kind.
    pub poll: Option<Duration>,
    /// Who runs at an endpoint that turns down is cut off, and tried elsewhere.
    pub cut_on_down: bool,
}

/// A set-up of the proxy.
pub trait Deployment: Send + Sync {
    /// The pools, with fresh strategies. Endpoints are tied to the run's engines by their URLs.
    fn pools(&self) -> Vec<PoolSpec>;
    /// Where a request goes; `None` = no route takes it.
    fn route(&self, asked: &Asked<'_>) -> Option<Routed>;
    /// The timers of a pool.
    fn timers(&self, pool: usize) -> Timers;
    /// What a proxy reads at an answer's end, where that is not what the engine meant.
    fn heard(&self, _engine: usize, usage: Usage) -> Usage {
        usage
    }
}

/// The name of a scenario's only pool and route.
pub(super) const POOL: &str = "lab";

/// The set-up that a scenario describes: one pool, one route, one strategy.
pub struct Declared<'s> {
    scenario: &'s Scenario,
    arm: &'s Arm,
}

impl<'s> Declared<'s> {
    /// For one arm.
    pub fn new(scenario: &'s Scenario, arm: &'s Arm) -> Declared<'s> {
        Declared { scenario, arm }
    }
}

/// The endpoints of a scenario, in its order.
pub(super) fn endpoints(scenario: &Scenario) -> Vec<EndpointSpec> {
    let seats = engines::seats(scenario);
    let specs = seats.iter().map(|seat| EndpointSpec {
        identity: seat.name.clone(),
        name: seat.name.clone(),
        url: seat.url.clone(),
        weight: 1,
        slots: seat.group.slots,
        load_allowance: Duration::from_secs_f64(scenario.proxy.load_allowance_s),
        ..EndpointSpec::default()
    });
    specs.collect()
}

impl Deployment for Declared<'_> {
    fn pools(&self) -> Vec<PoolSpec> {
        let proxy = &self.scenario.proxy;
        let strategy = StrategySpec { module: self.arm.made.module, strategy: (self.arm.made.build)() };
        let timeout = Duration::from_secs_f64(proxy.queue_timeout_s);
        vec![PoolSpec {
            name: POOL.into(),
            endpoints: endpoints(self.scenario),
            queue: QueueLimits { max_requests: proxy.queue_requests, timeout, ..QueueLimits::default() },
            health: Some(HealthLimits::default()),
            ejection: proxy.ejection.then(EjectionLimits::default),
            strategies: vec![strategy],
            ..PoolSpec::default()
        }]
    }

    fn route(&self, asked: &Asked<'_>) -> Option<Routed> {
        Some(Routed {
            pool: 0,
            strategy: 0,
            route: POOL.into(),
            model: asked.model.into(),
            uncapped: self.arm.caps == Caps::Off,
            among: None,
            class: 0,
            retries: self.scenario.proxy.retries,
        })
    }

    fn timers(&self, _pool: usize) -> Timers {
        let proxy = &self.scenario.proxy;
        let check_every = Duration::from_secs_f64(proxy.check_every_s);
        Timers {
            first_byte: proxy.first_byte_s.map(Duration::from_secs_f64),
            between_chunks: proxy.between_chunks_s.map(Duration::from_secs_f64),
            check_every,
            check_timeout: check_every,
            poll: proxy.poll_s.map(Duration::from_secs_f64),
            cut_on_down: false,
        }
    }
}

impl Profile {
    /// True for engines that tell how many requests they run or queue.
    pub(super) fn has_gauge(&self) -> bool {
        match self {
            Profile::Vllm(_) => true,
            Profile::Ollama(profile) => profile.gauge,
        }
    }
}
