//! A checked configuration: every default filled, every reference resolved, every secret read.
//!
//! Times are [`Duration`]s, sizes are bytes; `None` always means what YAML calls `none`, `auto` or off.

pub mod defaults;
mod listener;
mod pool;
mod priority;
mod route;

use std::path::PathBuf;
use std::time::Duration;

use crate::config::diagnostic::Diagnostic;
pub use listener::{AdminBind, AdminPlan, AuthPlan, CertPlan, ClientKey, ListenerPlan};
pub use pool::{
    EjectionPlan, EndpointPlan, EndpointTlsPlan, EngineKind, HealthPlan, HttpCheck, PoolPlan, PoolTimeoutsPlan,
    QueuePlan, RetryOn, RetryPlan, Reuse,
};
pub use priority::{PriorityPlan, PriorityRange};
pub use route::{AffinityBy, AffinityPlan, BalancePlan, BuildStrategy, ClientsPlan, RoutePlan};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where clients are heard, in the file's order.
    pub listeners: Vec<ListenerPlan>,
    /// The admin listener, if it is on.
    pub admin: Option<AdminPlan>,
    /// Who may ask; `None` = everyone.
    pub auth: Option<AuthPlan>,
    /// Pools, in the file's order. A route names its pool by its place here.
    pub pools: Vec<PoolPlan>,
    /// Routes: the first that matches wins.
    pub routes: Vec<RoutePlan>,
    /// Headers on answers.
    pub headers: HeadersPlan,
    /// Bounds on memory.
    pub limits: LimitsPlan,
    /// Timeouts towards clients.
    pub timeouts: ClientTimeoutsPlan,
    /// Where the access log goes.
    pub access_log: AccessLogPlan,
    /// The share of requests whose line tells the decision, 0 to 1.
    pub log_decisions: f64,
    /// Where what was learned of engines is kept over restarts; `None` = nowhere.
    pub learned_file: Option<PathBuf>,
    /// What is allowed, but should be known: for `check` and for the log at the start.
    pub warnings: Vec<Diagnostic>,
}

/// Which headers tell clients what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadersPlan {
    /// `x-arriero-endpoint`.
    pub endpoint: bool,
    /// `x-arriero-route`.
    pub route: bool,
    /// `x-arriero-reason`.
    pub reason: bool,
}

/// Bounds on memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsPlan {
    /// The largest request body.
    pub body: u64,
    /// All buffered bodies together.
    pub bodies: u64,
    /// The largest request header.
    pub header: u64,
}

/// Timeouts towards clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeoutsPlan {
    /// For the whole request header.
    pub header: Duration,
    /// How long a client may take no bytes.
    pub client_stall: Duration,
}

/// Where the access log goes: one JSON object per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogPlan {
    /// To standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// Appended to a file.
    File(PathBuf),
}
