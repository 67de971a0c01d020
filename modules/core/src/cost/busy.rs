//! What our jobs on an endpoint amount to, as prices need it: by model on an engine with slots, in tokens on one that
//! batches. Times are milliseconds.
//!
//! It is found once and used until the endpoint changes, but for [`MOMENT`] at the most: a price is as of the moment's
//! beginning, so that it does not depend on who asked first. No jobs: nothing remains, the pace is what was seen last.

use std::time::Duration;

use crate::endpoint::{Endpoint, EngineClass, Job, ModelState, Rates};
use crate::learn::batching::GROWN;
use crate::learn::line::CROWDING;
use crate::time::Time;

use super::cold::loads_begun_ms;
use super::pace;
use super::slots::{remaining, slots, speed_up};

/// How long prices use the same view of jobs that only grow older.
pub(crate) const MOMENT: Duration = Duration::from_millis(10);

/// One model's jobs on an engine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Runner {
    /// The place of its first job among the endpoint's.
    pub(super) first: usize,
    /// The place of its model among the endpoint's, if anything is known of it.
    pub(super) model: Option<usize>,
    /// Our jobs.
    pub(super) jobs: u32,
    /// What remains of their work, at batch 1.
    pub(super) remaining_ms: f64,
    /// What each further job adds to the time of all.
    pub(super) crowding: f64,
}

/// Our jobs on an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Busy {
    /// As of when; `None` = not found yet.
    at: Option<Time>,
    /// In order of their first job.
    pub(super) runners: Vec<Runner>,
    /// What remains of all of them, in milliseconds at batch 1.
    pub(super) remaining_ms: f64,
    /// The factor on all learned times.
    pub(super) pace: f64,
    /// Jobs that one runner works on at once.
    pub(super) slots: f64,
    /// What is left of all loads that go on.
    pub(super) loads_begun_ms: f64,
    /// Prompt tokens that are not prefilled yet, less what is cached of them.
    pub(super) queued: f64,
    /// Prompt tokens in all.
    pub(super) prompts: f64,
    /// Jobs whose prompt is prefilled.
    pub(super) answering: u32,
    /// The jobs' whole work as estimated at their start.
    pub(super) work_ms: f64,
}

impl Default for Busy {
    fn default() -> Self {
        Busy {
            at: None,
            runners: Vec::new(),
            remaining_ms: 0.0,
            pace: 1.0,
            slots: 1.0,
            loads_begun_ms: 0.0,
            queued: 0.0,
            prompts: 0.0,
            answering: 0,
            work_ms: 0.0,
        }
    }
}

/// The beginning of the moment.
fn moment(now: Time) -> Time {
    let length = MOMENT.as_micros() as u64;
    Time(now.0 - now.0 % length)
}

impl Busy {
    /// That of an endpoint.
    pub(super) fn of(endpoint: &Endpoint, now: Time) -> Busy {
        let mut busy = Busy::default();
        busy.refresh(endpoint, now);
        busy
    }

    /// True if nothing is to be found anew.
    pub(super) fn is_fresh(&self, now: Time) -> bool {
        self.at == Some(moment(now))
    }

    /// The endpoint changed.
    pub(crate) fn forget(&mut self) {
        self.at = None;
    }

    /// Context tokens, prompts that are still to be prefilled included; `output`: expected tokens of an answer.
    pub(super) fn context(&self, output: f64) -> f64 {
        self.prompts + f64::from(self.answering) * output * GROWN
    }

    /// Looks at all of it again. Allocates only where more models are at work than ever before.
    pub(super) fn refresh(&mut self, endpoint: &Endpoint, now: Time) {
        let now = moment(now);
        self.at = None;
        (self.queued, self.prompts, self.answering, self.work_ms) = (0.0, 0.0, 0, 0.0);
        self.runners.clear();
        self.slots = slots(endpoint);
        self.loads_begun_ms = loads_begun_ms(endpoint, now);
        match endpoint.class {
            EngineClass::Slots => self.by_model(endpoint, now),
            EngineClass::Batching => self.in_tokens(endpoint, now),
        }
        self.at = Some(now);
    }

    fn by_model(&mut self, endpoint: &Endpoint, now: Time) {
        for (place, job) in endpoint.jobs.iter().enumerate() {
            let is_its = |runner: &&mut Runner| endpoint.jobs[runner.first].local == job.local;
            if let Some(runner) = self.runners.iter_mut().find(is_its) {
                runner.jobs += 1;
                continue;
            }
            let model = job.local.as_deref().and_then(|local| endpoint.models.get_index_of(local));
            let mut runner = Runner { first: place, model, jobs: 1, remaining_ms: 0.0, crowding: CROWDING };
            runner.crowding = runner.state(endpoint).map_or(CROWDING, |state| state.rates.crowding);
            self.runners.push(runner);
        }
        self.pace = pace::of(endpoint, self, now);
        let models = self.runners.len() as f64;
        for runner in &mut self.runners {
            let (slowdown, rates) = (runner.slowdown(self.slots, models), runner.rates(endpoint));
            let left = |(place, job): (usize, &Job)| match (place as f64) < self.slots {
                true => remaining(endpoint, job, &rates, slowdown, self.pace, now),
                false => job.work_ms,
            };
            let jobs = runner.jobs(endpoint).enumerate().map(left);
            runner.remaining_ms = self.pace * jobs.sum::<f64>();
        }
        self.remaining_ms = self.runners.iter().map(|runner| runner.remaining_ms).sum();
    }

    fn in_tokens(&mut self, endpoint: &Endpoint, now: Time) {
        for job in &endpoint.jobs {
            let fresh = job.fresh_tokens();
            self.prompts += f64::from(job.request.prompt_tokens);
            self.work_ms += job.work_ms;
            if is_queued(endpoint, job, fresh, now) {
                self.queued += fresh;
            } else {
                self.answering += 1;
            }
        }
    }
}

/// True if its prompt has not been prefilled yet. An answer in one piece shows no first token: its prompt counts for twice
/// its own time.
fn is_queued(endpoint: &Endpoint, job: &Job, fresh: f64, now: Time) -> bool {
    let prefill_ms = || {
        let state = job.local.as_ref().and_then(|local| endpoint.models.get(local));
        fresh * state.map(|state| state.iteration).unwrap_or_default().per_prefill_ms()
    };
    job.first_token.is_none() && (job.request.stream || now.millis_since(job.started) <= 2.0 * prefill_ms())
}

impl Runner {
    /// What is known of the model.
    pub(super) fn state<'a>(&self, endpoint: &'a Endpoint) -> Option<&'a ModelState> {
        Some(endpoint.models.get_index(self.model?)?.1)
    }

    /// Learned speeds, else the priors.
    pub(super) fn rates(&self, endpoint: &Endpoint) -> Rates {
        self.state(endpoint).map(|state| state.rates).unwrap_or_default()
    }

    /// True if it is that of this model: the place among the endpoint's, else the engine's name.
    pub(super) fn is_of(&self, endpoint: &Endpoint, place: Option<usize>, local: Option<&str>) -> bool {
        match (self.model, place) {
            (Some(own), Some(asked)) => own == asked,
            (None, None) => endpoint.jobs.get(self.first).is_some_and(|job| job.local.as_deref() == local),
            _ => false,
        }
    }

    /// Its jobs.
    pub(super) fn jobs<'a>(&self, endpoint: &'a Endpoint) -> impl Iterator<Item = &'a Job> + use<'a> {
        let local = endpoint.jobs.get(self.first).and_then(|job| job.local.as_deref());
        endpoint.jobs[self.first..].iter().filter(move |job| job.local.as_deref() == local)
    }

    /// How much longer than alone its jobs take, with `models` runners at work and `slots` each.
    pub(super) fn slowdown(&self, slots: f64, models: f64) -> f64 {
        (1.0 + self.crowding * (f64::from(self.jobs).min(slots) - 1.0)) * models
    }

    /// Until all its jobs are done, with `models` runners at work and `slots` each.
    pub(super) fn drain_ms(&self, models: usize, slots: f64) -> f64 {
        self.remaining_ms * models as f64 / speed_up(f64::from(self.jobs).min(slots), self.crowding)
    }
}
