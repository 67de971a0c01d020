//! What it costs to use a model that is not resident: its load, the loads before it, and what leaves for it.
//!
//! ```text
//! load  = L(model) + loads already begun on the endpoint         (a load begun for this very runner: what is left of it)
//! wait  = at least the drain of the runners that must leave but are busy
//! evict = sum over victims v of kappa * L(v) * wanted(v, 15 s) + stay(v) * wanted(v, stay(v))
//! wanted(v, t) = 1 - exp(-t rate(v) / (1 + replicas(v)))
//! ```
//!
//! `rate` is the demand in requests per second, `replicas` the other endpoints that hold v, `stay` what is left of v's least
//! stay: it counts as far as v is likely to be wanted in it. The horizon is short and kappa large, so that the price keeps
//! growing with the demand: over a minute all popular models would be worth the same. A model loaded with other runner options counts as not resident and is its own first victim.
//! Which resident goes is the engine's own choice, so the price is that of the average idle one, by bytes needed; busy
//! ones are priced only if the idle do not suffice. A model that takes more than 60 % of the memory drives out all.
//!
//! Memory: declared, else the most that was ever seen resident, else what is resident now; at most 3 models, or as many
//! as were seen. Sizes: learned, else size on disk x 1.2, else 6 GB. Load time: learned, else size / 1.5 GB/s + 1.5 s, 5 s
//! where no size is told. Sums over models are made in whole numbers, so that their order does not matter.

use crate::endpoint::{Endpoint, EngineClass, Inventory, ModelState};
use crate::facts::RequestFacts;
use crate::time::Time;

use super::busy::{Busy, Runner};
use super::residents::{Resident, Residents};
use super::{History, Known, Price, Replicas, local};

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
/// No model takes more, whatever an engine tells: sums stay sums.
const MOST_BYTES: u64 = 1 << 46;
/// The share of the memory above which a model drives out all others.
const WHOLE: f64 = 0.6;
/// Models that an engine holds at once unless it was seen to hold more: Ollama's default for one GPU.
const MODELS_AT_ONCE: usize = 3;
/// How far ahead an eviction is regretted, in seconds.
pub(super) const HORIZON_S: f64 = 15.0;

/// True if the request needs no load here: its runner is resident with the same options, or the engine does not load on
/// demand as far as it tells (batching engines, no report of resident models), or the request has no model.
pub fn is_warm(endpoint: &Endpoint, request: &RequestFacts) -> bool {
    let holds = |state: &ModelState| state.resident && state.runner_key == request.runner_key;
    let resident = |model| endpoint.models.get(model).is_some_and(holds);
    endpoint.class == EngineClass::Batching || !tells(endpoint) || local(endpoint, request).is_none_or(resident)
}

/// True if its reports name resident models.
pub(super) fn tells(endpoint: &Endpoint) -> bool {
    endpoint.sample.as_ref().is_some_and(|sample| sample.residents.is_some())
}

/// Milliseconds to load a model, by the engine's own name.
pub fn load_ms(endpoint: &Endpoint, model: &str) -> f64 {
    load_of(endpoint, model, endpoint.models.get(model))
}

/// The same where the model's state is at hand.
pub(super) fn load_of(endpoint: &Endpoint, model: &str, state: Option<&ModelState>) -> f64 {
    let learned = state.and_then(|state| state.rates.load_ms);
    let by_size = || disk_bytes(endpoint, model, state).map(|bytes| bytes as f64 / DISK + SPAWN_MS);
    learned.or_else(by_size).unwrap_or(UNKNOWN_LOAD_MS)
}

/// Bytes of memory that a model takes, by the engine's own name.
pub fn memory_bytes(endpoint: &Endpoint, model: &str) -> u64 {
    bytes_of(endpoint, model, endpoint.models.get(model))
}

pub(super) fn bytes_of(endpoint: &Endpoint, model: &str, state: Option<&ModelState>) -> u64 {
    let learned = state.and_then(|state| state.size_vram);
    let by_size = || disk_bytes(endpoint, model, state).map(|bytes| (bytes as f64 * OVERHEAD) as u64);
    learned.or_else(by_size).unwrap_or(UNKNOWN_BYTES).min(MOST_BYTES)
}

/// The load term: 0 if warm; what is left of a load begun for this runner; else the load after all loads begun before.
pub fn load_wait_ms(endpoint: &Endpoint, request: &RequestFacts, now: Time) -> f64 {
    load_wait(&Known::of(endpoint, request, now))
}

pub(super) fn load_wait(known: &Known<'_>) -> f64 {
    if known.is_warm() {
        return 0.0;
    }
    match known.state().filter(|_| known.is_on_its_way()) {
        Some(state) => left_of(known.card.load_ms, state, known.now),
        None => known.card.load_ms + known.busy.loads_begun_ms,
    }
}

/// What is left of all loads that go on, one after the other: milliseconds.
pub(super) fn loads_begun_ms(endpoint: &Endpoint, now: Time) -> f64 {
    let begun = endpoint.models.iter().filter(|(_, state)| state.loading);
    let left_us: u64 =
        begun.map(|(name, state)| (left_of(load_of(endpoint, name, Some(state)), state, now) * 1000.0) as u64).sum();
    left_us as f64 / 1000.0
}

fn left_of(whole: f64, state: &ModelState, now: Time) -> f64 {
    (whole - now.millis_since(state.since)).max(whole * LEAST_LEFT)
}

fn disk_bytes(endpoint: &Endpoint, model: &str, state: Option<&ModelState>) -> Option<u64> {
    let listed = || match &endpoint.inventory {
        Inventory::Known(models) => models.iter().find(|info| &*info.local == model).and_then(|info| info.size),
        Inventory::Any | Inventory::Unknown => None,
    };
    state.and_then(|state| state.size).or_else(listed)
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

/// Residents of whom the engine chooses one or more: sums over them.
#[derive(Default)]
struct Victims {
    count: usize,
    bytes: u64,
    /// What their leaving costs, in whole microseconds.
    price_us: u64,
}

impl Market<'_> {
    /// Adds load, drain and eviction to a price; nothing if the request is warm here, the load alone if its runner is on
    /// its way. True if something must leave for it, whatever that is worth.
    pub fn add_to(&self, price: &mut Price, known: &Known<'_>) -> bool {
        if known.is_warm() {
            return false;
        }
        price.load = known.load_wait_ms();
        if known.is_on_its_way() {
            return false;
        }
        let held = known.residents();
        let own = held.models.iter().find(|held| Some(held.place) == known.card.place);
        let (reload, reload_drain) = match own {
            Some(own) => (
                self.leaving_ms(known.endpoint, own),
                known.runner().map_or(0.0, |runner| runner.drain_ms(known.busy.runners.len(), known.busy.slots)),
            ),
            None => (0.0, 0.0),
        };
        let room = self.make_room(known, &held);
        let (others, others_drain) = room.unwrap_or_default();
        price.wait = price.wait.max(reload_drain).max(others_drain);
        price.evict = reload + others;
        own.is_some() || room.is_some()
    }

    /// What it costs to make room for a model among the others: (evictions, drain), in milliseconds. `None` = there is room.
    fn make_room(&self, known: &Known<'_>, held: &Residents) -> Option<(f64, f64)> {
        let (endpoint, busy) = (known.endpoint, &*known.busy);
        let others = || held.models.iter().filter(|held| Some(held.place) != known.card.place);
        let need = known.card.bytes;
        let (count, used) = others().fold((0, 0), |(count, sum), held| (count + 1, sum + held.bytes));
        let memory = self.memory(endpoint, used);
        let short = (need + used).saturating_sub(memory);
        let crowded = count >= MODELS_AT_ONCE.max(self.history.most_models(endpoint.id));
        if count == 0 || (short == 0 && !crowded) {
            return None;
        }
        let is_busy = |runner: &Runner| runner.model.is_some_and(|model| others().any(|held| held.place == model));
        if need as f64 > WHOLE * memory as f64 {
            return Some((self.victims(endpoint, others()).average(u64::MAX), drain_ms(busy, is_busy)));
        }
        let is_idle = |held: &&Resident| !busy.runners.iter().any(|runner| runner.model == Some(held.place));
        let idle = || others().filter(is_idle);
        let (idle_count, idle_bytes) = idle().fold((0, 0), |(count, sum), held| (count + 1, sum + held.bytes));
        if idle_count > 0 && idle_bytes >= short {
            return Some((self.victims(endpoint, idle()).average(short), 0.0));
        }
        let first = busy.runners.iter().filter(|runner| is_busy(runner));
        let first = first.map(|runner| runner.drain_ms(busy.runners.len(), busy.slots)).fold(f64::INFINITY, f64::min);
        Some((self.victims(endpoint, others()).average(short), if first.is_finite() { first } else { 0.0 }))
    }

    fn victims<'h>(&self, endpoint: &Endpoint, held: impl Iterator<Item = &'h Resident>) -> Victims {
        held.fold(Victims::default(), |sum, held| Victims {
            count: sum.count + 1,
            bytes: sum.bytes + held.bytes,
            price_us: sum.price_us + (self.leaving_ms(endpoint, held) * 1000.0) as u64,
        })
    }

    /// What a resident's leaving costs: the expected reload, weighted, and the rest of its least stay.
    fn leaving_ms(&self, endpoint: &Endpoint, held: &Resident) -> f64 {
        let name = || endpoint.models.get_index(held.place).map_or("", |(name, _)| name);
        let demand = self.replicas.demand(self.history, held.runner, name, self.now);
        let wanted = |seconds: f64| 1.0 - (-demand.rate * seconds).exp();
        let stay = (self.min_residency_ms - self.now.millis_since(held.since)).max(0.0);
        let stays = if stay > 0.0 { stay * wanted(stay / 1000.0) } else { 0.0 };
        self.kappa * held.load_ms * demand.wanted + stays
    }

    fn memory(&self, endpoint: &Endpoint, used: u64) -> u64 {
        endpoint.spec.vram.unwrap_or_else(|| self.history.most_bytes(endpoint.id).max(used))
    }
}

impl Victims {
    /// The price of freeing `short` bytes: their sum, by the share of their bytes that is needed, at least one of them.
    fn average(&self, short: u64) -> f64 {
        let share = (short as f64 / self.bytes.max(1) as f64).clamp(1.0 / self.count.max(1) as f64, 1.0);
        share * self.price_us as f64 / 1000.0
    }
}

/// Until all the named runners are done: milliseconds.
fn drain_ms(busy: &Busy, leaves: impl Fn(&Runner) -> bool) -> f64 {
    let leaving = busy.runners.iter().filter(|runner| leaves(runner));
    leaving.map(|runner| runner.drain_ms(busy.runners.len(), busy.slots)).fold(0.0, f64::max)
}
