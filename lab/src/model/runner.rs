//! One resident model of an Ollama-like engine: its slots, its FIFO and the work in the slots.
//!
//! Work of a job = prompt/prefill + output/decode, in seconds at speed 1; token i is out when prefill + i/decode is
//! done. The jobs of one runner share g(n) = n / (1 + beta (n - 1)) of the engine, so each advances at g(n)/n.

use std::collections::VecDeque;
use std::time::Duration;

use arriero_core::time::Time;

use super::{Detail, Job, JobId, ModelIndex, ModelSpec, Timing};

/// Work below this is done: absorbs rounding to whole microseconds. Seconds.
const EPSILON: f64 = 1e-9;

/// A job that has no slot yet.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) timing: Timing,
}

/// A job in a slot.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) job: Job,
    pub(super) timing: Timing,
    done: f64,
    prefill: f64,
    per_token: f64,
    pub(super) emitted: u32,
}

impl Active {
    fn new(queued: Queued, spec: &ModelSpec, now: Time) -> Active {
        let Queued { job, mut timing } = queued;
        timing.started = now;
        let prefill = f64::from(job.prompt_tokens) / spec.prefill_tps;
        Active { job, timing, done: 0.0, prefill, per_token: 1.0 / spec.decode_tps, emitted: 0 }
    }

    /// Work left until the next thing worth an event, seconds at full rate.
    fn to_next(&self, detail: Detail) -> f64 {
        let next = match detail {
            Detail::Edges if self.emitted > 0 => self.job.output_tokens,
            _ => (self.emitted + 1).min(self.job.output_tokens),
        };
        (self.prefill + f64::from(next) * self.per_token - self.done).max(0.0)
    }

    /// Tokens that the work done so far has put out.
    pub(super) fn produced(&self) -> u32 {
        let tokens = ((self.done - self.prefill + EPSILON) / self.per_token).floor();
        (tokens.max(0.0) as u32).min(self.job.output_tokens)
    }

    /// True when all its work is done.
    pub(super) fn finished(&self) -> bool {
        self.done + EPSILON >= self.prefill + f64::from(self.job.output_tokens) * self.per_token
    }
}

/// A model in VRAM, or on its way there.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) model: ModelIndex,
    pub(super) ready: bool,
    pub(super) keep_alive: Duration,
    pub(super) active: Vec<Active>,
    pub(super) waiting: VecDeque<Queued>,
    /// Jobs that only want the model loaded; they need no slot.
    pub(super) load_only: Vec<Queued>,
    pub(super) idle_since: Time,
}

impl Runner {
    pub(super) fn new(model: ModelIndex, keep_alive: Duration, now: Time) -> Runner {
        let (active, waiting, load_only) = (Vec::new(), VecDeque::new(), Vec::new());
        Runner { model, ready: false, keep_alive, active, waiting, load_only, idle_since: now }
    }

    /// Takes a job in: into the FIFO, or aside if it only wants the load. Its keep_alive counts from here on.
    pub(super) fn enqueue(&mut self, queued: Queued) {
        self.keep_alive = queued.job.keep_alive.unwrap_or(self.keep_alive);
        if queued.job.prompt_tokens == 0 && queued.job.output_tokens == 0 {
            self.load_only.push(queued);
        } else {
            self.waiting.push_back(queued);
        }
    }

    /// The weights are in: everything here became ready now.
    pub(super) fn loaded(&mut self, now: Time) {
        (self.ready, self.idle_since) = (true, now);
        for queued in self.waiting.iter_mut().chain(&mut self.load_only) {
            queued.timing.ready = now;
        }
    }

    /// Loaded and without a job.
    pub(super) fn idle(&self) -> bool {
        self.ready && self.active.is_empty() && self.waiting.is_empty() && self.load_only.is_empty()
    }

    /// When keep_alive throws it out; `None` while busy, loading or kept for ever.
    pub(super) fn expires(&self) -> Option<Time> {
        (self.idle() && self.keep_alive != Duration::MAX).then(|| self.idle_since + self.keep_alive)
    }

    /// Puts waiting jobs into free slots.
    pub(super) fn admit(&mut self, slots: usize, spec: &ModelSpec, now: Time) {
        while self.ready && self.active.len() < slots {
            let Some(queued) = self.waiting.pop_front() else { return };
            self.active.push(Active::new(queued, spec, now));
        }
    }

    /// Each job's progress per second when `models` runners are at work on an engine of this speed.
    pub(super) fn rate(&self, speed: f64, beta: f64, models: usize) -> f64 {
        let n = self.active.len() as f64;
        speed / (1.0 + beta * (n - 1.0).max(0.0)) / models.max(1) as f64
    }

    /// The moment of its next event at this rate, rounded up to a microsecond.
    pub(super) fn next_event(&self, now: Time, rate: f64, detail: Detail) -> Option<Time> {
        let work = self.active.iter().map(|active| active.to_next(detail)).fold(f64::INFINITY, f64::min);
        work.is_finite().then(|| Time(now.0.saturating_add((work / rate * 1e6).ceil() as u64)))
    }

    /// Does `seconds` of wall time at this rate.
    pub(super) fn work(&mut self, seconds: f64, rate: f64) {
        for active in &mut self.active {
            active.done += seconds * rate;
        }
    }

    /// Takes a job out, wherever it stands. True if it was here.
    pub(super) fn remove(&mut self, job: JobId) -> bool {
        let count = |runner: &Runner| runner.active.len() + runner.waiting.len() + runner.load_only.len();
        let before = count(self);
        self.active.retain(|active| active.job.id != job);
        self.waiting.retain(|queued| queued.job.id != job);
        self.load_only.retain(|queued| queued.job.id != job);
        before != count(self)
    }
}
