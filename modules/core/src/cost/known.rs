//! One request on one endpoint, as prices see it: names are looked up by text, so they are looked up once, and our jobs
//! there are gone through once. Missing: a model that the endpoint does not know has no state and the priors' speeds.

use std::cell::OnceCell;

use crate::endpoint::{Endpoint, EngineClass, ModelState, Rates};
use crate::facts::RequestFacts;
use crate::time::Time;

use super::slots::{Runners, runners};
use super::{Batch, Price, Reserved, cold, completed, local};

/// A request's model on an endpoint, and who works there.
pub struct Known<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// The request.
    pub request: &'a RequestFacts,
    /// The moment.
    pub now: Time,
    /// The engine's own name for the model.
    pub(super) local: Option<&'a str>,
    /// What is known of the model there.
    pub(super) state: Option<&'a ModelState>,
    runners: OnceCell<Runners<'a>>,
}

impl<'a> Known<'a> {
    /// Looks the model up.
    pub fn of(endpoint: &'a Endpoint, request: &'a RequestFacts, now: Time) -> Known<'a> {
        let local = local(endpoint, request);
        let state = local.and_then(|local| endpoint.models.get(local));
        Known { endpoint, request, now, local, state, runners: OnceCell::new() }
    }

    /// Learned speeds, else the priors.
    pub(super) fn rates(&self) -> Rates {
        self.state.map(|state| state.rates).unwrap_or_default()
    }

    /// Our jobs there by model.
    pub(super) fn runners(&self) -> &Runners<'a> {
        self.runners.get_or_init(|| runners(self.endpoint, self.now))
    }

    /// Wait, prefill and decode: see [`super::completion`].
    pub fn completion(&self, reserved: Reserved) -> Price {
        self.completion_with(reserved, &Batch::default())
    }

    /// The same by a strategy that knows a prefix cache: see [`super::completion_with`].
    pub fn completion_with(&self, reserved: Reserved, batch: &Batch) -> Price {
        completed(self, reserved, batch)
    }

    /// True if the request needs no load here: see [`super::is_warm`].
    pub fn is_warm(&self) -> bool {
        if self.endpoint.class == EngineClass::Batching || self.local.is_none() || !cold::tells(self.endpoint) {
            return true;
        }
        self.state.is_some_and(|state| state.resident && state.runner_key == self.request.runner_key)
    }

    /// The load term: see [`super::load_wait_ms`].
    pub fn load_wait_ms(&self) -> f64 {
        cold::load_wait(self)
    }

    /// The model's load if something resident is driven out for it and it is not on its way yet, else 0: milliseconds.
    pub fn displacing_load_ms(&self) -> f64 {
        let Some(local) = self.local.filter(|_| !self.state.is_some_and(|state| state.loading)) else { return 0.0 };
        let holds_others = self.endpoint.models.iter().any(|(name, state)| state.resident && **name != *local);
        if holds_others { cold::load_of(self.endpoint, local, self.state) } else { 0.0 }
    }

    /// True if this request may start here now: see [`Endpoint::may_take`].
    pub fn may_take(&self) -> bool {
        self.request.uncapped || (self.endpoint.is_free(self.now) && self.endpoint.has_slot_for(self.local, self.now))
    }
}
