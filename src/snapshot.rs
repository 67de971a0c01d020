//! One generation of the configuration, as requests see it: immutable, behind one `ArcSwap`.
//!
//! A request takes the snapshot once and sees no other. What must survive a reload (counts, queue, learned rates,
//! addresses) is not here but in the [`Herd`](crate::upstream::herd::Herd), keyed by identity.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arriero_core::{EndpointId, PoolId, StrategyId};
use http::{HeaderName, HeaderValue};

use crate::config::Plan;
use crate::observe::handles::RouteSeries;
use crate::upstream::address::Address;

/// One generation.
pub struct Snapshot {
    /// 1 for the first configuration, then one more with each applied reload.
    pub generation: u64,
    /// The checked configuration.
    pub plan: Plan,
    /// Bindings of `plan.routes`, in the same order.
    pub routes: Vec<RouteBinding>,
    /// Bindings of `plan.pools`, in the same order.
    pub pools: Vec<PoolBinding>,
    /// How to reach each endpoint.
    pub upstreams: HashMap<EndpointId, Arc<Upstream>>,
}

/// What a route's names stand for in the fleet.
pub struct RouteBinding {
    /// The pool in the fleet.
    pub pool: PoolId,
    /// The strategy in the fleet.
    pub strategy: StrategyId,
    /// Its metrics, from its first request on.
    pub series: OnceLock<RouteSeries>,
}

/// A pool's parts in the fleet.
pub struct PoolBinding {
    /// The pool.
    pub id: PoolId,
    /// Its endpoints, in configuration order.
    pub endpoints: Vec<EndpointId>,
}

/// How to reach one endpoint.
#[derive(Debug)]
pub struct Upstream {
    /// What headers, logs and metrics call it.
    pub name: Arc<str>,
    /// Its configured labels.
    pub labels: BTreeMap<String, String>,
    /// Its socket address, kept fresh.
    pub address: Arc<Address>,
    /// `https`.
    pub tls: bool,
    /// The host name, for SNI and certificate.
    pub host: String,
    /// `Host` header: engines bound to loopback refuse a foreign one.
    pub authority: HeaderValue,
    /// Prefix of every path, without a trailing slash.
    pub base_path: String,
    /// Headers set on every request: the endpoint's own, its key included. Marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Timers.
    pub timers: Timers,
}

/// The timers of one attempt; `None` = off.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// To connect.
    pub connect: Duration,
    /// To the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Added to `first_byte` while the model is not resident.
    pub load_allowance: Duration,
    /// Between two chunks.
    pub between_chunks: Option<Duration>,
}
