//! Fewest requests per weight: `(in-flight + others + reserved + 1) / weight`, the lowest wins.
//!
//! In-flight is our own exact count; `others` is what the engine reported beyond it, fading with the sample's age and
//! rounded to whole requests; `reserved` are waiters promised to the endpoint. An idle endpoint goes before every busy
//! one, whatever the weights. Ties go to the one started longest ago. Without samples `others` is 0: own counts alone.

use std::collections::HashMap;

use arriero_core::endpoint::Endpoint;
use arriero_core::{Context, EndpointId, Event, Module, Pick, RequestFacts, Strategy};
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

/// When each endpoint was last picked, in starts. Unknown = 0, never.
#[derive(Default)]
struct Counts {
    starts: u64,
    last: HashMap<EndpointId, u64>,
}

/// What an endpoint is judged by, in this order; the least wins.
struct Standing<'a> {
    endpoint: &'a Endpoint,
    requests: f64,
    score: f64,
    last: u64,
}

impl Standing<'_> {
    fn before(&self, other: &Standing<'_>) -> bool {
        let busy = |standing: &Standing<'_>| standing.requests > 0.0;
        busy(self).cmp(&busy(other)).then(self.score.total_cmp(&other.score)).then(self.last.cmp(&other.last)).is_lt()
    }
}

impl Counts {
    fn standing<'a>(&self, endpoint: &'a Endpoint, cx: &Context<'_>) -> Standing<'a> {
        let promised = cx.reserved_count(endpoint.id) as f64;
        let requests = f64::from(endpoint.in_flight()) + endpoint.others(cx.now).round() + promised;
        let score = (requests + 1.0) / f64::from(endpoint.spec.weight);
        Standing { endpoint, requests, score, last: self.last.get(&endpoint.id).copied().unwrap_or(0) }
    }
}

impl Strategy for Counts {
    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let mut best: Option<Standing<'_>> = None;
        let mut told = Vec::new();
        for endpoint in cx.free().filter(|endpoint| endpoint.spec.weight > 0) {
            let standing = self.standing(endpoint, cx);
            if cx.explain.is_some() {
                let (name, weight) = (&endpoint.spec.name, endpoint.spec.weight);
                told.push(format!("{name}: {} requests, weight {weight}", standing.requests));
            }
            if best.as_ref().is_none_or(|least| standing.before(least)) {
                best = Some(standing);
            }
        }
        let Some(best) = best else { return Pick::Wait };
        if let Some(explain) = cx.explain.as_deref_mut() {
            explain.summary = told.join("; ");
        }
        Pick::Endpoint(best.endpoint.id)
    }

    fn observe(&mut self, event: &Event<'_>, _cx: &mut Context<'_>) {
        match event {
            Event::Started { endpoint, mine: true, .. } => {
                self.starts += 1;
                self.last.insert(*endpoint, self.starts);
            }
            Event::Membership { left, .. } => self.last.retain(|id, _| !left.contains(id)),
            _ => {}
        }
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}
