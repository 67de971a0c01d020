//! Which models an endpoint has, under which names, and what is known of each: loaded or not, and how fast. Speeds are
//! milliseconds, per token or for a load; memory is bytes. Without a list an endpoint has no model, unless the
//! configuration declares some or the engine lists none ([`Inventory::Any`]); without learned speeds the priors count.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::learn::batching::Iteration;
use crate::learn::line::{CROWDING, Line};
use crate::time::Time;

/// Which models an endpoint can serve.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Inventory {
    /// Not known yet (starting, down): not a candidate.
    #[default]
    Unknown,
    /// The engine lists none: it is tried with any model.
    Any,
    /// These.
    Known(Vec<ModelInfo>),
}

/// One model of an inventory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelInfo {
    /// What clients call it.
    pub name: Arc<str>,
    /// What the engine calls it.
    pub local: Arc<str>,
    /// Other names for the same model (`x` for `x:latest`).
    pub aliases: Vec<Arc<str>>,
    /// Bytes on disk, where told.
    pub size: Option<u64>,
}

/// A model whose weights are loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResidentModel {
    /// What the engine calls it.
    pub local: Arc<str>,
    /// Bytes of memory it takes, where told.
    pub size_vram: Option<u64>,
    /// True while it is being loaded.
    pub loading: bool,
}

/// Learned speeds of one model on one endpoint. `samples == 0`: lent by other endpoints, else priors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Milliseconds per prompt token.
    pub prefill_ms_per_token: f64,
    /// Milliseconds per output token at batch 1.
    pub decode_ms_per_token: f64,
    /// What each further job of a batch adds to the time of all: a share of it.
    pub crowding: f64,
    /// Milliseconds to load the weights; `None` = no load seen yet (the cost module estimates it from the size).
    pub load_ms: Option<f64>,
    /// Mean output tokens of a request, over the whole fleet.
    pub output_tokens: f64,
    /// Completed requests behind these figures.
    pub samples: u64,
}

/// One model on one endpoint, keyed by the engine's own name.
#[derive(Clone, Debug, Default)]
pub struct ModelState {
    /// Weights loaded, by the last sample or by our own dispatch since.
    pub resident: bool,
    /// Being loaded, by the last sample or by our own dispatch.
    pub loading: bool,
    /// When it became resident (or its load began).
    pub since: Time,
    /// The runner options that it is loaded with; 0 = all on default.
    pub runner_key: u64,
    /// Bytes of memory when resident, where known.
    pub size_vram: Option<u64>,
    /// Bytes on disk, where known.
    pub size: Option<u64>,
    /// Learned speeds.
    pub rates: Rates,
    /// Learned times of a batching engine's iterations.
    pub iteration: Iteration,
    /// What the decode speed is learned from.
    pub line: Line,
    /// The best milliseconds per token alone that it had, slowly forgotten; 0 = not known.
    pub best_decode_ms: f64,
    /// Loads that were seen here: 0 = the load time is lent or not known.
    pub loads: u32,
    /// The speeds were lent by another endpoint.
    pub lent: bool,
    /// Last use.
    pub last_used: Time,
}

impl Default for Rates {
    /// Priors of an 8B model at Q4 on a mid-range GPU (`algorithms` table of the docs): replaced by what is learned.
    fn default() -> Self {
        Rates {
            prefill_ms_per_token: 0.25,
            decode_ms_per_token: 9.0,
            crowding: CROWDING,
            load_ms: None,
            output_tokens: 200.0,
            samples: 0,
        }
    }
}

impl Endpoint {
    /// True if it is known which models it can serve: declared, or told by the engine.
    pub fn knows_models(&self) -> bool {
        self.spec.models.is_some() || self.inventory != Inventory::Unknown
    }

    /// True if it can serve the model. Declared models beat the engine's list; an unknown list has none. `None` = a
    /// request without a model: any endpoint can.
    pub fn can_serve(&self, model: Option<&str>) -> bool {
        let Some(model) = model else { return true };
        if self.spec.models.is_none() && self.inventory == Inventory::Any {
            return true;
        }
        self.names.contains_key(model)
    }

    /// Makes [`Endpoint::names`] from configuration and inventory.
    pub fn rename_models(&mut self) {
        self.names.clear();
        if let Some(declared) = &self.spec.models {
            self.names.extend(declared.iter().cloned());
        } else if let Inventory::Known(models) = &self.inventory {
            for model in models {
                let aliases = model.aliases.iter().map(|alias| (alias.clone(), model.local.clone()));
                self.names.extend(aliases);
            }
            self.names.extend(models.iter().map(|model| (model.name.clone(), model.local.clone())));
        }
    }

    /// The engine's own name for a public model name; `None` if it does not have it.
    pub fn local_name(&self, model: &str) -> Option<&Arc<str>> {
        self.names.get(model)
    }

    /// The engine's own name for a model; the public name where it has no other.
    pub(crate) fn called<'a>(&'a self, model: &'a str) -> &'a str {
        self.local_name(model).map_or(model, |local| local)
    }

    /// The state of a model by its public name, where anything is known.
    pub fn model(&self, model: &str) -> Option<&ModelState> {
        self.models.get(self.called(model))
    }

    /// Learned speeds, else the priors.
    pub fn rates(&self, model: Option<&str>) -> Rates {
        model.and_then(|model| self.model(model)).map(|state| state.rates).unwrap_or_default()
    }
}
