//! What a dry run tells, and the affinity tables.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a request would go now, and why. Nothing was sent, nothing was changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    /// The configuration that was asked.
    pub generation: u64,
    /// The model, after aliases and default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The route that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The place in the queue's order: lower goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
    /// The endpoint that the request is kept at, by affinity or by a stateful id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_to: Option<String>,
    /// What would happen.
    pub verdict: Verdict,
    /// Why, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The candidates, cheapest first; of modules that do not price, in the file's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<PricedEndpoint>,
    /// The endpoints that are none, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Excluded>,
    /// What was done to the request on the way: alias, default model, key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What would happen to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "what")]
pub enum Verdict {
    /// It would be sent at once.
    Send {
        /// Where.
        endpoint: String,
        /// The module that chose.
        module: String,
        /// The engine's own name of the model, where it differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        local_model: Option<String>,
    },
    /// It would wait in the pool's queue.
    Wait {
        /// How many wait before it.
        queued: u64,
    },
    /// It would be refused.
    Refuse {
        /// The status.
        status: u16,
        /// Why.
        reason: String,
    },
    /// The proxy itself would answer, without an engine.
    Answer {
        /// What with.
        what_with: String,
    },
}

impl Default for Verdict {
    /// Nobody waits before it.
    fn default() -> Self {
        Verdict::Wait { queued: 0 }
    }
}

/// A candidate's price.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PricedEndpoint {
    /// Its name.
    pub endpoint: String,
    /// The sum, in milliseconds.
    pub total_ms: f64,
    /// Its parts. None: the module does not price.
    pub terms: Vec<PricedTerm>,
    /// How old the engine's latest report is; none = there is no report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_age_ms: Option<f64>,
    /// Requests of ours that hold a slot there.
    pub in_flight: u32,
    /// It has a slot for the request.
    pub free: bool,
    /// It is the one that was picked, to go there or to wait for it.
    pub picked: bool,
}

/// One part of a price.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PricedTerm {
    /// `wait`, `prefill`, `decode`, `load` ...
    pub name: String,
    /// Milliseconds.
    pub ms: f64,
}

/// An endpoint that is no candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Excluded {
    /// Its name.
    pub endpoint: String,
    /// Why: `down`, `drain`, `does not have the model` ...
    pub why: String,
}

/// The affinity tables, or the part of them that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AffinityTable {
    /// Entries that fit the question.
    pub entries: usize,
    /// The first of them, the longest unused first; no more than `limit`.
    pub rows: Vec<AffinityRow>,
}

/// One entry: requests with this key go to that endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AffinityRow {
    /// The pool.
    pub pool: String,
    /// The key's hash, 16 hex digits: the key itself is not kept.
    pub key: String,
    /// `key` (configured affinity) or `id` (made by a stateful API).
    pub kind: String,
    /// The endpoint.
    pub endpoint: String,
    /// Since its last use.
    pub idle_s: f64,
    /// Until it is forgotten, if it is not used.
    pub expires_in_s: f64,
}

/// Entries that were forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cleared {
    /// How many.
    pub cleared: usize,
}
