//! The least loaded of a few endpoints that are drawn at random, by weight.
//!
//! `draws` times a free endpoint is drawn with probability `weight / sum of weights`, with replacement; the lowest
//! `(in-flight + others + reserved) / weight` of those drawn wins, the first drawn of equals. In-flight is our own count,
//! `others` what the engine reported beyond it, in whole requests. One draw is plain weighted random. Without samples
//! `others` is 0. Weights are those that an endpoint has reached (slow start). Randomness is the pool's generator.

use arriero_core::endpoint::Endpoint;
use arriero_core::{Context, Module, Pick, RequestFacts, Strategy, Time};
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
        if !(1..=DRAWS).contains(&usize::from(options.draws)) {
            return Err(format!("draws: found {}, allowed 1 to 16", options.draws));
        }
        Ok(Box::new(Draws { options }))
    }
}

struct Draws {
    options: Options,
}

/// The most draws.
const DRAWS: usize = 16;

/// Draws from the free endpoints by weight; `None` beyond `draws`, or if there are none. The numbers are drawn first, then
/// the endpoints that they fall on are looked up in one pass.
fn draw<'a>(draws: usize, cx: &mut Context<'a>) -> [Option<&'a Endpoint>; DRAWS] {
    let ready = |cx: &Context<'a>| cx.free().filter(|endpoint| endpoint.spec.weight > 0);
    let weights: u64 = ready(cx).map(|endpoint| lots(endpoint, cx.now)).sum();
    let mut drawn = [None; DRAWS];
    if weights == 0 {
        return drawn;
    }
    let mut tickets = [u64::MAX; DRAWS];
    tickets[..draws].fill_with(|| cx.rng.u64(..weights));
    let mut upto = 0;
    for endpoint in ready(cx) {
        let from = upto;
        upto += lots(endpoint, cx.now);
        for (ticket, drawn) in tickets.iter().zip(&mut drawn) {
            if (from..upto).contains(ticket) {
                *drawn = Some(endpoint);
            }
        }
    }
    drawn
}

/// The lots of a weight: hundredths, so that one that grows (slow start) has some from the beginning.
fn lots(endpoint: &Endpoint, now: Time) -> u64 {
    endpoint.weight_in(100, now)
}

fn load(endpoint: &Endpoint, cx: &Context<'_>) -> f64 {
    let requests = f64::from(endpoint.in_flight()) + endpoint.others(cx.now).round();
    (requests + cx.reserved_count(endpoint.id) as f64) / endpoint.effective_weight(cx.now)
}

impl Strategy for Draws {
    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let drawn = draw(usize::from(self.options.draws), cx);
        let drawn = || drawn.iter().flatten();
        let least = drawn().min_by(|one, other| load(one, cx).total_cmp(&load(other, cx)));
        let Some(least) = least else { return Pick::Wait };
        let pick = Pick::Endpoint(least.id);
        cx.tell(&pick, |cx| {
            let told = drawn().map(|endpoint| format!("{}: load {:.2}", endpoint.spec.name, load(endpoint, cx)));
            format!("drawn: {}", told.collect::<Vec<_>>().join("; "))
        });
        pick
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!(self.options)
    }
}
