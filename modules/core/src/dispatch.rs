//! Late binding: which waiting request gets a slot that freed. Waiters are looked at in the queue's order, each
//! through its own strategy; one that waits for a full endpoint reserves its work there (milliseconds) for the rest of
//! the scan. A new request joins the queue before it is looked at, so it overtakes nobody; one that knows no caps takes
//! no slot from anybody and is looked at first. While a strategy lets
//! requests wait beside a free candidate, the queue is scanned again every [`RESCAN`]: prices change with time.

use std::sync::Arc;
use std::time::Duration;

use crate::cost;
use crate::endpoint::EndpointId;
use crate::facts::RequestFacts;
use crate::ledger::Ledger;
use crate::pool::{Pool, Verdict};
use crate::queue::{Place, Waiter};
use crate::spec::{Grant, Resolution, StrategyId, Submit, WaiterId};
use crate::strategy::Reason;
use crate::time::Time;

/// How often a queue is scanned while a strategy hesitates.
pub const RESCAN: Duration = Duration::from_millis(250);

/// How often at least, while a request waits for the endpoint that it is bound to: what binds it may be forgotten.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a look at a waiter came to.
enum Look {
    /// Its wait is over.
    Over(Result<Grant, Reason>),
    /// It waits: for this endpoint, or any.
    Waits(Option<EndpointId>),
}

impl Pool {
    /// A request asks for a slot.
    pub(crate) fn submit(&mut self, ledger: &mut Ledger, now: Time, id: WaiterId, waiter: Waiter) -> Submit {
        if !self.queue.is_empty() && !waiter.facts.uncapped {
            return self.submit_behind(ledger, now, id, waiter);
        }
        self.hesitates &= !self.queue.is_empty();
        let submit = match self.try_start(ledger, now, &waiter) {
            Look::Over(Ok(grant)) => Submit::Granted(grant),
            Look::Over(Err(reason)) => Submit::Rejected(reason),
            Look::Waits(_) => self.enqueue(now, id, waiter),
        };
        let planned = self.wake_at.filter(|at| *at > now);
        self.plan_wake(ledger, now);
        self.wake_at = self.wake_at.map(|at| planned.map_or(at, |planned| planned.min(at)));
        submit
    }

    /// The same with others waiting: it takes its place among them, and then the queue is scanned.
    fn submit_behind(&mut self, ledger: &mut Ledger, now: Time, id: WaiterId, waiter: Waiter) -> Submit {
        if let Some(reason) = self.refusal(&ledger.table, &waiter.facts, now) {
            return Submit::Rejected(reason);
        }
        self.queue.insert(id, waiter);
        self.most_queued = self.most_queued.max(self.queue.len());
        self.dispatch(ledger, now);
        if let Some(place) = ledger.settled.iter().rposition(|resolution| resolution.waiter == id) {
            return match ledger.settled.remove(place).verdict {
                Ok(grant) => Submit::Granted(grant),
                Err(reason) => Submit::Rejected(reason),
            };
        }
        if self.is_over() {
            self.queue.remove(id);
            return Submit::Rejected(Reason::QueueFull { retry_after: self.retry_after(now) });
        }
        Submit::Queued(id)
    }

    fn enqueue(&mut self, now: Time, id: WaiterId, waiter: Waiter) -> Submit {
        if self.is_full_for(&waiter.facts) {
            return Submit::Rejected(Reason::QueueFull { retry_after: self.retry_after(now) });
        }
        self.queue.insert(id, waiter);
        self.most_queued = self.most_queued.max(self.queue.len());
        Submit::Queued(id)
    }

    fn is_full_for(&self, facts: &RequestFacts) -> bool {
        self.queue.len() >= self.limits.max_requests || self.queue.bytes() + facts.body_bytes > self.limits.max_bytes
    }

    fn is_over(&self) -> bool {
        self.queue.len() > self.limits.max_requests || self.queue.bytes() > self.limits.max_bytes
    }

    /// Gives free slots to waiters until nobody can use one; the ends of waits go to [`Ledger::settled`].
    /// Whoever waited too long goes first: out.
    pub(crate) fn dispatch(&mut self, ledger: &mut Ledger, now: Time) {
        self.expire(ledger, now);
        loop {
            self.hesitates = false;
            if self.queue.is_empty() || !self.has_free(ledger, now) {
                break;
            }
            let mut places = std::mem::take(&mut self.places);
            let left_out = self.queue.scan_into(&mut places);
            let settled = self.scan(ledger, now, &places);
            self.places = places;
            self.reserved.clear();
            if !(settled && left_out) {
                break;
            }
        }
        self.plan_wake(ledger, now);
    }

    /// Looks at waiters in turn. True if the wait of some is over. Of a group none of whose endpoints has a slot, only the
    /// first is asked: the others cannot start either.
    fn scan(&mut self, ledger: &mut Ledger, now: Time, places: &[Place]) -> bool {
        let mut hopeless = std::mem::take(&mut self.hopeless);
        hopeless.clear();
        hopeless.resize(self.queue.groups(), false);
        let mut settled = false;
        for (nth, place) in places.iter().enumerate() {
            let Some(waiter) = self.queue.get(place.id) else { continue };
            let alike = waiter.speaks_for_its_group();
            if hopeless[place.group] && alike {
                continue;
            }
            let waiter = waiter.clone();
            self.behind = match alike {
                true => places[nth + 1..].iter().filter(|other| other.group == place.group).count(),
                false => 0,
            };
            match self.try_start(ledger, now, &waiter) {
                Look::Over(verdict) => {
                    self.settle(ledger, place.id, verdict);
                    settled = true;
                    if !self.has_free(ledger, now) {
                        break;
                    }
                }
                Look::Waits(wanted) if alike && self.nobody_free => {
                    hopeless[place.group] = true;
                    let others = places[nth + 1..].iter().filter(|other| other.group == place.group).count();
                    self.promise_in_turn(ledger, &waiter.facts, wanted, others);
                }
                Look::Waits(_) => {}
            }
        }
        (self.hopeless, self.behind) = (hopeless, 0);
        settled
    }

    /// Starts the request, or refuses it, or lets it wait.
    fn try_start(&mut self, ledger: &mut Ledger, now: Time, waiter: &Waiter) -> Look {
        let Waiter { strategy, facts, since, .. } = waiter;
        match self.decide(&ledger.table, now, *strategy, facts, facts.explain).0 {
            Verdict::Start(choice) => {
                if !choice.pinned {
                    self.ask_shadows(&ledger.table, now, *strategy, facts, choice.endpoint);
                }
                self.grant(ledger, now, *strategy, facts, choice, *since)
                    .map_or(Look::Waits(None), |it| Look::Over(Ok(it)))
            }
            Verdict::Reject(reason) => Look::Over(Err(reason)),
            Verdict::WaitFor(endpoint) => {
                self.promise(ledger, endpoint, facts);
                Look::Waits(Some(endpoint))
            }
            Verdict::Wait => Look::Waits(None),
        }
    }

    /// The waiter's work is to be done by this endpoint.
    fn promise(&mut self, ledger: &Ledger, endpoint: EndpointId, facts: &RequestFacts) {
        let work_ms = ledger.table.get(endpoint).map_or(0.0, |endpoint| cost::work_ms(endpoint, facts));
        self.reserved.add(endpoint, work_ms);
    }

    /// The same for those of a waiter's group who are not asked: one by one to the candidates, after the one it waits for.
    fn promise_in_turn(&mut self, ledger: &Ledger, facts: &RequestFacts, wanted: Option<EndpointId>, others: usize) {
        let Some(wanted) = wanted else { return };
        let candidates = std::mem::take(&mut self.candidates);
        let after = candidates.iter().position(|id| *id == wanted).map_or(0, |place| place + 1);
        for endpoint in candidates.iter().cycle().skip(after).take(others) {
            self.promise(ledger, *endpoint, facts);
        }
        self.candidates = candidates;
    }

    fn settle(&mut self, ledger: &mut Ledger, waiter: WaiterId, verdict: Result<Grant, Reason>) {
        self.queue.remove(waiter);
        ledger.settled.push(Resolution { waiter, verdict });
    }

    /// Refuses every waiter that nobody will ever serve: after a change of health, inventory or membership.
    pub(crate) fn sweep(&mut self, ledger: &mut Ledger, now: Time) {
        let mut found: Vec<Option<Option<Reason>>> = vec![None; self.queue.groups()];
        for place in self.queue.all() {
            let Some(waiter) = self.queue.get(place.id) else { continue };
            let (facts, alike) = (waiter.facts.clone(), waiter.speaks_for_its_group());
            let known = found[place.group].take().filter(|_| alike);
            let refusal = known.unwrap_or_else(|| self.refusal(&ledger.table, &facts, now));
            if alike {
                found[place.group] = Some(refusal.clone());
            }
            if let Some(reason) = refusal {
                self.settle(ledger, place.id, Err(reason));
            }
        }
    }

    /// Refuses the waiters whose time is over.
    pub(crate) fn expire(&mut self, ledger: &mut Ledger, now: Time) {
        for id in self.queue.expired(now) {
            let retry_after = self.retry_after(now);
            self.settle(ledger, id, Err(Reason::QueueTimeout { retry_after }));
        }
    }

    /// The pool is gone.
    pub(crate) fn refuse_all(&mut self, ledger: &mut Ledger) {
        for place in self.queue.all() {
            self.settle(ledger, place.id, Err(Reason::PoolGone));
        }
    }

    /// True if some endpoint might take a waiter now.
    fn has_free(&self, ledger: &Ledger, now: Time) -> bool {
        let (uncapped, bound) = (self.queue.has_uncapped(), self.queue.has_bound());
        let mut endpoints = self.endpoints.iter().filter_map(|id| ledger.table.get(*id));
        endpoints.any(|endpoint| {
            let reachable = endpoint.is_ready(now)
                || (bound && endpoint.takes_pinned(now, uncapped))
                || (endpoint.serves_if_last && endpoint.is_out(now) && endpoint.takes_work())
                || (self.tiers.panic && endpoint.takes_work());
            reachable && endpoint.may_start(now, uncapped)
        })
    }

    /// When the queue is to be scanned though nothing happened; an empty one never is.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        self.wake_at.filter(|_| !self.queue.is_empty())
    }

    /// Notes when time alone may free a slot: a back-off or an ejection ends, a cap grows, a report grows old, a strategy
    /// changes its mind.
    fn plan_wake(&mut self, ledger: &Ledger, now: Time) {
        self.reserved.clear();
        if self.queue.is_empty() {
            self.wake_at = None;
            return;
        }
        let endpoints = self.endpoints.iter().filter_map(|id| ledger.table.get(*id));
        let frees = endpoints.filter_map(|endpoint| endpoint.frees_at(now, self.tiers.panic)).min();
        let rescan = self.hesitates.then(|| now + RESCAN);
        let looks_again = self.queue.has_bound().then(|| now + LOOK_AGAIN);
        self.wake_at = frees.into_iter().chain(rescan).chain(looks_again).min();
    }
}

/// A waiter as it joins the queue.
pub(crate) fn waiter(pool: &Pool, strategy: StrategyId, facts: Arc<RequestFacts>, arrival: Time, now: Time) -> Waiter {
    let bound_to = pool.tied_to(&facts, now);
    Waiter { strategy, facts, arrival, since: now, deadline: now + pool.limits.timeout, bound_to }
}
