//! The one truth about endpoints and attempts: who holds which slot. Every start is ended once; an endpoint that was
//! removed is forgotten when its last attempt ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::company::Company;
use crate::cost;
use crate::ejection::Observed;
use crate::endpoint::{Endpoint, EndpointId, Endpoints, Health, Job};
use crate::event::{Outcome, Usage};
use crate::facts::RequestFacts;
use crate::health::Streaks;
use crate::learn::batching::{self, Marks, Tape};
use crate::learn::outputs::Outputs;
use crate::learn::{self, Seen, lend};
use crate::residency;
use crate::spec::{EjectionLimits, Operated, PoolId, Resolution, StrategyId, Ticket};
use crate::time::Time;

/// Foreign work below this many requests leaves an attempt alone on its endpoint.
const ALONE_BELOW: f64 = 0.5;
/// The share of the time to its first token that a request must have been at work for not to have waited.
const AT_ONCE: f64 = 0.95;

/// What the core keeps of an endpoint beside what strategies see.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The attempts behind [`Endpoint::jobs`], in the same order.
    tickets: Vec<Ticket>,
    /// What its batch did.
    tape: Tape,
    pub(crate) streaks: Streaks,
    /// No configuration names it any more.
    pub(crate) removed: bool,
    /// When what its requests show takes it out.
    pub(crate) ejection: Option<EjectionLimits>,
    /// What they showed.
    pub(crate) observed: Observed,
    /// The operator's word.
    pub(crate) operated: Operated,
    /// The weight that the configuration gives it.
    pub(crate) configured_weight: u32,
    /// It joined a running pool, and is to take up its share slowly once it is up.
    pub(crate) joins_slowly: bool,
    /// The pools that show it.
    pub(crate) pools: Vec<PoolId>,
}

/// An attempt that holds a slot.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) ticket: Ticket,
    pub(crate) pool: PoolId,
    pub(crate) endpoint: EndpointId,
    /// The strategy that chose; `None` if the request was bound to the endpoint.
    pub(crate) picked_by: Option<StrategyId>,
    pub(crate) facts: Arc<RequestFacts>,
    /// When it took the slot.
    pub(crate) started: Time,
    /// It is a retry of which nothing came yet: it counts against the pool's budget.
    pub(crate) tries_again: bool,
    /// Nobody else was on the endpoint so far.
    alone: bool,
    /// Somebody else's requests were there as it started.
    strangers: bool,
    marks: Marks,
}

/// What a start came to.
pub(crate) struct Started {
    pub(crate) ticket: Ticket,
    pub(crate) local_model: Option<Arc<str>>,
    pub(crate) model_is_listed: bool,
    pub(crate) cold: bool,
}

/// Endpoints, attempts, and what is still to be told.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) table: Endpoints,
    pub(crate) records: BTreeMap<EndpointId, Record>,
    /// Ends of waits that the next call hands out.
    pub(crate) settled: Vec<Resolution>,
    /// Endpoints that turned down, and nobody was told yet.
    pub(crate) turned: Vec<EndpointId>,
    /// How long answers are.
    pub(crate) outputs: Outputs,
    attempts: HashMap<Ticket, Attempt>,
    tickets: u64,
}

impl Ledger {
    /// The ticket that the next attempt gets.
    pub(crate) fn next_ticket(&self) -> Ticket {
        Ticket(self.tickets)
    }

    pub(crate) fn attempt(&self, ticket: Ticket) -> Option<&Attempt> {
        self.attempts.get(&ticket)
    }

    /// An endpoint's health turned: notes it for who wants to know, and lets it come back slowly.
    pub(crate) fn turned(&mut self, id: EndpointId, before: Health, now: Time) {
        let (Some(endpoint), Some(record)) = (self.table.get_mut(id), self.records.get_mut(&id)) else { return };
        match (before, endpoint.health) {
            (_, Health::Down) if !self.turned.contains(&id) => self.turned.push(id),
            (Health::Down, Health::Up) => endpoint.begin_ramp(now),
            (Health::Starting, Health::Up) if record.joins_slowly => endpoint.begin_ramp(now),
            _ => {}
        }
        record.joins_slowly &= endpoint.health != Health::Up;
    }

    /// The pools that show an endpoint.
    pub(crate) fn pools_of(&self, endpoint: EndpointId) -> Vec<PoolId> {
        self.records.get(&endpoint).map(|record| record.pools.clone()).unwrap_or_default()
    }

    /// Takes a slot. `cached`: prompt tokens believed to be in the engine's prefix cache.
    pub(crate) fn start(
        &mut self,
        now: Time,
        pool: PoolId,
        picked_by: Option<StrategyId>,
        id: EndpointId,
        facts: &Arc<RequestFacts>,
        cached: u32,
    ) -> Option<Started> {
        let (endpoint, record) = (self.table.get_mut(id)?, self.records.get_mut(&id)?);
        let local = facts.model.as_ref().map(|model| endpoint.local_name(model).unwrap_or(model).clone());
        let local_model = local.clone().filter(|local| Some(local) != facts.model.as_ref());
        let model_is_listed = facts.model.as_ref().is_some_and(|model| endpoint.local_name(model).is_some());
        let worked_on = local.clone().filter(|_| !facts.metadata_only);
        let found = worked_on.as_ref().map(|local| residency::started(endpoint, local, facts, now)).unwrap_or_default();
        let strangers = endpoint.others(now) >= ALONE_BELOW;
        let alone = endpoint.jobs.is_empty() && !strangers;
        for other in &record.tickets {
            if let Some(attempt) = self.attempts.get_mut(other) {
                attempt.alone = false;
            }
        }
        let cold = found.begins_load;
        endpoint.account(now);
        endpoint.last_pick = now;
        let (first_token, company, prompt_company) = (None, Company::default(), None);
        let request = facts.clone();
        let (local, started) = (worked_on, now);
        let work_ms = 0.0;
        let mut job = Job { request, local, started, first_token, work_ms, cold, cached, company, prompt_company };
        if !facts.metadata_only {
            job.work_ms = cost::work_of(&endpoint.rates(facts.model.as_deref()), &job).total_ms();
        }
        let fresh = job.fresh_tokens();
        endpoint.jobs.push(job);
        endpoint.figures.picks += 1;
        endpoint.figures.most_in_flight = endpoint.figures.most_in_flight.max(endpoint.in_flight());
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        record.tickets.push(ticket);
        let tries_again = facts.attempt > 0;
        let marks = Marks::started(record.tape.started(now, endpoint.others(now), fresh));
        let facts = facts.clone();
        let attempt =
            Attempt { ticket, pool, endpoint: id, picked_by, facts, started, tries_again, alone, strangers, marks };
        self.attempts.insert(ticket, attempt);
        Some(Started { ticket, local_model, model_is_listed, cold: found.absent })
    }

    /// Notes the first token; `None` if it was noted before, or the attempt is over.
    pub(crate) fn first_token(&mut self, now: Time, ticket: Ticket) -> Option<Attempt> {
        let attempt = self.attempts.get(&ticket)?.clone();
        let place = self.place(&attempt)?;
        let endpoint = self.table.get_mut(attempt.endpoint)?;
        endpoint.jobs.get(place).filter(|job| job.first_token.is_none())?;
        endpoint.account(now);
        let job = endpoint.jobs.get_mut(place)?;
        job.answers(now);
        let (fresh, prompt) = (job.fresh_tokens(), f64::from(job.request.prompt_tokens));
        if let Some(local) = job.local.clone() {
            residency::proven(endpoint, &local, now);
            endpoint.see_slots(&local);
        }
        if let (Some(kept), Some(record)) = (self.attempts.get_mut(&ticket), self.records.get_mut(&attempt.endpoint)) {
            kept.tries_again = false;
            kept.marks.first_token = Some(record.tape.first_token(now, endpoint.others(now), fresh, prompt));
        }
        Some(attempt)
    }

    /// Gives a slot back and learns from the attempt. The flag is true if rates moved.
    pub(crate) fn end(
        &mut self,
        now: Time,
        ticket: Ticket,
        outcome: Outcome,
        usage: &Usage,
    ) -> Option<(Attempt, bool)> {
        let mut attempt = self.attempts.remove(&ticket)?;
        let place = self.place(&attempt)?;
        let endpoint = self.table.get_mut(attempt.endpoint)?;
        let record = self.records.get_mut(&attempt.endpoint)?;
        record.tickets.remove(place);
        endpoint.account(now);
        let job = endpoint.jobs.remove(place);
        let context = job.first_token.map(|_| f64::from(job.request.prompt_tokens));
        attempt.marks.ended = record.tape.ended(now, endpoint.others(now), job.fresh_tokens(), context);
        let learned = conclude(endpoint, &job, &attempt, outcome, usage, now);
        if learned {
            self.share(&attempt, usage);
        }
        Some((attempt, learned))
    }

    /// Lets the other endpoints know what one learned.
    fn share(&mut self, attempt: &Attempt, usage: &Usage) {
        let Some(model) = &attempt.facts.model else { return };
        let samples = self.table.get(attempt.endpoint).map_or(0, |row| row.rates(Some(model)).samples);
        let tokens = usage.output_tokens.filter(|tokens| *tokens > 0);
        let mean = tokens.map(|tokens| self.outputs.add(&attempt.facts.route, model, tokens));
        if let Some(mean) = mean.filter(|_| lend::is_news(samples)) {
            lend::share(&mut self.table, attempt.endpoint, model, mean);
        }
    }

    fn place(&self, attempt: &Attempt) -> Option<usize> {
        self.records.get(&attempt.endpoint)?.tickets.iter().position(|ticket| *ticket == attempt.ticket)
    }

    /// Forgets an endpoint that was removed and holds no attempt.
    pub(crate) fn forget_if_gone(&mut self, id: EndpointId) {
        if self.records.get(&id).is_some_and(|record| record.removed && record.tickets.is_empty()) {
            self.records.remove(&id);
            self.table.remove(id);
        }
    }
}

/// What an ended attempt says of residency and speed.
fn conclude(endpoint: &mut Endpoint, job: &Job, attempt: &Attempt, outcome: Outcome, usage: &Usage, now: Time) -> bool {
    let Some(local) = &job.local else { return false };
    if outcome != Outcome::Complete {
        if job.first_token.is_none() {
            residency::abandoned(endpoint, local);
        }
        return false;
    }
    residency::proven(endpoint, local, now);
    let strangers = attempt.strangers || endpoint.others(now) >= ALONE_BELOW;
    let Some(state) = endpoint.models.get_mut(local) else { return false };
    let stream = job.request.stream;
    // an answer in one piece has one phase
    let both = job.prompt_company.unwrap_or_default().and(job.company);
    let (prompt, answer) = if stream { (job.prompt_company.unwrap_or_default(), job.company) } else { (both, both) };
    let ttft_ms = job.first_token.map(|first| first.millis_since(job.started));
    let seen = Seen {
        usage,
        prompt_tokens: job.request.prompt_tokens,
        cached_tokens: job.cached,
        stream,
        ttft_ms,
        e2e_ms: now.millis_since(job.started),
        alone: attempt.alone && !strangers,
        at_once: ttft_ms.is_some_and(|ttft| prompt.ms >= AT_ONCE * ttft),
        strangers,
        cold: job.cold,
        prompt,
        answer,
    };
    let taught = learn::learn(state, &mut endpoint.pace, &seen, now);
    taught | batching::learn(&mut state.iteration, &mut state.rates, endpoint.class, &seen, &attempt.marks)
}
