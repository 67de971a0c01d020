//! One generation of the configuration, as requests see it: immutable, behind one `ArcSwap`.
//!
//! A request takes the snapshot once and sees no other. What must survive a reload (counts, queue, learned rates,
//! addresses) is not here but in the [`Herd`](crate::upstream::herd::Herd), keyed by identity.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arriero_core::{EndpointId, EndpointSet, Needs, PoolId, StrategyId};
use http::{HeaderName, HeaderValue};

use crate::config::Plan;
use crate::edge::keys::Keys;
use crate::observe::figures::Figures;
use crate::observe::handles::RouteSeries;
use crate::upstream::address::Address;
use crate::upstream::roots::{AllRoots, PeerRoots};

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
    /// Root certificates that endpoints name.
    pub roots: AllRoots,
    /// Who may ask; `None` = everyone.
    pub keys: Option<Keys>,
}

/// What a route's names stand for in the fleet.
pub struct RouteBinding {
    /// Its pools, never empty.
    pub targets: Vec<TargetBinding>,
    /// What its strategy wants to know of a request.
    pub needs: Needs,
    /// Its metrics, from its first request on.
    pub series: OnceLock<RouteSeries>,
    /// What operators count.
    pub figures: Arc<Figures>,
}

/// One pool of a route.
pub struct TargetBinding {
    /// Its place in the plan's pools.
    pub place: usize,
    /// Its share of the route's requests.
    pub weight: u32,
    /// The pool in the fleet.
    pub pool: PoolId,
    /// The route's strategy there.
    pub strategy: StrategyId,
    /// The only endpoints that the route uses there; `None` = all.
    pub among: Option<EndpointSet>,
}

impl RouteBinding {
    /// The target of one request, by weight: `random` is any number, its remainder decides.
    pub fn target_for(&self, random: u64) -> usize {
        if self.targets.len() < 2 {
            return 0;
        }
        let total: u64 = self.targets.iter().map(|target| u64::from(target.weight)).sum();
        let mut rest = random.checked_rem(total).unwrap_or(0);
        for (place, target) in self.targets.iter().enumerate() {
            match rest.checked_sub(u64::from(target.weight)) {
                Some(more) => rest = more,
                None => return place,
            }
        }
        0
    }
}

/// A pool's parts in the fleet.
pub struct PoolBinding {
    /// The pool.
    pub id: PoolId,
    /// Its endpoints, in configuration order.
    pub endpoints: Vec<EndpointId>,
}

/// How to reach one endpoint.
pub struct Upstream {
    /// What headers, logs and metrics call it.
    pub name: Arc<str>,
    /// The same as a header's value, if it can be one.
    pub name_value: Option<HeaderValue>,
    /// Its configured labels.
    pub labels: BTreeMap<String, String>,
    /// Its socket address, kept fresh.
    pub address: Arc<Address>,
    /// What TLS to it needs; `None` = `http`.
    pub tls: Option<UpstreamTls>,
    /// HTTP/2.
    pub http2: bool,
    /// `Host` header: engines bound to loopback refuse a foreign one.
    pub authority: HeaderValue,
    /// Prefix of every path, without a trailing slash.
    pub base_path: String,
    /// Headers set on every request: the endpoint's own, its key included. Marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Timers.
    pub timers: Timers,
    /// Its key in the fleet: the hash of its identity. In cookies.
    pub key: u64,
    /// What operators count.
    pub figures: Arc<Figures>,
}

/// How an https endpoint is believed.
#[derive(Debug)]
pub struct UpstreamTls {
    /// Asked for (SNI) and verified.
    pub server_name: String,
    /// The only roots that are trusted; `None` = the system's.
    pub roots: Option<Arc<PeerRoots>>,
    /// Any certificate will do.
    pub insecure: bool,
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
