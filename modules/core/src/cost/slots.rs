//! Expected completion time on an engine with slots (Ollama, llama.cpp, LM Studio).
//!
//! A runner is one model of the engine: `q` jobs of ours (plus what others put there), `P` slots, FIFO behind them.
//! `k` jobs of one runner progress at `g(k) = k / (1 + beta (k - 1))` of one job's speed, `beta` the learned crowding; `A`
//! runners that work at once share the GPU evenly. All times are stretched by the endpoint's pace: how it does just now
//! ([`super::pace`]).
//!
//! ```text
//! wait    = q < P ? 0 : remaining(runner) * A / g(P) * (q - P + 1) / q
//! service = work * (1 + beta * (min(q + 1, P) - 1)) * A
//! ```
//!
//! If our own cap holds the request back (not one that knows no caps), the wait is at least that until a slot of the cap
//! frees, over all runners and the loads that go on (for a request that must load itself those are in its `load` term).
//! `remaining` of a job is its estimated work less what it got since it began, at least a quarter of either: the estimate
//! is a mean, a job that outlives it is long, and one that hangs must not look as if it ended soon. Missing: slots neither
//! declared nor reported = as many as were seen to answer at once, at least 1 (they only price, they hold nobody back);
//! others' jobs count as half done.

use crate::endpoint::{Endpoint, Job, Rates};
use crate::time::Time;

use super::{Known, Price, Reserved, work_at, work_of};

/// The least share of a job's work, estimated or done, that is taken to remain.
const LEAST_REMAINING: f64 = 0.25;
/// The share of others' jobs that is taken to remain.
const OTHERS_REMAINING: f64 = 0.5;

/// Wait, prefill and decode.
pub(super) fn price(known: &Known<'_>, reserved: Reserved) -> Price {
    let (endpoint, request, now) = (known.endpoint, known.request, known.now);
    let (own, crowding) = (work_at(&known.card.rates, request), known.card.rates.crowding);
    let busy = &*known.busy;
    let (slots, pace, mine) = (busy.slots, busy.pace, known.runner());
    let cap = known.cap().filter(|_| !request.uncapped).map(f64::from);
    let models = (busy.runners.len() + usize::from(mine.is_none())) as f64;

    let others = endpoint.others(now);
    let promised = reserved.count as f64;
    let queued = mine.map_or(0.0, |runner| f64::from(runner.jobs)) + others + promised;
    let beyond = others * own.total_ms() * OTHERS_REMAINING + reserved.ms;
    let remaining = mine.map_or(0.0, |runner| runner.remaining_ms) + beyond * pace;
    let in_engine = match queued < slots {
        true => 0.0,
        false => remaining * models / speed_up(slots, crowding) * (queued - slots + 1.0) / queued,
    };
    let loads = || if known.is_warm() { busy.loads_begun_ms } else { 0.0 };
    let ahead = f64::from(endpoint.in_flight()) + promised;
    let at_cap = match cap.filter(|cap| ahead >= *cap && ahead > 0.0) {
        Some(cap) => {
            let remaining = busy.remaining_ms + reserved.ms * pace;
            let jobs = ahead.min(cap.max(1.0)) / busy.runners.len().max(1) as f64;
            (remaining / speed_up(jobs.min(slots), crowding) + loads()) * (ahead - cap + 1.0) / ahead
        }
        None => 0.0,
    };

    let side_by_side = cap.map_or(models, |cap| models.min(cap.max(1.0)));
    let slowdown = (1.0 + crowding * ((queued + 1.0).min(slots) - 1.0)) * side_by_side * pace;
    Price {
        wait: in_engine.max(at_cap),
        prefill: own.prefill_ms * slowdown,
        decode: own.decode_ms * slowdown,
        ..Price::default()
    }
}

/// How many jobs one runner works on at once: declared, else reported, else the most that were seen to answer at once.
pub(crate) fn slots(endpoint: &Endpoint) -> f64 {
    let reported = || endpoint.sample.as_ref().and_then(|sample| sample.slots);
    f64::from(endpoint.spec.slots.or_else(reported).unwrap_or(endpoint.seen_slots).max(1))
}

/// `g(k)`: total speed of `k` jobs of one runner; 1 for one.
pub(super) fn speed_up(jobs: f64, crowding: f64) -> f64 {
    let jobs = jobs.max(1.0);
    jobs / (1.0 + crowding * (jobs - 1.0))
}

/// What remains of a job that has a slot, at the learned speed. The first token of a stream tells exactly where the prompt
/// ended; until then (and for answers in one piece) the time since the start is taken, less the load that it paid for.
pub(super) fn remaining(endpoint: &Endpoint, job: &Job, rates: &Rates, slowdown: f64, pace: f64, now: Time) -> f64 {
    let load = job.local.as_deref().filter(|_| job.cold).map_or(0.0, |local| super::load_ms(endpoint, local));
    let done = job.done_ms(slowdown, load, now) / pace;
    let own = work_of(rates, job);
    match (job.first_token, job.request.stream) {
        _ if job.request.metadata_only => 0.0,
        (Some(_), _) => rest(own.decode_ms, done),
        (None, true) => rest(own.prefill_ms, done) + own.decode_ms,
        (None, false) => rest(own.total_ms(), done),
    }
}

/// What is left of the estimated work after `done`.
fn rest(work: f64, done: f64) -> f64 {
    (work - done).max(LEAST_REMAINING * work.max(done))
}
