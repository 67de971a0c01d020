//! Marginal cost on an engine with continuous batching (vLLM, SGLang): what this request adds to everybody's time.
//!
//! With `B` requests on the engine, `Pq` prompt tokens not yet prefilled, `new` tokens of the prompt, `o` expected
//! output tokens, `c` and `a` the learned milliseconds per prompt and output token:
//!
//! ```text
//! wait    = 3 Pq c + held
//! prefill = 3 new c + new B c          its own first token, and the delay of the B others
//! decode  = o a (1 + 0.02 B)           an iteration gets longer with each sequence and its context
//! ```
//!
//! The factor 3 weighs the first token against the rest: with 1, long prompts are driven apart and the tail suffers near
//! saturation. 0.02 is what one more sequence with a context of about a thousand tokens adds to an iteration, twice (its
//! own answer and the others'), in published fits of 8B to 70B engines. `held`: while the engine is full, the time until
//! the requests before this one have left. Missing: no sample = own counts only; others' prompts count as prefilled.

use crate::endpoint::{Endpoint, Job};
use crate::facts::RequestFacts;
use crate::time::Time;

use super::{Price, Reserved, output_tokens, work, work_ms};

/// Weight of the time to the first token.
const FIRST_TOKEN: f64 = 3.0;
/// What one more sequence adds to everybody's decoding, as a share of it.
const GROWTH: f64 = 0.02;

/// Wait, prefill and decode.
pub(super) fn price(endpoint: &Endpoint, request: &RequestFacts, now: Time, reserved: Reserved) -> Price {
    let rates = endpoint.rates(request.model.as_deref());
    let batch = f64::from(endpoint.in_flight()) + endpoint.others(now) + reserved.count as f64;
    let queued_prompts: f64 = endpoint.jobs.iter().map(|job| queued_prompt_ms(endpoint, job, now)).sum();
    let prefill = f64::from(request.prompt_tokens) * rates.prefill_ms_per_token;
    let decode = output_tokens(&rates, request) * rates.decode_ms_per_token;
    Price {
        wait: FIRST_TOKEN * queued_prompts + held_ms(endpoint, request, batch, now, reserved),
        prefill: (FIRST_TOKEN + batch) * prefill,
        decode: decode * (1.0 + GROWTH * batch),
        ..Price::default()
    }
}

/// The prompt of a job that has not been prefilled yet, in milliseconds. An answer in one piece shows no first token: its
/// prompt counts for twice its own time.
fn queued_prompt_ms(endpoint: &Endpoint, job: &Job, now: Time) -> f64 {
    let prompt = work(endpoint, &job.request).prefill_ms;
    let done = job.first_token.is_some() || (!job.request.stream && now.millis_since(job.started) > 2.0 * prompt);
    if done { 0.0 } else { prompt }
}

/// Until a full engine lets one more in: of a batch of equal jobs one leaves every `work / batch`.
fn held_ms(endpoint: &Endpoint, request: &RequestFacts, batch: f64, now: Time, reserved: Reserved) -> f64 {
    if request.uncapped {
        return 0.0;
    }
    let mine = f64::from(endpoint.in_flight()) + reserved.count as f64;
    let ahead = match endpoint.cap(now) {
        Some(cap) if mine >= f64::from(cap) => mine - f64::from(cap) + 1.0,
        None if !endpoint.is_free(now) => {
            let waiting = endpoint.sample.as_ref().and_then(|sample| sample.waiting).unwrap_or(0);
            f64::from(waiting) + reserved.count as f64 + 1.0
        }
        _ => return 0.0,
    };
    let jobs = endpoint.jobs.len();
    let mean = match jobs {
        0 => work_ms(endpoint, request),
        _ => endpoint.jobs.iter().map(|job| job.work_ms).sum::<f64>() / jobs as f64,
    };
    mean * (1.0 + GROWTH * batch) * ahead / batch.max(1.0)
}
