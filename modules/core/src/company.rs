//! In what company each job of an endpoint works, and how far it has come: what its time is compared with.
//!
//! A job works if its first token came, or if it is among the first `P` of its runner (unknown slots: 1) and its model
//! is not being loaded. Jobs of one runner (one model of a slot engine; all jobs of a batching engine) share it: with `k`
//! of them at work and `A` runners at work, each goes at `1 / (A (1 + crowding (k - 1)))` of its speed alone. Before any
//! change of the jobs the accounts are brought up to that moment, once per event. Times are milliseconds.

use crate::cost::slots;
use crate::endpoint::{Endpoint, EngineClass, Job};
use crate::time::Time;

/// What a job went through in one phase (prompt, then answer).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Company {
    /// Up to when it is counted; [`Time::ZERO`] = it never was.
    pub until: Time,
    /// Time at work.
    pub ms: f64,
    /// Integral of the jobs at work in its runner, itself included, over that time.
    pub jobs_ms: f64,
    /// Integral of the runners at work.
    pub runners_ms: f64,
    /// Work done: what it would have taken alone.
    pub done_ms: f64,
}

impl Company {
    /// The other jobs of its runner, on average.
    pub fn others(&self) -> f64 {
        if self.ms > 0.0 { (self.jobs_ms / self.ms - 1.0).max(0.0) } else { 0.0 }
    }

    /// Both phases as one.
    pub(crate) fn and(self, other: Company) -> Company {
        Company {
            until: self.until.max(other.until),
            ms: self.ms + other.ms,
            jobs_ms: self.jobs_ms + other.jobs_ms,
            runners_ms: self.runners_ms + other.runners_ms,
            done_ms: self.done_ms + other.done_ms,
        }
    }

    /// Runners that shared the engine, on average, itself included.
    pub fn runners(&self) -> f64 {
        if self.ms > 0.0 { (self.runners_ms / self.ms).max(1.0) } else { 1.0 }
    }
}

/// Jobs at work in one runner.
struct Crew {
    /// A job of the runner: the place in the endpoint's list.
    first: usize,
    /// Jobs seen so far.
    seen: u32,
    /// Those at work.
    working: u32,
    crowding: f64,
}

impl Endpoint {
    /// Brings every job's account up to `now`. Call before jobs come, go or show a token.
    pub(crate) fn account(&mut self, now: Time) {
        let since = self.accounted;
        self.accounted = since.max(now);
        let ms = now.millis_since(since);
        if ms <= 0.0 || self.jobs.is_empty() {
            return;
        }
        let slots = slots(self) as u32;
        let mut crews: Vec<Crew> = Vec::new();
        let mut members: Vec<Option<usize>> = Vec::with_capacity(self.jobs.len());
        for (place, job) in self.jobs.iter().enumerate() {
            let crew = self.crew_of(&mut crews, place);
            let queued = self.class == EngineClass::Slots && crews[crew].seen >= slots;
            let loads = || job.local.as_ref().and_then(|local| self.models.get(local)).is_some_and(|it| it.loading);
            let works = job.first_token.is_some() || !(queued || loads());
            crews[crew].seen += 1;
            crews[crew].working += u32::from(works);
            members.push(works.then_some(crew));
        }
        let runners = crews.iter().filter(|crew| crew.working > 0).count() as f64;
        for (job, crew) in self.jobs.iter_mut().zip(members) {
            job.company.until = now;
            let Some(crew) = crew.map(|crew| &crews[crew]) else { continue };
            let ms = ms.min(now.millis_since(job.started));
            let others = f64::from(crew.working) - 1.0;
            job.company.ms += ms;
            job.company.jobs_ms += ms * (others + 1.0);
            job.company.runners_ms += ms * runners;
            job.company.done_ms += ms / (runners * (1.0 + crew.crowding * others));
        }
    }

    /// The crew of the job at `place`; made if it is the first of its runner.
    fn crew_of(&self, crews: &mut Vec<Crew>, place: usize) -> usize {
        let local = &self.jobs[place].local;
        let shared = self.class == EngineClass::Batching;
        let known = crews.iter().position(|crew| shared || self.jobs[crew.first].local == *local);
        known.unwrap_or_else(|| {
            let state = local.as_ref().and_then(|local| self.models.get(local));
            let crowding = state.map(|state| state.rates).unwrap_or_default().crowding;
            crews.push(Crew { first: place, seen: 0, working: 0, crowding });
            crews.len() - 1
        })
    }
}

impl Endpoint {
    /// Notes how many jobs of a runner answer at once: streams only, others show no first token.
    pub(crate) fn see_slots(&mut self, local: &str) {
        let answers = |job: &&Job| job.first_token.is_some() && job.request.stream;
        let at_once = self.jobs.iter().filter(answers).filter(|job| job.local.as_deref() == Some(local)).count();
        self.seen_slots = self.seen_slots.max(at_once as u32);
    }
}

impl Job {
    /// Prompt tokens that the engine has to compute: the last one is never cached.
    pub fn fresh_tokens(&self) -> f64 {
        f64::from(self.request.prompt_tokens.saturating_sub(self.cached).max(1))
    }

    /// The answer begins: its account starts anew, the prompt's is kept.
    pub(crate) fn answers(&mut self, now: Time) {
        self.prompt_company = Some(std::mem::take(&mut self.company));
        self.company.until = now;
        self.first_token = Some(now);
    }

    /// Work done in this phase by `now`, in milliseconds alone, going at `1 / slowdown` since the account was last
    /// brought up. Where none was kept: since the phase began, less `head` milliseconds.
    pub(crate) fn done_ms(&self, slowdown: f64, head: f64, now: Time) -> f64 {
        let began = self.first_token.unwrap_or(self.started);
        match self.company.until > began {
            true => self.company.done_ms + now.millis_since(self.company.until) / slowdown,
            false => (now.millis_since(began) - head).max(0.0) / slowdown,
        }
    }
}
