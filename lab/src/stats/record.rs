//! What a run leaves behind: one record per request, and a few totals of the run. Plain data, times in seconds.
//!
//! Who fills it (the simulator, later a load generator) has cut the warm-up. A failed request stays in the records with
//! its age when it was given up as `e2e_s`. A signal that a run does not have is `None` or an empty list, never 0.

use serde::{Deserialize, Serialize};

/// One request from its intended send time to its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Place in the schedule; the same number is the same request in every arm of a seed.
    pub index: u32,
    /// Intended send time since the start of the run, seconds.
    pub at_s: f64,
    /// Time to the first token, seconds; `None` when none came.
    pub ttft_s: Option<f64>,
    /// Time to the end of the answer, seconds; of a failed request its age when it failed.
    pub e2e_s: f64,
    /// Place in [`Run::endpoints`] of the one that answered; `None` when it never reached one.
    pub endpoint: Option<u32>,
    /// Place in [`Run::models`].
    pub model: u32,
    /// Attempts made, 0 when it was refused or given up in the queue.
    pub attempts: u32,
    /// Whether the client got an error, or nothing.
    pub failed: bool,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// Prompt tokens that the engine had in its prefix cache.
    pub cached_tokens: u32,
}

/// All requests of one arm (strategy, or proxy under test) under one seed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the arm.
    pub arm: String,
    /// Seed; runs of two arms with the same seed had the same arrivals and lengths.
    pub seed: u64,
    /// In order of arrival, warm-up cut.
    pub records: Vec<Record>,
    /// Models loaded into an engine, warm-up cut.
    pub loads: u64,
    /// When each of them began, seconds since the start of the run; empty when nobody noted it.
    pub loads_at_s: Vec<f64>,
    /// Names of the endpoints.
    pub endpoints: Vec<String>,
    /// Names of the models.
    pub models: Vec<String>,
    /// Most requests that waited in the proxy at one moment.
    pub queue_peak: usize,
    /// Most requests that a proxy had at one engine at one moment, by engine.
    pub most_in_flight: Vec<u32>,
    /// When the last request ended, seconds since the start of the run.
    pub span_s: f64,
}

impl Run {
    /// Loads per 1 000 requests, 0 without requests.
    pub fn loads_per_1k(&self) -> f64 {
        1e3 * self.loads as f64 / self.records.len().max(1) as f64
    }

    /// Share of the requests that failed, 0 without requests.
    pub fn errors(&self) -> f64 {
        self.records.iter().filter(|record| record.failed).count() as f64 / self.records.len().max(1) as f64
    }
}
