//! A strategy that runs beside a route's own and never routes: what it would have done, and what that would have saved.
//!
//! It is its own instance. Whenever the route's strategy gives a request a slot, the shadow is asked for the same request:
//! the same candidates (with the full ones, if it wants those), the same facts, a generator of its own, so that live picks
//! are what they would be without it. It is asked once per start, not at every look at a waiter: that bounds what it costs.
//! Requests that are bound to an endpoint, and dry runs, do not come to it.
//!
//! It hears every event of the pool, and takes the starts and ends of its route's requests for its own (`mine`): it learns
//! from where they really went, as it would if it had sent them there. So its state follows the live traffic, and its picks
//! are those of a strategy that takes over at this moment.
//!
//! Saving = price of the endpoint that got the request - price of the shadow's own pick, both by the shadow's prices, in
//! milliseconds: an estimate, and of single requests. A shadow that does not price only agrees or differs. One that panics
//! is switched off until its configuration changes.

use std::sync::Arc;

use crate::candidates;
use crate::endpoint::{EndpointId, Endpoints};
use crate::explanation::Compared;
use crate::facts::RequestFacts;
use crate::guarded::{self, Guarded};
use crate::pool::Pool;
use crate::promises::Promises;
use crate::spec::{StrategyId, Ticket};
use crate::strategy::{Context, Pick};
use crate::time::Time;

mod told;
pub use told::{ShadowSpec, ShadowView, Tally};

/// A shadow.
pub(crate) struct Shadow {
    /// The strategy that routes.
    pub(crate) beside: StrategyId,
    /// The route whose requests it is asked for.
    pub(crate) route: Arc<str>,
    /// Its number is its own.
    pub(crate) running: Guarded,
    pub(crate) rng: fastrand::Rng,
    tally: Tally,
}

/// What the live strategy saw.
struct Seen<'a> {
    now: Time,
    table: &'a Endpoints,
    candidates: &'a [EndpointId],
    reserved: &'a Promises,
}

impl Shadow {
    /// True if it is one that a configuration wants, whatever it runs beside.
    fn is_same(&self, spec: &ShadowSpec, options: &serde_json::Value) -> bool {
        self.route == spec.route && self.running.module == spec.module && self.running.options == *options
    }

    /// True until it panics.
    pub(crate) fn is_on(&self) -> bool {
        self.running.panics == 0
    }

    /// As others see it.
    pub(crate) fn view(&self) -> ShadowView<'_> {
        let Guarded { module, options, needs, panics, refused_picks, .. } = &self.running;
        ShadowView {
            route: &self.route,
            module,
            options,
            needs,
            chosen: if self.is_on() { self.running.chosen() } else { None },
            tally: self.tally,
            panics: *panics,
            refused_picks: *refused_picks,
        }
    }

    /// Asks it what it would do with a request that goes to `actual`.
    fn ask(&mut self, seen: &Seen<'_>, facts: &RequestFacts, actual: EndpointId) {
        let mut compared = Compared { actual, ..Compared::default() };
        let mut cx = Context {
            now: seen.now,
            rng: &mut self.rng,
            table: seen.table,
            candidates: seen.candidates,
            uncapped: facts.uncapped,
            behind: 0,
            reserved: seen.reserved,
            explain: None,
            compare: Some(&mut compared),
        };
        let pick = self.running.pick(facts, &mut cx);
        if self.running.panics > 0 {
            return;
        }
        let refused = matches!(pick, Pick::Endpoint(id) if !guarded::is_valid(id, &cx));
        self.running.refused_picks += u64::from(refused);
        let tally = &mut self.tally;
        tally.asked += 1;
        match pick {
            Pick::Endpoint(id) if id == actual => tally.agreed += 1,
            Pick::Endpoint(_) if !refused => tally.differed += 1,
            _ => tally.waits += 1,
        }
        if let (Some(actual), Some(own)) = (compared.actual_ms, compared.own_ms)
            && (actual - own).is_finite()
        {
            tally.priced += 1;
            tally.saved_ms += actual - own;
        }
    }
}

impl Pool {
    /// A request goes to `actual`, because `strategy` said so: asks the shadows beside it.
    pub(crate) fn ask_shadows(
        &mut self,
        table: &Endpoints,
        now: Time,
        strategy: StrategyId,
        facts: &RequestFacts,
        actual: EndpointId,
    ) {
        for shadow in &mut self.shadows {
            if shadow.beside != strategy || shadow.route != facts.route || !shadow.is_on() {
                continue;
            }
            let shown = &mut self.candidates;
            candidates::candidates_into(shown, &self.endpoints, table, facts, now, self.tiers);
            if !shadow.running.needs.full_endpoints {
                shown.retain(|id| table.get(*id).is_some_and(|endpoint| endpoint.may_take(facts, now)));
            }
            shadow.ask(&Seen { now, table, candidates: shown, reserved: &self.reserved }, facts, actual);
        }
    }

    /// Takes over a configuration's shadows: those that stay keep what they learned, and their counts unless the strategy
    /// beside them is another. `ids`: the pool's strategies, in the order of the specification. `next`: the next number.
    pub(crate) fn configure_shadows(
        &mut self,
        specs: Vec<ShadowSpec>,
        ids: &[StrategyId],
        next: &mut u32,
        since: Ticket,
        seed: u64,
    ) {
        let mut old = std::mem::take(&mut self.shadows);
        for spec in specs {
            let Some(beside) = ids.get(spec.beside).copied() else { continue };
            let options = spec.strategy.options();
            let is_same = |shadow: &Shadow| shadow.is_same(&spec, &options);
            if self.shadows.iter().any(|known| is_same(known) && known.beside == beside) {
                continue;
            }
            let mut shadow = match old.iter().position(is_same) {
                Some(place) => old.remove(place),
                None => {
                    let id = StrategyId(*next);
                    *next += 1;
                    let running = Guarded::new(id, spec.module, spec.strategy, since);
                    let rng = fastrand::Rng::with_seed(seed ^ u64::from(id.0).wrapping_add(1) << 32);
                    Shadow { beside, route: spec.route, running, rng, tally: Tally::default() }
                }
            };
            if shadow.beside != beside {
                (shadow.beside, shadow.tally) = (beside, Tally::default());
            }
            self.shadows.push(shadow);
        }
    }
}
