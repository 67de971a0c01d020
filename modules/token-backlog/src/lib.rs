//! The rule of a published comparison's router, kept as it was, as a reference to measure others against.
//!
//! ```text
//! score  = (queued * weight + own) * time per token     milliseconds; the lowest wins, then the shorter queue, then the first
//! own    = characters of the prompt * factor            tokens, prompt and answer together
//! queued = characters of the prompts in flight * factor
//! factor = 3, then moved by 0.1 towards tokens seen / characters            one for all endpoints
//! time   = that of the first answer, then moved by 0.1 towards wall time / tokens seen     per endpoint
//! weight = 1, then times 1 + 0.1 * (wall time / score at the start - 1), within 0 to 2     per endpoint
//! ```
//!
//! Wall time includes the engine's own queue. Once any endpoint has a time, one without is a candidate only while empty;
//! its score is 0. Characters are the facts' prompt tokens times 4. An answer whose output tokens are not told, and one
//! that failed, teaches nothing. The configured weight counts only as 0.

use std::collections::HashMap;

use arriero_core::cost::open;
use arriero_core::endpoint::Endpoint;
use arriero_core::{
    Context, EndpointId, Event, Module, Needs, Outcome, Pick, RequestFacts, RequestId, Strategy, Time, Usage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The module.
pub struct TokenBacklog;

/// The study's constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// Tokens (prompt and answer) per character of the prompt, before any was seen.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub token_factor: f64,
    /// Share by which an answer moves its endpoint's time per token.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub time_alpha: f64,
    /// Share by which an answer's wall time against its score moves its endpoint's queue weight.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_alpha: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options { token_factor: 3.0, time_alpha: 0.1, weight_alpha: 0.1 }
    }
}

impl Module for TokenBacklog {
    const NAME: &'static str = "token-backlog";
    const SUMMARY: &'static str = "reference: queued tokens x weight x learned time per token, as in a published study";
    type Options = Options;

    fn build(options: Options) -> Result<Box<dyn Strategy>, String> {
        if !(0.001..=1000.0).contains(&options.token_factor) {
            return Err(format!("token-factor: found {}, allowed 0.001 to 1000", options.token_factor));
        }
        for (name, alpha) in [("time-alpha", options.time_alpha), ("weight-alpha", options.weight_alpha)] {
            if !(0.0..=1.0).contains(&alpha) {
                return Err(format!("{name}: found {alpha}, allowed 0 to 1"));
            }
        }
        let factor = options.token_factor;
        Ok(Box::new(Backlog { options, factor, hosts: HashMap::new(), running: HashMap::new() }))
    }
}

/// Characters per token of the facts' prompt length.
const CHARACTERS: f64 = 4.0;
/// Share by which an answer moves the factor.
const FACTOR_ALPHA: f64 = 0.1;
/// The highest queue weight.
const HEAVIEST: f64 = 2.0;

struct Backlog {
    options: Options,
    factor: f64,
    hosts: HashMap<EndpointId, Host>,
    /// Attempts that hold a slot.
    running: HashMap<(RequestId, u32), Started>,
}

/// What was learned of an endpoint.
#[derive(Clone, Copy)]
struct Host {
    time_per_token: Option<f64>,
    weight: f64,
}

impl Default for Host {
    fn default() -> Self {
        Host { time_per_token: None, weight: 1.0 }
    }
}

/// When an attempt started, and its score then.
#[derive(Clone, Copy)]
struct Started {
    at: Time,
    expected_ms: f64,
}

fn characters(request: &RequestFacts) -> f64 {
    f64::from(request.prompt_tokens.max(1)) * CHARACTERS
}

fn queued(endpoint: &Endpoint) -> f64 {
    endpoint.jobs.iter().map(|job| characters(&job.request)).sum()
}

/// A candidate with its figures.
struct Offer<'a> {
    endpoint: &'a Endpoint,
    score: f64,
    queued: f64,
}

impl Backlog {
    fn host(&self, id: EndpointId) -> Host {
        self.hosts.get(&id).copied().unwrap_or_default()
    }

    /// The score with `queued` characters before `own`.
    fn score(&self, id: EndpointId, queued: f64, own: f64) -> f64 {
        let host = self.host(id);
        (queued * self.factor * host.weight + own * self.factor) * host.time_per_token.unwrap_or(0.0)
    }

    /// The candidates that count. Requests promised to an endpoint are taken to be as long as this one.
    fn offers<'c, 'a: 'c>(
        &'c self,
        request: &RequestFacts,
        cx: &'c Context<'a>,
    ) -> impl Iterator<Item = Offer<'a>> + 'c {
        let timed = |endpoint: &Endpoint| self.host(endpoint.id).time_per_token.is_some();
        let any_timed = open(cx).any(timed);
        let own = characters(request);
        let offers = open(cx).map(move |endpoint| {
            let queued = queued(endpoint) + own * cx.reserved_count(endpoint.id) as f64;
            Offer { endpoint, score: self.score(endpoint.id, queued, own), queued }
        });
        offers.filter(move |offer| !any_timed || timed(offer.endpoint) || offer.queued == 0.0)
    }

    fn words(&self, request: &RequestFacts, cx: &Context<'_>) -> String {
        let told = self.offers(request, cx).map(|offer| {
            let (spec, queued) = (&offer.endpoint.spec, offer.queued * self.factor);
            format!("{}: {queued:.0} tokens queued, {:.0} ms", spec.name, offer.score)
        });
        told.collect::<Vec<_>>().join("; ")
    }

    fn learn(&mut self, endpoint: EndpointId, request: &RequestFacts, usage: &Usage, started: Started, now: Time) {
        let Some(output) = usage.output_tokens else { return };
        let tokens = f64::from(usage.prompt_tokens.unwrap_or(request.prompt_tokens)) + f64::from(output);
        let wall = now.millis_since(started.at);
        if tokens <= 0.0 || wall <= 0.0 {
            return;
        }
        self.factor += FACTOR_ALPHA * (tokens / characters(request) - self.factor);
        let host = self.hosts.entry(endpoint).or_default();
        if started.expected_ms > 0.0 {
            let off = wall / started.expected_ms - 1.0;
            host.weight = (host.weight * (1.0 + self.options.weight_alpha * off)).clamp(0.0, HEAVIEST);
        }
        let seen = wall / tokens;
        let moved = |time: f64| time + self.options.time_alpha * (seen - time);
        host.time_per_token = Some(host.time_per_token.map_or(seen, moved));
    }
}

impl Strategy for Backlog {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.full_endpoints = true;
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let order = |one: &Offer<'_>, other: &Offer<'_>| {
            one.score.total_cmp(&other.score).then(one.queued.total_cmp(&other.queued))
        };
        let Some(best) = self.offers(request, cx).min_by(order) else { return Pick::Wait };
        let pick = match cx.is_free(best.endpoint) {
            true => Pick::Endpoint(best.endpoint.id),
            false => Pick::WaitFor(best.endpoint.id),
        };
        cx.tell(&pick, |cx| self.words(request, cx));
        pick
    }

    fn observe(&mut self, event: &Event<'_>, cx: &mut Context<'_>) {
        match event {
            Event::Started { endpoint, request, .. } => {
                let own = characters(request);
                let before = cx.table.get(*endpoint).map_or(0.0, |row| (queued(row) - own).max(0.0));
                let started = Started { at: cx.now, expected_ms: self.score(*endpoint, before, own) };
                self.running.insert((request.id, request.attempt), started);
            }
            Event::Ended { endpoint, request, outcome, usage, .. } => {
                let started = self.running.remove(&(request.id, request.attempt));
                if let Some(started) = started.filter(|_| *outcome == Outcome::Complete) {
                    self.learn(*endpoint, request, usage, started, cx.now);
                }
            }
            Event::Membership { joined, left } => {
                self.hosts.retain(|id, _| joined.contains(id) || !left.contains(id));
            }
            _ => {}
        }
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!(self.options)
    }
}
