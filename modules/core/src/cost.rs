//! What a request would cost on an endpoint: price terms in milliseconds, pure functions that the smart modules compose.
//!
//! | term | what | file |
//! |---|---|---|
//! | wait | until the engine begins with this request | `slots`, `batching` |
//! | prefill | its prompt, slowed by the company it keeps | `slots`, `batching` |
//! | decode | its answer, likewise | `slots`, `batching` |
//! | cached | the part of the prefill that a prefix cache saves: not above 0 | `batching`, here |
//! | load | its model's weights, if they are not resident, after loads already begun | `cold` |
//! | ramp | while an endpoint comes back (slow start): wait, prefill and decode count 1 / ramp times | here |
//! | evict | what the models that must leave will cost those who want them next | `cold` |
//!
//! Own counts and own jobs dominate; an engine's report only adds what others put there. Missing signals: speeds and
//! output lengths fall back on the priors of [`Rates`], sizes on 6 GB, load times on size / 1.5 GB/s + 1.5 s, slots of a
//! slot engine on 1; an engine that does not report resident models is taken to have all of them loaded.

use crate::endpoint::{Endpoint, EngineClass, Job, Rates};
use crate::facts::{PathClass, RequestFacts};
use crate::strategy::{Context, Term};
use crate::time::Time;

pub mod batching;
mod busy;
mod card;
mod choice;
mod cold;
mod history;
mod known;
mod pace;
mod patience;
mod replicas;
mod residents;
mod slots;

pub use batching::{Batch, Rule};
pub(crate) use busy::Busy;
pub(crate) use card::Cards;
pub use choice::Choice;
pub use cold::{Market, is_warm, load_ms, load_wait_ms, memory_bytes};
pub use history::History;
pub use known::{Asked, Known};
pub(crate) use patience::first_byte_within;
pub use replicas::Replicas;
pub(crate) use residents::Residents;
pub(crate) use slots::slots;

/// The price of one candidate, each term in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// Until the engine begins.
    pub wait: f64,
    /// The prompt.
    pub prefill: f64,
    /// What a prefix cache saves of it: not above 0.
    pub cached: f64,
    /// The answer.
    pub decode: f64,
    /// The weights.
    pub load: f64,
    /// What eviction will cost others.
    pub evict: f64,
    /// What is taken off the price of an endpoint that is free: not above 0.
    pub spare: f64,
    /// What keeps work away while the endpoint comes back (slow start): the rest of its share, as time.
    pub ramp: f64,
}

impl Price {
    /// The sum of the terms.
    pub fn total(&self) -> f64 {
        self.wait + self.prefill + self.cached + self.decode + self.load + self.evict + self.ramp + self.spare
    }

    /// The terms by name; those after `decode` only where there are any.
    pub fn terms(&self) -> Vec<Term> {
        let always = [("wait", self.wait), ("prefill", self.prefill), ("decode", self.decode)];
        let sometimes = [
            ("cached", self.cached),
            ("load", self.load),
            ("evict", self.evict),
            ("ramp", self.ramp),
            ("spare", self.spare),
        ];
        let all = always.into_iter().chain(sometimes.into_iter().filter(|(_, ms)| *ms != 0.0));
        all.map(|(name, ms)| Term { name, ms }).collect()
    }
}

/// What earlier waiters of the same scan were promised on one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reserved {
    /// How many.
    pub count: usize,
    /// Their work at batch 1, in milliseconds.
    pub ms: f64,
}

impl Reserved {
    /// The promises that the context holds for an endpoint.
    pub fn of(endpoint: &Endpoint, cx: &Context<'_>) -> Reserved {
        cx.reserved.of(endpoint.id)
    }
}

/// A request's own work on an endpoint at batch 1, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// The prompt.
    pub prefill_ms: f64,
    /// The answer.
    pub decode_ms: f64,
}

impl Work {
    /// Both.
    pub fn total_ms(&self) -> f64 {
        self.prefill_ms + self.decode_ms
    }
}

/// Expected output tokens: the learned mean, within the client's own bound. None for paths that generate nothing.
pub fn output_tokens(rates: &Rates, request: &RequestFacts) -> f64 {
    match request.path_class {
        PathClass::Embeddings | PathClass::Rerank | PathClass::Tokens => 0.0,
        _ => {
            let mean = request.output_tokens.unwrap_or(rates.output_tokens);
            request.max_output.map_or(mean, |most| mean.min(f64::from(most)))
        }
    }
}

/// A request's own work on an endpoint: `prompt x prefill rate`, `output x decode rate`.
pub fn work(endpoint: &Endpoint, request: &RequestFacts) -> Work {
    work_at(&endpoint.rates(request.model.as_deref()), request)
}

/// The same at known speeds.
pub(crate) fn work_at(rates: &Rates, request: &RequestFacts) -> Work {
    Work {
        prefill_ms: f64::from(request.prompt_tokens) * rates.prefill_ms_per_token,
        decode_ms: output_tokens(rates, request) * rates.decode_ms_per_token,
    }
}

/// A job's own work: of its prompt what no prefix cache was believed to hold.
pub(crate) fn work_of(rates: &Rates, job: &Job) -> Work {
    let whole = work_at(rates, &job.request);
    match job.cached {
        0 => whole,
        _ => Work { prefill_ms: job.fresh_tokens() * rates.prefill_ms_per_token, ..whole },
    }
}

/// The sum of [`work`]: what a job of this request weighs.
pub fn work_ms(endpoint: &Endpoint, request: &RequestFacts) -> f64 {
    work(endpoint, request).total_ms()
}

/// The candidates that can be priced: those of weight 0 never take a request, those with a cap of 0 only one that knows
/// no caps.
pub fn open<'a>(cx: &Context<'a>) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
    let uncapped = cx.uncapped;
    cx.endpoints().filter(move |endpoint| endpoint.spec.weight > 0 && (uncapped || endpoint.full_cap() != Some(0)))
}

/// Wait, prefill and decode of a request on an endpoint. `load` and `evict` are 0: see [`load_wait_ms`] and [`Market`].
///
/// For a slot engine the expected completion time; for a batching engine the marginal cost, which also counts the
/// delay that the request puts on those who are already there.
pub fn completion(endpoint: &Endpoint, request: &RequestFacts, now: Time, reserved: Reserved) -> Price {
    completion_with(endpoint, request, now, reserved, &Batch::default())
}

/// The same by a strategy that knows what the engine's prefix cache holds. On a slot engine a matched token saves its
/// share of the prefill.
pub fn completion_with(
    endpoint: &Endpoint,
    request: &RequestFacts,
    now: Time,
    reserved: Reserved,
    batch: &Batch,
) -> Price {
    completed(&Known::of(endpoint, request, now), reserved, batch)
}

fn completed(known: &Known<'_>, reserved: Reserved, batch: &Batch) -> Price {
    let mut price = match known.endpoint.class {
        EngineClass::Slots => {
            let mut price = slots::price(known, reserved);
            let prompt = f64::from(known.request.prompt_tokens).max(1.0);
            price.cached = -price.prefill * (batch.matched / prompt).min(1.0);
            price
        }
        EngineClass::Batching => batching::price(known, reserved, batch),
    };
    if known.endpoint.ramp_since.is_some() {
        price.ramp = price.total() * (1.0 / known.endpoint.ramp(known.now) - 1.0);
    }
    price
}

/// The engine's own name for the request's model; the public name where it has no other.
pub(crate) fn local<'a>(endpoint: &'a Endpoint, request: &'a RequestFacts) -> Option<&'a str> {
    Some(endpoint.called(request.model.as_deref()?))
}

#[cfg(test)]
mod tests;
