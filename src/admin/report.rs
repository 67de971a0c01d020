//! What the admin API tells: plain values, the same in the answers, in the OpenAPI document and in `arriero ctl`.
//!
//! Ages and spans end in `_s` (seconds), request times in `_ms` (milliseconds), both over the last 1024 requests where
//! they are averages. What is not known is left out, never 0.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::explained::{
    AffinityRow, AffinityTable, Cleared, Excluded, Explained, PricedEndpoint, PricedTerm, Verdict,
};
pub use super::stat::StatRow;

/// The operator's word on an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Takes requests.
    #[default]
    Ready,
    /// Takes only requests that are pinned there; finishes what runs.
    Drain,
    /// Takes nothing and is not checked; finishes what runs.
    Maint,
}

impl State {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Drain => "drain",
            State::Maint => "maint",
        }
    }
}

/// What the checks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No verdict yet.
    #[default]
    Starting,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl Health {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

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

/// What the operator set at run time; it survives reloads until it is given back to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetHere {
    /// The weight.
    Weight,
    /// The cap.
    MaxInFlight,
    /// The state.
    State,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndpointReport {
    /// Its name, as in logs and headers.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// Its URL.
    pub url: String,
    /// The kind of engine, as configured or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The engine's version, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Serves only when no other endpoint can.
    pub backup: bool,
    /// The operator's word.
    pub state: State,
    /// What the checks say.
    pub health: Health,
    /// Since the health changed.
    pub health_for_s: f64,
    /// Taken out by what its requests showed: for how long still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected_for_s: Option<f64>,
    /// After an ejection: one request at a time tries it.
    pub half_open: bool,
    /// It said that it is busy: for how long still nothing new goes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_for_s: Option<f64>,
    /// Share of its weight and cap that it gets while it starts slowly: 1 = all.
    pub ramp: f64,
    /// The weight in force, without the ramp: 0-256.
    pub weight: u32,
    /// The file's.
    pub weight_in_file: u32,
    /// The cap in force (set, configured or learned; with the ramp); none = no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// The file's; none = auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight_in_file: Option<u32>,
    /// Which of the three are not the file's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_here: Vec<SetHere>,
    /// Requests that hold a slot there: exact.
    pub in_flight: u32,
    /// The most of them that there were at once.
    pub most_in_flight: u32,
    /// Attempts sent there, ever.
    pub picks: u64,
    /// Of these, those that were tried elsewhere afterwards.
    pub retries: u64,
    /// Of these, those that failed.
    pub failures: u64,
    /// Mean time to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// Requests that the engine works on, as it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_running: Option<u32>,
    /// Requests that wait inside the engine, as it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_waiting: Option<u32>,
    /// Share of the KV cache in use, as it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_used: Option<f64>,
    /// How the last check went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<bool>,
    /// Checks that failed, ever.
    pub checks_failed: u64,
    /// Times that it turned down.
    pub times_down: u64,
    /// Times that it was ejected.
    pub times_ejected: u64,
    /// Models that it serves, by the names that clients use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Models whose weights are loaded, by the engine's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaded: Vec<String>,
}

impl EndpointReport {
    /// One word for all that keeps it from taking requests, the strongest first: `maint`, `down`, `starting`, `drain`,
    /// `ejected`, `busy`, `half-open`; else `up`.
    pub fn standing(&self) -> &'static str {
        match (self.state, self.health) {
            (State::Maint, _) => "maint",
            (_, Health::Down) => "down",
            (_, Health::Starting) => "starting",
            (State::Drain, _) => "drain",
            _ if self.ejected_for_s.is_some() => "ejected",
            _ if self.busy_for_s.is_some() => "busy",
            _ if self.half_open => "half-open",
            _ => "up",
        }
    }
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
