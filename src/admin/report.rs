//! What the admin API tells: plain values, the same in the answers, in the OpenAPI document and in `arriero ctl`.
//!
//! Ages and spans end in `_s` (seconds), request times in `_ms` (milliseconds), both over the last 1024 requests where
//! they are averages. What is not known is left out, never 0.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::endpoint::{EndpointReport, Health, LearnedModel, SetHere, State};
pub use super::explained::{
    AffinityRow, AffinityTable, Cleared, Excluded, Explained, PricedEndpoint, PricedTerm, Verdict,
};
pub use super::stat::StatRow;

/// Everything at a glance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Since the process serves.
    pub uptime_s: f64,
    /// Every pool has an endpoint that is up, and the process is not stopping.
    pub ready: bool,
    /// The process takes leave: what runs is finished.
    pub stopping: bool,
    /// Requests in the process: those that run, wait or are being read.
    pub requests: u64,
    /// What configuration runs.
    pub generation: GenerationReport,
    /// The pools, in the file's order.
    pub pools: Vec<PoolReport>,
    /// The routes, in the order in which they are tried.
    pub routes: Vec<RouteReport>,
}

/// What configuration runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GenerationReport {
    /// 1, and one more with each reload or change of membership or balance. Also the `ETag` of the answer.
    pub generation: u64,
    /// Since it is in force.
    pub age_s: f64,
    /// The file that a reload reads; none = there is nothing to reload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Changes made here since the file was read, in words: a reload puts the file's word back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_here: Vec<String>,
    /// The last reload, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<ReloadReport>,
}

/// How a reload went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReloadReport {
    /// It is in force; else everything stayed as it was.
    pub applied: bool,
    /// How long ago.
    pub ago_s: f64,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A pool with its endpoints and its queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PoolReport {
    /// Its name.
    pub name: String,
    /// Its endpoints, in the file's order.
    pub endpoints: Vec<EndpointReport>,
    /// Its queue.
    pub queue: QueueReport,
    /// Requests that hold a slot.
    pub in_flight: u64,
    /// The most of them that there were at once.
    pub most_in_flight: u64,
    /// Requests that got a slot, ever.
    pub picks: u64,
}

/// A pool's queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueReport {
    /// Whose.
    pub pool: String,
    /// Requests that wait.
    pub queued: u64,
    /// The most that waited at once.
    pub most_queued: u64,
    /// How many may.
    pub max_requests: u64,
    /// Bytes of body that they hold.
    pub queued_bytes: u64,
    /// How many they may.
    pub max_bytes: u64,
    /// The longest wait.
    pub timeout_s: f64,
    /// How long the first of them has waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_s: Option<f64>,
    /// Requests that leave it per second, as measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drains_per_s: Option<f64>,
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteReport {
    /// Its name; without one, its match.
    pub name: String,
    /// What it takes, in words.
    pub matches: String,
    /// The module that the route is configured with.
    pub module: String,
    /// Its options, defaults filled.
    #[schema(value_type = Object)]
    pub options: serde_json::Value,
    /// Where the module comes from: `configured`, or what chose it.
    pub why: String,
    /// The balance was set at run time; a reload puts the file's back.
    pub set_here: bool,
    /// Its pools.
    pub targets: Vec<TargetReport>,
}

/// A pool of a route, and what the route goes by there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetReport {
    /// The pool.
    pub pool: String,
    /// Its share of the route's requests, by weight.
    pub weight: u32,
    /// The module that the strategy goes by now, where it chooses among modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_by: Option<String>,
    /// What speaks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The strategy that it is compared with, if the route has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowReport>,
}

/// A strategy that is asked and never followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShadowReport {
    /// Its module.
    pub module: String,
    /// The module that it goes by now, where it chooses among modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_by: Option<String>,
    /// Requests that it was asked for.
    pub asked: u64,
    /// It would have sent them where they went.
    pub agreed: u64,
    /// It would have sent them elsewhere, at once.
    pub differed: u64,
    /// It would have let them wait.
    pub waits: u64,
    /// What its picks would have saved per request, by its own prices: estimated. None = it does not price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_saving_ms: Option<f64>,
    /// It panicked, and is off until its configuration changes.
    pub off: bool,
}

/// A change that made a new generation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// The generation that is in force now.
    pub generation: u64,
    /// What is different, one line each: `endpoint gpu-3: joined pool chat`.
    pub changes: Vec<String>,
    /// What is allowed, but should be known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// A finding in the configuration, with its place. Lines and columns count from 1; 0 = no place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The whole finding as a terminal shows it: `file:line:column: message`, the line, what is allowed, a hint.
    pub text: String,
}
