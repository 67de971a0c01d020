//! What the admin API tells of one endpoint.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// What is known of its speeds, by model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learned: Vec<LearnedModel>,
}

/// What was learned of one model on one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LearnedModel {
    /// The engine's name of it.
    pub model: String,
    /// Answers behind these figures; 0 = none of its own.
    pub requests: u64,
    /// They come from other endpoints that know the model, scaled to this one.
    pub lent: bool,
    /// Of prompt.
    pub prefill_ms_per_token: f64,
    /// Of answer, for a request alone.
    pub decode_ms_per_token: f64,
    /// The share by which each further request at once stretches that.
    pub crowding: f64,
    /// The usual answer, in tokens.
    pub output_tokens: f64,
    /// To load the weights; none = not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<f64>,
    /// Bytes of memory while it is loaded; none = not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_vram: Option<u64>,
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
