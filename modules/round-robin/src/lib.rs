//! Smooth weighted rotation: the candidate that is furthest behind its share goes next.
//!
//! With `w` the weight of a candidate, `n` the turns it had, `W` and `N` their sums over the candidates:
//! `claim = w (N + 1) - n W`, the largest wins, the first in configuration order on a tie. With unchanging candidates this
//! is the smooth rule of nginx: over any `W` starts each gets exactly `w`, spread evenly. An endpoint that was away (full,
//! down, not asked, or new) does not make up for it: it counts as at most two turns behind. The weight of an endpoint that
//! comes back (slow start) is the part that it has reached; its turns grow with it, so it keeps its place. Signals: weights
//! only.

use std::collections::HashMap;

use arriero_core::endpoint::Endpoint;
use arriero_core::{Context, EndpointId, Event, Module, Pick, RequestFacts, Strategy, Time};
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
/// Parts of a turn, and of a unit of weight: a weight that grows has many small steps.
const PARTS: u64 = 1000;

/// The turns that an endpoint had, in parts, and the weight that it had them by.
#[derive(Clone, Copy)]
struct Turns {
    had: u64,
    weight: u64,
}

/// Turns of the endpoints. Unknown = 0, which counts as [`BEHIND`].
#[derive(Default)]
struct Rotation {
    turns: HashMap<EndpointId, Turns, foldhash::fast::RandomState>,
    /// How far the rotation is, in turns per weight: the most that any endpoint had when its turn came.
    round: f64,
}

/// The weight of an endpoint now, in parts.
fn weight(endpoint: &Endpoint, now: Time) -> u64 {
    endpoint.weight_in(PARTS as u32, now)
}

impl Rotation {
    /// The turns that count for an endpoint, in parts. Those had by another weight keep their place in the rotation.
    fn turns(&self, endpoint: &Endpoint, now: Time) -> u64 {
        let weight = weight(endpoint, now);
        let had = self.turns.get(&endpoint.id).map_or(0, |turns| match turns.weight == weight {
            true => turns.had,
            false => (u128::from(turns.had) * u128::from(weight) / u128::from(turns.weight)) as u64,
        });
        let share = (self.round * weight as f64) as u64;
        had.max(share.saturating_sub(BEHIND * PARTS))
    }

    fn turn(&mut self, endpoint: &Endpoint, now: Time) {
        let (had, weight) = (self.turns(endpoint, now), weight(endpoint, now));
        self.round = self.round.max(had as f64 / weight as f64);
        self.turns.insert(endpoint.id, Turns { had: had + PARTS, weight });
    }
}

impl Strategy for Rotation {
    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let now = cx.now;
        let ready = || cx.free().filter(|endpoint| endpoint.spec.weight > 0);
        let both = |endpoint| (weight(endpoint, now), self.turns(endpoint, now));
        let (weights, turns) = ready().map(both).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let mut best: Option<(i128, &Endpoint)> = None;
        for endpoint in ready() {
            let due = i128::from(weight(endpoint, now)) * i128::from(turns + PARTS);
            let claim = due - i128::from(self.turns(endpoint, now)) * i128::from(weights);
            if best.is_none_or(|(most, _)| claim > most) {
                best = Some((claim, endpoint));
            }
        }
        let Some((_, endpoint)) = best else { return Pick::Wait };
        let pick = Pick::Endpoint(endpoint.id);
        cx.tell(&pick, |cx| {
            let (own, all) = (endpoint.effective_weight(cx.now), weights as f64 / PARTS as f64);
            format!("{}: its turn, weight {own} of {all}", endpoint.spec.name)
        });
        pick
    }

    fn observe(&mut self, event: &Event<'_>, cx: &mut Context<'_>) {
        match event {
            Event::Started { endpoint, mine: true, .. } => {
                if let Some(endpoint) = cx.table.get(*endpoint) {
                    self.turn(endpoint, cx.now);
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
