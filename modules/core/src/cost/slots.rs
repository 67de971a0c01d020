//! Expected completion time on an engine with slots (Ollama, llama.cpp, LM Studio).
//!
//! A runner is one model of the engine: `q` jobs of ours (plus what others put there), `P` slots, FIFO behind them.
//! `k` jobs of one runner progress at `g(k) = k / (1 + beta (k - 1))` of one job's speed; `A` runners that work at once
//! share the GPU evenly.
//!
//! ```text
//! wait    = q < P ? 0 : remaining(runner) * A / g(P) * (q - P + 1) / q
//! service = work * (1 + beta * (min(q + 1, P) - 1)) * A
//! ```
//!
//! If our own cap holds the request back (not one that knows no caps), the wait is at least that until a slot of the cap frees, over all runners and
//! the loads that go on (for a request that must load itself those are in its `load` term).
//! `remaining` of a job is its estimated work less what it got since it began, at least a quarter of either: the estimate
//! is a mean, a job that outlives it is long, and one that hangs must not look as if it ended soon. Missing: slots unknown = 1; others' jobs count as half done.

use crate::endpoint::{Endpoint, Job};
use crate::facts::RequestFacts;
use crate::time::Time;

use super::cold::{is_warm, loads_begun_ms};
use super::{Price, Reserved, local, work};

/// `beta`: what each further job of a batch adds to the time of all.
const CROWDING: f64 = 0.25;
/// The least share of a job's work, estimated or done, that is taken to remain.
const LEAST_REMAINING: f64 = 0.25;
/// The share of others' jobs that is taken to remain.
const OTHERS_REMAINING: f64 = 0.5;

/// One model's jobs on an engine.
pub(super) struct Runner<'a> {
    /// The engine's name of the model.
    pub(super) local: Option<&'a str>,
    /// Our jobs.
    jobs: u32,
    /// What remains of their work, milliseconds at batch 1.
    remaining_ms: f64,
}

impl Runner<'_> {
    /// Until all its jobs are done, in milliseconds, with `models` runners at work and `slots` each.
    pub(super) fn drain_ms(&self, models: usize, slots: f64) -> f64 {
        self.remaining_ms * models as f64 / speed_up(f64::from(self.jobs).min(slots))
    }
}

/// Wait, prefill and decode.
pub(super) fn price(endpoint: &Endpoint, request: &RequestFacts, now: Time, reserved: Reserved) -> Price {
    let own = work(endpoint, request);
    let slots = slots(endpoint);
    let runners = runners(endpoint, now);
    let model = local(endpoint, request);
    let mine = runners.iter().find(|runner| runner.local == model);
    let models = (runners.len() + usize::from(mine.is_none())) as f64;

    let others = endpoint.others(now);
    let promised = reserved.count as f64;
    let queued = mine.map_or(0.0, |runner| f64::from(runner.jobs)) + others + promised;
    let remaining =
        mine.map_or(0.0, |runner| runner.remaining_ms) + others * own.total_ms() * OTHERS_REMAINING + reserved.ms;
    let in_engine = match queued < slots {
        true => 0.0,
        false => remaining * models / speed_up(slots) * (queued - slots + 1.0) / queued,
    };
    let loads = if is_warm(endpoint, request) { loads_begun_ms(endpoint, now) } else { 0.0 };
    let at_cap = match request.uncapped {
        true => 0.0,
        false => cap_wait(endpoint, &runners, slots, reserved, loads, now),
    };

    let cap = endpoint.cap(now).filter(|_| !request.uncapped);
    let side_by_side = cap.map_or(models, |cap| models.min(f64::from(cap.max(1))));
    let slowdown = (1.0 + CROWDING * ((queued + 1.0).min(slots) - 1.0)) * side_by_side;
    Price {
        wait: in_engine.max(at_cap),
        prefill: own.prefill_ms * slowdown,
        decode: own.decode_ms * slowdown,
        ..Price::default()
    }
}

/// Until our own cap lets one more request in, counting those promised a place before and the loads that hold up jobs:
/// milliseconds.
fn cap_wait(endpoint: &Endpoint, runners: &[Runner<'_>], slots: f64, reserved: Reserved, loads: f64, now: Time) -> f64 {
    let ahead = f64::from(endpoint.in_flight()) + reserved.count as f64;
    let Some(cap) = endpoint.cap(now).map(f64::from).filter(|cap| ahead >= *cap && ahead > 0.0) else { return 0.0 };
    let remaining = runners.iter().map(|runner| runner.remaining_ms).sum::<f64>() + reserved.ms;
    let busy = (ahead.min(cap.max(1.0)) / runners.len().max(1) as f64).clamp(1.0, slots);
    (remaining / speed_up(busy) + loads) * (ahead - cap + 1.0) / ahead
}

/// How many jobs one runner works on at once.
pub(super) fn slots(endpoint: &Endpoint) -> f64 {
    let reported = || endpoint.sample.as_ref().and_then(|sample| sample.slots);
    f64::from(endpoint.spec.slots.or_else(reported).unwrap_or(1).max(1))
}

/// `g(k)`: total speed of `k` jobs of one runner; 1 for one.
fn speed_up(jobs: f64) -> f64 {
    let jobs = jobs.max(1.0);
    jobs / (1.0 + CROWDING * (jobs - 1.0))
}

/// Our jobs by model, in order of their first job.
pub(super) fn runners(endpoint: &Endpoint, now: Time) -> Vec<Runner<'_>> {
    let mut runners: Vec<Runner<'_>> = Vec::new();
    for job in &endpoint.jobs {
        let local = job.local.as_deref();
        match runners.iter_mut().find(|runner| runner.local == local) {
            Some(runner) => runner.jobs += 1,
            None => runners.push(Runner { local, jobs: 1, remaining_ms: 0.0 }),
        }
    }
    let (slots, models) = (slots(endpoint), runners.len() as f64);
    for runner in &mut runners {
        let slowdown = (1.0 + CROWDING * (f64::from(runner.jobs).min(slots) - 1.0)) * models;
        let jobs = endpoint.jobs.iter().filter(|job| job.local.as_deref() == runner.local);
        runner.remaining_ms = jobs
            .enumerate()
            .map(|(place, job)| match (place as f64) < slots {
                true => remaining(endpoint, job, slowdown, now),
                false => job.work_ms,
            })
            .sum();
    }
    runners
}

/// What remains of a job that has a slot. The first token of a stream tells exactly where the prompt ended; until then
/// (and for answers in one piece) the time since the start is taken, less the load that it paid for.
fn remaining(endpoint: &Endpoint, job: &Job, slowdown: f64, now: Time) -> f64 {
    let decode = work(endpoint, &job.request).decode_ms.min(job.work_ms);
    if let Some(first) = job.first_token {
        return rest(decode, now.millis_since(first) / slowdown);
    }
    let load = job.local.as_deref().filter(|_| job.cold).map_or(0.0, |local| super::load_ms(endpoint, local));
    let rest = rest(job.work_ms, (now.millis_since(job.started) - load).max(0.0) / slowdown);
    if job.request.stream { rest.max(decode) } else { rest }
}

/// What is left of the estimated work after `done`.
fn rest(work: f64, done: f64) -> f64 {
    (work - done).max(LEAST_REMAINING * work.max(done))
}
