//! A strategy that cannot hurt: a panic is caught and counted, and a pick that panicked is answered by least
//! connection: the lowest (in-flight + 1) / weight of the free candidates, the first of equals.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::endpoint::{Endpoint, EndpointId, LEAST_RAMP};
use crate::event::Event;
use crate::facts::RequestFacts;
use crate::spec::{StrategyId, Ticket};
use crate::strategy::{Chosen, Context, Needs, Pick, Strategy};
use crate::time::Time;

/// The name under which the built-in rule signs its grants.
pub(crate) const FALLBACK: &str = "least-connection";

/// One running strategy of a pool.
pub(crate) struct Guarded {
    pub(crate) id: StrategyId,
    pub(crate) module: &'static str,
    pub(crate) options: serde_json::Value,
    pub(crate) needs: Needs,
    /// It hears only of attempts from this one on: none that ended without having started.
    pub(crate) since: Ticket,
    pub(crate) panics: u64,
    pub(crate) refused_picks: u64,
    strategy: Box<dyn Strategy>,
}

impl Guarded {
    pub(crate) fn new(id: StrategyId, module: &'static str, strategy: Box<dyn Strategy>, since: Ticket) -> Guarded {
        let (options, needs) = (strategy.options(), strategy.needs());
        Guarded { id, module, options, needs, since, panics: 0, refused_picks: 0, strategy }
    }

    pub(crate) fn pick(&mut self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let strategy = &self.strategy;
        let picked = catch_unwind(AssertUnwindSafe(|| strategy.pick(request, cx)));
        picked.unwrap_or_else(|_| {
            self.panics += 1;
            least_connection(cx)
        })
    }

    /// What it has come to, if it chooses among modules.
    pub(crate) fn chosen(&self) -> Option<Chosen> {
        catch_unwind(AssertUnwindSafe(|| self.strategy.chosen())).ok().flatten()
    }

    /// Prompt tokens that it believes to be cached there.
    pub(crate) fn cached_tokens(&self, endpoint: &Endpoint, request: &RequestFacts) -> u32 {
        if !self.needs.prompt_blocks || request.prompt_blocks.is_empty() {
            return 0;
        }
        catch_unwind(AssertUnwindSafe(|| self.strategy.cached_tokens(endpoint, request))).unwrap_or(0)
    }

    pub(crate) fn observe(&mut self, event: &Event<'_>, cx: &mut Context<'_>) {
        let strategy = &mut self.strategy;
        if catch_unwind(AssertUnwindSafe(|| strategy.observe(event, cx))).is_err() {
            self.panics += 1;
        }
    }
}

/// The built-in rule.
pub(crate) fn least_connection(cx: &Context<'_>) -> Pick {
    let load = |endpoint: &Endpoint| load(endpoint, cx.now);
    let least = cx.free().min_by(|a, b| load(a).partial_cmp(&load(b)).unwrap_or(Ordering::Equal));
    least.map_or(Pick::Wait, |endpoint| Pick::Endpoint(endpoint.id))
}

fn load(endpoint: &Endpoint, now: Time) -> f64 {
    f64::from(endpoint.in_flight() + 1) / endpoint.effective_weight(now).max(LEAST_RAMP)
}

/// True if `id` may be picked now.
pub(crate) fn is_valid(id: EndpointId, cx: &Context<'_>) -> bool {
    cx.candidates.contains(&id) && cx.table.get(id).is_some_and(|endpoint| cx.is_free(endpoint))
}
