//! The earliest expected completion: `wait + prefill + decode + load` in milliseconds over all candidates, full ones too.
//!
//! The prices are the core's (`arriero_core::cost`): expected completion time on slot engines, marginal cost on batching
//! engines. A free endpoint's price is multiplied by `theta`; if a full endpoint is still cheaper, the request waits for
//! it, and its work is reserved there for those behind it. Own counts dominate; missing speeds, lengths and slots fall
//! back on the priors named in `cost`. Weights do not scale prices: learned speeds do; weight 0 takes nothing.

use arriero_core::cost::{Offer, Reserved, choose, completion, load_wait_ms, open, tell};
use arriero_core::{Context, Module, Needs, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The module.
pub struct QueueAware;

/// How eagerly free endpoints are used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// Factor on the price of an endpoint that is free now: 0 never waits while one is free, 1 waits whenever that ends
    /// earlier for this request alone.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub theta: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options { theta: 0.5 }
    }
}

impl Module for QueueAware {
    const NAME: &'static str = "queue-aware";
    const SUMMARY: &'static str = "the earliest expected completion, by learned speeds and remaining work";
    type Options = Options;

    fn build(options: Options) -> Result<Box<dyn Strategy>, String> {
        if !(0.0..=1.0).contains(&options.theta) {
            return Err(format!("theta: found {}, allowed 0 to 1", options.theta));
        }
        Ok(Box::new(Earliest { options }))
    }
}

struct Earliest {
    options: Options,
}

impl Strategy for Earliest {
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.full_endpoints = true;
        needs
    }

    fn pick(&self, request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let offers: Vec<Offer<'_>> = open(cx)
            .map(|endpoint| {
                let mut price = completion(endpoint, request, cx.now, Reserved::of(endpoint, cx));
                price.load = load_wait_ms(endpoint, request, cx.now);
                Offer { endpoint, price, free: cx.is_free(endpoint) }
            })
            .collect();
        if let Some(explanation) = cx.explain.as_deref_mut() {
            tell(explanation, &offers, self.options.theta);
        }
        choose(&offers, self.options.theta, request)
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!(self.options)
    }
}
