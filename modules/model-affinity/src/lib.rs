//! Where the model is, unless waiting there costs more than loading it elsewhere: `wait + prefill + decode + load + evict`
//! in milliseconds over all candidates, full ones too.
//!
//! Affinity is a price, never a filter: a hot model gets a second copy when the wait for the first exceeds the cold price of
//! the second. The prices are the core's (`arriero_core::cost`). A model loaded with other runner options
//! (`num_ctx` ...) is cold, so that two clients with different options settle on two endpoints. Loads already begun on an
//! endpoint are part of its load price, and a second load waits in the queue, where it may still go elsewhere, until the
//! first is done. An endpoint that is free and warm counts `theta` times, as in queue-aware. A load gets no discount, unless
//! it drives nothing out: an engine that stands empty (it was away, its models expired) serves those who come next as
//! well, and no single request's wait may ever be worth the load. Where no candidate needs a load, ties take turns; else they go
//! by hash, so that a model keeps its places.
//!
//! What an endpoint's prefix cache is believed to hold of the prompt is taken off (`cached`), as in prefix-affinity: where the
//! model has to be loaded, nothing is. Without prompt blocks, or where engines tell nothing of a cache, that term is 0.
//!
//! An engine that does not report resident models is priced as warm; missing sizes, speeds and lengths fall back on the
//! priors named in `cost`. Weights do not scale prices; weight 0 takes nothing.

use arriero_core::cost::{Asked, Choice, History, Market, Replicas, Reserved};
use arriero_core::endpoint::Endpoint;
use arriero_core::prefix::Caches;
use arriero_core::{Context, EngineClass, Event, Module, Needs, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The module.
pub struct ModelAffinity;

/// How much an eviction weighs, and how long a model may stay at least.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// Weight of what an eviction costs the requests that come next; 0 = none.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub kappa: f64,
    /// Seconds that a model is to stay after its load began: the rest of them is added to the price of evicting it, as far
    /// as it is likely to be wanted in them.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub min_residency_seconds: f64,
    /// Factor on the price of an endpoint that is free now and has the model loaded, or room for it, as in queue-aware: 0
    /// never waits while there is one, 1 waits whenever that ends earlier for this request alone.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub theta: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options { kappa: 4.0, min_residency_seconds: 20.0, theta: 0.5 }
    }
}

impl Module for ModelAffinity {
    const NAME: &'static str = "model-affinity";
    const SUMMARY: &'static str = "where the model is loaded, unless waiting there costs more than a load elsewhere";
    type Options = Options;

    fn build(options: Options) -> Result<Box<dyn Strategy>, String> {
        if !(0.0..=100.0).contains(&options.kappa) {
            return Err(format!("kappa: found {}, allowed 0 to 100", options.kappa));
        }
        if !(0.0..=3600.0).contains(&options.min_residency_seconds) {
            let found = options.min_residency_seconds;
            return Err(format!("min-residency-seconds: found {found}, allowed 0 to 3600"));
        }
        if !(0.0..=1.0).contains(&options.theta) {
            return Err(format!("theta: found {}, allowed 0 to 1", options.theta));
        }
        Ok(Box::new(Affinity { options, history: History::default(), caches: Caches::default() }))
    }
}

struct Affinity {
    options: Options,
    history: History,
    caches: Caches,
}

/// Where nothing is to be loaded, prices within this share are equal, and endpoints take turns.
const TIE: f64 = 0.01;
/// The same on engines with slots that hold the same of the prompt: what tells their prices apart was learned or reported,
/// and several proxies that follow it to the last percent meet at the same engine.
const WIDE_TIE: f64 = 0.1;

impl Affinity {
    fn market<'a>(&'a self, replicas: &'a Replicas<'a>, cx: &Context<'_>) -> Market<'a> {
        let min_residency_ms = self.options.min_residency_seconds * 1000.0;
        Market { history: &self.history, replicas, kappa: self.options.kappa, min_residency_ms, now: cx.now }
    }
}

impl Strategy for Affinity {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        (needs.full_endpoints, needs.prompt_blocks) = (true, true);
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let asked = Asked::of(request, cx);
        let some_cold = asked.open().any(|known| !known.is_warm());
        let replicas = if some_cold { Replicas::of(cx.table) } else { Replicas::default() };
        let market = self.market(&replicas, cx);
        let theta = self.options.theta;
        let held = self.caches.find(request);
        let mut choice = Choice::new(request, cx);
        if !some_cold {
            let is_wide =
                asked.open().all(|known| known.endpoint.class == EngineClass::Slots) && held.is_level(asked.open());
            choice = choice.ties_in_turn(if is_wide { WIDE_TIE } else { TIE });
        }
        for known in asked.open() {
            let mut price = known.completion_with(Reserved::of(known.endpoint, cx), &held.batch(&known));
            let displaces = market.add_to(&mut price, &known);
            let free = known.may_take() && (known.is_warm() || request.uncapped || !known.loads_another());
            if free && !displaces {
                price.spare = (theta - 1.0) * price.total();
            }
            choice.offer(known.endpoint, price, free);
        }
        choice.pick(cx)
    }

    fn observe(&mut self, event: &Event<'_>, cx: &mut Context<'_>) {
        self.history.observe(event, cx.table, cx.now);
        self.caches.observe(event, cx);
    }

    fn cached_tokens(&self, endpoint: &Endpoint, request: &RequestFacts) -> u32 {
        self.caches.held(endpoint, request)
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!(self.options)
    }
}
