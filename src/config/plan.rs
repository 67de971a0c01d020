//! A checked configuration: every default filled, every reference resolved, every secret read.
//!
//! Times are [`Duration`]s, sizes are bytes; `None` always means what YAML calls `none`, `auto` or off.

pub mod defaults;
mod listener;
mod route;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::EndpointSpec;

use crate::config::diagnostic::Diagnostic;
use crate::config::secret::Secret;
pub use crate::config::yaml::Engine as EngineKind;
pub use listener::{AuthPlan, CertPlan, ClientKey, ListenerPlan};
pub use route::{BalancePlan, BuildStrategy, ClientsPlan, RoutePlan};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where clients are heard, in the file's order.
    pub listeners: Vec<ListenerPlan>,
    /// Where the admin listener is, if it is on.
    pub admin: Option<SocketAddr>,
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
    /// What is allowed, but should be known: for `check` and for the log at the start.
    pub warnings: Vec<Diagnostic>,
}

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    /// Its name: its identity over reloads.
    pub name: Arc<str>,
    /// Its endpoints, in the file's order.
    pub endpoints: Vec<EndpointPlan>,
    /// Active health checks; `None` = off.
    pub health: Option<HealthPlan>,
    /// The waiting queue's bounds.
    pub queue: QueuePlan,
    /// Further attempts after the first.
    pub retries: u32,
    /// Timeouts towards its engines.
    pub timeouts: PoolTimeoutsPlan,
    /// Time between two load reports; `None` = by the kind of engine.
    pub poll: Option<Duration>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointPlan {
    /// What the core needs of it.
    pub spec: EndpointSpec,
    /// The URL as written, without a trailing `/`.
    pub url: Arc<str>,
    /// True for https.
    pub tls: bool,
    /// What else TLS to it needs; of no meaning without `tls`.
    pub tls_options: EndpointTlsPlan,
    /// HTTP/2: by ALPN with `tls`, else by prior knowledge.
    pub http2: bool,
    /// The longest that a resolved address is trusted.
    pub resolve: Duration,
    /// Host name or address, lower case; an IPv6 address without its brackets.
    pub host: String,
    /// Port; 80 or 443 unless written.
    pub port: u16,
    /// The path before every request path: empty, or `/v1` and the like, without a trailing `/`.
    pub base_path: String,
    /// The kind of engine.
    pub engine: EngineKind,
    /// Headers on every request to it: name in lower case, value.
    pub headers: Vec<(String, Secret)>,
    /// Its API key.
    pub api_key: Option<Secret>,
    /// The file that the key came from, as written.
    pub api_key_file: Option<String>,
    /// Labels for logs and a route's `where`.
    pub labels: BTreeMap<String, String>,
}

impl EndpointPlan {
    /// True if it has all these labels.
    pub fn has_labels(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted.iter().all(|(label, value)| self.labels.get(label) == Some(value))
    }
}

/// How an https endpoint is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointTlsPlan {
    /// PEM file with the roots that are trusted for it, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The name that is asked for and verified; `None` = the URL's host.
    pub server_name: Option<String>,
    /// Its certificate is not verified.
    pub insecure: bool,
}

/// Active health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// Time between two checks.
    pub every: Duration,
    /// The longest that one check may take.
    pub timeout: Duration,
    /// Good checks in a row that bring an endpoint up.
    pub rise: u32,
    /// Bad checks in a row that take it down.
    pub fall: u32,
}

/// A waiting queue's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePlan {
    /// Most waiting requests; 0 = nobody waits.
    pub max_requests: u32,
    /// Most bytes of waiting bodies.
    pub max_bytes: u64,
    /// The longest wait.
    pub timeout: Duration,
}

/// Timeouts towards engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolTimeoutsPlan {
    /// To connect.
    pub connect: Duration,
    /// Until the first byte of the answer; the endpoint's load allowance comes on top.
    pub first_byte: Option<Duration>,
    /// Between two parts of the answer.
    pub between_chunks: Option<Duration>,
    /// For the whole request.
    pub total: Option<Duration>,
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
