//! How much longer than learned everything takes on an endpoint just now.
//!
//! The larger of two: what requests that ended showed ([`crate::learn::pace`]), and what those that run show. Answers vary
//! in length: they are judged together. A prompt's length is known, but it may wait behind other proxies' requests:
//! without a token after [`LATE`] times its work the engine does not answer. Both compare the work that a job would have
//! got in its company with the work that it needs. Who became slow is looked at again after [`LOOK_AGAIN_MS`]. Where no job
//! is overdue and nothing was seen: 1.

use crate::endpoint::Endpoint;
use crate::learn::pace::{SHORTEST_MS, overdue};
use crate::time::Time;

use super::busy::Busy;
use super::work_of;

/// A prompt without a token after this many times its work is late.
const LATE: f64 = 10.0;
/// Who became slow and was asked nothing for so long is priced as if it had recovered: somebody has to look.
const LOOK_AGAIN_MS: f64 = 30_000.0;
/// What answers that run show counts from this factor on.
const SHOWN: f64 = 1.5;

/// The factor on all learned times of an engine with slots; a batching engine's iterations are another matter.
pub(super) fn of(endpoint: &Endpoint, busy: &Busy, now: Time) -> f64 {
    let seen = endpoint.pace.now(now);
    if endpoint.jobs.is_empty() {
        let asked_lately = now.millis_since(endpoint.last_pick) < LOOK_AGAIN_MS;
        return endpoint.pace.recovered().filter(|_| !asked_lately).map_or(seen, |factor| seen.min(factor));
    }
    let (slots, models) = (busy.slots, busy.runners.len() as f64);
    let (mut done, mut needed, mut answers, mut late) = (0.0, 0.0, 0, 0.0_f64);
    for runner in &busy.runners {
        let (slowdown, rates) = (runner.slowdown(slots, models), runner.rates(endpoint));
        let loads = runner.state(endpoint).is_some_and(|state| state.loading);
        for (place, job) in runner.jobs(endpoint).enumerate() {
            if (place as f64 >= slots && job.first_token.is_none()) || job.cold || loads {
                continue;
            }
            let (own, got) = (work_of(&rates, job), job.done_ms(slowdown, 0.0, now));
            if job.request.stream && job.first_token.is_none() {
                late = late.max(if own.prefill_ms > SHORTEST_MS { got / own.prefill_ms / LATE } else { 0.0 });
                continue;
            }
            done += got;
            needed += if job.first_token.is_some() { own.decode_ms } else { own.total_ms() };
            answers += 1;
        }
    }
    let shown = overdue(done, needed, answers);
    seen.max(if shown > SHOWN { shown } else { 0.0 }).max(if late > 1.0 { late } else { 0.0 })
}
