//! One pool: its strategies, its queue, and the decision for one request. A strategy that names an endpoint which is
//! full or no candidate is taken for "wait", and counted; the cap is never exceeded. A request whose strategy is gone
//! (a reload dropped it) is answered by the built-in least-connection rule.

use std::sync::Arc;

use crate::candidates::{self, Nobody};
use crate::drain_rate::DrainRate;
use crate::endpoint::{EndpointId, Endpoints};
use crate::event::{Event, Outcome, Usage};
use crate::facts::RequestFacts;
use crate::guarded::{self, FALLBACK, Guarded};
use crate::ledger::{Attempt, Ledger};
use crate::queue::{Place, Queue};
use crate::spec::{Grant, PoolId, QueueLimits, RetryLimits, StrategyId, Ticket};
use crate::strategy::{Context, Explanation, Pick, Reason};
use crate::time::Time;

/// A pool.
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) name: Arc<str>,
    pub(crate) endpoints: Vec<EndpointId>,
    pub(crate) limits: QueueLimits,
    pub(crate) retry: RetryLimits,
    pub(crate) backup_one: bool,
    pub(crate) panic: bool,
    /// The most that ever waited.
    pub(crate) most_queued: usize,
    /// The most that ever held a slot.
    pub(crate) most_live: usize,
    /// Attempts that took a slot.
    pub(crate) picks: u64,
    pub(crate) strategies: Vec<Guarded>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) queue: Queue,
    pub(crate) drain_rate: DrainRate,
    /// Attempts that hold a slot.
    pub(crate) live: usize,
    /// Those of them that are not first attempts.
    pub(crate) live_retries: usize,
    /// When the queue is to be scanned again though nothing happened.
    pub(crate) wake_at: Option<Time>,
    /// True if, in the latest scan, a strategy let a request wait though a candidate was free.
    pub(crate) hesitates: bool,
    /// Work promised in the running scan.
    pub(crate) reserved: Vec<(EndpointId, f64)>,
    pub(crate) places: Vec<Place>,
    candidates: Vec<EndpointId>,
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
    explanation: Option<Explanation>,
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
            backup_one: false,
            panic: false,
            most_queued: 0,
            most_live: 0,
            picks: 0,
            strategies: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            queue: Queue::default(),
            drain_rate: DrainRate::default(),
            live: 0,
            live_retries: 0,
            wake_at: None,
            hesitates: false,
            reserved: Vec::new(),
            places: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Seconds after which one more request could expect a slot.
    pub(crate) fn retry_after(&self, now: Time) -> u32 {
        self.drain_rate.retry_after(self.queue.len(), now)
    }

    /// Why no endpoint of the pool is a candidate; `None` if one is.
    pub(crate) fn nobody(&self, table: &Endpoints, facts: &RequestFacts, now: Time) -> Option<Nobody> {
        let endpoints = || self.endpoints.iter().filter_map(|id| table.get(*id));
        if endpoints().any(|endpoint| candidates::is_candidate(endpoint, facts, now))
            || candidates::last_resort(&self.endpoints, table, facts, now).next().is_some()
        {
            return None;
        }
        Some(candidates::why_nobody(&self.endpoints, table, facts, now, self.retry_after(now)))
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
        let mut shown = std::mem::take(&mut self.candidates);
        candidates::candidates_into(&mut shown, &self.endpoints, table, facts, now);
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
        let is_free = |id: &EndpointId| table.get(*id).is_some_and(|endpoint| endpoint.may_start(now, facts.uncapped));
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
            reserved: &self.reserved,
            explain: explanation.as_mut(),
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
            Pick::Endpoint(endpoint) => {
                return (Verdict::Start(Choice { endpoint, module, explanation: explanation.clone() }), explanation);
            }
            Pick::WaitFor(endpoint) => Verdict::WaitFor(endpoint),
            Pick::Wait => Verdict::Wait,
            Pick::Reject(reason) => Verdict::Reject(reason),
        };
        self.hesitates |= !matches!(verdict, Verdict::Reject(_)) && shown.iter().any(is_free);
        (verdict, explanation)
    }

    /// Takes the slot that was chosen. `None` if the endpoint is gone: it cannot be, it was just seen.
    pub(crate) fn grant(
        &mut self,
        ledger: &mut Ledger,
        now: Time,
        strategy: StrategyId,
        facts: &Arc<RequestFacts>,
        choice: Choice,
        since: Time,
    ) -> Option<Grant> {
        let Choice { endpoint, module, explanation } = choice;
        let started = ledger.start(now, self.id, strategy, endpoint, facts)?;
        self.live += 1;
        self.most_live = self.most_live.max(self.live);
        self.picks += 1;
        self.live_retries += usize::from(facts.attempt > 0);
        self.tell(&ledger.table, now, Some(started.ticket), |running| {
            Some(Event::Started { endpoint, request: facts, mine: running == strategy })
        });
        Some(Grant {
            ticket: started.ticket,
            endpoint,
            module,
            local_model: started.local_model,
            model_is_listed: started.model_is_listed,
            cold: started.cold,
            waited: now - since,
            explanation,
        })
    }

    /// An attempt of this pool gave its slot back.
    pub(crate) fn ended(&mut self, table: &Endpoints, now: Time, attempt: &Attempt, outcome: Outcome, usage: &Usage) {
        self.live -= 1;
        self.live_retries -= usize::from(attempt.facts.attempt > 0);
        if matches!(outcome, Outcome::Complete | Outcome::ClientGone) {
            self.drain_rate.completed(now);
        }
        let (endpoint, request) = (attempt.endpoint, &attempt.facts);
        self.tell(table, now, Some(attempt.ticket), |running| {
            Some(Event::Ended { endpoint, request, outcome, usage, mine: running == attempt.strategy })
        });
    }

    /// Tells every strategy of the pool what concerns it. Events of an attempt reach only strategies that were there
    /// at its start.
    pub(crate) fn tell<'a>(
        &mut self,
        table: &Endpoints,
        now: Time,
        ticket: Option<Ticket>,
        event: impl Fn(StrategyId) -> Option<Event<'a>>,
    ) {
        for running in &mut self.strategies {
            if ticket.is_some_and(|ticket| ticket < running.since) {
                continue;
            }
            let (rng, candidates) = (&mut self.rng, &self.endpoints);
            let mut cx = Context { now, rng, table, candidates, uncapped: false, reserved: &[], explain: None };
            if let Some(event) = event(running.id) {
                running.observe(&event, &mut cx);
            }
        }
    }
}
