//! An Ollama-like engine: slots per model, a bounded queue for cold models, one load at a time, its own eviction order.
//!
//! A job for a resident model goes straight to its runner's FIFO, unbounded. Any other, also one whose model is loading
//! just now, enters the pending queue (full: rejected), which is served from the head only: load if there is room, else
//! throw out a victim and look again.
//! Victim: of the runners ordered by shortest keep_alive, then catalogue place, the first idle one; if none is idle,
//! the first, and everything pending waits until it drains. Load time = file_GB / load_gb_per_s + load_fixed.
//! Runners at work share the engine equally. A model larger than the VRAM loads alone.

use std::collections::VecDeque;
use std::time::Duration;

use arriero_core::time::Time;

use super::runner::{Queued, Runner};
use super::spec::OllamaSpec;
use super::{Detail, EngineEvent, EngineModel, Job, JobId, ModelIndex, Readings, Resident, Timing, What};

/// The state of an Ollama-like engine.
#[derive(Debug)]
pub struct Ollama {
    spec: OllamaSpec,
    now: Time,
    runners: Vec<Runner>,
    pending: VecDeque<Queued>,
    loading: Option<(ModelIndex, Time)>,
    /// The victim that the head of the pending queue waits for.
    draining: Option<ModelIndex>,
    events: Vec<EngineEvent>,
}

impl Ollama {
    /// An engine at time zero.
    pub fn new(spec: OllamaSpec) -> Ollama {
        let mut runners = Vec::new();
        for &model in spec.preload.iter().filter(|&&model| model < spec.models.len()) {
            let mut runner = Runner::new(model, spec.keep_alive, Time::ZERO);
            runner.ready = true;
            runners.push(runner);
        }
        let (now, pending, events) = (Time::ZERO, VecDeque::new(), Vec::new());
        Ollama { spec, now, runners, pending, loading: None, draining: None, events }
    }

    fn tell(&mut self, what: What) {
        self.events.push(EngineEvent { at: self.now, what });
    }

    fn runner_of(&mut self, model: ModelIndex) -> Option<&mut Runner> {
        self.runners.iter_mut().find(|runner| runner.model == model)
    }

    fn busy_models(&self) -> usize {
        self.runners.iter().filter(|runner| !runner.active.is_empty()).count()
    }

    /// The next moment at which the state itself changes.
    fn next_change(&self) -> Option<Time> {
        let busy = self.busy_models();
        let load = self.loading.map(|(_, until)| until);
        let runners = self.runners.iter().flat_map(|runner| {
            let rate = runner.rate(self.spec.speed, self.spec.beta, busy);
            [runner.expires(), runner.next_event(self.now, rate, self.spec.detail)]
        });
        runners.flatten().chain(load).min().map(|at| at.max(self.now))
    }

    /// Works up to `now`, handling every change on the way.
    fn run_to(&mut self, now: Time) {
        while let Some(at) = self.next_change().filter(|&at| at <= now) {
            self.work_until(at);
            self.settle();
        }
        self.work_until(now);
    }

    fn work_until(&mut self, at: Time) {
        let seconds = (at - self.now).as_secs_f64();
        let busy = self.busy_models();
        for runner in &mut self.runners {
            let rate = runner.rate(self.spec.speed, self.spec.beta, busy);
            runner.work(seconds, rate);
        }
        self.now = self.now.max(at);
    }

    /// Brings the state in line with the moment: loads that ended, tokens, ends, free slots, expiries, the next load.
    fn settle(&mut self) {
        if let Some((model, _)) = self.loading.filter(|&(_, until)| until <= self.now) {
            self.loading = None;
            let now = self.now;
            if let Some(runner) = self.runner_of(model) {
                runner.loaded(now);
            }
            self.tell(What::LoadDone(model));
        }
        for index in 0..self.runners.len() {
            self.serve(index);
        }
        let now = self.now;
        let gone: Vec<ModelIndex> =
            self.runners.iter().filter(|r| r.expires().is_some_and(|at| at <= now)).map(|r| r.model).collect();
        for model in gone {
            self.evict(model);
        }
        self.load_next();
    }

    /// Reports one runner's tokens and ends, and refills its slots until nothing ends at once.
    fn serve(&mut self, index: usize) {
        let (now, detail) = (self.now, self.spec.detail);
        let runner = &mut self.runners[index];
        let spec = &self.spec.models[runner.model];
        let slots = self.spec.slots_of(runner.model);
        let was_busy = !runner.idle();
        if runner.ready {
            for Queued { job, timing } in runner.load_only.drain(..) {
                let timing = Timing { started: now, first_token: now, done: now, ..timing };
                self.events.push(EngineEvent { at: now, what: What::Done(job.id, timing) });
            }
        }
        loop {
            runner.admit(slots, spec, now);
            for active in &mut runner.active {
                let (id, produced) = (active.job.id, active.produced());
                if active.emitted == 0 && produced > 0 {
                    active.timing.first_token = now;
                    self.events.push(EngineEvent { at: now, what: What::FirstToken(id) });
                }
                if detail == Detail::Tokens && produced > active.emitted {
                    self.events.push(EngineEvent { at: now, what: What::Tokens(id, produced) });
                }
                active.emitted = produced;
            }
            let ended: Vec<_> = runner.active.extract_if(.., |active| active.finished()).collect();
            if ended.is_empty() {
                break;
            }
            for active in ended {
                let mut timing = Timing { done: now, ..active.timing };
                if active.job.output_tokens == 0 {
                    timing.first_token = now;
                }
                self.events.push(EngineEvent { at: now, what: What::Done(active.job.id, timing) });
            }
        }
        if was_busy && runner.idle() {
            runner.idle_since = now;
        }
    }

    fn evict(&mut self, model: ModelIndex) {
        self.runners.retain(|runner| runner.model != model);
        self.draining = None;
        self.tell(What::Unloaded(model));
    }

    /// Serves the head of the pending queue as far as it goes now.
    fn load_next(&mut self) {
        while self.loading.is_none() {
            let Some(model) = self.pending.front().map(|queued| queued.job.model) else {
                self.draining = None;
                return;
            };
            let now = self.now;
            if let Some(place) = self.runners.iter().position(|runner| runner.model == model) {
                if let Some(mut queued) = self.pending.pop_front() {
                    queued.timing.ready = now;
                    self.runners[place].enqueue(queued);
                    self.serve(place);
                }
            } else if self.fits(model) {
                let mut runner = Runner::new(model, self.spec.keep_alive, now);
                self.pending.pop_front().into_iter().for_each(|queued| runner.enqueue(queued));
                self.runners.push(runner);
                self.loading = Some((model, now + self.spec.load_time(model)));
                self.tell(What::LoadStarted(model));
            } else if !self.make_room() {
                return;
            }
        }
    }

    fn fits(&self, model: ModelIndex) -> bool {
        let used: f64 = self.runners.iter().map(|runner| self.spec.models[runner.model].vram_gb).sum();
        let room = used + self.spec.models[model].vram_gb <= self.spec.vram_gb + 1e-9;
        self.runners.is_empty() || (room && self.runners.len() < self.spec.max_resident.max(1))
    }

    /// Throws the victim out if it is idle, else marks it and waits for it. False while one must be waited for.
    fn make_room(&mut self) -> bool {
        let order = |runner: &&mut Runner| (!runner.idle(), runner.keep_alive, runner.model);
        let chosen = self.draining;
        let runners = self.runners.iter_mut().filter(|runner| chosen.is_none_or(|model| runner.model == model));
        let Some(victim) = runners.min_by_key(order) else { return false };
        victim.keep_alive = Duration::ZERO;
        let (idle, model) = (victim.idle(), victim.model);
        if idle {
            self.evict(model);
        } else {
            self.draining = Some(model);
        }
        idle
    }
}

impl EngineModel for Ollama {
    fn submit(&mut self, now: Time, job: Job) {
        self.run_to(now);
        if job.model >= self.spec.models.len() {
            return self.tell(What::Rejected(job.id));
        }
        let timing = Timing { submitted: now, ready: now, started: now, first_token: now, done: now, cached_tokens: 0 };
        let (id, model) = (job.id, job.model);
        let queued = Queued { job, timing };
        if let Some(runner) = self.runner_of(model).filter(|runner| runner.ready) {
            runner.enqueue(queued);
        } else if self.pending.len() >= self.spec.max_queue {
            return self.tell(What::Rejected(id));
        } else {
            self.pending.push_back(queued);
        }
        self.settle();
    }

    fn cancel(&mut self, now: Time, job: JobId) -> bool {
        self.run_to(now);
        let before = self.pending.len();
        self.pending.retain(|queued| queued.job.id != job);
        let mut found = before != self.pending.len();
        for runner in &mut self.runners {
            if runner.remove(job) {
                found = true;
                if runner.idle() {
                    runner.idle_since = now;
                }
            }
        }
        self.settle();
        found
    }

    fn unload(&mut self, now: Time, model: ModelIndex) {
        self.run_to(now);
        if let Some(runner) = self.runner_of(model) {
            runner.keep_alive = Duration::ZERO;
        }
        self.settle();
    }

    fn set_speed(&mut self, now: Time, speed: f64) {
        self.run_to(now);
        self.spec.speed = speed.max(1e-6);
    }

    fn next_event(&self) -> Option<Time> {
        if self.events.is_empty() { self.next_change() } else { Some(self.now) }
    }

    fn advance(&mut self, now: Time) -> Vec<EngineEvent> {
        self.run_to(now);
        std::mem::take(&mut self.events)
    }

    fn readings(&self) -> Readings {
        let resident = |r: &Runner| Resident { model: r.model, ready: r.ready, expires: r.expires() };
        Readings {
            resident: self.runners.iter().map(resident).collect(),
            running: self.runners.iter().map(|runner| runner.active.len()).sum(),
            waiting: self.pending.len() + self.runners.iter().map(|runner| runner.waiting.len()).sum::<usize>(),
            slots: self.spec.slots.max(1),
            ..Readings::default()
        }
    }
}
