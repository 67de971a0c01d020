//! What is known of one engine. The fleet owns and updates it; strategies and the proxy read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::facts::PathClasses;
use crate::time::Time;

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

/// Which models an endpoint can serve.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Inventory {
    /// Not known yet (starting, down): not a candidate.
    #[default]
    Unknown,
    /// The engine lists none: it is tried with any model.
    Any,
    /// These.
    Known(Vec<ModelInfo>),
}

/// One model of an inventory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelInfo {
    /// What clients call it.
    pub name: Arc<str>,
    /// What the engine calls it.
    pub local: Arc<str>,
    /// Other names for the same model (`x` for `x:latest`).
    pub aliases: Vec<Arc<str>>,
    /// Bytes on disk, where told.
    pub size: Option<u64>,
}

/// A model whose weights are loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResidentModel {
    /// What the engine calls it.
    pub local: Arc<str>,
    /// Bytes of memory it takes, where told.
    pub size_vram: Option<u64>,
    /// True while it is being loaded.
    pub loading: bool,
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
}

/// Learned speeds of one model on one endpoint. `samples == 0`: priors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Milliseconds per prompt token.
    pub prefill_ms_per_token: f64,
    /// Milliseconds per output token at batch 1.
    pub decode_ms_per_token: f64,
    /// Milliseconds to load the weights; `None` = no load seen yet (the cost module estimates it from the size).
    pub load_ms: Option<f64>,
    /// Mean output tokens of a request.
    pub output_tokens: f64,
    /// Completed requests behind these figures.
    pub samples: u64,
}

/// One model on one endpoint, keyed by the engine's own name.
#[derive(Clone, Debug, Default)]
pub struct ModelState {
    /// Weights loaded, by the last sample or by our own dispatch since.
    pub resident: bool,
    /// Being loaded, by the last sample or by our own dispatch.
    pub loading: bool,
    /// When it became resident (or its load began).
    pub since: Time,
    /// The runner options that it is loaded with; 0 = all on default.
    pub runner_key: u64,
    /// Bytes of memory when resident, where known.
    pub size_vram: Option<u64>,
    /// Bytes on disk, where known.
    pub size: Option<u64>,
    /// Learned speeds.
    pub rates: Rates,
    /// Last use.
    pub last_used: Time,
}

/// What is counted of an endpoint, since the fleet has known it. Nothing is decided by it.
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
    /// Our own requests that hold a slot, oldest first.
    pub jobs: Vec<Job>,
    /// How many of them there were when the latest sample was taken.
    pub jobs_at_sample: u32,
    /// Models by the engine's own name.
    pub models: BTreeMap<Arc<str>, ModelState>,
    /// Which models it can serve.
    pub inventory: Inventory,
    /// Public name -> the engine's own name: made from inventory and configuration.
    pub names: BTreeMap<Arc<str>, Arc<str>>,
}

impl Default for EndpointId {
    /// No endpoint's id.
    fn default() -> Self {
        EndpointId(u32::MAX)
    }
}

impl Default for Rates {
    /// Priors of an 8B model at Q4 on a mid-range GPU (`algorithms` table of the docs): replaced by what is learned.
    fn default() -> Self {
        Rates { prefill_ms_per_token: 0.25, decode_ms_per_token: 9.0, load_ms: None, output_tokens: 200.0, samples: 0 }
    }
}

impl Endpoint {
    /// True if it is known which models it can serve: declared, or told by the engine.
    pub fn knows_models(&self) -> bool {
        self.spec.models.is_some() || self.inventory != Inventory::Unknown
    }

    /// True if it can serve the model. Declared models beat the engine's list; an unknown list has none. `None` = a
    /// request without a model: any endpoint can.
    pub fn can_serve(&self, model: Option<&str>) -> bool {
        let Some(model) = model else { return true };
        if self.spec.models.is_none() && self.inventory == Inventory::Any {
            return true;
        }
        self.names.contains_key(model)
    }

    /// Makes [`Endpoint::names`] from configuration and inventory.
    pub fn rename_models(&mut self) {
        self.names.clear();
        if let Some(declared) = &self.spec.models {
            self.names.extend(declared.iter().cloned());
        } else if let Inventory::Known(models) = &self.inventory {
            for model in models {
                let aliases = model.aliases.iter().map(|alias| (alias.clone(), model.local.clone()));
                self.names.extend(aliases);
            }
            self.names.extend(models.iter().map(|model| (model.name.clone(), model.local.clone())));
        }
    }

    /// The engine's own name for a public model name; `None` if it does not have it.
    pub fn local_name(&self, model: &str) -> Option<&Arc<str>> {
        self.names.get(model)
    }

    /// The state of a model by its public name, where anything is known.
    pub fn model(&self, model: &str) -> Option<&ModelState> {
        let local = self.names.get(model).map_or(model, |local| local);
        self.models.get(local)
    }

    /// Learned speeds, else the priors.
    pub fn rates(&self, model: Option<&str>) -> Rates {
        model.and_then(|model| self.model(model)).map(|state| state.rates).unwrap_or_default()
    }
}
