//! Fewest requests per weight: `(in-flight + others + reserved + 1) / weight`, the lowest wins. The weight of an endpoint
//! that comes back (slow start) is the part of it that it has reached.
//!
//! In-flight is our own exact count; `others` is what the engine reported beyond it, fading with the sample's age and
//! rounded to whole requests; `reserved` are waiters promised to the endpoint. An idle endpoint goes before every busy
//! one, whatever the weights. Ties are taken in turn, by an offset that moves with every start. Without samples `others` is
//! 0: own counts alone.

use std::cmp::Ordering;

use arriero_core::endpoint::Endpoint;
use arriero_core::{Context, Event, Module, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The module.
pub struct LeastConnection;

/// No options.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {}

impl Module for LeastConnection {
    const NAME: &'static str = "least-connection";
    const SUMMARY: &'static str = "fewest requests per weight, waiting ones counted; idle endpoints first";
    type Options = Options;

    fn build(_options: Options) -> Result<Box<dyn Strategy>, String> {
        Ok(Box::new(Counts::default()))
    }
}

/// The starts so far: they move the offset among ties.
#[derive(Default)]
struct Counts {
    starts: u64,
}

/// The fraction of the circle by which the offset moves: the golden ratio, so that any regular part of the starts is
/// spread evenly too.
const STEP: f64 = 0.618_033_988_749_894_9;

/// What an endpoint is judged by: idle first, then the least score.
struct Standing<'a> {
    endpoint: &'a Endpoint,
    requests: f64,
    score: f64,
}

impl<'a> Standing<'a> {
    fn of(endpoint: &'a Endpoint, cx: &Context<'_>) -> Standing<'a> {
        let promised = cx.reserved_count(endpoint.id) as f64;
        let requests = f64::from(endpoint.in_flight()) + endpoint.others(cx.now).round() + promised;
        Standing { endpoint, requests, score: (requests + 1.0) / endpoint.effective_weight(cx.now) }
    }

    fn order(&self, other: &Standing<'_>) -> Ordering {
        let busy = |standing: &Standing<'_>| standing.requests > 0.0;
        busy(self).cmp(&busy(other)).then(self.score.total_cmp(&other.score))
    }
}

/// The free candidates, judged.
fn standings<'c, 'a: 'c>(cx: &'c Context<'a>) -> impl Iterator<Item = Standing<'a>> + 'c {
    cx.free().filter(|endpoint| endpoint.spec.weight > 0).map(|endpoint| Standing::of(endpoint, cx))
}

impl Counts {
    /// One of `ties` places.
    fn offset(&self, ties: usize) -> usize {
        ((self.starts as f64 * STEP).fract() * ties as f64) as usize
    }
}

impl Strategy for Counts {
    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let mut least: Option<Standing<'_>> = None;
        let mut ties = 0;
        for standing in standings(cx) {
            match least.as_ref().map_or(Ordering::Less, |least| standing.order(least)) {
                Ordering::Less => (least, ties) = (Some(standing), 1),
                Ordering::Equal => ties += 1,
                Ordering::Greater => {}
            }
        }
        let Some(least) = least else { return Pick::Wait };
        let chosen = match self.offset(ties) {
            0 => None,
            offset => standings(cx).filter(|standing| standing.order(&least).is_eq()).nth(offset),
        };
        let pick = Pick::Endpoint(chosen.unwrap_or(least).endpoint.id);
        cx.tell(&pick, |cx| {
            let told = standings(cx).map(|standing| {
                let spec = &standing.endpoint.spec;
                format!("{}: {} requests, weight {}", spec.name, standing.requests, spec.weight)
            });
            told.collect::<Vec<_>>().join("; ")
        });
        pick
    }

    fn observe(&mut self, event: &Event<'_>, _cx: &mut Context<'_>) {
        if let Event::Started { mine: true, .. } = event {
            self.starts += 1;
        }
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}
