//! The inputs are fed: speeds that the fleet learned decide, and waiters are bound as the rule says.

use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::EndpointSpec;
use arriero_core::{
    AppliedPool, EndpointId, EngineClass, Fleet, Grant, Inventory, Module, Outcome, PathClasses, PoolSpec, QueueLimits,
    RequestFacts, RequestId, StrategySpec, Submit, Time, Usage, WaiterId,
};
use arriero_queue_aware::{Options, QueueAware};

/// Two engines with one slot each; the second needs six times as long.
struct Ground {
    fleet: Fleet,
    pool: AppliedPool,
    now: Time,
    number: u64,
}

impl Ground {
    /// Each engine has served one request: its speed is known.
    fn new(theta: f64) -> Ground {
        let engine = |name: &str| EndpointSpec {
            identity: name.into(),
            name: name.into(),
            weight: 1,
            slots: Some(1),
            ..EndpointSpec::default()
        };
        let strategy = QueueAware::build(Options { theta }).expect("in range");
        let spec = PoolSpec {
            name: "herd".into(),
            endpoints: vec![engine("fast"), engine("slow")],
            queue: QueueLimits::default(),
            health: None,
            strategies: vec![StrategySpec { module: QueueAware::NAME, strategy }],
            ..PoolSpec::default()
        };
        let mut fleet = Fleet::new(1);
        let now = Time::from_millis(1000);
        let pool = fleet.apply(now, vec![spec]).pools["herd"].clone();
        for id in &pool.endpoints {
            fleet.describe(now, *id, EngineClass::Slots, PathClasses::ALL, Inventory::Any);
        }
        let mut ground = Ground { fleet, pool, now, number: 0 };
        for grant in [ground.granted(), ground.granted()] {
            ground.finish(&grant);
        }
        ground
    }

    fn submit(&mut self) -> Submit {
        self.number += 1;
        let mut facts = RequestFacts::default();
        (facts.id, facts.model) = (RequestId(self.number), Some("m".into()));
        (facts.prompt_tokens, facts.stream) = (100, true);
        self.fleet.submit(self.now, self.pool.id, self.pool.strategies[0], Arc::new(facts), self.now)
    }

    fn granted(&mut self) -> Grant {
        match self.submit() {
            Submit::Granted(grant) => grant,
            other => panic!("a slot is free, but {other:?}"),
        }
    }

    fn queued(&mut self) -> WaiterId {
        match self.submit() {
            Submit::Queued(waiter) => waiter,
            other => panic!("expected to wait, but {other:?}"),
        }
    }

    /// Ends an attempt with what the engine tells of its speed; gives the waiter that got the slot, and where.
    fn finish(&mut self, grant: &Grant) -> Option<(WaiterId, EndpointId)> {
        let slowness = if grant.endpoint == self.pool.endpoints[0] { 1.0 } else { 6.0 };
        self.now = self.now + Duration::from_millis(1000);
        let usage = Usage {
            prompt_tokens: Some(100),
            output_tokens: Some(100),
            prefill_ms: Some(20.0 * slowness),
            decode_ms: Some(500.0 * slowness),
            ..Usage::default()
        };
        let ended = self.fleet.finish(self.now, grant.ticket, Outcome::Complete, &usage);
        let first = ended.into_iter().next()?;
        first.verdict.ok().map(|grant| (first.waiter, grant.endpoint))
    }
}

#[test]
fn learned_speeds_decide() {
    let mut ground = Ground::new(1.0);
    for _ in 0..5 {
        let grant = ground.granted();
        assert_eq!(grant.endpoint, ground.pool.endpoints[0]);
        ground.finish(&grant);
    }
}

#[test]
fn selfish_waits_for_the_fast_engine_and_gets_it() {
    let mut ground = Ground::new(1.0);
    let first = ground.granted();
    let waiter = ground.queued();
    assert_eq!(ground.finish(&first), Some((waiter, ground.pool.endpoints[0])));
}

#[test]
fn a_backlog_goes_to_the_slow_engine_too() {
    let mut ground = Ground::new(1.0);
    ground.granted();
    let mut waiting = 0;
    let slow = loop {
        match ground.submit() {
            Submit::Queued(_) => waiting += 1,
            Submit::Granted(grant) => break grant,
            other => panic!("{other:?}"),
        }
        assert!(waiting < 20, "promises must make the fast engine dear");
    };
    assert_eq!(slow.endpoint, ground.pool.endpoints[1]);
    // one answer makes an engine at most four times as slow as what was lent to it
    assert!(waiting >= 2, "four times slower is worth waiting for, but only {waiting} did");
}

#[test]
fn eager_never_waits_while_a_slot_is_free() {
    let mut ground = Ground::new(0.0);
    let both = [ground.granted(), ground.granted()];
    assert_ne!(both[0].endpoint, both[1].endpoint);
    ground.queued();
}
