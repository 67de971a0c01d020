//! One request on one endpoint, as prices see it: names are looked up by text, so they are looked up once, and our jobs
//! there are gone through once. Missing: a model that the endpoint does not know has no state and the priors' speeds.

use std::cell::{Ref, RefCell};
use std::ops::Deref;

use crate::endpoint::{Endpoint, EngineClass, ModelState, Rates};
use crate::facts::RequestFacts;
use crate::strategy::Context;
use crate::table::Note;
use crate::time::Time;

use super::busy::{Busy, Runner};
use super::held::Held;
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
    /// The model's place among the endpoint's, if anything is known of it.
    pub(super) place: Option<usize>,
    /// What is known of the model there.
    pub(super) state: Option<&'a ModelState>,
    /// What was found out before.
    note: Option<&'a Note>,
}

/// What was found out before, or just now.
pub(super) enum Found<'a, T> {
    /// Before.
    Noted(Ref<'a, T>),
    /// Now.
    New(T),
}

impl<T> Deref for Found<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Found::Noted(noted) => noted,
            Found::New(new) => new,
        }
    }
}

/// What is noted, made fresh if it is not.
fn noted<'a, T>(cell: &'a RefCell<T>, is_fresh: impl Fn(&T) -> bool, refresh: impl Fn(&mut T)) -> Option<Found<'a, T>> {
    if !is_fresh(&*cell.try_borrow().ok()?) {
        refresh(&mut *cell.try_borrow_mut().ok()?);
    }
    Some(Found::Noted(cell.try_borrow().ok()?))
}

impl<'a> Known<'a> {
    /// Looks the model up.
    pub fn of(endpoint: &'a Endpoint, request: &'a RequestFacts, now: Time) -> Known<'a> {
        let local = local(endpoint, request);
        let found = local.and_then(|local| endpoint.models.get_full(local));
        let (place, state) = (found.map(|(place, ..)| place), found.map(|(.., state)| state));
        Known { endpoint, request, now, local, place, state, note: None }
    }

    /// The same in a fleet: what other requests' prices found out there is used again.
    pub fn here(endpoint: &'a Endpoint, request: &'a RequestFacts, cx: &Context<'a>) -> Known<'a> {
        Known { note: cx.table.note(endpoint.id), ..Known::of(endpoint, request, cx.now) }
    }

    /// Learned speeds, else the priors.
    pub(super) fn rates(&self) -> Rates {
        self.state.map(|state| state.rates).unwrap_or_default()
    }

    /// Our jobs there.
    pub(super) fn busy(&self) -> Found<'a, Busy> {
        let (endpoint, now) = (self.endpoint, self.now);
        let noted = self.note.and_then(|note| noted(&note.busy, |it| it.is_fresh(now), |it| it.refresh(endpoint, now)));
        noted.unwrap_or_else(|| Found::New(Busy::of(endpoint, now)))
    }

    /// The models that it holds.
    pub(super) fn held(&self) -> Found<'a, Held> {
        let noted = self.note.and_then(|note| noted(&note.held, Held::is_fresh, |it| it.refresh(self.endpoint)));
        noted.unwrap_or_else(|| Found::New(Held::of(self.endpoint)))
    }

    /// The runner of this very model.
    pub(super) fn runner<'b>(&self, busy: &'b Busy) -> Option<&'b Runner> {
        busy.runners.iter().find(|runner| runner.is_of(self.endpoint, self.place, self.local))
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
