//! A checked configuration: every default filled, every reference resolved, every secret read.
//!
//! Times are [`Duration`]s, sizes are bytes; `None` always means what YAML calls `none`, `auto` or off.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arriero_core::Strategy;
use arriero_core::endpoint::EndpointSpec;

use crate::config::matcher::Matcher;
use crate::config::secret::Secret;
pub use crate::config::yaml::Engine as EngineKind;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where clients are heard, in the file's order.
    pub listeners: Vec<ListenerPlan>,
    /// Where the admin listener is, if it is on.
    pub admin: Option<SocketAddr>,
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
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Its address; port 0 = any free one.
    pub bind: SocketAddr,
    /// HTTP/2 without TLS is taken too.
    pub h2c: bool,
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
    /// Labels for logs and metrics.
    pub labels: BTreeMap<String, String>,
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

/// One route.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Its name: the configured one, else its match in words.
    pub name: Arc<str>,
    /// Its identity over reloads: the configured name, else a hash of its match.
    pub identity: Arc<str>,
    /// What it takes.
    pub matcher: Matcher,
    /// Its pool's place in [`Plan::pools`].
    pub pool: usize,
    /// How an endpoint is chosen.
    pub balance: BalancePlan,
    /// Model names that clients use -> the names that endpoints know.
    pub aliases: BTreeMap<Arc<str>, Arc<str>>,
    /// Families of engine control endpoints that are let through; names of [`crate::dialect::allow_names`].
    pub allow: BTreeSet<&'static str>,
    /// The model of a request that names none.
    pub default_model: Option<Arc<str>>,
}

/// Makes a new strategy, as often as it is asked.
pub type BuildStrategy = Arc<dyn Fn() -> Box<dyn Strategy> + Send + Sync>;

/// A module with its options.
#[derive(Clone)]
pub struct BalancePlan {
    /// The module's name.
    pub module: &'static str,
    /// Its options, defaults filled: equal options of an equal module are the same strategy.
    pub options: serde_json::Value,
    /// Makes the strategy.
    pub build: BuildStrategy,
    /// Why this module: `configured`, or what `auto` saw in the pool.
    pub why: String,
}

impl fmt::Debug for BalancePlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} ({})", self.module, self.options, self.why)
    }
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

/// Every default, in one place; the documentation of the YAML repeats them.
pub mod defaults {
    use std::time::Duration;

    use super::{ClientTimeoutsPlan, HeadersPlan, HealthPlan, LimitsPlan, PoolTimeoutsPlan, QueuePlan};

    /// `admin: {}`.
    pub const ADMIN: &str = "127.0.0.1:9901";
    /// `run --to URL`.
    pub const LISTEN: &str = "127.0.0.1:11434";
    /// Further attempts after the first.
    pub const RETRIES: u32 = 2;
    /// An endpoint's weight.
    pub const WEIGHT: u32 = 1;
    /// Active health checks.
    pub const HEALTH: HealthPlan =
        HealthPlan { every: Duration::from_secs(2), timeout: Duration::from_secs(2), rise: 2, fall: 3 };
    /// The waiting queue.
    pub const QUEUE: QueuePlan =
        QueuePlan { max_requests: 1000, max_bytes: 256 << 20, timeout: Duration::from_secs(60) };
    /// Timeouts towards engines.
    pub const TIMEOUTS: PoolTimeoutsPlan = PoolTimeoutsPlan {
        connect: Duration::from_secs(1),
        first_byte: Some(Duration::from_secs(300)),
        between_chunks: Some(Duration::from_secs(120)),
        total: None,
    };
    /// Headers on answers.
    pub const HEADERS: HeadersPlan = HeadersPlan { endpoint: true, route: true, reason: false };
    /// Bounds on memory.
    pub const LIMITS: LimitsPlan = LimitsPlan { body: 32 << 20, bodies: 1 << 30, header: 64 << 10 };
    /// Timeouts towards clients.
    pub const CLIENT_TIMEOUTS: ClientTimeoutsPlan =
        ClientTimeoutsPlan { header: Duration::from_secs(10), client_stall: Duration::from_secs(60) };
}
