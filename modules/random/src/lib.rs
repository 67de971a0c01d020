//! The least loaded of a few endpoints that are drawn at random, by weight.
//!
//! `draws` times a free endpoint is drawn with probability `weight / sum of weights`, with replacement; the lowest
//! `(in-flight + others + reserved) / weight` of those drawn wins, the first drawn of equals. In-flight is our own count,
//! `others` what the engine reported beyond it, in whole requests. One draw is plain weighted random. Without samples
//! `others` is 0. Weights are those that an endpoint has reached (slow start). Randomness is the pool's generator.

use arriero_core::endpoint::Endpoint;
use arriero_core::{Context, Module, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The module.
pub struct Random;

/// How many are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// Endpoints that are drawn, of which the least loaded wins: 1 is chance alone, 2 evens out most of it.
    #[schemars(range(min = 1, max = 16))]
    pub draws: u8,
}

impl Default for Options {
    fn default() -> Self {
        Options { draws: 2 }
    }
}

impl Module for Random {
    const NAME: &'static str = "random";
    const SUMMARY: &'static str = "draws a few endpoints by weight, the least loaded of them wins";
    type Options = Options;

    fn build(options: Options) -> Result<Box<dyn Strategy>, String> {
        if !(1..=16).contains(&options.draws) {
            return Err(format!("draws: found {}, allowed 1 to 16", options.draws));
        }
        Ok(Box::new(Draws { options }))
    }
}

struct Draws {
    options: Options,
}

/// Free endpoints, each with the sum of the weights up to and with its own.
struct Urn<'a> {
    lots: Vec<(u64, &'a Endpoint)>,
    weights: u64,
}

impl<'a> Urn<'a> {
    fn of(cx: &Context<'a>) -> Urn<'a> {
        let mut weights = 0;
        let ready = cx.free().filter(|endpoint| endpoint.spec.weight > 0);
        let lots = ready.map(|endpoint| {
            weights += lots(endpoint.effective_weight(cx.now));
            (weights, endpoint)
        });
        let lots = lots.collect();
        Urn { lots, weights }
    }

    /// `None` if it is empty.
    fn draw(&self, rng: &mut fastrand::Rng) -> Option<&'a Endpoint> {
        if self.weights == 0 {
            return None;
        }
        let ticket = rng.u64(..self.weights);
        let place = self.lots.partition_point(|(upto, _)| *upto <= ticket);
        self.lots.get(place).map(|(_, endpoint)| *endpoint)
    }
}

/// The lots of a weight: hundredths, so that one that grows (slow start) has some from the beginning.
fn lots(weight: f64) -> u64 {
    ((weight * 100.0).round() as u64).max(1)
}

fn load(endpoint: &Endpoint, cx: &Context<'_>) -> f64 {
    let requests = f64::from(endpoint.in_flight()) + endpoint.others(cx.now).round();
    (requests + cx.reserved_count(endpoint.id) as f64) / endpoint.effective_weight(cx.now)
}

impl Strategy for Draws {
    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let urn = Urn::of(cx);
        let drawn: Vec<&Endpoint> = (0..self.options.draws).filter_map(|_| urn.draw(cx.rng)).collect();
        let least = drawn.iter().min_by(|one, other| load(one, cx).total_cmp(&load(other, cx)));
        let Some(least) = least else { return Pick::Wait };
        let told = |endpoint: &&Endpoint| format!("{}: load {:.2}", endpoint.spec.name, load(endpoint, cx));
        let summary = cx.explain.is_some().then(|| drawn.iter().map(told).collect::<Vec<_>>().join("; "));
        if let (Some(explain), Some(summary)) = (cx.explain.as_deref_mut(), summary) {
            explain.summary = format!("drawn: {summary}");
        }
        Pick::Endpoint(least.id)
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!(self.options)
    }
}
