//! What it costs to use a model that is not resident: its load, the loads before it, and what leaves for it.
//!
//! ```text
//! load  = L(model) + loads already begun on the endpoint         (a load begun for this very runner: what is left of it)
//! wait  = at least the drain of the runners that must leave but are busy
//! evict = kappa * sum over victims v of L(v) * (1 - exp(-60 rate(v) / (1 + replicas(v)))) + the rest of v's 20 s
//! ```
//!
//! `rate` is the demand in requests per second, `replicas` the other endpoints that hold v: the expected price of v's next
//! load within a minute. A model loaded with other runner options counts as not resident and is its own first victim.
//! Which resident goes is the engine's own choice, so the price is that of the average idle one, by bytes needed; busy
//! ones are priced only if the idle do not suffice. A model that takes more than 60 % of the memory drives out all.
//!
//! Memory: declared, else the most that was ever seen resident, else what is resident now; at most 3 models, or as many
//! as were seen. Sizes: learned, else size on disk x 1.2, else 6 GB. Load time: learned, else size / 1.5 GB/s + 1.5 s, 5 s
//! where no size is told. Sums over models are made in whole numbers, so that their order does not matter.

use std::collections::HashMap;
use std::sync::Arc;

use crate::endpoint::{Endpoint, Endpoints, EngineClass, Inventory, ModelState};
use crate::facts::RequestFacts;
use crate::time::Time;

use super::slots::{Runner, runners, slots};
use super::{History, Price, local};

/// Bytes per millisecond from disk: 1.5 GB/s.
const DISK: f64 = 1.5e6;
/// Milliseconds that a load takes beside the reading.
const SPAWN_MS: f64 = 1500.0;
/// Milliseconds of a load about which nothing is known.
const UNKNOWN_LOAD_MS: f64 = 5000.0;
/// The share of a load that is left at least, while it goes on.
const LEAST_LEFT: f64 = 0.1;
/// Memory per byte on disk.
const OVERHEAD: f64 = 1.2;
/// Memory of a model of unknown size.
const UNKNOWN_BYTES: u64 = 6_000_000_000;
/// The share of the memory above which a model drives out all others.
const WHOLE: f64 = 0.6;
/// Models that an engine holds at once unless it was seen to hold more: Ollama's default for one GPU.
const MODELS_AT_ONCE: usize = 3;
/// How far ahead an eviction is regretted, in seconds.
const HORIZON_S: f64 = 60.0;

/// True if the request needs no load here: its runner is resident with the same options, or the engine does not load on
/// demand as far as it tells (batching engines, no report of resident models), or the request has no model.
pub fn is_warm(endpoint: &Endpoint, request: &RequestFacts) -> bool {
    let Some(model) = local(endpoint, request) else { return true };
    let tells = endpoint.sample.as_ref().is_some_and(|sample| sample.residents.is_some());
    let holds = |state: &ModelState| state.resident && state.runner_key == request.runner_key;
    endpoint.class == EngineClass::Batching || !tells || endpoint.models.get(model).is_some_and(holds)
}

/// Milliseconds to load a model, by the engine's own name.
pub fn load_ms(endpoint: &Endpoint, model: &str) -> f64 {
    let learned = endpoint.models.get(model).and_then(|state| state.rates.load_ms);
    let by_size = || disk_bytes(endpoint, model).map(|bytes| bytes as f64 / DISK + SPAWN_MS);
    learned.or_else(by_size).unwrap_or(UNKNOWN_LOAD_MS)
}

/// Bytes of memory that a model takes, by the engine's own name.
pub fn memory_bytes(endpoint: &Endpoint, model: &str) -> u64 {
    let learned = endpoint.models.get(model).and_then(|state| state.size_vram);
    let by_size = || disk_bytes(endpoint, model).map(|bytes| (bytes as f64 * OVERHEAD) as u64);
    learned.or_else(by_size).unwrap_or(UNKNOWN_BYTES)
}

/// The load term: 0 if warm; what is left of a load begun for this runner; else the load after all loads begun before.
pub fn load_wait_ms(endpoint: &Endpoint, request: &RequestFacts, now: Time) -> f64 {
    let Some(model) = local(endpoint, request).filter(|_| !is_warm(endpoint, request)) else { return 0.0 };
    match endpoint.models.get(model).filter(|state| is_loading_for(state, request)) {
        Some(state) => left_of_load(endpoint, model, state, now),
        None => load_ms(endpoint, model) + loads_begun_ms(endpoint, now),
    }
}

/// What is left of all loads that go on, one after the other: milliseconds.
pub(super) fn loads_begun_ms(endpoint: &Endpoint, now: Time) -> f64 {
    let begun = endpoint.models.iter().filter(|(_, state)| state.loading);
    let left_us: u64 = begun.map(|(name, state)| (left_of_load(endpoint, name, state, now) * 1000.0) as u64).sum();
    left_us as f64 / 1000.0
}

fn is_loading_for(state: &ModelState, request: &RequestFacts) -> bool {
    state.loading && state.runner_key == request.runner_key
}

fn left_of_load(endpoint: &Endpoint, model: &str, state: &ModelState, now: Time) -> f64 {
    let whole = load_ms(endpoint, model);
    (whole - now.millis_since(state.since)).max(whole * LEAST_LEFT)
}

fn disk_bytes(endpoint: &Endpoint, model: &str) -> Option<u64> {
    let listed = || match &endpoint.inventory {
        Inventory::Known(models) => models.iter().find(|info| &*info.local == model).and_then(|info| info.size),
        Inventory::Any | Inventory::Unknown => None,
    };
    endpoint.models.get(model).and_then(|state| state.size).or_else(listed)
}

/// How many endpoints hold each model, by the engines' names. Made once per pick, when some candidate is cold.
#[derive(Debug, Default)]
pub struct Replicas<'a> {
    count: HashMap<&'a str, u32>,
}

impl<'a> Replicas<'a> {
    /// Counts resident models over the fleet.
    pub fn of(table: &'a Endpoints) -> Replicas<'a> {
        let mut count = HashMap::new();
        for (model, _) in table.iter().flat_map(|endpoint| &endpoint.models).filter(|(_, state)| state.resident) {
            *count.entry(&**model).or_insert(0) += 1;
        }
        Replicas { count }
    }

    /// Other endpoints that hold the model, seen from one that does.
    fn elsewhere(&self, model: &str) -> f64 {
        f64::from(self.count.get(model).copied().unwrap_or(0).saturating_sub(1))
    }
}

/// What evictions are priced by.
pub struct Market<'a> {
    /// Demand, and memory seen in use.
    pub history: &'a History,
    /// Copies in the fleet.
    pub replicas: &'a Replicas<'a>,
    /// Weight of what an eviction costs others.
    pub kappa: f64,
    /// A model that came less than this many milliseconds ago is not to leave yet.
    pub min_residency_ms: f64,
    /// Now.
    pub now: Time,
}

/// A resident that may have to leave.
struct Victim<'a> {
    model: &'a Arc<str>,
    bytes: u64,
    /// What its leaving costs, in whole microseconds.
    price_us: u64,
}

impl Market<'_> {
    /// Adds load, drain and eviction to a price; nothing if the request is warm here or its runner is on its way.
    pub fn add_cold(&self, price: &mut Price, endpoint: &Endpoint, request: &RequestFacts) {
        let Some(model) = local(endpoint, request).filter(|_| !is_warm(endpoint, request)) else { return };
        price.load = load_wait_ms(endpoint, request, self.now);
        let own = endpoint.models.get(model).filter(|state| state.resident || state.loading);
        if own.is_some_and(|state| is_loading_for(state, request)) {
            return;
        }
        let runners = runners(endpoint, self.now);
        let (reload, reload_drain) = match own {
            Some(state) => {
                (self.leaving_ms(endpoint, model, state), drain_ms(endpoint, &runners, |name| name == model))
            }
            None => (0.0, 0.0),
        };
        let (others, others_drain) = self.make_room(endpoint, model, &runners);
        price.wait = price.wait.max(reload_drain).max(others_drain);
        price.evict = reload + others;
    }

    /// What it costs to make room for a model among the others: (evictions, drain), in milliseconds.
    fn make_room(&self, endpoint: &Endpoint, model: &str, runners: &[Runner<'_>]) -> (f64, f64) {
        let held =
            endpoint.models.iter().filter(|(name, state)| &***name != model && (state.resident || state.loading));
        let held: Vec<Victim<'_>> = held.map(|(name, state)| self.victim(endpoint, name, state)).collect();
        let need = memory_bytes(endpoint, model);
        let used: u64 = held.iter().map(|victim| victim.bytes).sum();
        let memory = self.memory(endpoint, used);
        let short = (need + used).saturating_sub(memory);
        let crowded = held.len() >= MODELS_AT_ONCE.max(self.history.most_models(endpoint.id));
        if held.is_empty() || (short == 0 && !crowded) {
            return (0.0, 0.0);
        }
        let (busy, idle): (Vec<&Victim<'_>>, Vec<&Victim<'_>>) =
            held.iter().partition(|victim| runners.iter().any(|runner| runner.local == Some(&**victim.model)));
        let idle_bytes: u64 = idle.iter().map(|victim| victim.bytes).sum();
        let is_busy = |name: &str| busy.iter().any(|victim| &**victim.model == name);
        if need as f64 > WHOLE * memory as f64 {
            return (average(&held.iter().collect::<Vec<_>>(), u64::MAX), drain_ms(endpoint, runners, is_busy));
        }
        if !idle.is_empty() && idle_bytes >= short {
            return (average(&idle, short), 0.0);
        }
        let models = runners.len();
        let first = runners.iter().filter(|runner| runner.local.is_some_and(is_busy));
        let first = first.map(|runner| runner.drain_ms(models, slots(endpoint))).fold(f64::INFINITY, f64::min);
        (average(&held.iter().collect::<Vec<_>>(), short), if first.is_finite() { first } else { 0.0 })
    }

    fn victim<'a>(&self, endpoint: &Endpoint, model: &'a Arc<str>, state: &ModelState) -> Victim<'a> {
        let price_us = (self.leaving_ms(endpoint, model, state) * 1000.0) as u64;
        Victim { model, bytes: memory_bytes(endpoint, model), price_us }
    }

    /// What a resident's leaving costs: the expected reload, weighted, and the rest of its least stay.
    fn leaving_ms(&self, endpoint: &Endpoint, model: &str, state: &ModelState) -> f64 {
        let rate = self.history.rate(model, state.runner_key, self.now);
        let wanted = 1.0 - (-rate * HORIZON_S / (1.0 + self.replicas.elsewhere(model))).exp();
        let stay = (self.min_residency_ms - self.now.millis_since(state.since)).max(0.0);
        self.kappa * load_ms(endpoint, model) * wanted + stay
    }

    fn memory(&self, endpoint: &Endpoint, used: u64) -> u64 {
        endpoint.spec.vram.unwrap_or_else(|| self.history.most_bytes(endpoint.id).max(used))
    }
}

/// The price of freeing `short` bytes among victims of whom the engine chooses: their sum, by the share of their bytes
/// that is needed, at least one of them.
fn average(victims: &[&Victim<'_>], short: u64) -> f64 {
    let bytes: u64 = victims.iter().map(|victim| victim.bytes).sum();
    let price_us: u64 = victims.iter().map(|victim| victim.price_us).sum();
    let share = (short as f64 / bytes.max(1) as f64).clamp(1.0 / victims.len().max(1) as f64, 1.0);
    share * price_us as f64 / 1000.0
}

/// Until all the named runners are done: milliseconds.
fn drain_ms(endpoint: &Endpoint, runners: &[Runner<'_>], leaves: impl Fn(&str) -> bool) -> f64 {
    let leaving = runners.iter().filter(|runner| runner.local.is_some_and(&leaves));
    leaving.map(|runner| runner.drain_ms(runners.len(), slots(endpoint))).fold(0.0, f64::max)
}
