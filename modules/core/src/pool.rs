//! One pool: its strategies, its queue, and the decision for one request. A strategy that names an endpoint which is
//! full or no candidate is taken for "wait", and counted; the cap is never exceeded. Where slots count per model, whoever
//! picks an endpoint whose slots for this model are taken waits for it. A request whose strategy is gone
//! (a reload dropped it) is answered by the built-in least-connection rule.

use std::sync::Arc;

use crate::candidates::{self, Nobody, Tiers};
use crate::drain_rate::DrainRate;
use crate::endpoint::{EndpointId, Endpoints};
use crate::facts::RequestFacts;
use crate::guarded::{self, FALLBACK, Guarded};
use crate::pins::{Memory, Pinned};
use crate::promises::Promises;
use crate::queue::{Place, Queue};
use crate::shadow::Shadow;
use crate::spec::{PoolId, QueueLimits, RetryLimits, StrategyId};
use crate::strategy::{Context, Explanation, Pick, Reason};
use crate::time::Time;

mod attempts;

/// A pool.
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) name: Arc<str>,
    pub(crate) endpoints: Vec<EndpointId>,
    pub(crate) limits: QueueLimits,
    pub(crate) retry: RetryLimits,
    pub(crate) tiers: Tiers,
    pub(crate) memory: Memory,
    /// The most that ever waited.
    pub(crate) most_queued: usize,
    /// The most that ever held a slot.
    pub(crate) most_live: usize,
    /// Attempts that took a slot.
    pub(crate) picks: u64,
    pub(crate) strategies: Vec<Guarded>,
    pub(crate) shadows: Vec<Shadow>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) queue: Queue,
    pub(crate) drain_rate: DrainRate,
    /// Attempts that hold a slot.
    pub(crate) live: usize,
    /// Those of them that are retries of which nothing came yet.
    pub(crate) live_retries: usize,
    /// When the queue is to be scanned again though nothing happened.
    pub(crate) wake_at: Option<Time>,
    /// True if, in the latest scan, a strategy let a request wait though a candidate was free.
    pub(crate) hesitates: bool,
    /// True if none of the endpoints that the latest decision was among had a slot.
    pub(crate) nobody_free: bool,
    /// Groups of waiters that the running scan asks no more.
    pub(crate) hopeless: Vec<bool>,
    /// In the running scan: waiters behind the one that is looked at, and like it.
    pub(crate) behind: usize,
    /// Work promised in the running scan.
    pub(crate) reserved: Promises,
    pub(crate) places: Vec<Place>,
    pub(crate) candidates: Vec<EndpointId>,
}

/// A strategy's answer, checked.
pub(crate) enum Verdict {
    /// Take a slot there.
    Start(Choice),
    /// Wait for this endpoint.
    WaitFor(EndpointId),
    /// Wait.
    Wait,
    /// Refuse.
    Reject(Reason),
}

/// A valid pick.
pub(crate) struct Choice {
    pub(crate) endpoint: EndpointId,
    pub(crate) module: &'static str,
    /// The request is bound there: no strategy was asked.
    pub(crate) pinned: bool,
    pub(crate) explanation: Option<Explanation>,
}

impl Pool {
    pub(crate) fn new(id: PoolId, name: Arc<str>, seed: u64) -> Pool {
        let seed = seed ^ xxhash_rust::xxh3::xxh3_64(name.as_bytes());
        Pool {
            id,
            name,
            endpoints: Vec::new(),
            limits: QueueLimits::default(),
            retry: RetryLimits::default(),
            tiers: Tiers::default(),
            memory: Memory::default(),
            most_queued: 0,
            most_live: 0,
            picks: 0,
            strategies: Vec::new(),
            shadows: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            queue: Queue::default(),
            drain_rate: DrainRate::default(),
            live: 0,
            live_retries: 0,
            wake_at: None,
            hesitates: false,
            nobody_free: false,
            hopeless: Vec::new(),
            reserved: Promises::default(),
            behind: 0,
            places: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Seconds after which one more request could expect a slot.
    pub(crate) fn retry_after(&self, now: Time) -> u32 {
        self.drain_rate.retry_after(self.queue.len(), now)
    }

    /// Retries that count against the budget.
    pub(crate) fn retries(&self) -> usize {
        self.live_retries + self.queue.retries()
    }

    /// Why this request will never get a slot here; `None` = it may.
    pub(crate) fn refusal(&mut self, table: &Endpoints, facts: &RequestFacts, now: Time) -> Option<Reason> {
        match self.pinned(table, facts, now) {
            Pinned::To(_) => return None,
            Pinned::Away(reason) => return Some(reason),
            Pinned::Free if self.has_candidate(table, facts, now) => return None,
            Pinned::Free => {}
        }
        match candidates::why_nobody(&self.endpoints, table, facts, now, self.retry_after(now)) {
            Nobody::Yet => None,
            Nobody::Ever(reason) => Some(reason),
        }
    }

    /// True if an endpoint may be picked for this request, slot or no slot.
    fn has_candidate(&mut self, table: &Endpoints, facts: &RequestFacts, now: Time) -> bool {
        candidates::candidates_into(&mut self.candidates, &self.endpoints, table, facts, now, self.tiers);
        !self.candidates.is_empty()
    }

    /// True if the request could be served: bound to an endpoint that can be used, or free to go to a candidate.
    pub(crate) fn could_serve(&self, table: &Endpoints, facts: &RequestFacts, now: Time) -> bool {
        match self.pinned(table, facts, now) {
            Pinned::To(_) => true,
            Pinned::Away(_) => false,
            Pinned::Free => {
                let mut found = Vec::new();
                candidates::candidates_into(&mut found, &self.endpoints, table, facts, now, self.tiers);
                !found.is_empty()
            }
        }
    }

    /// Asks the request's strategy, and checks its answer.
    pub(crate) fn decide(
        &mut self,
        table: &Endpoints,
        now: Time,
        strategy: StrategyId,
        facts: &RequestFacts,
        explain: bool,
    ) -> (Verdict, Option<Explanation>) {
        self.nobody_free = false;
        match self.pinned(table, facts, now) {
            Pinned::Free => {}
            Pinned::To(endpoint) => return self.bind(table, now, endpoint, facts, explain),
            Pinned::Away(reason) => return (Verdict::Reject(reason), None),
        }
        let mut shown = std::mem::take(&mut self.candidates);
        self.nobody_free = true;
        candidates::candidates_into(&mut shown, &self.endpoints, table, facts, now, self.tiers);
        let answer = if shown.is_empty() {
            let retry_after = self.retry_after(now);
            let verdict = match candidates::why_nobody(&self.endpoints, table, facts, now, retry_after) {
                Nobody::Yet => Verdict::Wait,
                Nobody::Ever(reason) => Verdict::Reject(reason),
            };
            (verdict, None)
        } else {
            self.ask(table, now, strategy, facts, explain, &mut shown)
        };
        self.candidates = shown;
        answer
    }

    fn ask(
        &mut self,
        table: &Endpoints,
        now: Time,
        strategy: StrategyId,
        facts: &RequestFacts,
        explain: bool,
        shown: &mut Vec<EndpointId>,
    ) -> (Verdict, Option<Explanation>) {
        let is_free = |id: &EndpointId| table.get(*id).is_some_and(|endpoint| endpoint.may_take(facts, now));
        let mut running = self.strategies.iter_mut().find(|running| running.id == strategy);
        if !running.as_ref().is_some_and(|running| running.needs.full_endpoints) {
            shown.retain(is_free);
        }
        if shown.is_empty() {
            return (Verdict::Wait, None);
        }
        let mut explanation = explain.then(Explanation::default);
        let mut cx = Context {
            now,
            rng: &mut self.rng,
            table,
            candidates: shown,
            uncapped: facts.uncapped,
            behind: self.behind,
            reserved: &self.reserved,
            explain: explanation.as_mut(),
            compare: None,
        };
        let pick = match &mut running {
            Some(running) => running.pick(facts, &mut cx),
            None => guarded::least_connection(&cx),
        };
        let signed = |running: &&mut Guarded| running.chosen().map_or(running.module, |chosen| chosen.module);
        let module = running.as_ref().map_or(FALLBACK, signed);
        let refused = match &pick {
            Pick::Endpoint(id) => !guarded::is_valid(*id, &cx),
            Pick::WaitFor(id) => !shown.contains(id),
            Pick::Wait | Pick::Reject(_) => false,
        };
        if refused && let Some(running) = running {
            running.refused_picks += 1;
        }
        let verdict = match pick {
            _ if refused => Verdict::Wait,
            Pick::Endpoint(endpoint) if !is_free(&endpoint) => Verdict::WaitFor(endpoint),
            Pick::Endpoint(endpoint) => {
                return (
                    Verdict::Start(Choice { endpoint, module, pinned: false, explanation: explanation.clone() }),
                    explanation,
                );
            }
            Pick::WaitFor(endpoint) => Verdict::WaitFor(endpoint),
            Pick::Wait => Verdict::Wait,
            Pick::Reject(reason) => Verdict::Reject(reason),
        };
        self.nobody_free = !shown.iter().any(is_free);
        self.hesitates |= !matches!(verdict, Verdict::Reject(_)) && !self.nobody_free;
        (verdict, explanation)
    }
}
