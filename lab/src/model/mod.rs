//! What an engine does with time and jobs, as plain state machines without sockets, threads or clocks.
//!
//! A driver owns the clock: it submits jobs at a moment, asks when something happens next, and advances to it.
//! Both drivers (virtual time in `crate::fleet`, real HTTP in `crate::http`) run exactly this code.
//! Times are [`Time`] (microseconds), work is seconds at speed 1, memory is GB (1e9 bytes). Nothing here can be
//! missing: a reading that an engine kind has no notion of is 0.

mod lru;
mod ollama;
mod runner;
mod spec;
mod vllm;

#[cfg(test)]
mod tests;

pub use ollama::Ollama;
pub use spec::{Detail, ModelSpec, OllamaSpec, VllmSpec};
pub use vllm::Vllm;

use std::time::Duration;

use arriero_core::time::Time;

/// Names one job for its whole life; chosen by the driver, unique per engine.
pub type JobId = u64;

/// An entry of an engine's catalogue, by its place in the list of models.
pub type ModelIndex = usize;

/// One request as the engine sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    /// The driver's name for it.
    pub id: JobId,
    /// Which model.
    pub model: ModelIndex,
    /// Prompt length, tokens. 0 together with no output means "load only".
    pub prompt_tokens: u32,
    /// Output length, tokens. 0 for embeddings.
    pub output_tokens: u32,
    /// How long the model shall stay after this job; `None` leaves the engine's setting, `Duration::MAX` is for ever.
    pub keep_alive: Option<Duration>,
    /// Hashes of the prompt's leading full blocks, each covering all text before it. Empty: nothing shared.
    pub blocks: Vec<u64>,
}

/// Where a finished job's time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Handed to the engine.
    pub submitted: Time,
    /// Its model was there: equals `submitted` when it was resident.
    pub ready: Time,
    /// It got a slot and prefill began.
    pub started: Time,
    /// First output token; `done` when there is none.
    pub first_token: Time,
    /// Last token out.
    pub done: Time,
    /// Prompt tokens taken from the prefix cache.
    pub cached_tokens: u32,
}

/// Something a driver may have to tell the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// When it happened; never before the previous event's moment.
    pub at: Time,
    /// What happened.
    pub what: What,
}

/// The kinds of engine events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The job's first output token.
    FirstToken(JobId),
    /// Tokens put out so far, cumulative. Only with [`Detail::Tokens`].
    Tokens(JobId, u32),
    /// The job's end.
    Done(JobId, Timing),
    /// Refused: the pending queue is full.
    Rejected(JobId),
    /// A model's weights start to load.
    LoadStarted(ModelIndex),
    /// A model is resident.
    LoadDone(ModelIndex),
    /// A model was thrown out.
    Unloaded(ModelIndex),
}

/// One resident model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resident {
    /// Which model.
    pub model: ModelIndex,
    /// False while its weights are loading.
    pub ready: bool,
    /// When it leaves if nothing else comes; `None` while busy, loading, or kept for ever.
    pub expires: Option<Time>,
}

/// What an engine could tell about itself right now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Models in VRAM, in load order.
    pub resident: Vec<Resident>,
    /// Jobs in a slot or in the batch.
    pub running: usize,
    /// Jobs that wait for a slot, a load or KV room.
    pub waiting: usize,
    /// Part of the KV room in use, 0 to 1; 0 where the kind has none.
    pub kv_used: f64,
    /// Jobs that can run at once per model.
    pub slots: usize,
    /// Prompt tokens looked up in the prefix cache, and found there, since the start.
    pub prefix_queries: u64,
    /// See `prefix_queries`.
    pub prefix_hits: u64,
    /// Jobs put back to waiting for want of KV room, since the start.
    pub preemptions: u64,
}

/// An engine without its wire. Moments given to it never go backwards.
pub trait EngineModel: Send {
    /// Takes a job at `now`; what it causes comes out of the next [`EngineModel::advance`].
    fn submit(&mut self, now: Time, job: Job);
    /// Forgets a job at `now`; nothing more is reported for it. False if it was not there.
    fn cancel(&mut self, now: Time, job: JobId) -> bool;
    /// Lets a model go as soon as it is idle.
    fn unload(&mut self, now: Time, model: ModelIndex);
    /// Changes the engine's speed (1 = as specified, 0.5 = half as fast, above 0).
    fn set_speed(&mut self, now: Time, speed: f64);
    /// When something happens next if nothing else is submitted.
    fn next_event(&self) -> Option<Time>;
    /// Lives through everything up to and including `now`.
    fn advance(&mut self, now: Time) -> Vec<EngineEvent>;
    /// The state at the last moment given.
    fn readings(&self) -> Readings;
}
