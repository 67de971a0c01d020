//! The seam between the admin API and what it controls: one trait, its errors, and the values that cross it.
//!
//! The router (`router.rs`) calls it, the proxy's side implements it, tests have one of their own. Nothing here knows
//! of the proxy. Methods that make a new generation are async and may take their time; all others answer at once.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

pub use super::order::{
    AffinityQuery, CAP_MOST, CapWord, EndpointChange, ExplainRequest, FileWord, NoneWord, WEIGHT_MOST, WeightWord,
};
pub use super::report::{
    AffinityRow, AffinityTable, Changed, Cleared, EndpointReport, Excluded, Explained, Finding, GenerationReport,
    Health, LearnedModel, PoolReport, PricedEndpoint, PricedTerm, QueueReport, ReloadReport, RouteReport, SetHere,
    ShadowReport, StatRow, State, Status, TargetReport, Verdict,
};

/// Which generation a change was made for (`If-Match`); `None` = any.
pub type Expected = Option<u64>;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum ControlError {
    /// There is no such pool, endpoint, route: 404.
    #[error("{message}")]
    NotFound {
        /// What was not found.
        message: String,
        /// Which there are.
        allowed: Option<String>,
    },
    /// What was asked for makes no sense: 422.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// What is allowed.
        allowed: Option<String>,
    },
    /// The configuration is broken, all of its mistakes at once; everything stays as it was: 422.
    #[error("{message}")]
    Broken {
        /// One sentence.
        message: String,
        /// Each mistake with its place.
        findings: Vec<Finding>,
    },
    /// It is not allowed here: 403.
    #[error("{0}")]
    Forbidden(String),
    /// It makes sense, but not now: the name is taken, a pool would be empty, there is no file to read: 409.
    #[error("{0}")]
    Conflict(String),
    /// The change was made for another generation: 412.
    #[error("generation {found} is in force, the change was made for generation {expected}")]
    Stale {
        /// The one that was named.
        expected: u64,
        /// The one in force.
        found: u64,
    },
    /// A file could not be read or opened, and the like: 500.
    #[error("{0}")]
    Failed(String),
}

impl ControlError {
    /// Something that is not there; `known` are the names that are.
    pub fn not_found<'n>(what: &str, name: &str, known: impl IntoIterator<Item = &'n str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let allowed = (!known.is_empty()).then(|| known.join(", "));
        ControlError::NotFound { message: format!("there is no {what} `{name}`"), allowed }
    }

    /// Something that makes no sense.
    pub fn invalid(message: impl Into<String>, allowed: impl Into<String>) -> Self {
        ControlError::Invalid { message: message.into(), allowed: Some(allowed.into()) }
    }

    /// A configuration with mistakes.
    pub fn broken(findings: Vec<Finding>) -> Self {
        let (first, more) = (findings.first().map_or("", |finding| &finding.message), findings.len().saturating_sub(1));
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        let message = format!("the new configuration is broken, the old one stays: {first}{more}");
        ControlError::Broken { message, findings }
    }

    /// The error in one line, with what is allowed.
    pub fn in_words(&self) -> String {
        match self {
            ControlError::NotFound { message, allowed: Some(allowed) }
            | ControlError::Invalid { message, allowed: Some(allowed) } => format!("{message}; allowed: {allowed}"),
            other => other.to_string(),
        }
    }

    /// `Ok` if the change was made for the generation in force, or for any.
    ///
    /// # Errors
    /// [`ControlError::Stale`].
    pub fn unless_current(expected: Expected, found: u64) -> Result<(), Self> {
        match expected {
            Some(expected) if expected != found => Err(ControlError::Stale { expected, found }),
            _ => Ok(()),
        }
    }
}

/// Everything that the admin API shows and changes.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Everything at a glance.
    fn status(&self) -> Status;

    /// The pools with endpoints and queues.
    fn pools(&self) -> Vec<PoolReport> {
        self.status().pools
    }

    /// All endpoints.
    fn endpoints(&self) -> Vec<EndpointReport> {
        self.pools().into_iter().flat_map(|pool| pool.endpoints).collect()
    }

    /// One endpoint.
    fn endpoint(&self, name: &str) -> Result<EndpointReport, ControlError> {
        let all = self.endpoints();
        let found = all.iter().find(|endpoint| endpoint.name == name).cloned();
        found
            .ok_or_else(|| ControlError::not_found("endpoint", name, all.iter().map(|endpoint| endpoint.name.as_str())))
    }

    /// All routes.
    fn routes(&self) -> Vec<RouteReport> {
        self.status().routes
    }

    /// All queues.
    fn queues(&self) -> Vec<QueueReport> {
        self.pools().into_iter().map(|pool| pool.queue).collect()
    }

    /// What configuration runs.
    fn generation(&self) -> GenerationReport {
        self.status().generation
    }

    /// Statistics: a row for each route (`FRONTEND`), then for each pool its endpoints and their sum (`BACKEND`).
    fn stats(&self) -> Vec<StatRow>;

    /// The metrics in Prometheus' text format, gauges fresh.
    fn metrics(&self) -> String;

    /// Every pool has an endpoint that is up, and the process is not stopping.
    fn is_ready(&self) -> bool {
        self.status().ready
    }

    /// The report of `/api/health`.
    fn health_report(&self) -> Value;

    /// Changes an endpoint at once, without a new generation; survives reloads. [`EndpointChange::check`] was called.
    /// The answer is the endpoint after the change.
    fn change_endpoint(&self, name: &str, change: &EndpointChange) -> Result<EndpointReport, ControlError>;

    /// Adds an endpoint; `endpoint` is a JSON object with its YAML keys. A new generation.
    async fn add_endpoint(&self, pool: &str, endpoint: Value, expected: Expected) -> Result<Changed, ControlError>;

    /// Takes an endpoint out of its pool; it finishes what runs. A new generation.
    async fn remove_endpoint(&self, name: &str, expected: Expected) -> Result<Changed, ControlError>;

    /// Changes a route's strategy: `balance` is a module's name, or `{ name: options }`. A new generation.
    async fn set_balance(&self, route: &str, balance: Value, expected: Expected) -> Result<Changed, ControlError>;

    /// Reads the configuration again and puts it in force, or changes nothing. Answers when that is done.
    async fn reload(&self, expected: Expected) -> Result<Changed, ControlError>;

    /// Where a request would go now, and why. Changes nothing.
    fn explain(&self, request: &ExplainRequest) -> Result<Explained, ControlError>;

    /// The affinity tables.
    fn affinity(&self, query: &AffinityQuery) -> Result<AffinityTable, ControlError>;

    /// Forgets entries of the affinity tables.
    fn clear_affinity(&self, query: &AffinityQuery) -> Result<Cleared, ControlError>;
}
