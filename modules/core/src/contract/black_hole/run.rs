//! The simulation of the black hole: what is due when, who waits, who runs, what it cost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::{EndpointId, EndpointSpec, EngineClass, Inventory, ModelInfo};
use crate::event::{Outcome, Usage};
use crate::facts::{PathClasses, Pin, PinTo, RequestFacts, RequestId};
use crate::fleet::Fleet;
use crate::spec::{AppliedPool, EjectionLimits, Grant, PoolSpec, Resolution, StrategySpec, Submit, Ticket, WaiterId};
use crate::strategy::Module;
use crate::time::Time;

use super::{BlackHole, Illness, Keeps, Toll};

/// Requests a second.
const RATE: f64 = 9.6;
/// When a run begins.
const START: Time = Time(1000);
/// Retries of one request at most.
const RETRIES: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Arrival,
    Token(Ticket),
    End(Ticket, bool),
}

struct Request {
    facts: Arc<RequestFacts>,
    arrival: Time,
}

pub(super) struct Run {
    fleet: Fleet,
    pool: AppliedPool,
    ill: EndpointId,
    illness: Illness,
    well_for: Duration,
    keeps: Keeps,
    /// Who answered a session the last time.
    known: HashMap<u64, EndpointId>,
    until: Time,
    now: Time,
    dice: fastrand::Rng,
    due: BinaryHeap<Reverse<(Time, u64, What)>>,
    number: u64,
    waiting: HashMap<WaiterId, Request>,
    running: HashMap<Ticket, (Request, EndpointId)>,
    pub(super) toll: Toll,
}

fn pool_of<M: Module>(ejection: Option<EjectionLimits>) -> PoolSpec {
    let strategy = M::build(M::Options::default()).unwrap_or_else(|why| panic!("{}: {why}", M::NAME));
    let endpoint = |name: &str| EndpointSpec {
        identity: name.into(),
        name: name.into(),
        weight: 1,
        max_in_flight: Some(4),
        ..EndpointSpec::default()
    };
    PoolSpec {
        name: "pool".into(),
        endpoints: ["ill", "b", "c", "d"].map(endpoint).into(),
        ejection,
        strategies: vec![StrategySpec { module: M::NAME, strategy }],
        ..PoolSpec::default()
    }
}

impl Run {
    pub(super) fn new<M: Module>(scene: &BlackHole) -> Run {
        let mut fleet = Fleet::new(scene.seed);
        let pool = fleet.apply(START, vec![pool_of::<M>(scene.ejection)]).pools.remove("pool");
        let pool = pool.expect("it was just applied");
        let model = ModelInfo { name: "m".into(), local: "m".into(), ..ModelInfo::default() };
        for id in &pool.endpoints {
            let inventory = Inventory::Known(vec![model.clone()]);
            fleet.describe(START, *id, EngineClass::Slots, PathClasses::ALL, inventory);
        }
        Run {
            ill: pool.endpoints[0],
            fleet,
            pool,
            illness: scene.illness,
            well_for: scene.well_for,
            keeps: scene.keeps,
            known: HashMap::new(),
            until: START + scene.span,
            now: START,
            dice: fastrand::Rng::with_seed(scene.seed),
            due: BinaryHeap::new(),
            number: 0,
            waiting: HashMap::new(),
            running: HashMap::new(),
            toll: Toll::default(),
        }
    }

    pub(super) fn plan(&mut self, after: Duration, what: What) {
        self.number += 1;
        self.due.push(Reverse((self.now + after, self.number, what)));
    }

    /// Lives through everything that is due, until nobody runs or waits.
    pub(super) fn live(&mut self) {
        loop {
            let next = self.due.peek().map(|Reverse((at, ..))| *at);
            let tick = self.fleet.next_deadline().map(|at| at.max(self.now));
            match (next, tick) {
                (next, Some(tick)) if next.is_none_or(|next| tick <= next) => {
                    self.now = tick;
                    let settled = self.fleet.tick(tick);
                    self.settle(settled);
                }
                (Some(next), _) => {
                    self.now = next;
                    if let Some(Reverse((.., what))) = self.due.pop() {
                        self.happen(what);
                    }
                }
                (None, _) => return,
            }
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrival if self.now < self.until => {
                self.toll.requests += 1;
                let facts = self.facts();
                self.submit(Request { facts: Arc::new(facts), arrival: self.now });
                let gap = -(1.0 - self.dice.f64()).ln() / RATE;
                self.plan(Duration::from_secs_f64(gap), What::Arrival);
            }
            What::Arrival => {}
            What::Token(ticket) => self.fleet.first_token(self.now, ticket),
            What::End(ticket, well) => self.end(ticket, well),
        }
    }

    /// A request of one of some forty sessions.
    fn facts(&mut self) -> RequestFacts {
        let session = self.dice.u64(..40);
        RequestFacts {
            id: RequestId(u64::from(self.toll.requests)),
            model: Some("m".into()),
            prompt_tokens: self.dice.u32(50..400),
            stream: true,
            session: Some(session),
            hash_key: Some(session.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            prompt_blocks: Arc::from([session]),
            pin: self.pin(session),
            ..RequestFacts::default()
        }
    }

    fn pin(&self, session: u64) -> Option<Pin> {
        let to = match self.keeps {
            Keeps::Nothing => return None,
            Keeps::ByKey => PinTo::Key { key: session, ttl: Duration::from_secs(600) },
            Keeps::ByName => PinTo::Endpoint(*self.known.get(&session)?),
        };
        Some(Pin { to, hard: false })
    }

    fn submit(&mut self, request: Request) {
        let (pool, strategy) = (self.pool.id, self.pool.strategies[0]);
        match self.fleet.submit(self.now, pool, strategy, request.facts.clone(), request.arrival) {
            Submit::Granted(grant) => self.start(request, &grant),
            Submit::Queued(id) => drop(self.waiting.insert(id, request)),
            Submit::Rejected(_) => self.toll.lost += 1,
        }
    }

    fn settle(&mut self, settled: Vec<Resolution>) {
        for Resolution { waiter, verdict } in settled {
            let Some(request) = self.waiting.remove(&waiter) else { continue };
            match verdict {
                Ok(grant) => self.start(request, &grant),
                Err(_) => self.toll.lost += 1,
            }
        }
    }

    fn is_ill(&self) -> bool {
        let falls_ill = START + self.well_for;
        let recovers = self.illness == Illness::Recovers && self.now >= falls_ill + Duration::from_secs(10);
        self.now >= falls_ill && !recovers
    }

    fn start(&mut self, request: Request, grant: &Grant) {
        self.toll.attempts += 1;
        let ticket = grant.ticket;
        self.running.insert(ticket, (request, grant.endpoint));
        if grant.endpoint == self.ill && self.is_ill() {
            self.toll.wasted += 1;
            let after = if self.illness == Illness::Hangs { 5_000 } else { 50 };
            self.plan(Duration::from_millis(after), What::End(ticket, false));
        } else {
            self.plan(Duration::from_millis(200), What::Token(ticket));
            let whole = self.dice.u64(600..1400);
            self.plan(Duration::from_millis(whole), What::End(ticket, true));
        }
    }

    fn end(&mut self, ticket: Ticket, well: bool) {
        let Some((request, endpoint)) = self.running.remove(&ticket) else { return };
        let outcome = match self.illness {
            _ if well => Outcome::Complete,
            Illness::SaysBusy => Outcome::Busy,
            Illness::Hangs => Outcome::Timeout,
            Illness::FailsFast | Illness::Recovers => Outcome::UpstreamError,
        };
        if let Some(session) = request.facts.session.filter(|_| well) {
            self.known.insert(session, endpoint);
        }
        let again = !well && self.fleet.may_retry(ticket, RETRIES);
        let usage = Usage { prompt_tokens: Some(200), output_tokens: Some(100), ..Usage::default() };
        let settled = self.fleet.finish(self.now, ticket, outcome, &usage);
        self.settle(settled);
        if again {
            let mut facts = (*request.facts).clone();
            facts.attempt += 1;
            facts.tried.push(endpoint);
            self.submit(Request { facts: Arc::new(facts), ..request });
        } else if !well {
            self.toll.lost += 1;
        } else if endpoint == self.ill && self.now + Duration::from_secs(10) > self.until {
            self.toll.late_answers += 1;
        }
    }
}
