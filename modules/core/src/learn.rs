//! Learned speeds of one model on one endpoint, from attempts that completed: milliseconds per token alone, and what each
//! other job of a batch adds ([`line`]). What the engine tells leads (Ollama, llama.cpp), else the times that we saw on a
//! stream; each is divided by the company that the request had meanwhile ([`crate::company`]).
//!
//! | figure | from | not from |
//! |---|---|---|
//! | prefill | told; else time to the first token | cold requests; those that may have waited in the engine |
//! | decode, crowding | told; else first token to the end, else the whole less the prompt | the last: unless alone and warm |
//! | load | told; else the time to the first token of whoever began it, less the prompt | |
//! | output tokens | the count: over the whole fleet ([`outputs`]) | |
//!
//! Figures are moving averages over work: a request of `n` reference lengths moves them by `1 - 0.9^n`, early ones by at
//! least their share of what was seen. One sample counts as at most [`CLAMP`] times what was expected. A missing signal
//! leaves its figure alone. What an endpoint has not learned itself it is lent by others ([`lend`]).

use crate::company::Company;
use crate::endpoint::{ModelState, Pace, Rates};
use crate::event::Usage;
use crate::time::Time;

pub(crate) mod lend;
pub(crate) mod line;
pub(crate) mod outputs;
pub(crate) mod pace;

use line::Slope;

pub mod batching;

/// Share by which one request of reference length moves a figure.
pub const ALPHA: f64 = 0.1;
/// Samples after which a figure counts as settled.
pub const FREE_AFTER: u64 = 5;
/// How far from the expected one sample may seem: a factor.
pub const CLAMP: f64 = 4.0;
/// A load shorter than this is none: milliseconds.
pub const SHORTEST_LOAD_MS: f64 = 100.0;
/// Prompts with fewer new tokens than this teach no speed: fixed costs hide it.
const SHORTEST_PROMPT: f64 = 16.0;
const REFERENCE_PROMPT: f64 = 512.0;
const REFERENCE_OUTPUT: f64 = 128.0;

/// What was seen of one completed attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) usage: &'a Usage,
    pub(crate) prompt_tokens: u32,
    /// Of these, as was believed, in the engine's prefix cache.
    pub(crate) cached_tokens: u32,
    pub(crate) stream: bool,
    /// Milliseconds to the first token.
    pub(crate) ttft_ms: Option<f64>,
    /// Milliseconds in all.
    pub(crate) e2e_ms: f64,
    /// Nobody else was on the endpoint all the while.
    pub(crate) alone: bool,
    /// It was in a slot from the start on, as far as we know.
    pub(crate) at_once: bool,
    /// Somebody else's requests shared the engine.
    pub(crate) strangers: bool,
    /// The model had to be loaded first.
    pub(crate) cold: bool,
    /// In what company it read the prompt, and wrote the answer.
    pub(crate) prompt: Company,
    pub(crate) answer: Company,
}

/// Learns. True if the attempt taught something.
pub(crate) fn learn(state: &mut ModelState, pace: &mut Pace, seen: &Seen<'_>, now: Time) -> bool {
    let prompt = f64::from(seen.usage.prompt_tokens.unwrap_or(seen.prompt_tokens));
    let fresh = (prompt - f64::from(seen.usage.cached_tokens.unwrap_or(0))).max(0.0);
    let output = f64::from(seen.usage.output_tokens.unwrap_or(0));

    let mut taught = learn_load(state, seen, fresh);
    taught |= learn_prefill(&mut state.rates, seen, fresh);
    taught |= learn_decode(state, pace, seen, fresh, output, now);
    taught |= output > 0.0;
    state.rates.samples += u64::from(taught);
    taught
}

fn learn_prefill(rates: &mut Rates, seen: &Seen<'_>, fresh: f64) -> bool {
    let told = seen.usage.prefill_ms.filter(|ms| *ms > 0.0);
    let timed = || seen.ttft_ms.filter(|_| seen.at_once && !seen.strangers && seen.stream && !seen.cold);
    let Some(ms) = told.or_else(timed).filter(|ms| ms.is_finite() && *ms > 0.0 && fresh >= SHORTEST_PROMPT) else {
        return false;
    };
    let company = if seen.prompt.ms > 0.0 { seen.prompt } else { seen.answer };
    let slowdown = company.runners() * (1.0 + rates.crowding * company.others());
    let (known, seen) = (rates.prefill_ms_per_token, ms / fresh / slowdown);
    let value = seen.clamp(known / CLAMP, known * CLAMP);
    let work = weight(fresh / REFERENCE_PROMPT);
    let steady = 1.0 - (1.0 - ALPHA).powf(work);
    let early = work / (rates.samples as f64 + work);
    let replaces = value != seen && rates.samples < FREE_AFTER;
    rates.prefill_ms_per_token += if replaces { 1.0 } else { steady.max(early) } * (value - known);
    true
}

fn learn_decode(state: &mut ModelState, pace: &mut Pace, seen: &Seen<'_>, fresh: f64, output: f64, now: Time) -> bool {
    let rates = &mut state.rates;
    let Some(ms) = decode_ms(rates, seen, fresh, output).filter(|ms| ms.is_finite() && *ms > 0.0) else {
        return false;
    };
    let (others, runners) = (seen.answer.others(), seen.answer.runners());
    let known = Slope { alone: rates.decode_ms_per_token, crowding: rates.crowding };
    let settled = rates.samples >= FREE_AFTER;
    if settled {
        pace.seen(ms / runners, output * known.at(others), now);
    }
    let line = state.line.add(known, others, ms / output / runners, weight(output / REFERENCE_OUTPUT), rates.samples);
    (rates.decode_ms_per_token, rates.crowding) = (line.alone, line.crowding);
    if settled {
        pace.learned(line.at(others) / known.at(others));
        state.best_decode_ms = pace.compared(line.alone, state.best_decode_ms);
    }
    true
}

/// Time that the engine spent on all of the answer.
fn decode_ms(rates: &Rates, seen: &Seen<'_>, fresh: f64, output: f64) -> Option<f64> {
    if output < 2.0 {
        return None;
    }
    let told = seen.usage.decode_ms.filter(|ms| *ms > 0.0);
    if told.is_some() {
        return told;
    }
    match seen.ttft_ms {
        _ if seen.strangers => None,
        Some(ttft) if seen.stream => Some((seen.e2e_ms - ttft) * output / (output - 1.0)),
        _ if seen.cold || !seen.alone => None,
        _ => Some(seen.e2e_ms - fresh * rates.prefill_ms_per_token),
    }
}

/// Loads are rare: each one counts for more than a request does.
const LOAD_ALPHA: f64 = 0.3;

fn learn_load(state: &mut ModelState, seen: &Seen<'_>, fresh: f64) -> bool {
    let rates = &mut state.rates;
    let inferred = || {
        let ttft = seen.ttft_ms.filter(|_| seen.cold && seen.stream)?;
        Some(ttft - fresh * rates.prefill_ms_per_token)
    };
    let told = seen.usage.load_ms;
    let load = told.or_else(inferred).filter(|ms| ms.is_finite() && *ms > SHORTEST_LOAD_MS);
    if let Some(load) = load {
        let known = rates.load_ms.filter(|_| state.loads > 0);
        rates.load_ms = Some(known.map_or(load, |known| known + LOAD_ALPHA * (load - known)));
        state.loads += 1;
    }
    load.is_some()
}

/// The weight of a sample of so many reference lengths.
fn weight(lengths: f64) -> f64 {
    lengths.clamp(0.02, 4.0)
}
