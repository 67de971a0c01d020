//! What is known of one engine. The fleet owns and updates it; strategies and the proxy read it.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use crate::company::Company;
use crate::facts::PathClasses;
use crate::time::Time;

pub use crate::inventory::{Inventory, ModelInfo, ModelState, Rates, ResidentModel};
pub use crate::learn::line::Line;
pub use crate::learn::pace::Pace;
pub use crate::standing::{KV_FULL, LEAST_RAMP, OTHERS_FADE_MS, SAMPLE_LIFE_MS};
pub use crate::table::Endpoints;

/// An endpoint's place in the fleet's table. Stable while the endpoint lives, over reloads too; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

/// How an engine takes work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineClass {
    /// A fixed number of slots, the rest waits in the engine (Ollama, llama.cpp, LM Studio).
    #[default]
    Slots,
    /// Continuous batching (vLLM, SGLang).
    Batching,
}

/// The configuration of an endpoint, as the core needs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointSpec {
    /// Identity: the configured name, else the URL as written.
    pub identity: Arc<str>,
    /// What logs, headers and metrics call it.
    pub name: Arc<str>,
    /// Its URL. A named endpoint that moves keeps its identity, counts and cap; what was known of the engine goes.
    pub url: Arc<str>,
    /// 0-256; 0 takes no new work.
    pub weight: u32,
    /// Used only when no other endpoint can serve.
    pub backup: bool,
    /// `max_in_flight: N`; `None` = auto.
    pub max_in_flight: Option<u32>,
    /// `slots: N`: the engine's own concurrency, declared.
    pub slots: Option<u32>,
    /// Declared memory for models, in bytes.
    pub vram: Option<u64>,
    /// Declared models: public name -> local name. `None` = ask the engine.
    pub models: Option<Vec<(Arc<str>, Arc<str>)>>,
    /// Extra first-byte allowance while a model loads.
    pub load_allowance: Duration,
    /// `slow_start`: weight and cap grow after it came back; `None` = they are whole at once.
    pub slow_start: Option<SlowStart>,
}

/// How an endpoint that came back takes up its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// The time in which weight and cap grow from a hundredth to the whole, evenly.
    pub over: Duration,
    /// An endpoint that joins a running pool does the same.
    pub new: bool,
}

/// The operator's word on an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Takes work.
    #[default]
    Ready,
    /// Takes only requests that are pinned to it; what runs is finished.
    Drain,
    /// Takes nothing, and is not checked; what runs is finished.
    Maint,
}

/// An engine's load report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When it was taken.
    pub at: Time,
    /// Requests the engine is working on.
    pub running: Option<u32>,
    /// Requests waiting inside the engine.
    pub waiting: Option<u32>,
    /// Share of the KV cache in use, 0-1.
    pub kv_used: Option<f64>,
    /// The engine's slots in all.
    pub slots: Option<u32>,
    /// Loaded models; `None` if the engine does not say.
    pub residents: Option<Vec<ResidentModel>>,
}

/// Whether an endpoint may take work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not probed yet.
    #[default]
    Starting,
    /// Takes work.
    Up,
    /// Failed its checks.
    Down,
}

/// One request that holds a slot here: our own, exact.
#[derive(Clone, Debug)]
pub struct Job {
    /// The request.
    pub request: Arc<crate::facts::RequestFacts>,
    /// The model as the engine calls it.
    pub local: Option<Arc<str>>,
    /// When it took the slot.
    pub started: Time,
    /// When its first token came.
    pub first_token: Option<Time>,
    /// Its whole work (prefill + decode) as estimated at the start, in milliseconds at batch 1.
    pub work_ms: f64,
    /// True if its model was not resident when it started: this job pays the load.
    pub cold: bool,
    /// Prompt tokens that the engine's prefix cache was believed to hold when it started.
    pub cached: u32,
    /// The company of its present phase: the prompt, then the answer.
    pub company: Company,
    /// That of the prompt, once the answer began.
    pub prompt_company: Option<Company>,
}

/// What is counted of an endpoint, since the fleet has known it. Only `times_down` and `times_ejected` decide anything: who was
/// away holds no prefixes any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Attempts that took a slot here.
    pub picks: u64,
    /// The most of them at once.
    pub most_in_flight: u32,
    /// When its health turned the last time; the driver's start if it never did.
    pub health_since: Time,
    /// What the latest check said; `None` before the first.
    pub last_check: Option<bool>,
    /// Checks that failed.
    pub checks_failed: u64,
    /// Times that it turned down.
    pub times_down: u64,
    /// Times that it was ejected.
    pub times_ejected: u64,
}

/// An engine as the fleet knows it.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Hash (xxh3) of its identity: the same in every process, for rules that place by hash. Set by
    /// [`Endpoints::insert`].
    pub key: u64,
    /// Its configuration.
    pub spec: EndpointSpec,
    /// How it takes work.
    pub class: EngineClass,
    /// What paths it speaks.
    pub speaks: PathClasses,
    /// May it take work?
    pub health: Health,
    /// No configuration names it any more: it takes nothing, finishes what runs, and is forgotten then.
    pub leaving: bool,
    /// The operator's word.
    pub state: State,
    /// The operator's cap, which beats every other: `Some(None)` = no cap. `None` = the operator said nothing.
    pub cap_said: Option<Option<u32>>,
    /// It said that it is busy: no new picks until then. [`Time::ZERO`] = it did not.
    pub busy_until: Time,
    /// Its requests failed: nothing goes there until then. [`Time::ZERO`] = they did not.
    pub ejected_until: Time,
    /// It was ejected and has not proved itself since: one request at a time.
    pub half_open: bool,
    /// Ejected or not, it serves what nobody else can.
    pub serves_if_last: bool,
    /// When it came back, if its weight and cap grow since then.
    pub ramp_since: Option<Time>,
    /// What is counted of it for statistics.
    pub figures: Figures,
    /// The latest load report.
    pub sample: Option<Sample>,
    /// When it was picked the last time.
    pub last_pick: Time,
    /// Our own requests that hold a slot, oldest first.
    pub jobs: Vec<Job>,
    /// The most of them of one runner that were seen to answer at once; 0 = none yet.
    pub seen_slots: u32,
    /// Up to when their accounts are kept.
    pub accounted: Time,
    /// How many of them there were when the latest sample was taken.
    pub jobs_at_sample: u32,
    /// How many of these had no first token yet.
    pub unanswered_at_sample: u32,
    /// How it does just now against what was learned.
    pub pace: Pace,
    /// Models by the engine's own name.
    pub models: ByName<ModelState>,
    /// Which models it can serve.
    pub inventory: Inventory,
    /// Public name -> the engine's own name: made from inventory and configuration.
    pub names: ByName<Arc<str>>,
}

/// A table by model name, in the order in which the names came: every price looks two of them up, so they are found by
/// hash, seeded at random.
pub type ByName<T> = IndexMap<Arc<str>, T, foldhash::fast::RandomState>;

impl Default for EndpointId {
    /// No endpoint's id.
    fn default() -> Self {
        EndpointId(u32::MAX)
    }
}
