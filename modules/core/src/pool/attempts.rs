//! What becomes of a pool's attempts: the slot taken, the first token, the end. The pool counts them, remembers who
//! served whom, and tells its strategies.

use std::sync::Arc;

use super::{Choice, Pool};
use crate::endpoint::Endpoints;
use crate::event::{Event, Outcome, Usage};
use crate::facts::RequestFacts;
use crate::ledger::{Attempt, Ledger};
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
        let started = ledger.start(now, self.id, picked_by, endpoint, facts)?;
        if let Some(pin) = facts.pin {
            self.memory.granted(pin, endpoint, now);
        }
        self.live += 1;
        self.most_live = self.most_live.max(self.live);
        self.picks += 1;
        self.live_retries += usize::from(facts.attempt > 0);
        self.tell(&ledger.table, now, Some(started.ticket), |running| {
            Some(Event::Started { endpoint, request: facts, mine: Some(running) == picked_by })
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
        self.live_retries -= usize::from(attempt.tries_again);
        if matches!(outcome, Outcome::Complete | Outcome::ClientGone) {
            self.drain_rate.completed(now);
        }
        if outcome == Outcome::Complete {
            self.answered(attempt);
        }
        let (endpoint, request) = (attempt.endpoint, &attempt.facts);
        self.tell(table, now, Some(attempt.ticket), |running| {
            Some(Event::Ended { endpoint, request, outcome, usage, mine: Some(running) == attempt.picked_by })
        });
    }

    /// The first token of an attempt came: as a retry it has succeeded.
    pub(crate) fn first_token(&mut self, table: &Endpoints, now: Time, attempt: &Attempt) {
        self.live_retries -= usize::from(attempt.tries_again);
        self.answered(attempt);
        let (endpoint, request) = (attempt.endpoint, &attempt.facts);
        self.tell(table, now, Some(attempt.ticket), |running| {
            Some(Event::FirstToken { endpoint, request, mine: Some(running) == attempt.picked_by })
        });
    }

    /// An engine answered an attempt.
    fn answered(&mut self, attempt: &Attempt) {
        if let Some(pin) = attempt.facts.pin {
            self.memory.answered(pin, attempt.endpoint);
        }
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
