//! The models that an endpoint holds or loads, as the price of a load needs them: found once, until the endpoint changes.
//! Bytes and milliseconds; what is missing is guessed as in `cold`.

use crate::endpoint::{Endpoint, ModelState};
use crate::time::Time;

use super::cold::{bytes_of, load_of};
use super::history;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    /// The place among the endpoint's models.
    pub(super) place: usize,
    /// The model with its runner options, as a number.
    pub(super) runner: u64,
    /// Memory that it takes.
    pub(super) bytes: u64,
    /// How long it takes to load it again.
    pub(super) load_ms: f64,
    /// When it came, or its load began.
    pub(super) since: Time,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Residents {
    found: bool,
    pub(super) models: Vec<Resident>,
}

impl Residents {
    /// Those of an endpoint.
    pub(super) fn of(endpoint: &Endpoint) -> Residents {
        let mut held = Residents::default();
        held.refresh(endpoint);
        held
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.found
    }

    /// The endpoint changed.
    pub(crate) fn forget(&mut self) {
        self.found = false;
    }

    /// Looks at all of them again.
    pub(super) fn refresh(&mut self, endpoint: &Endpoint) {
        let there = |(_, (_, state)): &(usize, (&_, &ModelState))| state.resident || state.loading;
        let models = endpoint.models.iter().enumerate().filter(there).map(|(place, (name, state))| Resident {
            place,
            runner: history::runner(name, state.runner_key),
            bytes: bytes_of(endpoint, name, Some(state)),
            load_ms: load_of(endpoint, name, Some(state)),
            since: state.since,
        });
        self.models.clear();
        self.models.extend(models);
        self.found = true;
    }
}
