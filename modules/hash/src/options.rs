//! The options: where the key comes from, how far an endpoint may be above its share, and what then.

use arriero_core::{KeySource, Keys};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whom a key belongs to, and what happens when that endpoint has no room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// What of a request is hashed: one source or a list, the first that the request has.
    pub key: Keys,
    /// How many times its fair share of the requests in flight an endpoint may hold before a key goes elsewhere; 0 = any.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub bounded_load: f64,
    /// Where a request goes whose own endpoint is full or above the bound.
    pub spill: Spill,
    /// How a request without a key is placed.
    pub without_key: WithoutKey,
}

impl Default for Options {
    fn default() -> Self {
        let key = Keys(vec![KeySource::Session, KeySource::ApiKey, KeySource::Source]);
        Options { key, bounded_load: 1.25, spill: Spill::Next, without_key: WithoutKey::LeastConnection }
    }
}

impl Options {
    /// The first option out of its range: what was found and what is allowed.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.key.check().map_err(|error| format!("key: {error}"))?;
        let factor = self.bounded_load;
        if factor != 0.0 && !(1.0..=100.0).contains(&factor) {
            return Err(format!("bounded-load: found {factor}, allowed 1 to 100, or 0 for no bound"));
        }
        if factor != 0.0 && self.spill == Spill::Wait {
            return Err(format!(
                "bounded-load: found {factor} with `spill: wait`, allowed 0: who waits for the key's own endpoint goes \
                 nowhere else, so there is nothing to bound"
            ));
        }
        Ok(())
    }
}

/// What happens when the key's own endpoint is full or above the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Spill {
    /// The next in the key's order that has room.
    Next,
    /// The least loaded.
    LeastConnection,
    /// Nowhere: it waits for its own.
    Wait,
}

/// How a request without a key is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutKey {
    /// At the least loaded, one of equals by chance.
    LeastConnection,
    /// By chance, as the weights say.
    Random,
}
