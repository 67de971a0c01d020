//! The engine model on the wall clock: jobs in, tokens out as they fall due.
//!
//! Virtual time = real time since the start * time scale. One task sleeps until the model's next event; a submitted or
//! cancelled job wakes it. A reply that is dropped before its end cancels its job at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arriero_core::time::Time;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::fault::{Fault, FaultKind};
use super::spec::LabSpec;
use super::stats::LabStats;
use super::totals::Totals;
use crate::model::{EngineModel, Job, JobId, ModelIndex, Readings, Timing, What};

/// News for one reply.
enum Piece {
    Tokens(u32),
    Done(Timing),
    Rejected,
}

/// The next thing a reply has to say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The token at this index.
    Token(u32),
    /// The end.
    Done(Timing),
    /// The engine's pending queue is full.
    Rejected,
}

/// Where a job's news go, and how many tokens it has put out.
struct Listener {
    pieces: mpsc::UnboundedSender<Piece>,
    tokens: u32,
}

struct Work {
    model: Box<dyn EngineModel>,
    replies: BTreeMap<JobId, Listener>,
    next_id: JobId,
    totals: Totals,
}

/// The shared heart of one lab engine.
pub(crate) struct Engine {
    pub(crate) spec: LabSpec,
    pub(crate) stats: Mutex<LabStats>,
    pub(crate) random: Mutex<fastrand::Rng>,
    fault: Mutex<Fault>,
    pub(crate) refuse: watch::Sender<bool>,
    work: Mutex<Work>,
    wake: Notify,
    started: Instant,
}

impl Engine {
    pub(crate) fn new(spec: LabSpec) -> Engine {
        let work = Work { model: spec.kind.build(), replies: BTreeMap::new(), next_id: 1, totals: Totals::default() };
        Engine {
            stats: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(7)),
            fault: Mutex::default(),
            refuse: watch::Sender::new(false),
            work: Mutex::new(work),
            wake: Notify::new(),
            started: Instant::now(),
            spec,
        }
    }

    /// The virtual moment.
    pub(crate) fn now(&self) -> Time {
        Time::from_secs_f64(self.started.elapsed().as_secs_f64() * self.spec.time_scale)
    }

    /// Lives through what fell due; gives the real time until the next event.
    fn tick(&self) -> Duration {
        let mut guard = self.work.lock();
        let work = &mut *guard;
        let now = self.now();
        for event in work.model.advance(now) {
            match event.what {
                What::Tokens(job, count) => {
                    if let Some(reply) = work.replies.get_mut(&job) {
                        work.totals.output_tokens += u64::from(count.saturating_sub(reply.tokens));
                        reply.tokens = count;
                        let _gone = reply.pieces.send(Piece::Tokens(count));
                    }
                }
                What::Done(job, timing) => {
                    work.totals.end(timing);
                    work.replies.remove(&job).map(|reply| reply.pieces.send(Piece::Done(timing)));
                }
                What::Rejected(job) => {
                    work.replies.remove(&job).map(|reply| reply.pieces.send(Piece::Rejected));
                }
                What::LoadStarted(_) => self.stats.lock().loads += 1,
                What::FirstToken(_) | What::LoadDone(_) | What::Unloaded(_) => {}
            }
        }
        let running = work.model.readings().running;
        let mut stats = self.stats.lock();
        stats.max_running = stats.max_running.max(running);
        let next = work.model.next_event();
        next.map_or(Duration::from_secs(3600), |at| (at - now).div_f64(self.spec.time_scale.max(1e-6)))
    }

    /// Drives the model for as long as the engine stands.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let wait = self.tick();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Hands a job to the model.
    pub(crate) fn submit(self: &Arc<Self>, mut job: Job, in_flight: InFlight) -> Reply {
        let (sender, pieces) = mpsc::unbounded_channel();
        let id = {
            let mut work = self.work.lock();
            let id = work.next_id;
            work.next_id += 1;
            job.id = id;
            work.replies.insert(id, Listener { pieces: sender, tokens: 0 });
            work.totals.prompt_tokens += u64::from(job.prompt_tokens);
            let now = self.now();
            work.model.submit(now, job);
            id
        };
        self.stats.lock().submitted += 1;
        self.tick();
        self.wake.notify_one();
        Reply { in_flight, id, pieces, due: VecDeque::new(), seen: 0 }
    }

    fn cancel(&self, job: JobId) {
        let mut work = self.work.lock();
        if work.replies.remove(&job).is_some() {
            let now = self.now();
            work.model.cancel(now, job);
            self.wake.notify_one();
        }
    }

    pub(crate) fn unload(&self, model: ModelIndex) {
        let mut work = self.work.lock();
        let now = self.now();
        work.model.unload(now, model);
        self.wake.notify_one();
    }

    /// The model's state as of now.
    pub(crate) fn readings(&self) -> Readings {
        self.tick();
        self.work.lock().model.readings()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.work.lock().totals.clone()
    }

    /// A virtual moment as wall-clock text; a model that is busy or stays for ever leaves in five minutes.
    pub(crate) fn expiry(&self, at: Option<Time>) -> String {
        let left = at.map_or(Duration::from_secs(300), |at| (at - self.now()).div_f64(self.spec.time_scale.max(1e-6)));
        humantime::format_rfc3339_millis(std::time::SystemTime::now() + left).to_string()
    }

    pub(crate) fn fault(&self) -> Fault {
        *self.fault.lock()
    }

    pub(crate) fn set_fault(self: &Arc<Self>, fault: Fault) {
        *self.fault.lock() = fault;
        let factor = if let FaultKind::Slow { factor } = fault.kind { factor.max(1e-3) } else { 1.0 };
        {
            let mut work = self.work.lock();
            let now = self.now();
            work.model.set_speed(now, self.spec.kind.speed() / factor);
        }
        self.wake.notify_one();
        self.refuse.send_replace(fault.kind == FaultKind::Refuse);
        if let Some(millis) = fault.for_ms {
            let engine = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                if engine.fault() == fault {
                    engine.set_fault(Fault::none());
                }
            });
        }
    }
}

/// Counts one inference request for as long as it lives; a request left unanswered counts as cancelled.
pub(crate) struct InFlight {
    engine: Arc<Engine>,
    answered: bool,
}

impl InFlight {
    pub(crate) fn new(engine: &Arc<Engine>) -> InFlight {
        let mut stats = engine.stats.lock();
        stats.inference += 1;
        stats.in_flight += 1;
        stats.max_in_flight = stats.max_in_flight.max(stats.in_flight);
        drop(stats);
        InFlight { engine: engine.clone(), answered: false }
    }

    pub(crate) fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut stats = self.engine.stats.lock();
        stats.in_flight -= 1;
        if self.answered {
            stats.completed += 1;
        } else {
            stats.cancels += 1;
        }
    }
}

/// A job's output as it comes. Dropping it before [`Step::Done`] cancels the job.
pub(crate) struct Reply {
    in_flight: InFlight,
    id: JobId,
    pieces: mpsc::UnboundedReceiver<Piece>,
    due: VecDeque<Step>,
    seen: u32,
}

impl Reply {
    /// The next token or the end; waits for it.
    pub(crate) async fn next(&mut self) -> Step {
        loop {
            if let Some(step) = self.due.pop_front() {
                if !matches!(step, Step::Token(_)) {
                    self.in_flight.answered();
                }
                return step;
            }
            match self.pieces.recv().await {
                Some(Piece::Tokens(count)) => {
                    self.due.extend((self.seen..count).map(Step::Token));
                    self.seen = self.seen.max(count);
                }
                Some(Piece::Done(timing)) => self.due.push_back(Step::Done(timing)),
                Some(Piece::Rejected) | None => self.due.push_back(Step::Rejected),
            }
        }
    }

    /// Puts a step back, to be the next one again.
    pub(crate) fn unread(&mut self, step: Step) {
        self.due.push_front(step);
    }

    /// Waits for the end, or for the refusal.
    pub(crate) async fn end(&mut self) -> Option<Timing> {
        loop {
            match self.next().await {
                Step::Token(_) => {}
                Step::Done(timing) => return Some(timing),
                Step::Rejected => return None,
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.in_flight.answered {
            self.in_flight.engine.cancel(self.id);
        }
    }
}
