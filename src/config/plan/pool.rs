//! The plan of a pool: its endpoints, when one of them is left out, and what happens to requests that fail.
//!
//! `None` means what YAML calls `none` or `auto`. Shares are 0 to 1.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arriero_core::endpoint::EndpointSpec;

use crate::config::secret::Secret;
use crate::config::yaml::EndpointOptions;
pub use crate::config::yaml::{Engine as EngineKind, Reuse};

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    /// Its name: its identity over reloads.
    pub name: Arc<str>,
    /// Its endpoints, in the file's order.
    pub endpoints: Vec<EndpointPlan>,
    /// What an endpoint that joins later leaves out: the file's `defaults`.
    pub defaults: Arc<EndpointOptions>,
    /// The folder of the file that the pool stands in: where relative file names start.
    pub dir: PathBuf,
    /// Where no normal endpoint can serve: true = the first backup that can, false = all of them.
    pub backup_one: bool,
    /// Active health checks; `None` = off.
    pub health: Option<HealthPlan>,
    /// What its requests show of an endpoint; `None` = nothing is concluded from them.
    pub ejection: Option<EjectionPlan>,
    /// Where no endpoint is up, those that are down or ejected are tried all the same.
    pub panic: bool,
    /// The waiting queue's bounds.
    pub queue: QueuePlan,
    /// Further attempts after the first.
    pub retry: RetryPlan,
    /// Requests that run on an endpoint which turns down: true = ended (and tried elsewhere while no byte was sent).
    pub cut_on_down: bool,
    /// Which requests may ride a kept connection to an engine.
    pub reuse: Reuse,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// Time between two checks.
    pub every: Duration,
    /// The same while the verdicts are changing.
    pub fast_every: Duration,
    /// The same while it is down.
    pub down_every: Duration,
    /// The longest that one check may take.
    pub timeout: Duration,
    /// Good checks in a row that bring an endpoint up.
    pub rise: u32,
    /// Bad checks in a row that take it down.
    pub fall: u32,
    /// What is asked; `None` = by the kind of engine.
    pub check: Option<HttpCheck>,
    /// For this long after the start, failed checks leave it starting.
    pub grace: Duration,
}

/// One GET, and which answers to it are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The path, with a query maybe; it begins with `/` and comes after the endpoint's base path.
    pub path: String,
    /// Good statuses: first and last of each range.
    pub statuses: Vec<(u16, u16)>,
    /// What the beginning of the body must hold.
    pub body: Option<String>,
}

/// When requests that fail take an endpoint out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EjectionPlan {
    /// Failed requests in a row; 0 = these are not counted.
    pub failures: u32,
    /// Failed share of the requests in `window`; `None` = it is not looked at.
    pub share: Option<f64>,
    /// Fewer requests than this in `window` are no share.
    pub requests: u32,
    /// How far back the share looks.
    pub window: Duration,
    /// How long it is out the first time; doubled with each time in a row.
    pub first: Duration,
    /// The longest that it is out.
    pub longest: Duration,
    /// The last endpoint that can serve a model stays.
    pub keep_last: bool,
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

/// Further attempts after the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPlan {
    /// Most for one request.
    pub count: u32,
    /// Most at once, as a share of the pool's requests.
    pub budget: f64,
    /// So many at once are always allowed.
    pub at_least: u32,
    /// After what.
    pub on: RetryOn,
}

/// After what an attempt may be repeated; always before the first byte of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection.
    pub connect: bool,
    /// The connection broke.
    pub reset: bool,
    /// Status 429.
    pub s429: bool,
    /// Status 502.
    pub s502: bool,
    /// Status 503.
    pub s503: bool,
    /// Status 504.
    pub s504: bool,
    /// No first byte in time.
    pub first_byte: bool,
}

impl RetryOn {
    /// Everything that there is.
    pub const ALL: RetryOn =
        RetryOn { connect: true, reset: true, s429: true, s502: true, s503: true, s504: true, first_byte: true };

    /// True if an answer with this status may be thrown away for another attempt.
    pub fn status(self, status: u16) -> bool {
        match status {
            429 => self.s429,
            502 => self.s502,
            503 => self.s503,
            504 => self.s504,
            _ => false,
        }
    }
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
