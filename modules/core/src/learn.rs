//! Learned speeds of one model on one endpoint, in milliseconds per token, from attempts that completed. What the
//! engine tells leads; else the times that we saw, only of requests that were alone on the endpoint (batch 1).
//!
//! Each figure is a moving average over work: a request of `n` reference lengths moves it by `1 - 0.9^n`, early ones
//! by at least their share of what was seen. Until [`FREE_AFTER`] samples it stays within [`CLAMP`] times the prior.
//! A missing signal leaves its figure alone.

use crate::endpoint::Rates;
use crate::event::Usage;

/// Share by which one request of reference length moves a figure.
pub const ALPHA: f64 = 0.1;
/// Samples after which a figure may leave the prior's neighbourhood.
pub const FREE_AFTER: u64 = 5;
/// The prior's neighbourhood: a factor.
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
    pub(crate) stream: bool,
    /// Milliseconds to the first token.
    pub(crate) ttft_ms: Option<f64>,
    /// Milliseconds in all.
    pub(crate) e2e_ms: f64,
    /// Nobody else was on the endpoint all the while.
    pub(crate) alone: bool,
    /// The model had to be loaded first.
    pub(crate) cold: bool,
}

/// Learns. True if the attempt taught something.
pub(crate) fn learn(rates: &mut Rates, seen: &Seen<'_>) -> bool {
    let (prior, samples) = (Rates::default(), rates.samples);
    let prompt = f64::from(seen.usage.prompt_tokens.unwrap_or(seen.prompt_tokens));
    let fresh = (prompt - f64::from(seen.usage.cached_tokens.unwrap_or(0))).max(0.0);
    let output = f64::from(seen.usage.output_tokens.unwrap_or(0));

    let mut taught = learn_load(rates, seen, fresh);
    if fresh >= SHORTEST_PROMPT
        && let Some(prefill) = prefill_ms(seen)
    {
        let figure = &mut rates.prefill_ms_per_token;
        taught |= mix(figure, prefill / fresh, prior.prefill_ms_per_token, fresh / REFERENCE_PROMPT, samples);
    }
    if let Some(per_token) = decode_ms_per_token(rates, seen, fresh, output) {
        let figure = &mut rates.decode_ms_per_token;
        taught |= mix(figure, per_token, prior.decode_ms_per_token, output / REFERENCE_OUTPUT, samples);
    }
    taught |= mix(&mut rates.output_tokens, output, prior.output_tokens, 1.0, samples);
    rates.samples += u64::from(taught);
    taught
}

fn prefill_ms(seen: &Seen<'_>) -> Option<f64> {
    let told = seen.usage.prefill_ms.filter(|ms| *ms > 0.0);
    told.or_else(|| seen.ttft_ms.filter(|_| seen.alone && seen.stream && !seen.cold))
}

fn decode_ms_per_token(rates: &Rates, seen: &Seen<'_>, fresh: f64, output: f64) -> Option<f64> {
    if output < 2.0 {
        return None;
    }
    if let Some(told) = seen.usage.decode_ms.filter(|ms| *ms > 0.0) {
        return Some(told / output);
    }
    if !seen.alone {
        return None;
    }
    let per_token = match seen.ttft_ms {
        Some(ttft) if seen.stream => (seen.e2e_ms - ttft) / (output - 1.0),
        _ if seen.cold => return None,
        _ => (seen.e2e_ms - fresh * rates.prefill_ms_per_token) / output,
    };
    (per_token > 0.0).then_some(per_token)
}

/// Loads are rare: each one counts for more than a request does.
const LOAD_ALPHA: f64 = 0.3;

fn learn_load(rates: &mut Rates, seen: &Seen<'_>, fresh: f64) -> bool {
    let told = seen.usage.load_ms;
    let inferred = || {
        let ttft = seen.ttft_ms.filter(|_| seen.cold && seen.stream)?;
        Some(ttft - fresh * rates.prefill_ms_per_token)
    };
    let load = told.or_else(inferred).filter(|ms| ms.is_finite() && *ms > SHORTEST_LOAD_MS);
    if let Some(load) = load {
        rates.load_ms = Some(rates.load_ms.map_or(load, |known| known + LOAD_ALPHA * (load - known)));
    }
    load.is_some()
}

/// Moves `figure` towards `value` by the weight of the work behind it. False if the value is none.
fn mix(figure: &mut f64, value: f64, prior: f64, work: f64, samples: u64) -> bool {
    if !value.is_finite() || value <= 0.0 {
        return false;
    }
    let work = work.clamp(0.02, 4.0);
    let steady = 1.0 - (1.0 - ALPHA).powf(work);
    let early = work / (samples as f64 + work);
    *figure += steady.max(early) * (value - *figure);
    if samples < FREE_AFTER {
        *figure = figure.clamp(prior / CLAMP, prior * CLAMP);
    }
    true
}
