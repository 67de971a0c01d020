//! The cheapest offer, and the words for it.
//!
//! The best free endpoint against the best full one: `theta * free <= full` takes the free one now, else the request waits
//! for the full one. Selfish choice (theta 1) leaves slow endpoints idle while everybody waits for the fast one. Prices
//! within 1 % and 1 ms of the best are a tie; a tie goes by rendezvous hash of model and endpoint, so that all proxies
//! agree where a model lives. Milliseconds throughout; an offer's price is finite.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::endpoint::Endpoint;
use crate::facts::RequestFacts;
use crate::strategy::{Explanation, Pick, Priced, Term};

use super::Price;

/// Prices this close to the best, relatively, are equal.
const TIE_SHARE: f64 = 0.01;
/// And this close absolutely, in milliseconds.
const TIE_MS: f64 = 1.0;

/// One candidate and its price.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The candidate.
    pub endpoint: &'a Endpoint,
    /// Its price.
    pub price: Price,
    /// True if it has a free slot now.
    pub free: bool,
}

/// The pick: the cheapest offer, with the free ones' prices multiplied by `theta` (0-1). No offers: wait.
pub fn choose(offers: &[Offer<'_>], theta: f64, request: &RequestFacts) -> Pick {
    let free = cheapest(offers.iter().filter(|offer| offer.free), request);
    let full = cheapest(offers.iter().filter(|offer| !offer.free), request);
    match (free, full) {
        (Some(free), Some(full)) if theta * free.price.total() > full.price.total() => Pick::WaitFor(full.endpoint.id),
        (Some(free), _) => Pick::Endpoint(free.endpoint.id),
        (None, Some(full)) => Pick::WaitFor(full.endpoint.id),
        (None, None) => Pick::Wait,
    }
}

fn cheapest<'o, 'e: 'o>(
    offers: impl Iterator<Item = &'o Offer<'e>> + Clone,
    request: &RequestFacts,
) -> Option<&'o Offer<'e>> {
    let least = offers.clone().map(|offer| offer.price.total()).fold(f64::INFINITY, f64::min);
    let tied = offers.filter(|offer| offer.price.total() <= least * (1.0 + TIE_SHARE) + TIE_MS);
    let model = xxh3_64(request.model.as_deref().unwrap_or_default().as_bytes());
    tied.max_by_key(|offer| xxh3_64_with_seed(offer.endpoint.spec.identity.as_bytes(), model))
}

/// Writes the offers' terms, cheapest first. What `theta` takes off a free endpoint's price is the term `spare`.
pub fn tell(explanation: &mut Explanation, offers: &[Offer<'_>], theta: f64) {
    explanation.candidates = offers.iter().map(|offer| priced(offer, theta)).collect();
    explanation.candidates.sort_by(|one, other| one.total_ms.total_cmp(&other.total_ms));
    let lines: Vec<String> = explanation.candidates.iter().map(line).collect();
    explanation.summary = lines.join("; ");
}

fn priced(offer: &Offer<'_>, theta: f64) -> Priced {
    let mut terms = offer.price.terms();
    if offer.free && theta < 1.0 {
        terms.push(Term { name: "spare", ms: (theta - 1.0) * offer.price.total() });
    }
    let total_ms = terms.iter().map(|term| term.ms).sum();
    Priced { endpoint: offer.endpoint.spec.name.to_string(), terms, total_ms }
}

/// `gpu-1: 0 wait + 410 prefill + 3900 load = 4310 ms`
fn line(priced: &Priced) -> String {
    let mut text = format!("{}:", priced.endpoint);
    for (place, term) in priced.terms.iter().enumerate() {
        let sign = match (place, term.ms < 0.0) {
            (_, true) => "- ",
            (0, false) => "",
            (_, false) => "+ ",
        };
        text += &format!(" {sign}{:.0} {}", term.ms.abs(), term.name);
    }
    text + &format!(" = {:.0} ms", priced.total_ms)
}
