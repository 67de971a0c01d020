//! What becomes of a pool's attempts: the slot taken, the first token, the end. The pool counts them, remembers who
//! served whom, and tells its strategies.

use std::sync::Arc;

use super::{Choice, Pool};
use crate::cost;
use crate::endpoint::Endpoints;
use crate::event::{Event, Outcome, Usage};
use crate::facts::RequestFacts;
use crate::guarded::Guarded;
use crate::ledger::{Attempt, Ledger};
use crate::promises::Promises;
use crate::shadow::Shadow;
use crate::spec::{Grant, StrategyId, Ticket};
use crate::strategy::Context;
use crate::time::Time;

impl Pool {
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
        let Choice { endpoint, module, pinned, explanation } = choice;
        let picked_by = (!pinned).then_some(strategy);
        let row = ledger.table.get(endpoint)?;
        let first_byte_within = cost::first_byte_within(row, facts, now);
        let beliefs = self.strategies.iter().map(|running| running.cached_tokens(row, facts));
        let cached = beliefs.max().unwrap_or(0).min(facts.prompt_tokens);
        let started = ledger.start(now, self.id, picked_by, endpoint, facts, cached)?;
        if let Some(pin) = facts.pin {
            self.memory.granted(pin, endpoint, now);
        }
        self.live += 1;
        self.most_live = self.most_live.max(self.live);
        self.picks += 1;
        self.live_retries += usize::from(facts.attempt > 0);
        self.tell(&ledger.table, now, Some(started.ticket), |hearer| {
            Some(Event::Started { endpoint, request: facts, mine: hearer.owns(picked_by, facts) })
        });
        Some(Grant {
            ticket: started.ticket,
            endpoint,
            module,
            local_model: started.local_model,
            model_is_listed: started.model_is_listed,
            cold: started.cold,
            first_byte_within,
            waited: now - since,
            explanation,
        })
    }

    /// An attempt of this pool gave its slot back.
    pub(crate) fn ended(&mut self, table: &Endpoints, now: Time, attempt: &Attempt, outcome: Outcome, usage: &Usage) {
        self.live -= 1;
        self.live_retries -= usize::from(attempt.tries_again);
        if matches!(outcome, Outcome::Complete | Outcome::ClientGone) {
            self.drain_rate.completed(now);
        }
        if outcome == Outcome::Complete {
            self.answered(attempt);
        }
        let (endpoint, request) = (attempt.endpoint, &attempt.facts);
        self.tell(table, now, Some(attempt.ticket), |hearer| {
            Some(Event::Ended { endpoint, request, outcome, usage, mine: hearer.owns(attempt.picked_by, request) })
        });
    }

    /// The first token of an attempt came: as a retry it has succeeded.
    pub(crate) fn first_token(&mut self, table: &Endpoints, now: Time, attempt: &Attempt) {
        self.live_retries -= usize::from(attempt.tries_again);
        self.answered(attempt);
        let (endpoint, request) = (attempt.endpoint, &attempt.facts);
        self.tell(table, now, Some(attempt.ticket), |hearer| {
            Some(Event::FirstToken { endpoint, request, mine: hearer.owns(attempt.picked_by, request) })
        });
    }

    /// An engine answered an attempt.
    fn answered(&mut self, attempt: &Attempt) {
        if let Some(pin) = attempt.facts.pin {
            self.memory.answered(pin, attempt.endpoint);
        }
    }

    /// Tells every strategy of the pool what concerns it, shadows too. Events of an attempt reach only strategies that were
    /// there at its start.
    pub(crate) fn tell<'a>(
        &mut self,
        table: &Endpoints,
        now: Time,
        ticket: Option<Ticket>,
        event: impl Fn(Hearer<'_>) -> Option<Event<'a>>,
    ) {
        let candidates = &self.endpoints;
        let say = |hearer: Hearer<'_>, running: &mut Guarded, rng: &mut fastrand::Rng| {
            if ticket.is_some_and(|ticket| ticket < running.since) {
                return;
            }
            let reserved = Promises::NONE;
            let mut cx = Context {
                now,
                rng,
                table,
                candidates,
                uncapped: false,
                behind: 0,
                reserved,
                explain: None,
                compare: None,
            };
            if let Some(event) = event(hearer) {
                running.observe(&event, &mut cx);
            }
        };
        for running in &mut self.strategies {
            say(Hearer { id: running.id, shadow: None }, running, &mut self.rng);
        }
        for Shadow { beside, route, running, rng, .. } in self.shadows.iter_mut().filter(|shadow| shadow.is_on()) {
            say(Hearer { id: running.id, shadow: Some((*beside, route)) }, running, rng);
        }
    }
}

/// Who hears of an event.
#[derive(Clone, Copy)]
pub(crate) struct Hearer<'a> {
    pub(crate) id: StrategyId,
    /// For a shadow, the strategy that it runs beside, and the route.
    shadow: Option<(StrategyId, &'a Arc<str>)>,
}

impl Hearer<'_> {
    /// True if the attempt that `picked_by` chose an endpoint for counts as its own.
    fn owns(self, picked_by: Option<StrategyId>, facts: &RequestFacts) -> bool {
        match self.shadow {
            None => picked_by == Some(self.id),
            Some((beside, route)) => picked_by == Some(beside) && *route == facts.route,
        }
    }
}
