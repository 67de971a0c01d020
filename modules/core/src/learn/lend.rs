//! What one endpoint found out of a model helps the others: the length of its answers is the same everywhere, and its
//! speed is lent to endpoints that have not served it yet.
//!
//! Lent figures are the lender's times the relative speed of the two: the geometric mean of their decode times of the
//! models that both served themselves, 1 if there are none. Load times are lent as they are. Lent figures are no samples:
//! an endpoint's own first request replaces them. The first lender sets them, further ones move them by [`SHARE`].
//! Milliseconds throughout.

use std::sync::Arc;

use crate::endpoint::{Endpoint, EndpointId, Endpoints, ModelState, Rates};

/// Share by which a further lender moves a lent figure.
const SHARE: f64 = 0.3;
/// Own requests behind a speed before two endpoints are compared by it.
const SAMPLES: u64 = 3;
/// Requests after which an endpoint lends a model's speed anew.
const AGAIN: u64 = 16;

/// Parts of a logarithm that are told apart.
const FINE: f64 = 1e9;

/// True if what an endpoint with so many samples knows is worth telling.
pub(crate) fn is_news(samples: u64) -> bool {
    samples <= AGAIN || samples.is_multiple_of(AGAIN)
}

/// Tells all endpoints how long the answers of `model` (its public name) are, and lends its speed on `lender` to those who
/// have not served it.
pub(crate) fn share(table: &mut Endpoints, lender: EndpointId, model: &Arc<str>, output_tokens: f64) {
    let Some(row) = table.get_mut(lender) else { return };
    let mut from = std::mem::take(row);
    tell(&mut from, model, output_tokens);
    for other in table.iter_mut().filter(|other| knows(other, model)) {
        let factor = relative(&from, other);
        let state = tell(other, model, output_tokens);
        if state.rates.samples == 0 {
            lend(state, &from.rates(Some(model)), factor);
        }
    }
    if let Some(row) = table.get_mut(lender) {
        *row = from;
    }
}

fn tell<'a>(endpoint: &'a mut Endpoint, model: &Arc<str>, output_tokens: f64) -> &'a mut ModelState {
    let local = endpoint.names.get(model).unwrap_or(model).clone();
    let state = endpoint.models.entry(local).or_default();
    state.rates.output_tokens = output_tokens;
    state
}

/// True if the endpoint lists the model, or has had it.
fn knows(endpoint: &Endpoint, model: &str) -> bool {
    endpoint.names.contains_key(model) || endpoint.models.contains_key(model)
}

/// The other's times as a multiple of the lender's.
fn relative(lender: &Endpoint, other: &Endpoint) -> f64 {
    let own = |state: &&ModelState| state.rates.samples >= SAMPLES;
    let (mut sum, mut count) = (0_i64, 0);
    for (public, local) in &other.names {
        let theirs = other.models.get(local).filter(own);
        let Some((theirs, ours)) = theirs.zip(lender.model(public).filter(own)) else { continue };
        // in whole numbers, so that the order of the names does not matter
        sum += ((theirs.rates.decode_ms_per_token / ours.rates.decode_ms_per_token).ln() * FINE) as i64;
        count += 1;
    }
    if count == 0 { 1.0 } else { (sum as f64 / FINE / f64::from(count)).exp() }
}

fn lend(state: &mut ModelState, from: &Rates, factor: f64) {
    let share = if std::mem::replace(&mut state.lent, true) { SHARE } else { 1.0 };
    let rates = &mut state.rates;
    let towards = |known: f64, offered: f64| known + share * (offered - known);
    rates.prefill_ms_per_token = towards(rates.prefill_ms_per_token, from.prefill_ms_per_token * factor);
    rates.decode_ms_per_token = towards(rates.decode_ms_per_token, from.decode_ms_per_token * factor);
    rates.crowding = towards(rates.crowding, from.crowding);
    if let Some(offered) = from.load_ms.filter(|_| state.loads == 0) {
        rates.load_ms = Some(rates.load_ms.map_or(offered, |known| towards(known, offered)));
    }
}
