//! How long each call into the fleet takes while many wait: the time for which the proxy would hold its lock.
//!
//! 64 endpoints, 1 000 waiters of 12 models on four routes (three strategies that price, one that does not). Time is
//! virtual; each turn ends the oldest attempt, submits until 1 000 wait again, tells the first token of whoever got a slot,
//! reports the load of two endpoints, and ticks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arriero_core::{EngineClass, Inventory, Outcome, PathClasses, Resolution, StrategyId, Submit, Ticket, Usage};

use super::{MODELS, Rack, plain, priced, report, request};

/// Endpoints.
const ENDPOINTS: usize = 64;
/// Requests that wait.
const WAITERS: usize = 1000;

/// What stands in the way of the waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Engines with slots, all of them full; whoever ends makes room for one.
    Slots,
    /// Continuous batching: engines take more until they report a queue; every fourth report tells of one.
    Batching,
    /// One endpoint is free, and no waiter can use it.
    UselessSlot,
    /// Half of the models live on one half of the endpoints, the others on the other.
    Halves,
}

/// Every case with what tables call it.
pub const CASES: [(Case, &str); 4] = [
    (Case::Slots, "slots"),
    (Case::Batching, "batching"),
    (Case::UselessSlot, "a free slot that nobody can use"),
    (Case::Halves, "models on half of the endpoints"),
];

/// Durations of calls, by the call's name, in microseconds.
pub type Durations = BTreeMap<&'static str, Vec<f64>>;

struct Crowd {
    rack: Rack,
    class: EngineClass,
    running: VecDeque<Ticket>,
    fresh: Vec<Ticket>,
    waiting: usize,
    number: u64,
    took: Durations,
}

/// Runs a case for so many turns.
pub fn durations(case: Case, turns: usize) -> Durations {
    let class = if case == Case::Batching { EngineClass::Batching } else { EngineClass::Slots };
    let mut strategies = priced();
    strategies.extend(plain().into_iter().filter(|(name, _)| *name == "least-connection"));
    let mut rack = Rack::idle(ENDPOINTS, class, strategies);
    let now = rack.now;
    let list = |models: std::ops::Range<u64>| {
        let info = |model: u64| {
            let name: Arc<str> = format!("model-{model}").into();
            arriero_core::endpoint::ModelInfo { local: name.clone(), name, ..Default::default() }
        };
        Inventory::Known(models.map(info).collect())
    };
    for (place, id) in rack.pool.endpoints.clone().into_iter().enumerate() {
        let inventory = match case {
            Case::UselessSlot if place == 0 => list(MODELS..MODELS + 1),
            Case::Halves => list(if place % 2 == 0 { 0..MODELS / 2 } else { MODELS / 2..MODELS }),
            _ => continue,
        };
        rack.fleet.describe(now, id, class, PathClasses::ALL, inventory);
    }
    let (running, fresh) = (VecDeque::new(), Vec::new());
    let mut crowd = Crowd { rack, class, running, fresh, waiting: 0, number: 0, took: Durations::new() };
    crowd.fill(case);
    crowd.took.clear();
    (0..turns).for_each(|turn| crowd.turn(turn, case));
    crowd.took
}

impl Crowd {
    /// One measured call.
    fn call<T>(&mut self, name: &'static str, call: impl FnOnce(&mut Rack) -> T) -> T {
        let begun = Instant::now();
        let answer = call(&mut self.rack);
        self.took.entry(name).or_default().push(begun.elapsed().as_secs_f64() * 1e6);
        answer
    }

    /// Submits until enough wait.
    fn fill(&mut self, case: Case) {
        while self.waiting < WAITERS {
            if case == Case::Batching && self.running.len() > ENDPOINTS * 12 {
                self.report_all(true);
            }
            let strategies = &self.rack.pool.strategies;
            let strategy: StrategyId = strategies[self.number as usize % strategies.len()];
            let facts = Arc::new(request(self.number.wrapping_mul(7) % 1009));
            self.number += 1;
            let submit =
                self.call("submit", |rack| rack.fleet.submit(rack.now, rack.pool.id, strategy, facts, rack.now));
            match submit {
                Submit::Granted(grant) => self.started(grant.ticket),
                Submit::Queued(_) => self.waiting += 1,
                Submit::Rejected(reason) => panic!("{reason:?}"),
            }
        }
    }

    fn started(&mut self, ticket: Ticket) {
        self.running.push_back(ticket);
        self.fresh.push(ticket);
    }

    fn resolved(&mut self, resolutions: Vec<Resolution>) {
        for Resolution { verdict, .. } in resolutions {
            self.waiting -= 1;
            if let Ok(grant) = verdict {
                self.started(grant.ticket);
            }
        }
    }

    fn turn(&mut self, turn: usize, case: Case) {
        self.rack.now = self.rack.now + Duration::from_millis(20);
        if let Some(ticket) = self.running.pop_front() {
            let usage = Usage { prompt_tokens: Some(500), output_tokens: Some(150), ..Usage::default() };
            let ended = self.call("finish", |rack| rack.fleet.finish(rack.now, ticket, Outcome::Complete, &usage));
            self.resolved(ended);
        }
        for ticket in std::mem::take(&mut self.fresh) {
            self.call("first_token", |rack| rack.fleet.first_token(rack.now, ticket));
        }
        for place in [turn * 2 % ENDPOINTS, (turn * 2 + 1) % ENDPOINTS] {
            self.report(place, case == Case::Batching && (turn / 32).is_multiple_of(4));
        }
        let ticked = self.call("tick", |rack| rack.fleet.tick(rack.now));
        self.resolved(ticked);
        self.fill(case);
    }

    fn report_all(&mut self, queued: bool) {
        (0..ENDPOINTS).for_each(|place| self.report(place, queued));
    }

    fn report(&mut self, place: usize, queued: bool) {
        let id = self.rack.pool.endpoints[place];
        let jobs = self.rack.fleet.endpoints().get(id).map_or(0, |endpoint| endpoint.in_flight());
        let mut sample = report(place, jobs, self.class, self.rack.now);
        sample.waiting = Some(u32::from(queued));
        let resolutions = self.call("sample", |rack| rack.fleet.sample(rack.now, id, sample));
        self.resolved(resolutions);
    }
}

/// The value below which a share of the values lies.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
