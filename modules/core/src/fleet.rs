//! The fleet: every pool and endpoint behind one door, without I/O and without a clock. The caller brings the time,
//! holds the lock and delivers what a call returns. After every call, ask [`Fleet::next_deadline`] and call
//! [`Fleet::tick`] then, at the latest: a scan that [`Fleet::submit`] ran may have ended other waits, too, and these
//! are handed out by the next call that returns resolutions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::candidates;
use crate::dispatch;
use crate::ejection::Change;
use crate::endpoint::{EndpointId, EngineClass, Inventory, Sample};
use crate::event::{Event, Outcome, Usage};
use crate::facts::{PathClasses, RequestFacts};
use crate::ledger::{Attempt, Ledger};
use crate::memory::Remembered;
use crate::pool::Pool;
use crate::residency;
use crate::spec::{PoolId, Resolution, StrategyId, Submit, Ticket, WaiterId};
use crate::strategy::Reason;
use crate::time::Time;

/// All pools and endpoints.
pub struct Fleet {
    pub(crate) seed: u64,
    pub(crate) pools: BTreeMap<PoolId, Pool>,
    pub(crate) ledger: Ledger,
    /// What was learned before, and imported.
    pub(crate) remembered: Remembered,
    pub(crate) next_pool: u32,
    pub(crate) next_strategy: u32,
    /// The latest time that a call brought.
    pub(crate) latest: Time,
    /// Where each waiter waits.
    waiting: HashMap<WaiterId, PoolId>,
    next_waiter: u64,
}

impl Fleet {
    /// An empty fleet. Every pool's generator is seeded from `seed` and the pool's name.
    pub fn new(seed: u64) -> Fleet {
        Fleet {
            seed,
            pools: BTreeMap::new(),
            ledger: Ledger::default(),
            remembered: Remembered::default(),
            next_pool: 0,
            next_strategy: 0,
            latest: Time::ZERO,
            waiting: HashMap::new(),
            next_waiter: 0,
        }
    }

    /// A request asks for a slot. `arrival`: when it came; a retry keeps the first attempt's.
    pub fn submit(
        &mut self,
        now: Time,
        pool: PoolId,
        strategy: StrategyId,
        facts: Arc<RequestFacts>,
        arrival: Time,
    ) -> Submit {
        self.latest = now;
        let expected = facts.model.as_ref().and_then(|model| self.ledger.outputs.of_route(&facts.route, model));
        let facts = match expected {
            Some(_) => Arc::new(RequestFacts { output_tokens: expected, ..(*facts).clone() }),
            None => facts,
        };
        let Some(target) = self.pools.get_mut(&pool) else { return Submit::Rejected(Reason::PoolGone) };
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        let waiter = dispatch::waiter(target, strategy, facts, arrival, now);
        let submit = target.submit(&mut self.ledger, now, id, waiter);
        if matches!(submit, Submit::Queued(_)) {
            self.waiting.insert(id, pool);
        }
        submit
    }

    /// The first token (or byte of body) of an attempt came. Idempotent.
    pub fn first_token(&mut self, now: Time, ticket: Ticket) {
        self.latest = now;
        let could_start = self.ledger.attempt(ticket).is_some_and(|attempt| self.could_start(now, attempt.endpoint));
        let Some(attempt) = self.ledger.first_token(now, ticket) else { return };
        if let Some(pool) = self.pools.get_mut(&attempt.pool) {
            pool.first_token(&self.ledger.table, now, &attempt);
        }
        self.observe_answer(now, &attempt);
        if !could_start && self.could_start(now, attempt.endpoint) {
            self.review(now, attempt.endpoint, false);
        }
    }

    fn could_start(&self, now: Time, endpoint: EndpointId) -> bool {
        self.ledger.table.get(endpoint).is_some_and(|endpoint| endpoint.is_ready(now) && endpoint.is_free(now))
    }

    /// An attempt ended: its slot is free, and waiters may get it. A ticket that is not known changes nothing.
    pub fn finish(&mut self, now: Time, ticket: Ticket, outcome: Outcome, usage: &Usage) -> Vec<Resolution> {
        self.end(now, ticket, outcome, usage);
        self.take_settled()
    }

    fn end(&mut self, now: Time, ticket: Ticket, outcome: Outcome, usage: &Usage) {
        self.latest = now;
        let Some((attempt, learned)) = self.ledger.end(now, ticket, outcome, usage) else { return };
        let endpoint = attempt.endpoint;
        if let Some(pool) = self.pools.get_mut(&attempt.pool) {
            pool.ended(&self.ledger.table, now, &attempt, outcome, usage);
        }
        if learned {
            self.tell_owners(now, endpoint, || Event::Learned { endpoint });
        }
        let turned = self.judge(now, &attempt, outcome);
        self.review(now, endpoint, turned);
        self.ledger.forget_if_gone(endpoint);
    }

    /// Lets the outcome bear on whether the endpoint gets work. True if somebody may have become unservable.
    fn judge(&mut self, now: Time, attempt: &Attempt, outcome: Outcome) -> bool {
        let Ledger { table, records, .. } = &mut self.ledger;
        if let (Some(row), Some(record)) = (table.get_mut(attempt.endpoint), records.get_mut(&attempt.endpoint)) {
            record.streaks.ended(row, outcome, now);
        }
        self.observe_end(now, attempt, outcome) == Change::Ejected
    }

    /// A waiter's client left. If a slot was just granted to it, the slot is given back. Idempotent.
    pub fn cancel(&mut self, now: Time, waiter: WaiterId) -> Vec<Resolution> {
        if let Some(place) = self.ledger.settled.iter().position(|resolution| resolution.waiter == waiter) {
            self.waiting.remove(&waiter);
            if let Ok(grant) = self.ledger.settled.remove(place).verdict {
                self.end(now, grant.ticket, Outcome::ClientGone, &Usage::default());
            }
        } else if let Some(pool) = self.waiting.remove(&waiter).and_then(|pool| self.pools.get_mut(&pool)) {
            pool.queue.remove(waiter);
            pool.dispatch(&mut self.ledger, now);
        }
        self.take_settled()
    }

    /// True if a failed attempt may be made again: fewer than `max_retries` were, the pool's retry budget
    /// ([`crate::RetryLimits`]: retries that wait or of which nothing came yet) is not spent, and another ready endpoint
    /// can serve it. Those whom an engine took along when it went out are too few for a storm: while others work, they
    /// need no budget. Ask before [`Fleet::finish`].
    pub fn may_retry(&self, ticket: Ticket, max_retries: u32) -> bool {
        let Some(attempt) = self.ledger.attempt(ticket).filter(|attempt| attempt.facts.attempt < max_retries) else {
            return false;
        };
        let Some(pool) = self.pools.get(&attempt.pool) else { return false };
        let retries = pool.retries();
        let budget = ((pool.live + pool.queue.len()) as f64 * pool.retry.budget).max(f64::from(pool.retry.at_least));
        let mut again = (*attempt.facts).clone();
        again.tried.push(attempt.endpoint);
        let table = &self.ledger.table;
        let is_victim = || {
            let Some(endpoint) = table.get(attempt.endpoint) else { return true };
            if !endpoint.is_open(self.latest) {
                return candidates::somebody_works(&pool.endpoints, table, &attempt.facts, self.latest);
            }
            // it said that it is busy: whoever flees to one that did not adds to no storm
            let others = || pool.endpoints.iter().filter_map(|id| table.get(*id));
            endpoint.busy_until > self.latest
                && others().any(|other| candidates::is_candidate(other, &again, self.latest))
        };
        ((retries as f64) < budget || is_victim()) && pool.could_serve(table, &again, self.latest)
    }

    /// An engine reported its load. A report older than the one in hand is dropped.
    pub fn sample(&mut self, now: Time, endpoint: EndpointId, sample: Sample) -> Vec<Resolution> {
        self.latest = now;
        if let Some(row) = self.ledger.table.get_mut(endpoint)
            && row.sample.as_ref().is_none_or(|known| known.at <= sample.at)
        {
            row.jobs_at_sample = row.jobs.iter().filter(|job| job.started <= sample.at).count() as u32;
            row.unanswered_at_sample = row.unanswered_since_before(sample.at);
            if let Some(residents) = &sample.residents {
                residency::sampled(row, sample.at, residents);
            }
            row.sample = Some(sample);
            self.tell_owners(now, endpoint, || Event::Sampled { endpoint });
            self.review(now, endpoint, false);
        }
        self.take_settled()
    }

    /// What the engine's adapter learned: how it works, what it speaks, which models it has.
    pub fn describe(
        &mut self,
        now: Time,
        endpoint: EndpointId,
        class: EngineClass,
        speaks: PathClasses,
        inventory: Inventory,
    ) -> Vec<Resolution> {
        self.latest = now;
        if let Some(row) = self.ledger.table.get_mut(endpoint) {
            row.class = class;
            row.speaks = speaks;
            if inventory != Inventory::Unknown {
                row.inventory = inventory;
                row.rename_models();
                residency::listed(row);
            }
            self.review(now, endpoint, true);
        }
        self.take_settled()
    }

    /// An active check's verdict. Without health limits it says nothing.
    pub fn probed(&mut self, now: Time, endpoint: EndpointId, ok: bool) -> Vec<Resolution> {
        self.latest = now;
        let Ledger { table, records, .. } = &mut self.ledger;
        if let (Some(row), Some(record)) = (table.get_mut(endpoint), records.get_mut(&endpoint)) {
            let before = row.health;
            if record.streaks.checked(row, ok, now) {
                self.ledger.turned(endpoint, before, now);
                self.review(now, endpoint, true);
            }
        }
        self.take_settled()
    }

    /// The endpoints that turned down since this was asked the last time.
    pub fn turned(&mut self) -> Vec<EndpointId> {
        std::mem::take(&mut self.ledger.turned)
    }

    /// Time passed: waits that are over, back-offs that ended.
    pub fn tick(&mut self, now: Time) -> Vec<Resolution> {
        self.latest = now;
        for pool in self.pools.values_mut() {
            pool.expire(&mut self.ledger, now);
            if pool.wakes_at().is_some_and(|wake| wake <= now) {
                pool.dispatch(&mut self.ledger, now);
            }
        }
        self.take_settled()
    }

    /// When [`Fleet::tick`] is due, at the latest; `None` = when something else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        if !self.ledger.settled.is_empty() {
            return Some(Time::ZERO);
        }
        self.pools.values().flat_map(|pool| pool.queue.first_deadline().into_iter().chain(pool.wakes_at())).min()
    }

    /// Something about an endpoint changed: its pools look at their queues. `sweep`: somebody may have become
    /// unservable.
    pub(crate) fn review(&mut self, now: Time, endpoint: EndpointId, sweep: bool) {
        for id in self.ledger.pools_of(endpoint) {
            let Some(pool) = self.pools.get_mut(&id) else { continue };
            if sweep {
                pool.sweep(&mut self.ledger, now);
            }
            pool.dispatch(&mut self.ledger, now);
        }
    }

    pub(crate) fn tell_owners<'a>(&mut self, now: Time, endpoint: EndpointId, event: impl Fn() -> Event<'a>) {
        for id in self.ledger.pools_of(endpoint) {
            if let Some(pool) = self.pools.get_mut(&id) {
                pool.tell(&self.ledger.table, now, None, |_| Some(event()));
            }
        }
    }

    /// The ends of waits that nobody was told yet.
    pub(crate) fn take_settled(&mut self) -> Vec<Resolution> {
        let settled = std::mem::take(&mut self.ledger.settled);
        for resolution in &settled {
            self.waiting.remove(&resolution.waiter);
        }
        settled
    }
}

/// The fleet lives behind a lock that threads share.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Fleet>();
};
