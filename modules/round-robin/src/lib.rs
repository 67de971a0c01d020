//! Smooth weighted rotation: each candidate gains its weight, the largest balance is picked and pays the sum.
//!
//! Over any run of `sum of weights` starts with the same candidates, each gets exactly its weight, spread evenly (the rule
//! of nginx). Full endpoints neither gain nor pay. Signals: weights only; nothing can be missing.

use std::collections::HashMap;

use arriero_core::endpoint::Endpoint;
use arriero_core::{Context, EndpointId, Event, Module, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The module.
pub struct RoundRobin;

/// No options.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {}

impl Module for RoundRobin {
    const NAME: &'static str = "round-robin";
    const SUMMARY: &'static str = "takes turns, each endpoint as often as its weight says";
    type Options = Options;

    fn build(_options: Options) -> Result<Box<dyn Strategy>, String> {
        Ok(Box::new(Rotation::default()))
    }
}

/// Balances of the endpoints, in units of weight; they sum up to 0. Unknown = 0.
#[derive(Default)]
struct Rotation {
    balances: HashMap<EndpointId, i64>,
}

impl Rotation {
    /// The balance with which an endpoint enters the next pick.
    fn claim(&self, endpoint: &Endpoint) -> i64 {
        self.balances.get(&endpoint.id).copied().unwrap_or(0) + i64::from(endpoint.spec.weight)
    }

    /// Every candidate of the pick gains its weight; the picked one pays for all.
    fn turn(&mut self, picked: EndpointId, cx: &Context<'_>) {
        let mut sum = 0;
        for endpoint in cx.endpoints() {
            sum += i64::from(endpoint.spec.weight);
            let claim = self.claim(endpoint);
            self.balances.insert(endpoint.id, claim);
        }
        *self.balances.entry(picked).or_insert(0) -= sum;
    }
}

impl Strategy for Rotation {
    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let mut best: Option<(i64, &Endpoint)> = None;
        for endpoint in cx.free().filter(|endpoint| endpoint.spec.weight > 0) {
            let claim = self.claim(endpoint);
            if best.is_none_or(|(most, _)| claim > most) {
                best = Some((claim, endpoint));
            }
        }
        let Some((claim, endpoint)) = best else { return Pick::Wait };
        if let Some(explain) = cx.explain.as_deref_mut() {
            let (name, weight) = (&endpoint.spec.name, endpoint.spec.weight);
            explain.summary = format!("{name}: its turn (balance {claim}, weight {weight})");
        }
        Pick::Endpoint(endpoint.id)
    }

    fn observe(&mut self, event: &Event<'_>, cx: &mut Context<'_>) {
        match event {
            Event::Started { endpoint, mine: true, .. } => self.turn(*endpoint, cx),
            Event::Membership { left, .. } => self.balances.retain(|id, _| !left.contains(id)),
            _ => {}
        }
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}
