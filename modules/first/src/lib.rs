//! The first endpoint in configuration order that has a free slot.
//!
//! Weights do not count, except that 0 takes nothing. Without caps the first endpoint is always free and takes all.
//! Signals: slots only. All full: wait for whichever frees first.

use arriero_core::{Context, Module, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The module.
pub struct First;

/// No options.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {}

impl Module for First {
    const NAME: &'static str = "first";
    const SUMMARY: &'static str = "the first endpoint, in configuration order, that has a free slot";
    type Options = Options;

    fn build(_options: Options) -> Result<Box<dyn Strategy>, String> {
        Ok(Box::new(InOrder))
    }
}

struct InOrder;

impl Strategy for InOrder {
    fn pick(&self, _request: &RequestFacts, cx: &mut Context<'_>) -> Pick {
        let first = cx.free().find(|endpoint| endpoint.spec.weight > 0);
        let Some(endpoint) = first else { return Pick::Wait };
        let pick = Pick::Endpoint(endpoint.id);
        cx.tell(&pick, |cx| match endpoint.cap(cx.now) {
            Some(cap) => format!("{}: {} of {cap} slots taken", endpoint.spec.name, endpoint.in_flight()),
            None => format!("{}: {} requests, no cap", endpoint.spec.name, endpoint.in_flight()),
        });
        pick
    }

    fn options(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}
