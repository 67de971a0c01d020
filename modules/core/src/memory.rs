//! What was learned of engines, as a value that outlives the process: out with [`Fleet::export_learned`], back in with
//! [`Fleet::import_learned`]. Where it is kept is the caller's business.
//!
//! Per endpoint (by identity and URL: behind another URL is another engine) and model (by the engine's own name): speeds,
//! load time, answer length, sizes. Not: who is loaded, who is up, what runs; the engines tell that themselves.
//!
//! The value may come from a file, so nothing in it is believed unseen: another version is ignored, figures outside of
//! [`PLAUSIBLE`] and of the ranges of [`sane`] are dropped, and so is what nobody used for [`OLDEST_MS`]. What is known
//! already is never overwritten. An endpoint that is not there yet gets its share when it joins; of those at most
//! [`ENDPOINTS`] are kept in mind.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::endpoint::{Endpoint, EndpointId, ModelState, Rates};
use crate::event::Event;
use crate::fleet::Fleet;
use crate::learn::FREE_AFTER;
use crate::learn::batching::Iteration;
use crate::learn::line::Slope;
use crate::time::Time;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// What nobody used for this long is not taken over: 30 days, in milliseconds.
pub const OLDEST_MS: f64 = 30.0 * 24.0 * 3600.0 * 1000.0;
/// Endpoints that are kept in mind.
const ENDPOINTS: usize = 4096;
/// Models of one endpoint that are taken over.
const MODELS: usize = 512;
/// No figure of any kind is below or above.
const PLAUSIBLE: RangeInclusive<f64> = 0.0..=1e12;
/// Bytes of a model at most.
const LARGEST: u64 = 1 << 46;
/// Mean output tokens.
const TOKENS: RangeInclusive<f64> = 0.1..=1e6;
/// Weight of a recalled speed, in samples; twice this, in two companies.
const WEIGHT: f64 = 3.0;
/// Samples count as at most so many: what is seen from now on has its weight.
const SAMPLES: u64 = 1000;

/// Everything that was learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// 1: the only one that is read.
    pub version: u32,
    /// By endpoint.
    #[serde(default)]
    pub endpoints: Vec<LearnedEndpoint>,
    /// How long answers are, over the whole fleet.
    #[serde(default)]
    pub outputs: Vec<LearnedOutput>,
}

/// How long a model's answers are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnedOutput {
    /// Of this route; `None` = of all.
    pub route: Option<Arc<str>>,
    /// The model, as clients call it.
    pub model: Arc<str>,
    /// Mean output tokens.
    pub tokens: f64,
    /// Answers behind it.
    pub answers: f64,
}

/// What was learned of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnedEndpoint {
    /// Its identity.
    pub identity: Arc<str>,
    /// Its URL.
    pub url: Arc<str>,
    /// By model.
    #[serde(default)]
    pub models: Vec<LearnedModel>,
}

/// What was learned of one model on one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LearnedModel {
    /// The engine's own name.
    pub local: Arc<str>,
    /// Milliseconds since its last use.
    pub unused_ms: f64,
    /// Bytes of memory when resident, where known.
    pub size_vram: Option<u64>,
    /// Bytes on disk, where known.
    pub size: Option<u64>,
    /// Speeds, load time, answer length.
    pub rates: Rates,
    /// Loads that were seen.
    pub loads: u32,
    /// The speeds were lent by another endpoint.
    pub lent: bool,
    /// A batching engine's iteration: milliseconds for itself, per sequence, per prompt token, per token of context.
    pub iteration: Option<[f64; 4]>,
}

/// What was imported, by identity, and when.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    endpoints: BTreeMap<Arc<str>, (LearnedEndpoint, Time)>,
}

impl Learned {
    /// The same, `ms` milliseconds later: for the time that passed while no fleet held it.
    pub fn aged(mut self, ms: f64) -> Learned {
        for model in self.endpoints.iter_mut().flat_map(|endpoint| &mut endpoint.models) {
            model.unused_ms += ms.max(0.0);
        }
        self
    }
}

impl Fleet {
    /// What was learned up to now, endpoints included that were imported and are not there.
    pub fn export_learned(&self) -> Learned {
        let now = self.latest;
        let mut known: BTreeMap<Arc<str>, LearnedEndpoint> = BTreeMap::new();
        for (identity, (endpoint, since)) in &self.remembered.endpoints {
            let passed = now.millis_since(*since);
            let mut endpoint = endpoint.clone();
            endpoint.models.iter_mut().for_each(|model| model.unused_ms += passed);
            known.insert(identity.clone(), endpoint);
        }
        for endpoint in self.ledger.table.iter().filter(|endpoint| !endpoint.leaving) {
            let old = known.remove(&endpoint.spec.identity).filter(|old| old.url == endpoint.spec.url);
            let models = endpoint.models.iter().filter(|(_, state)| knows_something(state));
            let models = models.map(|(local, state)| {
                let before = old.as_ref().and_then(|old| old.models.iter().find(|model| model.local == *local));
                exported(local, state, before, now)
            });
            let (identity, url, mut models) = (&endpoint.spec.identity, &endpoint.spec.url, models.collect::<Vec<_>>());
            models.sort_unstable_by(|one, other| one.local.cmp(&other.local));
            if !models.is_empty() {
                known
                    .insert(identity.clone(), LearnedEndpoint { identity: identity.clone(), url: url.clone(), models });
            }
        }
        Learned { version: VERSION, endpoints: known.into_values().collect(), outputs: self.ledger.outputs.export() }
    }

    /// Takes over what was learned before: at once where the endpoint is there, else when it joins. What is out of range is
    /// left out. Returns how many models' figures were sane.
    pub fn import_learned(&mut self, now: Time, learned: &Learned) -> usize {
        self.latest = now;
        if learned.version != VERSION {
            return 0;
        }
        let mut taken = 0;
        for endpoint in learned.endpoints.iter().take(ENDPOINTS) {
            let models: Vec<LearnedModel> = endpoint.models.iter().filter_map(sane).take(MODELS).collect();
            taken += models.len();
            let endpoint = LearnedEndpoint { models, ..endpoint.clone() };
            self.remembered.endpoints.insert(endpoint.identity.clone(), (endpoint, now));
            if self.remembered.endpoints.len() > ENDPOINTS {
                self.remembered.endpoints.pop_first();
            }
        }
        for output in
            learned.outputs.iter().filter(|output| TOKENS.contains(&output.tokens) && output.answers.is_finite())
        {
            self.ledger.outputs.import(output);
        }
        let (table, remembered) = (&mut self.ledger.table, &self.remembered);
        let ids: Vec<EndpointId> = table.iter().map(|endpoint| endpoint.id).collect();
        let recalls = |id: &EndpointId| table.get_mut(*id).is_some_and(|endpoint| remembered.recall(endpoint));
        let recalled: Vec<EndpointId> = ids.into_iter().filter(recalls).collect();
        for endpoint in recalled {
            self.tell_owners(now, endpoint, || Event::Learned { endpoint });
        }
        taken
    }
}

impl Remembered {
    /// Gives an endpoint what is remembered of it. True if it is something new.
    pub(crate) fn recall(&self, endpoint: &mut Endpoint) -> bool {
        let known = self.endpoints.get(&endpoint.spec.identity).map(|(known, _)| known);
        let Some(known) = known.filter(|known| known.url == endpoint.spec.url) else { return false };
        let mut recalled = false;
        for model in &known.models {
            let state = endpoint.models.entry(model.local.clone()).or_default();
            if state.rates.samples == 0 && model.rates != state.rates {
                recall_rates(state, model);
                recalled = true;
            }
            state.size_vram = state.size_vram.or(model.size_vram);
            state.size = state.size.or(model.size);
        }
        recalled
    }
}

/// Speeds, and what they are learned from, as if it had been seen lately.
fn recall_rates(state: &mut ModelState, model: &LearnedModel) {
    state.rates = model.rates;
    (state.loads, state.lent) = (model.loads, model.lent);
    let slope = Slope { alone: model.rates.decode_ms_per_token, crowding: model.rates.crowding };
    for others in [0.0, 2.0] {
        state.line.add(slope, others, slope.at(others), WEIGHT, FREE_AFTER);
    }
    if let Some([base, per_sequence, per_prefill, per_context]) = model.iteration {
        state.iteration = Iteration::of(base, per_sequence, per_prefill, per_context);
    }
}

fn knows_something(state: &ModelState) -> bool {
    state.rates != Rates::default() || state.size_vram.is_some()
}

fn exported(local: &Arc<str>, state: &ModelState, before: Option<&LearnedModel>, now: Time) -> LearnedModel {
    let unused_ms = match before {
        Some(before) if state.last_used == Time::ZERO => before.unused_ms,
        _ => now.millis_since(state.last_used),
    };
    let ModelState { size_vram, size, rates, loads, lent, iteration, .. } = *state;
    let iteration = (iteration.samples > 0).then(|| {
        let (sequence, prefill) = (iteration.per_sequence_ms(), iteration.per_prefill_ms());
        [iteration.base_ms(), sequence, prefill, iteration.per_context_ms()]
    });
    LearnedModel { local: local.clone(), unused_ms, size_vram, size, rates, loads, lent, iteration }
}

/// The model's figures if they can be meant; sizes and load times that cannot are left out.
fn sane(model: &LearnedModel) -> Option<LearnedModel> {
    let within = |value: f64, least: f64, most: f64| (least..=most).contains(&value);
    let rates = Rates {
        load_ms: model.rates.load_ms.filter(|ms| within(*ms, 1.0, 3.6e6)),
        samples: model.rates.samples.min(SAMPLES),
        ..model.rates
    };
    let is_sane = within(model.unused_ms, 0.0, OLDEST_MS)
        && within(rates.prefill_ms_per_token, 1e-5, 1e4)
        && within(rates.decode_ms_per_token, 1e-4, 1e5)
        && TOKENS.contains(&rates.output_tokens)
        && within(rates.crowding, 0.0, 1.0)
        && model.iteration.is_none_or(|parts| parts.iter().all(|ms| within(*ms, 1e-9, 1e5)))
        && serde_json::to_value(rates).is_ok_and(|rates| is_plausible(&rates));
    let bytes = |bytes: Option<u64>| bytes.filter(|bytes| (1..=LARGEST).contains(bytes));
    let sane = LearnedModel { size_vram: bytes(model.size_vram), size: bytes(model.size), rates, ..model.clone() };
    is_sane.then_some(sane)
}

/// True if every number in it is in the widest range: also of figures that this file does not know.
fn is_plausible(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.as_f64().is_some_and(|number| PLAUSIBLE.contains(&number)),
        serde_json::Value::Array(values) => values.iter().all(is_plausible),
        serde_json::Value::Object(values) => values.values().all(is_plausible),
        _ => true,
    }
}
