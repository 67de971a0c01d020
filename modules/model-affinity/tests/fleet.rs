//! The inputs are fed: the same rule driven by the fleet's own reports, residency and learning.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::{EndpointSpec, ModelInfo, ResidentModel};
use arriero_core::{
    AppliedPool, EndpointId, EngineClass, Fleet, Grant, Inventory, Module, Outcome, PathClasses, PoolSpec, QueueLimits,
    RequestFacts, RequestId, Sample, StrategySpec, Submit, Time, Usage,
};
use arriero_model_affinity::{ModelAffinity, Options};

const GB: u64 = 1_000_000_000;

/// Two engines of 12 GB; three models of 5 GB, `a` resident on the first, `b` on the second.
struct Ground {
    fleet: Fleet,
    pool: AppliedPool,
    now: Time,
    number: u64,
}

impl Ground {
    fn new() -> Ground {
        let engine = |name: &str| EndpointSpec {
            identity: name.into(),
            name: name.into(),
            weight: 1,
            vram: Some(12 * GB),
            ..EndpointSpec::default()
        };
        let strategy = ModelAffinity::build(Options::default()).expect("defaults are in range");
        let spec = PoolSpec {
            name: "herd".into(),
            endpoints: vec![engine("one"), engine("two")],
            queue: QueueLimits::default(),
            health: None,
            strategies: vec![StrategySpec { module: ModelAffinity::NAME, strategy }],
            ..PoolSpec::default()
        };
        let mut fleet = Fleet::new(1);
        let now = Time::from_millis(1000);
        let applied = fleet.apply(now, vec![spec]);
        let mut ground = Ground { fleet, pool: applied.pools["herd"].clone(), now, number: 0 };
        for (place, resident) in ["a", "b"].into_iter().enumerate() {
            let id = ground.pool.endpoints[place];
            let listed = ["a", "b", "c"].map(|name| ModelInfo {
                name: name.into(),
                local: name.into(),
                size: Some(5 * GB),
                ..ModelInfo::default()
            });
            ground.fleet.describe(now, id, EngineClass::Slots, PathClasses::ALL, Inventory::Known(listed.into()));
            ground.report(id, &[resident]);
        }
        ground.now = Time::from_millis(100_000);
        ground
    }

    fn report(&mut self, id: EndpointId, residents: &[&str]) {
        let told = residents.iter().map(|name| ResidentModel {
            local: Arc::from(*name),
            size_vram: Some(6 * GB),
            loading: false,
        });
        let sample = Sample { at: self.now, residents: Some(told.collect()), ..Sample::default() };
        self.fleet.sample(self.now, id, sample);
    }

    fn facts(&mut self, model: &str) -> Arc<RequestFacts> {
        self.number += 1;
        let mut facts = RequestFacts::default();
        (facts.id, facts.model, facts.prompt_tokens) = (RequestId(self.number), Some(model.into()), 100);
        (facts.stream, facts.explain) = (true, true);
        Arc::new(facts)
    }

    fn submit(&mut self, model: &str) -> Grant {
        let facts = self.facts(model);
        match self.fleet.submit(self.now, self.pool.id, self.pool.strategies[0], facts, self.now) {
            Submit::Granted(grant) => grant,
            other => panic!("nothing is full, but {other:?}"),
        }
    }

    /// A request that takes a second and is told to have loaded for `load_ms`.
    fn serve(&mut self, model: &str, load_ms: Option<f64>) -> EndpointId {
        let grant = self.submit(model);
        self.now = self.now + Duration::from_secs(1);
        self.fleet.first_token(self.now, grant.ticket);
        let usage = Usage { load_ms, output_tokens: Some(100), ..Usage::default() };
        self.fleet.finish(self.now, grant.ticket, Outcome::Complete, &usage);
        grant.endpoint
    }

    fn term(&mut self, model: &str, engine: &str, name: &str) -> f64 {
        let facts = self.facts(model);
        let told = self.fleet.explain(self.now, self.pool.id, self.pool.strategies[0], &facts).explanation;
        let candidate = told.candidates.into_iter().find(|candidate| candidate.endpoint == engine).expect("priced");
        candidate.terms.into_iter().find(|term| term.name == name).map_or(0.0, |term| term.ms)
    }
}

#[test]
fn reports_say_where_a_model_is() {
    let mut ground = Ground::new();
    for _ in 0..3 {
        assert_eq!(ground.serve("a", None), ground.pool.endpoints[0]);
        assert_eq!(ground.serve("b", None), ground.pool.endpoints[1]);
    }
    let (one, two) = (ground.pool.endpoints[0], ground.pool.endpoints[1]);
    ground.report(one, &["b"]);
    ground.report(two, &["a"]);
    assert_eq!(ground.serve("a", None), two);
    assert!(!ground.submit("b").cold);
}

#[test]
fn the_size_of_the_inventory_prices_a_load_and_the_engine_corrects_it() {
    let mut ground = Ground::new();
    let by_size = ground.term("c", "one", "load");
    assert!((by_size - (5e9 / 1.5e6 + 1500.0)).abs() < 1.0, "{by_size}");
    ground.serve("c", Some(9000.0));
    let learned: Vec<f64> = ["one", "two"].iter().map(|engine| ground.term("c", engine, "load")).collect();
    assert!(learned.contains(&0.0), "it is resident where it was served: {learned:?}");
    let one = ground.pool.endpoints[0];
    let two = ground.pool.endpoints[1];
    ground.report(one, &[]);
    ground.report(two, &[]);
    let learned: Vec<f64> = ["one", "two"].iter().map(|engine| ground.term("c", engine, "load")).collect();
    assert!(learned.contains(&9000.0), "{learned:?}");
}

#[test]
fn demand_makes_an_eviction_dear() {
    let mut ground = Ground::new();
    let one = ground.pool.endpoints[0];
    ground.report(one, &["a", "b"]);
    ground.now = ground.now + Duration::from_secs(60);
    let before = ground.term("c", "one", "evict");
    for _ in 0..20 {
        ground.serve("a", None);
    }
    let after = ground.term("c", "one", "evict");
    assert!(before < 1.0 && after > 1000.0, "before {before}, after {after}");
}

#[test]
fn a_burst_gets_a_second_copy() {
    let mut ground = Ground::new();
    let picked: Vec<EndpointId> = (0..12).map(|_| ground.submit("a").endpoint).collect();
    assert_eq!(picked[..2], [ground.pool.endpoints[0]; 2], "first where it is");
    assert!(picked.contains(&ground.pool.endpoints[1]), "then a copy: waiting costs more than loading");
    let grant = ground.submit("a");
    let told = grant.explanation.expect("the request asked for it");
    assert!(told.summary.contains("wait") && told.summary.contains("load"), "{}", told.summary);
}
