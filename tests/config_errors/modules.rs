//! Modules from outside the tree, to read options by: they bear the names that `auto` resolves to.

use arriero::registry::{ModuleEntry, module};
use arriero_core::{Context, Module, Pick, RequestFacts, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) fn all() -> Vec<ModuleEntry> {
    vec![module::<Plain>(), module::<Affinity>()]
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct None {}

pub(crate) struct Plain;

impl Module for Plain {
    const NAME: &'static str = "least-connection";
    const SUMMARY: &'static str = "Without options.";
    type Options = None;

    fn build(_: None) -> Result<Box<dyn Strategy>, String> {
        Ok(Box::new(Waits(serde_json::json!({}))))
    }
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Evict {
    Never,
    OldestFirst,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// How much dearer a wait is than a load.
    pub(crate) kappa: f64,
    /// What may be evicted.
    pub(crate) evict: Evict,
    /// Further terms.
    pub(crate) terms: Vec<Term>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Term {
    pub(crate) name: String,
    pub(crate) ms: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { kappa: 2.0, evict: Evict::OldestFirst, terms: Vec::new() }
    }
}

pub(crate) struct Affinity;

impl Module for Affinity {
    const NAME: &'static str = "model-affinity";
    const SUMMARY: &'static str = "With options.";
    type Options = Options;

    fn build(options: Options) -> Result<Box<dyn Strategy>, String> {
        if !(0.0..=10.0).contains(&options.kappa) {
            return Err(format!("kappa is {}, allowed is 0 to 10", options.kappa));
        }
        Ok(Box::new(Waits(serde_json::to_value(options).map_err(|error| error.to_string())?)))
    }
}

struct Waits(serde_json::Value);

impl Strategy for Waits {
    fn pick(&self, _: &RequestFacts, _: &mut Context<'_>) -> Pick {
        Pick::Wait
    }

    fn options(&self) -> serde_json::Value {
        self.0.clone()
    }
}
