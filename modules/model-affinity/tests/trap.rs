//! The known trap: "prefer an engine that has the model" as a filter. A hot model then never gets a second copy, and its
//! engine drowns. Four engines that hold two models each and work on one request at a time, in virtual time: load 5 s,
//! answer 2 s. The hot model alone needs a third more than one engine; the whole fleet is not half busy.

use std::collections::VecDeque;
use std::sync::Arc;

use arriero_core::endpoint::{Endpoint, EndpointSpec, ModelInfo, ResidentModel};
use arriero_core::{
    AppliedPool, Context, EngineClass, Fleet, Inventory, Module, Needs, Outcome, PathClasses, Pick, PoolSpec,
    RequestFacts, RequestId, Sample, Strategy, StrategySpec, Submit, Ticket, Time, Usage,
};
use arriero_model_affinity::{ModelAffinity, Options};

const GB: u64 = 1_000_000_000;
const LOAD_MS: u64 = 5_000;
const ANSWER_MS: u64 = 2_000;
const MODELS: [&str; 4] = ["hot", "a", "b", "c"];

/// The filter: the least busy of those that have the model; the least busy of all only if nobody has it.
struct WarmFirst;

impl Strategy for WarmFirst {
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let model = request.model.as_deref().unwrap_or_default();
        let has = |endpoint: &&Endpoint| endpoint.models.get(model).is_some_and(|m| m.resident || m.loading);
        let least = |one: &&Endpoint| (one.in_flight(), one.id);
        let best = cx.endpoints().filter(has).min_by_key(least).or_else(|| cx.endpoints().min_by_key(least));
        best.map_or(Pick::Wait, |endpoint| Pick::Endpoint(endpoint.id))
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}

/// An engine: its queue, its models (least recently used first), and when the head of the queue is done.
#[derive(Default)]
struct Engine {
    queue: VecDeque<(Ticket, &'static str, u64)>,
    resident: Vec<&'static str>,
    done_at: Option<u64>,
    load_ms: u64,
}

impl Engine {
    fn begin(&mut self, now: u64) {
        let Some((_, model, _)) = self.queue.front().filter(|_| self.done_at.is_none()) else { return };
        self.load_ms = if self.resident.contains(model) { 0 } else { LOAD_MS };
        self.resident.retain(|known| known != model);
        self.resident.push(model);
        if self.resident.len() > 2 {
            self.resident.remove(0);
        }
        self.done_at = Some(now + self.load_ms + ANSWER_MS);
    }
}

struct Ground {
    fleet: Fleet,
    pool: AppliedPool,
    engines: Vec<Engine>,
    waits_ms: Vec<u64>,
}

impl Ground {
    fn new(strategy: Box<dyn Strategy>) -> Ground {
        let spec = |place: usize| EndpointSpec {
            identity: format!("e{place}").into(),
            name: format!("e{place}").into(),
            weight: 1,
            vram: Some(13 * GB),
            ..EndpointSpec::default()
        };
        let endpoints = (0..4).map(spec).collect();
        let strategies = vec![StrategySpec { module: "tested", strategy }];
        let mut fleet = Fleet::new(1);
        let spec = PoolSpec { name: "herd".into(), endpoints, health: None, strategies, ..PoolSpec::default() };
        let pool = fleet.apply(Time::ZERO, vec![spec]).pools["herd"].clone();
        for id in &pool.endpoints {
            let info = |name: &str| ModelInfo {
                name: name.into(),
                local: name.into(),
                size: Some(5 * GB),
                ..ModelInfo::default()
            };
            let inventory = Inventory::Known(MODELS.iter().map(|name| info(name)).collect());
            fleet.describe(Time::ZERO, *id, EngineClass::Slots, PathClasses::ALL, inventory);
            fleet.sample(Time::ZERO, *id, Sample { residents: Some(Vec::new()), ..Sample::default() });
        }
        let engines = (0..4).map(|_| Engine::default()).collect();
        Ground { fleet, pool, engines, waits_ms: Vec::new() }
    }

    fn ask(&mut self, now: u64, number: u64, model: &'static str) {
        let mut facts = RequestFacts::default();
        (facts.id, facts.model, facts.prompt_tokens) = (RequestId(number), Some(model.into()), 100);
        let at = Time::from_millis(now);
        let submit = self.fleet.submit(at, self.pool.id, self.pool.strategies[0], Arc::new(facts), at);
        let Submit::Granted(grant) = submit else { panic!("nothing is capped, but {submit:?}") };
        let place = self.pool.endpoints.iter().position(|id| *id == grant.endpoint).expect("it is of the pool");
        self.engines[place].queue.push_back((grant.ticket, model, now));
        self.engines[place].begin(now);
    }

    /// Lives up to `until`, one answer after the other.
    fn live(&mut self, until: u64) {
        let first = |engines: &[Engine]| {
            let due = engines.iter().enumerate().filter_map(|(place, engine)| Some((engine.done_at?, place)));
            due.min().filter(|(at, _)| *at <= until)
        };
        while let Some((at, place)) = first(&self.engines) {
            let engine = &mut self.engines[place];
            engine.done_at = None;
            let Some((ticket, _, since)) = engine.queue.pop_front() else { continue };
            self.waits_ms.push(at - since);
            let ms = |ms: u64| Some(ms as f64);
            let (load_ms, prefill_ms, decode_ms) = (ms(engine.load_ms), ms(100), ms(ANSWER_MS - 100));
            let counts = Usage { prompt_tokens: Some(100), output_tokens: Some(100), ..Usage::default() };
            let usage = Usage { load_ms, prefill_ms, decode_ms, ..counts };
            let told = |name: &&str| ResidentModel { local: Arc::from(*name), size_vram: Some(6 * GB), loading: false };
            let residents = Some(engine.resident.iter().map(told).collect());
            engine.begin(at);
            let now = Time::from_millis(at);
            self.fleet.finish(now, ticket, Outcome::Complete, &usage);
            self.fleet.sample(now, self.pool.endpoints[place], Sample { at: now, residents, ..Sample::default() });
        }
    }
}

/// The mean time to an answer, in milliseconds: 600 requests for the hot model, 225 for three others.
fn mean_ms(strategy: Box<dyn Strategy>) -> u64 {
    let mut ground = Ground::new(strategy);
    let hot = (0..600).map(|number| (number * 1_500, "hot"));
    let others = (0..225).map(|number| (number * 4_000 + 70, MODELS[1 + number as usize % 3]));
    let mut arrivals: Vec<(u64, &'static str)> = hot.chain(others).collect();
    arrivals.sort_unstable();
    for (number, (at, model)) in arrivals.into_iter().enumerate() {
        ground.live(at);
        ground.ask(at, number as u64, model);
    }
    ground.live(u64::MAX);
    ground.waits_ms.iter().sum::<u64>() / ground.waits_ms.len() as u64
}

#[test]
fn a_price_copies_the_hot_model_where_a_filter_lets_its_engine_drown() {
    let filter = mean_ms(Box::new(WarmFirst));
    let price = mean_ms(ModelAffinity::build(Options::default()).expect("defaults are in range"));
    assert!(price < 2 * ANSWER_MS, "a fleet that is half idle answers soon: {price} ms");
    assert!(filter > 10 * price, "the trap: {filter} ms as a filter, {price} ms as a price");
}
