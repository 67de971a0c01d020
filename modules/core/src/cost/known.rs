//! One request on one endpoint, as prices see it: names are looked up by text, so they are looked up once ([`Card`]), and
//! our jobs there are gone through once ([`Busy`]). In a fleet both are noted beside the endpoint, and used again.

use std::cell::{Ref, RefCell};
use std::ops::Deref;

use crate::endpoint::{Endpoint, EndpointId, Endpoints, ModelState};
use crate::facts::RequestFacts;
use crate::strategy::Context;
use crate::table::Note;
use crate::time::Time;

use super::busy::{Busy, Runner};
use super::card::{Card, number};
use super::residents::Residents;
use super::{Batch, Price, Reserved, cold, completed};

/// A request that is priced all over a fleet: what is the same everywhere.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    request: &'a RequestFacts,
    table: &'a Endpoints,
    candidates: &'a [EndpointId],
    now: Time,
    /// The number of its model.
    number: u64,
}

impl<'a> Asked<'a> {
    /// What the context asks for.
    pub fn of(request: &'a RequestFacts, cx: &Context<'a>) -> Asked<'a> {
        let (table, candidates, now) = (cx.table, cx.candidates, cx.now);
        Asked { request, table, candidates, now, number: number(request.model.as_deref()) }
    }

    /// The request on each candidate that can be priced: those of weight 0 never take a request, those with a cap of 0
    /// only one that knows no caps.
    pub fn open(self) -> impl Iterator<Item = Known<'a>> {
        let candidates = self.candidates.iter().filter_map(move |id| self.table.row(*id));
        let known = candidates.filter(|(endpoint, _)| endpoint.spec.weight > 0).map(move |(endpoint, note)| {
            let (card, busy) = noted(note, endpoint, &self);
            Known { endpoint, request: self.request, now: self.now, card, busy, note: Some(note) }
        });
        known.filter(|known| known.request.uncapped || known.card.cap != Some(0))
    }
}

/// A request's model on an endpoint, and who works there.
pub struct Known<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// The request.
    pub request: &'a RequestFacts,
    /// The moment.
    pub now: Time,
    /// Its model there.
    pub(super) card: Found<'a, Card>,
    /// Our jobs there.
    pub(super) busy: Found<'a, Busy>,
    /// What was found out before.
    note: Option<&'a Note>,
}

/// What was found out before, or just now.
pub(super) enum Found<'a, T> {
    /// Before.
    Noted(Ref<'a, T>),
    /// Now.
    New(Box<T>),
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

/// What is noted, made fresh if it is not; found anew where somebody else looks at the note.
fn fresh<'a, T>(
    cell: &'a RefCell<T>,
    is_fresh: impl Fn(&T) -> bool,
    refresh: impl FnOnce(&mut T),
    anew: impl Fn() -> T,
) -> Found<'a, T> {
    match cell.try_borrow() {
        Ok(noted) if is_fresh(&noted) => return Found::Noted(noted),
        _ => {}
    }
    if let Ok(mut stale) = cell.try_borrow_mut() {
        refresh(&mut stale);
    } else {
        return Found::New(Box::new(anew()));
    }
    cell.try_borrow().map_or_else(|_| Found::New(Box::new(anew())), Found::Noted)
}

/// What is known of the model and of our jobs, from the note or into it.
fn noted<'a>(note: &'a Note, endpoint: &'a Endpoint, asked: &Asked<'a>) -> (Found<'a, Card>, Found<'a, Busy>) {
    let now = asked.now;
    let anew = || Busy::of(endpoint, now);
    let busy = fresh(&note.busy, |busy| busy.is_fresh(now), |busy| busy.refresh(endpoint, now), anew);
    let known = || Ref::filter_map(note.cards.try_borrow().ok()?, |cards| cards.get(asked.number)).ok();
    if let Some(card) = known() {
        return (Found::Noted(card), busy);
    }
    let card = Card::of(endpoint, asked.request.model.as_deref(), &busy);
    if let Ok(mut cards) = note.cards.try_borrow_mut() {
        cards.add(asked.number, card);
    }
    (known().map_or_else(|| Found::New(Box::new(card)), Found::Noted), busy)
}

impl<'a> Known<'a> {
    /// Finds out all of it.
    pub fn of(endpoint: &'a Endpoint, request: &'a RequestFacts, now: Time) -> Known<'a> {
        let busy = Busy::of(endpoint, now);
        let card = Found::New(Box::new(Card::of(endpoint, request.model.as_deref(), &busy)));
        let busy = Found::New(Box::new(busy));
        Known { endpoint, request, now, card, busy, note: None }
    }

    /// What is known of the model there.
    pub(crate) fn state(&self) -> Option<&'a ModelState> {
        Some(self.endpoint.models.get_index(self.card.place?)?.1)
    }

    /// The models that it holds.
    pub(super) fn residents(&self) -> Found<'a, Residents> {
        let anew = || Residents::of(self.endpoint);
        match self.note {
            Some(note) => fresh(&note.residents, Residents::is_fresh, |it| it.refresh(self.endpoint), anew),
            None => Found::New(Box::new(anew())),
        }
    }

    /// The runner of this very model.
    pub(super) fn runner(&self) -> Option<&Runner> {
        self.busy.runners.get(self.card.runner?)
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
        self.card.is_always_warm || self.card.resident_with == Some(self.request.runner_key)
    }

    /// True while a load begun for this very runner goes on.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.card.loading_with == Some(self.request.runner_key)
    }

    /// True while the endpoint loads another model. Engines load one at a time.
    pub fn loads_another(&self) -> bool {
        self.card.loads_another
    }

    /// The load term: see [`super::load_wait_ms`].
    pub fn load_wait_ms(&self) -> f64 {
        cold::load_wait(self)
    }

    /// The model's load if something resident is driven out for it and it is not on its way yet, else 0: milliseconds.
    pub fn displacing_load_ms(&self) -> f64 {
        if self.card.holds_others && self.card.loading_with.is_none() { self.card.load_ms } else { 0.0 }
    }

    /// The most requests that we send there at once now.
    pub fn cap(&self) -> Option<u32> {
        self.card.cap.map(|full| self.endpoint.grown(full, self.now))
    }

    /// True if the request may go there now: the endpoint has a free slot, or the request knows no caps.
    pub fn is_free(&self) -> bool {
        self.request.uncapped || self.endpoint.has_room(self.card.cap, self.now)
    }

    /// True if this request may start here now: see [`Endpoint::may_take`].
    pub fn may_take(&self) -> bool {
        let jobs = || self.runner().map_or(0, |runner| runner.jobs);
        let has_slot = |full: u32| jobs() < self.endpoint.grown(full, self.now);
        self.request.uncapped || (self.is_free() && self.card.model_cap.is_none_or(has_slot))
    }
}
