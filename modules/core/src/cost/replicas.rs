//! How often a model is wanted and how many endpoints hold it, as one pick needs it. Each runner is looked up once per pick,
//! however many endpoints would have to give it up: the latest [`ROOM`] are kept, by hash. Requests per second.

use std::cell::Cell;

use crate::endpoint::Endpoints;
use crate::time::Time;

use super::History;
use super::cold::HORIZON_S;

/// Runners that are kept in mind.
const ROOM: usize = 16;

/// Copies over the fleet, by the engines' names, and demand. Made once per pick.
#[derive(Debug, Default)]
pub struct Replicas<'a> {
    table: Option<&'a Endpoints>,
    kept: [Cell<Option<(u64, Demand)>>; ROOM],
}

/// The demand for one copy of a runner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Requests per second and copy.
    pub(super) rate: f64,
    /// How likely it is to be wanted within the horizon: 0-1.
    pub(super) wanted: f64,
}

impl<'a> Replicas<'a> {
    /// Those of this fleet.
    pub fn of(table: &'a Endpoints) -> Replicas<'a> {
        Replicas { table: Some(table), ..Replicas::default() }
    }

    /// Other endpoints that hold the model, seen from one that does.
    fn elsewhere(&self, model: &str) -> f64 {
        f64::from(self.table.map_or(0, |table| table.copies(model)).saturating_sub(1))
    }

    /// The demand for one of the copies, seen from an endpoint that holds one.
    /// `runner`: its number; `model`: the engines' name of it.
    pub(super) fn demand<'m>(
        &self,
        history: &History,
        runner: u64,
        model: impl FnOnce() -> &'m str,
        now: Time,
    ) -> Demand {
        let place = &self.kept[runner as usize % ROOM];
        if let Some((kept, demand)) = place.get()
            && kept == runner
        {
            return demand;
        }
        let rate = history.rate_of(runner, now) / (1.0 + self.elsewhere(model()));
        let demand = Demand { rate, wanted: 1.0 - (-rate * HORIZON_S).exp() };
        place.set(Some((runner, demand)));
        demand
    }
}
