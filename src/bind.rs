//! Brings a checked plan into the fleet and makes the snapshot of it: names become numbers, files that were read become
//! what connections need. Nothing here can fail.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arriero_core::{
    AffinityLimits, Applied, EjectionLimits, EndpointId, HealthLimits, Needs, PoolSpec, QueueLimits, RetryLimits,
    ShadowSpec, StrategySpec,
};
use http::{HeaderName, HeaderValue, header};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::{AffinityBy, EndpointPlan, Plan, PoolPlan, RoutePlan};
use crate::edge::keys::Keys;
use crate::observe::figures::AllFigures;
use crate::observe::metrics::Metrics;
use crate::snapshot::{PoolBinding, RouteBinding, Snapshot, TargetBinding, Timers, Upstream, UpstreamTls};
use crate::upstream::address::Address;
use crate::upstream::herd::Herd;
use crate::upstream::roots::AllRoots;

/// Where the parts of a generation count: by name, over generations.
#[derive(Clone, Copy)]
pub struct Counters<'a> {
    /// The metrics.
    pub metrics: &'a Metrics,
    /// What operators count.
    pub figures: &'a AllFigures,
}

/// Brings `plan` into the fleet and makes the snapshot of it. `old` lends its addresses.
pub fn bind(herd: &Arc<Herd>, plan: Plan, roots: AllRoots, old: Option<&Snapshot>, counters: Counters<'_>) -> Snapshot {
    let (specs, places) = pool_specs(&plan);
    let applied = herd.change(|fleet, now| {
        let mut applied = fleet.apply(now, specs);
        let resolutions = std::mem::take(&mut applied.resolutions);
        (applied, resolutions)
    });
    let routes = plan.routes.iter().zip(&places);
    let routes = routes.map(|(route, places)| route_binding(&plan, route, places, &applied, counters)).collect();
    let pools = pool_bindings(&plan, &applied);
    let upstreams = upstreams(&plan, &pools, &roots, old, counters);
    let keys = plan.auth.as_ref().map(|auth| Keys::new(auth.keys.iter().map(|key| (key.name.clone(), key.sha256))));
    Snapshot { generation: old.map_or(1, |old| old.generation + 1), plan, routes, pools, upstreams, roots, keys }
}

/// The pools as the core knows them; for each route the place of its strategy in each of its pools.
pub(crate) fn pool_specs(plan: &Plan) -> (Vec<PoolSpec>, Vec<Vec<usize>>) {
    let pools = plan.pools.iter().enumerate();
    let mut specs: Vec<PoolSpec> = pools.map(|(place, pool)| pool_spec(pool, affinity_keys(plan, place))).collect();
    let mut place = |route: &RoutePlan, pool: usize| {
        let PoolSpec { strategies, shadows, .. } = &mut specs[pool];
        let beside = strategies.len();
        strategies.push(StrategySpec { module: route.balance.module, strategy: (route.balance.build)() });
        shadows.extend(route.shadow.as_ref().map(|shadow| ShadowSpec {
            route: route.name.clone(),
            beside,
            module: shadow.module,
            strategy: (shadow.build)(),
        }));
        beside
    };
    let places = plan.routes.iter().map(|route| route.pools.iter().map(|(pool, _)| place(route, *pool)).collect());
    let places = places.collect();
    (specs, places)
}

/// The most keys that a route to this pool wants remembered; `None` = no route has affinity by keys.
fn affinity_keys(plan: &Plan, pool: usize) -> Option<usize> {
    let routes = plan.routes.iter().filter(|route| route.pools.iter().any(|(place, _)| *place == pool));
    let wanted = routes.filter_map(|route| match &route.affinity.as_ref()?.by {
        AffinityBy::Keys { entries, .. } => Some(*entries),
        AffinityBy::Cookie { .. } => None,
    });
    wanted.max()
}

fn route_binding(
    plan: &Plan,
    route: &RoutePlan,
    places: &[usize],
    applied: &Applied,
    counters: Counters<'_>,
) -> RouteBinding {
    let targets = route.pools.iter().zip(places).filter_map(|((pool, weight), nth)| {
        let bound = applied.pools.get(&plan.pools[*pool].name)?;
        let of_pool = plan.pools[*pool].endpoints.iter().zip(&bound.endpoints);
        let among = of_pool.filter(|(endpoint, _)| endpoint.has_labels(&route.among)).map(|(_, id)| *id);
        Some(TargetBinding {
            place: *pool,
            weight: *weight,
            pool: bound.id,
            strategy: *bound.strategies.get(*nth)?,
            among: (!route.among.is_empty()).then(|| among.collect()),
        })
    });
    RouteBinding {
        targets: targets.collect(),
        needs: needs(route),
        series: OnceLock::new(),
        figures: counters.figures.route(&route.name),
    }
}

/// What must be known of a route's requests: for its strategy, and for the one that it is compared with.
fn needs(route: &RoutePlan) -> Needs {
    let own = (route.balance.build)().needs();
    route.shadow.as_ref().map_or(own.clone(), |shadow| own.with(&(shadow.build)().needs()))
}

/// `keys`: how many affinity keys its routes want remembered.
fn pool_spec(pool: &PoolPlan, keys: Option<usize>) -> PoolSpec {
    PoolSpec {
        name: pool.name.clone(),
        endpoints: pool.endpoints.iter().map(|endpoint| endpoint.spec.clone()).collect(),
        queue: QueueLimits {
            max_requests: pool.queue.max_requests as usize,
            max_bytes: pool.queue.max_bytes,
            timeout: pool.queue.timeout,
        },
        health: pool.health.as_ref().map(|health| HealthLimits {
            rise: health.rise,
            fall: health.fall,
            grace: health.grace,
        }),
        ejection: pool.ejection.map(|limits| EjectionLimits {
            failures: limits.failures,
            share: limits.share,
            requests: limits.requests,
            window: limits.window,
            first: limits.first,
            longest: limits.longest,
            keep_last: limits.keep_last,
        }),
        backup_one: pool.backup_one,
        panic: pool.panic,
        retry: RetryLimits { budget: pool.retry.budget, at_least: pool.retry.at_least },
        affinity: AffinityLimits { keys: keys.unwrap_or(AffinityLimits::default().keys), ..AffinityLimits::default() },
        strategies: Vec::new(),
        shadows: Vec::new(),
    }
}

fn pool_bindings(plan: &Plan, applied: &Applied) -> Vec<PoolBinding> {
    let bound = plan.pools.iter().filter_map(|pool| applied.pools.get(&pool.name));
    bound.map(|pool| PoolBinding { id: pool.id, endpoints: pool.endpoints.clone() }).collect()
}

fn upstreams(
    plan: &Plan,
    pools: &[PoolBinding],
    roots: &AllRoots,
    old: Option<&Snapshot>,
    counters: Counters<'_>,
) -> HashMap<EndpointId, Arc<Upstream>> {
    let mut upstreams = HashMap::new();
    for (pool, binding) in plan.pools.iter().zip(pools) {
        for (endpoint, id) in pool.endpoints.iter().zip(&binding.endpoints) {
            let known = old.and_then(|old| old.upstreams.get(id)).map(|upstream| upstream.address.clone());
            let known = known.filter(|address| address.is(&endpoint.host, endpoint.port));
            let figures = counters.figures.endpoint(&counters.metrics.figures, &endpoint.spec.name);
            let mut upstream = upstream(pool, endpoint, roots, known);
            upstream.figures = figures;
            upstreams.insert(*id, Arc::new(upstream));
        }
    }
    upstreams
}

fn upstream(pool: &PoolPlan, endpoint: &EndpointPlan, roots: &AllRoots, known: Option<Arc<Address>>) -> Upstream {
    let default_port = if endpoint.tls { 443 } else { 80 };
    let host = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
    let authority = if endpoint.port == default_port { host } else { format!("{host}:{}", endpoint.port) };
    Upstream {
        name: endpoint.spec.name.clone(),
        name_value: HeaderValue::from_str(&endpoint.spec.name).ok(),
        labels: endpoint.labels.clone(),
        address: known.unwrap_or_else(|| Address::new(&endpoint.host, endpoint.port)),
        tls: endpoint.tls.then(|| tls(endpoint, roots)),
        http2: endpoint.http2,
        authority: HeaderValue::from_str(&authority).unwrap_or(HeaderValue::from_static("")),
        base_path: endpoint.base_path.clone(),
        headers: own_headers(endpoint),
        key: xxh3_64(endpoint.spec.identity.as_bytes()),
        figures: Arc::default(),
        timers: Timers {
            connect: pool.timeouts.connect,
            first_byte: pool.timeouts.first_byte,
            load_allowance: endpoint.spec.load_allowance,
            between_chunks: pool.timeouts.between_chunks,
        },
    }
}

fn tls(endpoint: &EndpointPlan, roots: &AllRoots) -> UpstreamTls {
    let options = &endpoint.tls_options;
    UpstreamTls {
        server_name: options.server_name.clone().unwrap_or_else(|| endpoint.host.clone()),
        roots: options.ca.as_ref().and_then(|path| roots.get(path)).map(|roots| roots.for_peers.clone()),
        insecure: options.insecure,
    }
}

/// The endpoint's configured headers and key, as they go on the wire. The plan has checked that they can.
fn own_headers(endpoint: &EndpointPlan) -> Vec<(HeaderName, HeaderValue)> {
    let bearer = endpoint.api_key.as_ref().map(|key| ("authorization".to_owned(), format!("Bearer {}", key.reveal())));
    let plain = endpoint.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    let mut headers = Vec::new();
    for (name, value) in bearer.into_iter().chain(plain) {
        let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) else { continue };
        value.set_sensitive(true);
        headers.retain(|(other, _)| *other != name || name != header::AUTHORIZATION);
        headers.push((name, value));
    }
    headers
}
