//! Marginal cost on an engine with continuous batching (vLLM, SGLang): what this request adds to everybody's time.
//!
//! With `B` requests on the engine, `Pq` prompt tokens not yet prefilled, `K` tokens of context, `new` tokens of the
//! prompt that no cache holds, `o` expected output tokens, and the learned times `a`, `b`, `c`, `d` of an iteration
//! ([`Iteration`]):
//!
//! ```text
//! wait    = w Pq c + held
//! prefill = w prompt c + prompt B c                  its own first token, and the delay of the B others
//! cached  = - (w + B) matched c                      the part of it that the prefix cache saves
//! decode  = o (a + 2 b B + d (K + prompt B))         its answer, slowed by the others, and what it adds to theirs
//! evict   = 10 c (kept - matched)                    the room that a further copy takes in a prefix cache
//! ```
//!
//! That is the derivative of the sum of all times, but for `w` ([`FIRST_TOKEN`]), which weighs the first token against the
//! rest: with 1, long prompts are driven apart and the tail suffers near saturation; 5 to 10 are safe. `held`: while the
//! engine is full, the time until the requests before this one have left. The other rule ([`Rule::Product`]) is the prompt
//! tokens to be prefilled times the requests: `(Pq + new) (B + 1) c`. `evict`: what is computed here drives as much out of the
//! cache, and some of that ([`ROOM`]) is computed again later; `kept` are the prompt's tokens that a cache can keep, as a
//! strategy that keeps account of caches says.
//!
//! Missing: no sample = own counts only; others' prompts count as prefilled; before anything is learned `a` to `d` are
//! priors; nothing known of a cache = nothing matched.

use super::{Known, Price, Reserved, output_tokens, work_at};

/// Weight of the time to the first token.
pub const FIRST_TOKEN: f64 = 5.0;
/// Weight of a token that is put into a prefix cache: the part of what leaves for it that is wanted again (a third) times
/// what computing a token weighs in a batch of some 25.
const ROOM: f64 = 10.0;

/// How the parts are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The sum above.
    #[default]
    Marginal,
    /// Prompt tokens to be prefilled times requests.
    Product,
}

/// How a batching engine is priced, and what the asking strategy knows beyond the core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch {
    /// The rule.
    pub rule: Rule,
    /// Weight of the time to the first token, at least 0.
    pub first_token: f64,
    /// Tokens of this prompt that the engine's prefix cache holds.
    pub matched: f64,
    /// Tokens of this prompt that such a cache can keep; 0 = the asking strategy keeps no account of caches.
    pub kept: f64,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { rule: Rule::Marginal, first_token: FIRST_TOKEN, matched: 0.0, kept: 0.0 }
    }
}

/// Wait, prefill, cached, decode and evict.
pub(super) fn price(known: &Known<'_>, reserved: Reserved, batch: &Batch) -> Price {
    let (endpoint, request, now) = (known.endpoint, known.request, known.now);
    let (rates, [a, b, c, d]) = (&known.card.rates, known.card.iteration);
    let others = endpoint.others(now);
    let requests = f64::from(endpoint.in_flight()) + others + reserved.count as f64;
    let busy = &*known.busy;
    let context = busy.context(rates.output_tokens) * (1.0 + others / f64::from(endpoint.in_flight().max(1)));
    let prompt = f64::from(request.prompt_tokens);
    let matched = batch.matched.min(prompt);
    let answer = output_tokens(rates, request);
    let evict = ROOM * c * (batch.kept.min(prompt) - matched).max(0.0);
    let held = held_ms(known, requests, reserved);
    let (factor, wait, decode) = match batch.rule {
        Rule::Product => (requests + 1.0, busy.queued * (requests + 1.0), 0.0),
        Rule::Marginal => {
            let slower = 2.0 * b * requests + d * (context + prompt * requests);
            (batch.first_token + requests, batch.first_token * busy.queued, answer * (a + slower))
        }
    };
    Price {
        wait: wait * c + held,
        prefill: factor * prompt * c,
        cached: -factor * matched * c,
        decode,
        evict,
        ..Price::default()
    }
}

/// Until a full engine lets one more in: of a batch of equal jobs one leaves every `work / batch`.
fn held_ms(known: &Known<'_>, batch: f64, reserved: Reserved) -> f64 {
    let (endpoint, request) = (known.endpoint, known.request);
    if request.uncapped {
        return 0.0;
    }
    let mine = f64::from(endpoint.in_flight()) + reserved.count as f64;
    let ahead = match known.cap() {
        Some(cap) if mine >= f64::from(cap) => mine - f64::from(cap) + 1.0,
        None if !known.is_free() => {
            let waiting = endpoint.sample.as_ref().and_then(|sample| sample.waiting).unwrap_or(0);
            f64::from(waiting) + reserved.count as f64 + 1.0
        }
        _ => return 0.0,
    };
    let mean = match endpoint.in_flight() {
        0 => work_at(&known.card.rates, request).total_ms(),
        jobs => known.busy.work_ms / f64::from(jobs),
    };
    mean * (1.0 + GROWTH * batch) * ahead / batch.max(1.0)
}

/// What one more sequence of about a thousand tokens adds to a job's time, as a share of it.
const GROWTH: f64 = 0.02;
