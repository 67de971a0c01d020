//! A decision, told: the candidates with their priced terms, and how old the reports are that they rest on. Written only
//! where somebody asks. Beside it, what a shadow is asked for at every pick: the prices of two endpoints, no words.

use serde::Serialize;

use crate::endpoint::{Endpoint, EndpointId};
use crate::time::Time;

/// A decision, told: candidates with their priced terms, cheapest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explanation {
    /// One line, for a header or a log.
    pub summary: String,
    /// The candidates; for strategies that do not price, in configuration order.
    pub candidates: Vec<Priced>,
}

/// One candidate's price.
#[derive(Clone, Debug, Serialize)]
pub struct Priced {
    /// The endpoint's name.
    pub endpoint: String,
    /// The terms, each in milliseconds. Empty: the strategy does not price.
    pub terms: Vec<Term>,
    /// Their sum, in milliseconds: what was compared. 0 without terms.
    pub total_ms: f64,
    /// How old the engine's latest report was, in milliseconds; `None` = there is none.
    pub sample_age_ms: Option<f64>,
    /// Requests of ours that held a slot there.
    pub in_flight: u32,
    /// True if it had a slot for the request.
    pub free: bool,
    /// True for the one that was picked, to go there or to wait for it.
    pub picked: bool,
}

/// One priced term.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Term {
    /// `wait`, `prefill`, `decode`, `load`, `evict` ...
    pub name: &'static str,
    /// Milliseconds.
    pub ms: f64,
}

impl Priced {
    /// A candidate with its terms. `free`: it has a slot for the request.
    pub fn new(endpoint: &Endpoint, terms: Vec<Term>, free: bool, now: Time) -> Priced {
        Priced {
            endpoint: endpoint.spec.name.to_string(),
            total_ms: terms.iter().map(|term| term.ms).sum(),
            terms,
            sample_age_ms: endpoint.sample.as_ref().map(|sample| now.millis_since(sample.at)),
            in_flight: endpoint.in_flight(),
            free,
            picked: false,
        }
    }
}

/// Two prices that a shadow is asked for: of the endpoint that got the request, and of its own pick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Compared {
    /// Who got it.
    pub actual: EndpointId,
    /// What that costs by the strategy's own price, in milliseconds; `None` = it does not price.
    pub actual_ms: Option<f64>,
    /// What its own pick costs.
    pub own_ms: Option<f64>,
}
