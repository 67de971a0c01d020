//! Smooth weighted rotation: the candidate that is furthest behind its share goes next.
//!
//! With `w` the weight of a candidate, `n` the turns it had, `W` and `N` their sums over the candidates:
//! `claim = w (N + 1) - n W`, the largest wins, the first in configuration order on a tie. With unchanging candidates this
//! is the smooth rule of nginx: over any `W` starts each gets exactly `w`, spread evenly. An endpoint that was away (full,
//! down, not asked, or new) does not make up for it: it counts as at most two turns behind. Signals: weights only.

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

/// How many turns an endpoint may be behind: in an undisturbed rotation none is.
const BEHIND: u64 = 2;

/// Turns of the endpoints. Unknown = 0, which counts as [`BEHIND`].
#[derive(Default)]
struct Rotation {
    turns: HashMap<EndpointId, u64>,
    /// How far the rotation is, in turns per weight: the most that any endpoint had when its turn came.
    round: f64,
}

impl Rotation {
    /// The turns that count for an endpoint.
    fn turns(&self, endpoint: &Endpoint) -> u64 {
        let had = self.turns.get(&endpoint.id).copied().unwrap_or(0);
        let share = (self.round * f64::from(endpoint.spec.weight)) as u64;
        had.max(share.saturating_sub(BEHIND))
    }

    fn turn(&mut self, endpoint: &Endpoint) {
        let turns = self.turns(endpoint);
        self.round = self.round.max(turns as f64 / f64::from(endpoint.spec.weight.max(1)));
        self.turns.insert(endpoint.id, turns + 1);
    }
}

impl Strategy for Rotation {
    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let ready = || cx.free().filter(|endpoint| endpoint.spec.weight > 0);
        let weights: u64 = ready().map(|endpoint| u64::from(endpoint.spec.weight)).sum();
        let turns: u64 = ready().map(|endpoint| self.turns(endpoint)).sum();
        let mut best: Option<(i128, &Endpoint)> = None;
        for endpoint in ready() {
            let due = i128::from(endpoint.spec.weight) * i128::from(turns + 1);
            let claim = due - i128::from(self.turns(endpoint)) * i128::from(weights);
            if best.is_none_or(|(most, _)| claim > most) {
                best = Some((claim, endpoint));
            }
        }
        let Some((_, endpoint)) = best else { return Pick::Wait };
        if let Some(explain) = cx.explain.as_deref_mut() {
            explain.summary = format!("{}: its turn, weight {} of {weights}", endpoint.spec.name, endpoint.spec.weight);
        }
        Pick::Endpoint(endpoint.id)
    }

    fn observe(&mut self, event: &Event<'_>, cx: &mut Context<'_>) {
        match event {
            Event::Started { endpoint, mine: true, .. } => {
                if let Some(endpoint) = cx.table.get(*endpoint) {
                    self.turn(endpoint);
                }
            }
            Event::Membership { left, .. } => self.turns.retain(|id, _| !left.contains(id)),
            _ => {}
        }
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}
