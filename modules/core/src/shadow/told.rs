//! What the fleet is told of shadows and tells of them. Plain values, no behaviour. Milliseconds.

use std::sync::Arc;

use serde::Serialize;

use crate::strategy::{Chosen, Needs, Strategy};

/// A strategy that runs beside one of a pool's, for one route, and routes nothing. It is kept over reloads while route,
/// module and options stay the same; its counts, while the strategy beside it stays, too.
pub struct ShadowSpec {
    /// The route ([`crate::RequestFacts::route`]) whose requests it is asked for.
    pub route: Arc<str>,
    /// The place of the strategy that routes them in [`crate::PoolSpec::strategies`].
    pub beside: usize,
    /// The module's name.
    pub module: &'static str,
    /// A fresh instance; dropped if an equal one runs already.
    pub strategy: Box<dyn Strategy>,
}

/// A shadow as others see it.
#[derive(Clone, Debug)]
pub struct ShadowView<'a> {
    /// The route whose requests it is asked for.
    pub route: &'a Arc<str>,
    /// Its module, as configured.
    pub module: &'static str,
    /// Its options, defaults filled.
    pub options: &'a serde_json::Value,
    /// What it wants to know of a request: [`Needs::with`] adds it to what the strategy beside it wants.
    pub needs: &'a Needs,
    /// The module that it goes by now, if it chooses among modules.
    pub chosen: Option<Chosen>,
    /// What it would have done.
    pub tally: Tally,
    /// Panics caught. Above 0: it is switched off.
    pub panics: u64,
    /// Picks of an endpoint that was full or no candidate: each was taken for a wait.
    pub refused_picks: u64,
}

/// What a shadow would have done with the requests that it was asked for. Counts since it was built, or the strategy beside
/// it changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Requests: `agreed + differed + waits`.
    pub asked: u64,
    /// It would have sent them where they went.
    pub agreed: u64,
    /// It would have sent them elsewhere, at once.
    pub differed: u64,
    /// It would have let them wait.
    pub waits: u64,
    /// Requests of which it priced both ways.
    pub priced: u64,
    /// What its own picks would have saved over these, in milliseconds: an estimate, by its own prices.
    pub saved_ms: f64,
}

impl Tally {
    /// The estimated saving per request, in milliseconds; `None` while nothing was priced.
    pub fn mean_saved_ms(&self) -> Option<f64> {
        (self.priced > 0).then(|| self.saved_ms / self.priced as f64)
    }
}
