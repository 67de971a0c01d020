//! What requests for one model find on an endpoint, whatever the time and the request: found by name once, and kept until
//! the endpoint may have changed. Times are milliseconds, memory is bytes.
//!
//! Cards are found by a number made of the model's public name ([`number`]). An endpoint keeps [`ROOM`] of them and
//! begins anew when there are more. A model that the endpoint does not know has the priors' speeds.

use xxhash_rust::xxh3::xxh3_64;

use crate::endpoint::{Endpoint, EngineClass, ModelState, Rates};
use crate::learn::batching::Iteration;

use super::busy::Busy;
use super::cold::{bytes_of, load_of, tells};

/// Models of which an endpoint keeps a card.
const ROOM: usize = 64;

/// One model on one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Card {
    /// The model's place among the endpoint's, if anything is known of it.
    pub(super) place: Option<usize>,
    /// Its runner's place among those at work.
    pub(super) runner: Option<usize>,
    /// Learned speeds.
    pub(super) rates: Rates,
    /// Learned times of a batching engine's iteration: `a`, `b`, `c`, `d`.
    pub(super) iteration: [f64; 4],
    /// The most requests that we send at once, all models together.
    pub(super) cap: Option<u32>,
    /// The same of this model alone.
    pub(super) model_cap: Option<u32>,
    /// No request for it needs a load here.
    pub(super) is_always_warm: bool,
    /// The runner options that it is loaded with.
    pub(super) resident_with: Option<u64>,
    /// Those with which its load goes on.
    pub(super) loading_with: Option<u64>,
    /// Its whole load.
    pub(super) load_ms: f64,
    /// Memory that it takes.
    pub(super) bytes: u64,
    /// Another model is loaded.
    pub(super) holds_others: bool,
    /// Another model is being loaded.
    pub(super) loads_another: bool,
}

impl Card {
    /// That of a model by its public name; `None` = requests without one. `busy`: the endpoint's.
    pub(super) fn of(endpoint: &Endpoint, model: Option<&str>, busy: &Busy) -> Card {
        let local = model.map(|model| endpoint.called(model));
        let found = local.and_then(|local| endpoint.models.get_full(local));
        let (place, state) = (found.map(|(place, ..)| place), found.map(|(.., state)| state));
        let is_always_warm = endpoint.class == EngineClass::Batching || local.is_none() || !tells(endpoint);
        let (load_ms, bytes) = match local.filter(|_| !is_always_warm) {
            Some(local) => (load_of(endpoint, local, state), bytes_of(endpoint, local, state)),
            None => (0.0, 0),
        };
        let another = |is: fn(&ModelState) -> bool| {
            endpoint.models.iter().any(|(name, state)| is(state) && Some(&**name) != local)
        };
        let iteration = state.map_or_else(Iteration::default, |state| state.iteration);
        Card {
            place,
            runner: busy.runners.iter().position(|runner| runner.is_of(endpoint, place, local)),
            rates: state.map(|state| state.rates).unwrap_or_default(),
            iteration: iteration.per_unit_ms(),
            cap: endpoint.full_cap(),
            model_cap: endpoint.full_slots_per_model(),
            is_always_warm,
            resident_with: state.filter(|state| state.resident).map(|state| state.runner_key),
            loading_with: state.filter(|state| state.loading).map(|state| state.runner_key),
            load_ms,
            bytes,
            holds_others: another(|state| state.resident),
            loads_another: another(|state| state.loading),
        }
    }
}

/// A number for a model's public name; 0 = no model.
pub(super) fn number(model: Option<&str>) -> u64 {
    model.map_or(0, |model| xxh3_64(model.as_bytes()))
}

/// The cards of an endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cards {
    numbers: Vec<u64>,
    cards: Vec<Card>,
}

impl Cards {
    /// That of a model by its number.
    pub(super) fn get(&self, number: u64) -> Option<&Card> {
        self.cards.get(self.numbers.iter().position(|known| *known == number)?)
    }

    /// One more.
    pub(super) fn add(&mut self, number: u64, card: Card) {
        if self.numbers.len() == ROOM {
            self.forget();
        }
        self.numbers.push(number);
        self.cards.push(card);
    }

    /// The endpoint changed.
    pub(crate) fn forget(&mut self) {
        self.numbers.clear();
        self.cards.clear();
    }
}
