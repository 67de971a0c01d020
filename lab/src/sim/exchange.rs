//! What becomes of one request: a slot or a wait, an attempt at an engine, its answer, or another attempt elsewhere. The
//! rules are the proxy's: tried again only before the first byte, a late one only once, never twice on the same
//! endpoint, within the pool's budget. A failed request ends when its client is told.

use std::sync::Arc;

use arriero_core::{EndpointId, Grant, Outcome, RequestFacts, Submit, Ticket, Time, Usage};

use super::deployment::Routed;
use super::engines;
use super::proxies;
use super::scenario::FaultKind;
use super::world::{Planned, World};
use crate::model::{Job, Timing};

/// One request under way.
#[derive(Debug)]
pub(super) struct Ask {
    proxy: usize,
    facts: Arc<RequestFacts>,
    routed: Option<Routed>,
    /// An attempt was too late before.
    was_late: bool,
    pub(super) attempts: u32,
    pub(super) engine: Option<usize>,
    pub(super) first_token: Option<Time>,
    pub(super) ended: Option<Time>,
    pub(super) failed: bool,
    pub(super) cached_tokens: u32,
}

/// One attempt; its place in the list is the engine's job id.
#[derive(Debug)]
pub(super) struct Attempt {
    ask: usize,
    ticket: Ticket,
    endpoint: EndpointId,
    engine: usize,
    first_token: bool,
    over: bool,
}

impl World<'_> {
    /// A request comes.
    pub(super) fn arrive(&mut self, now: Time, index: usize) {
        let request = &self.requests[index];
        let proxy = self.route_rng.usize(..self.replicas.len());
        let lot = self.route_rng.u64(..);
        let routed = proxies::route(self.deployment, &self.models[request.model].name, request, lot);
        let facts = routed.as_ref().map(|routed| self.replicas[proxy].facts(index, request, routed, self.seed));
        self.asks.push(Ask {
            proxy,
            facts: Arc::new(facts.unwrap_or_default()),
            routed,
            was_late: false,
            attempts: 0,
            engine: None,
            first_token: None,
            ended: None,
            failed: false,
            cached_tokens: 0,
        });
        self.open += 1;
        self.submit(now, index);
    }

    /// Asks for a slot.
    fn submit(&mut self, now: Time, ask: usize) {
        let asked = &self.asks[ask];
        let proxy = asked.proxy;
        let Some(routed) = &asked.routed else { return self.refused(now, ask) };
        let replica = &mut self.replicas[proxy];
        let (pool, strategy) = replica.seat(routed);
        match replica.fleet.submit(now, pool, strategy, asked.facts.clone(), self.requests[ask].at) {
            Submit::Granted(grant) => self.begin(now, ask, grant),
            Submit::Rejected(_) => self.refused(now, ask),
            Submit::Queued(waiter) => {
                replica.waiting.insert(waiter, ask);
                let waiting = self.replicas.iter().map(|replica| replica.waiting.len()).sum();
                self.queue_peak = self.queue_peak.max(waiting);
            }
        }
        self.after(now, proxy, Vec::new());
    }

    /// A slot was granted: the request goes to its engine.
    pub(super) fn begin(&mut self, now: Time, ask: usize, grant: Grant) {
        let proxy = self.asks[ask].proxy;
        let Some(engine) = self.replicas[proxy].engine(grant.endpoint) else {
            let settled = self.replicas[proxy].fleet.finish(now, grant.ticket, Outcome::Rejected, &Usage::default());
            self.refused(now, ask);
            return self.after(now, proxy, settled);
        };
        let place = self.attempts.len();
        let (ticket, endpoint) = (grant.ticket, grant.endpoint);
        self.attempts.push(Attempt { ask, ticket, endpoint, engine, first_token: false, over: false });
        (self.asks[ask].attempts, self.asks[ask].engine) = (self.asks[ask].attempts + 1, Some(engine));
        if let Some(FaultKind::FailFast(after_s)) = self.faults[engine] {
            self.plan(Time(now.0 + (after_s * 1e6) as u64), Planned::BreakOff(place));
        } else {
            let request = &self.requests[ask];
            let job = Job {
                id: place as u64,
                model: request.model,
                prompt_tokens: request.prompt_tokens,
                output_tokens: request.output_tokens,
                keep_alive: None,
                blocks: request.blocks.to_vec(),
            };
            self.engines.submit(now, engine, job);
        }
        if let Some(within) = grant.first_byte_within {
            self.plan(now + within, Planned::Patience(place));
        }
        let limit = self.replicas[proxy].timers(engine).and_then(|timers| timers.first_byte);
        if let Some(limit) = limit {
            let spec = self.replicas[proxy].fleet.endpoints().get(endpoint).map(|endpoint| &endpoint.spec);
            let allowance = spec.filter(|_| grant.cold).map(|spec| spec.load_allowance).unwrap_or_default();
            self.plan(now + limit + allowance, Planned::FirstByte(place));
        }
    }

    /// The engine's first token.
    pub(super) fn first_token(&mut self, now: Time, place: usize) {
        let attempt = &mut self.attempts[place];
        if attempt.over || attempt.first_token {
            return;
        }
        attempt.first_token = true;
        let ask = &mut self.asks[attempt.ask];
        ask.first_token.get_or_insert(now);
        let proxy = ask.proxy;
        self.replicas[proxy].fleet.first_token(now, attempt.ticket);
        self.after(now, proxy, Vec::new());
    }

    /// The answer is whole.
    pub(super) fn done(&mut self, now: Time, engine: usize, place: usize, timing: &Timing) {
        let (index, was_first) = (self.attempts[place].ask, self.attempts[place].first_token);
        if self.attempts[place].over {
            return;
        }
        if !was_first {
            self.first_token(now, place);
        }
        let request = &self.requests[index];
        let usage = engines::usage(self.profiles[engine], request.prompt_tokens, request.output_tokens, timing);
        let usage = self.deployment.heard(engine, usage);
        self.asks[index].cached_tokens = timing.cached_tokens;
        self.end(now, place, Outcome::Complete, &usage);
        self.close_ask(now, index, false);
    }

    /// The engine says that it is busy.
    pub(super) fn turned_away(&mut self, now: Time, place: usize) {
        self.fail(now, place, Outcome::Busy);
    }

    /// The engine breaks the attempt off.
    pub(super) fn broken_off(&mut self, now: Time, place: usize) {
        self.fail(now, place, Outcome::UpstreamError);
    }

    /// The first byte did not come in time.
    pub(super) fn first_byte_late(&mut self, now: Time, place: usize) {
        if !self.attempts[place].first_token {
            self.fail(now, place, Outcome::Timeout);
        }
    }

    /// The first byte did not come in the time that was learned: it is tried elsewhere if it can, else waited for.
    pub(super) fn patience_over(&mut self, now: Time, place: usize) {
        let Attempt { ask, ticket, first_token, over, .. } = self.attempts[place];
        let asked = &self.asks[ask];
        let retries = asked.routed.as_ref().map_or(0, |routed| routed.retries);
        if !first_token && !over && !asked.was_late && self.replicas[asked.proxy].fleet.may_retry(ticket, retries) {
            self.fail(now, place, Outcome::Timeout);
        }
    }

    /// Streams of an engine that hangs run into their limit.
    pub(super) fn await_next_bytes(&mut self, now: Time, engine: usize) {
        for place in 0..self.attempts.len() {
            let attempt = &self.attempts[place];
            let proxy = self.asks[attempt.ask].proxy;
            if attempt.over || attempt.engine != engine || !attempt.first_token {
                continue;
            }
            if let Some(limit) = self.replicas[proxy].timers(engine).and_then(|timers| timers.between_chunks) {
                self.plan(now + limit, Planned::NextByte(place));
            }
        }
    }

    /// The next byte did not come in time, unless the engine goes on by now.
    pub(super) fn next_byte_late(&mut self, now: Time, place: usize) {
        if self.faults[self.attempts[place].engine] == Some(FaultKind::Hang) {
            self.fail(now, place, Outcome::Timeout);
        }
    }

    /// An endpoint turned down: what runs there is cut off where the pool says so.
    pub(super) fn cut(&mut self, now: Time, proxy: usize, endpoint: EndpointId) {
        let engine = self.replicas[proxy].engine(endpoint);
        let timers = engine.and_then(|engine| self.replicas[proxy].timers(engine));
        if !timers.is_some_and(|timers| timers.cut_on_down) {
            return;
        }
        for place in 0..self.attempts.len() {
            let attempt = &self.attempts[place];
            if !attempt.over && attempt.endpoint == endpoint && self.asks[attempt.ask].proxy == proxy {
                let outcome = if attempt.first_token { Outcome::MidStream } else { Outcome::UpstreamError };
                self.fail(now, place, outcome);
            }
        }
    }

    /// An attempt failed: another one elsewhere, or the client is told.
    fn fail(&mut self, now: Time, place: usize, outcome: Outcome) {
        let Attempt { ask, ticket, endpoint, engine, first_token, over } = self.attempts[place];
        if over {
            return;
        }
        let asked = &self.asks[ask];
        let late = outcome == Outcome::Timeout;
        let retries = asked.routed.as_ref().map_or(0, |routed| routed.retries);
        let twice_late = late && asked.was_late;
        let may_again = !first_token && !twice_late;
        let again = may_again && self.replicas[asked.proxy].fleet.may_retry(ticket, retries);
        self.engines.cancel(now, engine, place as u64);
        if again {
            let asked = &mut self.asks[ask];
            asked.was_late |= late;
            let facts = Arc::make_mut(&mut asked.facts);
            facts.attempt += 1;
            facts.tried.push(endpoint);
        }
        self.end(now, place, outcome, &Usage::default());
        if again {
            self.submit(now, ask);
        } else {
            self.close_ask(now, ask, true);
        }
    }

    /// Gives the slot back.
    fn end(&mut self, now: Time, place: usize, outcome: Outcome, usage: &Usage) {
        let attempt = &mut self.attempts[place];
        attempt.over = true;
        let proxy = self.asks[attempt.ask].proxy;
        let settled = self.replicas[proxy].fleet.finish(now, attempt.ticket, outcome, usage);
        self.after(now, proxy, settled);
    }

    /// No slot for this request.
    pub(super) fn refused(&mut self, now: Time, ask: usize) {
        self.close_ask(now, ask, true);
    }

    fn close_ask(&mut self, now: Time, ask: usize, failed: bool) {
        let asked = &mut self.asks[ask];
        if asked.ended.is_none() {
            (asked.ended, asked.failed) = (Some(now), failed);
            self.open -= 1;
        }
    }
}
