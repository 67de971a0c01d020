//! What a prefix cache holds is a price beside load and wait: a conversation returns to its engine among equals, and no
//! model is loaded for the sake of a cache.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, ModelInfo, ResidentModel};
use arriero_core::{
    AppliedPool, EndpointId, EngineClass, Fleet, Inventory, Module, Outcome, PathClasses, PoolSpec, RequestFacts,
    RequestId, Sample, StrategySpec, Submit, Ticket, Time, Usage,
};
use arriero_model_affinity::{ModelAffinity, Options};

const GB: u64 = 1_000_000_000;
const SYSTEM_BLOCKS: u64 = 2;

/// Engines that have room for one model, and tell of cached tokens.
struct Ground {
    fleet: Fleet,
    pool: AppliedPool,
    now: Time,
    number: u64,
    class: EngineClass,
}

impl Ground {
    fn new(engines: usize, class: EngineClass) -> Ground {
        let spec = |place: usize| EndpointSpec {
            identity: format!("e{place}").into(),
            name: format!("e{place}").into(),
            weight: 1,
            slots: (class == EngineClass::Slots).then_some(4),
            vram: Some(7 * GB),
            ..EndpointSpec::default()
        };
        let endpoints = (0..engines).map(spec).collect();
        let strategy = ModelAffinity::build(Options::default()).expect("defaults are in range");
        let strategies = vec![StrategySpec { module: "model-affinity", strategy }];
        let mut fleet = Fleet::new(1);
        let spec = PoolSpec { name: "herd".into(), endpoints, health: None, strategies, ..PoolSpec::default() };
        let pool = fleet.apply(Time::ZERO, vec![spec]).pools["herd"].clone();
        let mut ground = Ground { fleet, pool, now: Time::ZERO, number: 0, class };
        for id in ground.pool.endpoints.clone() {
            let info = |name: &str| ModelInfo {
                name: name.into(),
                local: name.into(),
                size: Some(5 * GB),
                ..ModelInfo::default()
            };
            let inventory = Inventory::Known(vec![info("a"), info("b")]);
            ground.fleet.describe(Time::ZERO, id, class, PathClasses::ALL, inventory);
            ground.report(id, &["a"]);
        }
        ground.pass(100);
        ground
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// Engines with slots tell what they have loaded.
    fn report(&mut self, id: EndpointId, residents: &[&str]) {
        let told = |name: &&str| ResidentModel { local: Arc::from(*name), size_vram: Some(6 * GB), loading: false };
        let residents = (self.class == EngineClass::Slots).then(|| residents.iter().map(told).collect());
        self.fleet.sample(self.now, id, Sample { at: self.now, residents, ..Sample::default() });
    }

    /// Turn `turn` of a conversation: a system prompt that all share, then sixteen blocks per turn.
    fn facts(&mut self, conversation: u64, turn: u64, has_blocks: bool) -> Arc<RequestFacts> {
        self.number += 1;
        let own = (0..16 * turn).map(|block| 1_000_000 * (conversation + 1) + block);
        let blocks: Vec<u64> = (0..SYSTEM_BLOCKS).chain(own).collect();
        let mut facts = RequestFacts::default();
        (facts.id, facts.model, facts.stream) = (RequestId(self.number), Some("a".into()), true);
        facts.prompt_tokens = 256 * blocks.len() as u32;
        facts.prompt_blocks = if has_blocks { blocks.into() } else { Arc::default() };
        Arc::new(facts)
    }

    fn submit(&mut self, facts: &Arc<RequestFacts>) -> (Ticket, EndpointId) {
        match self.fleet.submit(self.now, self.pool.id, self.pool.strategies[0], facts.clone(), self.now) {
            Submit::Granted(grant) => (grant.ticket, grant.endpoint),
            other => panic!("nothing is full, but {other:?}"),
        }
    }

    /// First tokens after a second, and the ends a second later; engines with slots tell how much was cached. From batching
    /// engines the client leaves before the end: an answer that takes the same in any company would teach that company is
    /// free.
    fn answer(&mut self, running: &[(Ticket, EndpointId)], cached: u32) {
        self.pass(1);
        running.iter().for_each(|(ticket, _)| self.fleet.first_token(self.now, *ticket));
        self.pass(1);
        let usage = Usage { cached_tokens: Some(cached), output_tokens: Some(100), ..Usage::default() };
        let outcome = match self.class {
            EngineClass::Slots => Outcome::Complete,
            EngineClass::Batching => Outcome::ClientGone,
        };
        for (ticket, _) in running {
            self.fleet.finish(self.now, *ticket, outcome, &usage);
        }
    }

    /// Tokens that an engine's price takes as cached, for a turn that is not sent.
    fn cached(&mut self, engine: EndpointId, conversation: u64, turn: u64) -> f64 {
        let facts = self.facts(conversation, turn, true);
        let told = self.fleet.explain(self.now, self.pool.id, self.pool.strategies[0], &facts).explanation;
        let place = self.pool.endpoints.iter().position(|id| *id == engine).expect("it is of the pool");
        let priced = told.candidates.into_iter().find(|one| *one.endpoint == *format!("e{place}")).expect("priced");
        let term = |name| priced.terms.iter().find(|term| term.name == name).map_or(0.0, |term| term.ms);
        -term("cached") / term("prefill") * f64::from(facts.prompt_tokens)
    }
}

/// 24 conversations of five turns on four engines, three requests at once: (turns that returned to where the one before was,
/// requests per engine).
fn conversations(class: EngineClass, has_blocks: bool) -> (usize, Vec<usize>) {
    let mut ground = Ground::new(4, class);
    // each engine tells of its cache, and has the system prompt
    let mut first = Vec::new();
    for number in 0..4 {
        let facts = ground.facts(1000 + number, 1, has_blocks);
        first.push(ground.submit(&facts));
    }
    let all: BTreeSet<EndpointId> = first.iter().map(|(_, at)| *at).collect();
    assert_eq!(all.len(), 4, "equals take turns");
    ground.answer(&first, 256);
    let mut homes: Vec<Option<EndpointId>> = vec![None; 24];
    let (mut returned, mut requests) = (0, vec![0; 4]);
    for turn in 1..=5 {
        for group in 0..8 {
            let mut running = Vec::new();
            // another order each time: whoever only takes turns would else return by accident
            for conversation in (3 * group..3 * group + 3).map(|place| (place + 5 * turn as usize) % 24) {
                let facts = ground.facts(conversation as u64, turn, has_blocks);
                let (ticket, at) = ground.submit(&facts);
                returned += usize::from(homes[conversation] == Some(at));
                homes[conversation] = Some(at);
                requests[ground.pool.endpoints.iter().position(|id| *id == at).expect("of the pool")] += 1;
                running.push((ticket, at));
            }
            ground.answer(&running, 256 * (2 + 16 * (turn as u32 - 1)));
        }
    }
    (returned, requests)
}

#[test]
fn a_conversation_returns_among_equals_and_all_have_their_share() {
    for class in [EngineClass::Slots, EngineClass::Batching] {
        let (returned, requests) = conversations(class, true);
        assert!(returned >= 72, "{class:?}: {returned} of 96 later turns returned, a quarter do by chance");
        assert!(requests.iter().all(|count| (15..=45).contains(count)), "{class:?}: {requests:?} of 120");
        let (returned, _) = conversations(class, false);
        assert!(returned < 48, "{class:?}: nobody tells where it was, but {returned} of 96 returned");
    }
}

#[test]
fn no_model_is_loaded_for_a_cache() {
    let mut ground = Ground::new(2, EngineClass::Slots);
    let facts = ground.facts(7, 4, true);
    let running = ground.submit(&facts);
    let home = running.1;
    let other = *ground.pool.endpoints.iter().find(|id| **id != home).expect("there are two");
    ground.answer(&[running], 256);
    assert!(ground.cached(home, 7, 5) > 16_000.0, "{}", ground.cached(home, 7, 5));
    ground.pass(30);
    ground.report(home, &["b"]);
    assert_eq!(ground.cached(home, 7, 5), 0.0, "its model left, and the cache with it");
    let facts = ground.facts(7, 5, true);
    assert_eq!(ground.submit(&facts).1, other, "where the model is, not where the prompt was");
}

#[test]
fn a_model_that_comes_back_brings_no_cache() {
    let mut ground = Ground::new(1, EngineClass::Slots);
    let home = ground.pool.endpoints[0];
    let facts = ground.facts(7, 4, true);
    let running = ground.submit(&facts);
    ground.answer(&[running], 256);
    ground.pass(30);
    ground.report(home, &["b"]);
    ground.pass(30);
    let facts = ground.facts(8, 4, true);
    let running = ground.submit(&facts);
    ground.pass(6);
    ground.answer(&[running], 0);
    let system = 256.0 * SYSTEM_BLOCKS as f64;
    assert_eq!(ground.cached(home, 7, 5).round(), system, "only what was computed since");
    assert!(ground.cached(home, 8, 5) > 16_000.0, "the prompt that waited for the load is there");
}

#[test]
fn who_tells_nothing_of_a_cache_has_none() {
    let mut ground = Ground::new(1, EngineClass::Slots);
    let home = ground.pool.endpoints[0];
    let facts = ground.facts(7, 4, true);
    let running = ground.submit(&facts);
    ground.answer(&[running], 0);
    assert_eq!(ground.cached(home, 7, 5), 0.0);
}
