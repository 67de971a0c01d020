//! Applies a plan: all of it, or nothing. The first configuration and every reload go the same way.
//!
//! What can fail (reading, parsing, checking) fails before anything changes. Applying itself cannot fail: the fleet
//! takes pools and strategies by identity under one lock, then one pointer is swapped.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arriero_core::{Applied, EndpointId, HealthLimits, PoolSpec, QueueLimits, StrategySpec};
use http::{HeaderName, HeaderValue, header};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, AccessLogPlan, EndpointPlan, Plan, PoolPlan, Source};
use crate::engine::{EngineKind, Limits, Target};
use crate::observe::access_log::AccessLog;
use crate::proxy::Gateway;
use crate::registry::ModuleEntry;
use crate::snapshot::{PoolBinding, RouteBinding, Snapshot, Timers, Upstream};
use crate::upstream::address::Address;
use crate::upstream::herd::Herd;
use crate::upstream::watches::WatchSpec;

/// How long one question to an engine may take where checks are off.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Brings `plan` into the fleet and makes the snapshot of it. `old` lends its addresses.
pub fn bind(herd: &Arc<Herd>, plan: Plan, old: Option<&Snapshot>) -> Snapshot {
    let (specs, strategy_of_route) = pool_specs(&plan);
    let applied = herd.change(|fleet, now| {
        let mut applied = fleet.apply(now, specs);
        let resolutions = std::mem::take(&mut applied.resolutions);
        (applied, resolutions)
    });
    let routes = plan.routes.iter().zip(strategy_of_route);
    let routes = routes.filter_map(|(route, nth)| {
        let pool = applied.pools.get(&plan.pools[route.pool].name)?;
        Some(RouteBinding { pool: pool.id, strategy: *pool.strategies.get(nth)?, series: OnceLock::new() })
    });
    let routes = routes.collect();
    let pools = pool_bindings(&plan, &applied);
    let upstreams = upstreams(&plan, &pools, old);
    Snapshot { generation: old.map_or(1, |old| old.generation + 1), plan, routes, pools, upstreams }
}

/// The pools as the core knows them; for each route the place of its strategy in its pool.
fn pool_specs(plan: &Plan) -> (Vec<PoolSpec>, Vec<usize>) {
    let mut specs: Vec<PoolSpec> = plan.pools.iter().map(pool_spec).collect();
    let mut places = Vec::new();
    for route in &plan.routes {
        let strategy = (route.balance.build)();
        let needs = strategy.needs();
        if needs.prompt_blocks || needs.session {
            log::warn!("{}: asks for prompt blocks or sessions, which requests do not carry yet", route.balance.module);
        }
        let strategies = &mut specs[route.pool].strategies;
        places.push(strategies.len());
        strategies.push(StrategySpec { module: route.balance.module, strategy });
    }
    (specs, places)
}

fn pool_spec(pool: &PoolPlan) -> PoolSpec {
    PoolSpec {
        name: pool.name.clone(),
        endpoints: pool.endpoints.iter().map(|endpoint| endpoint.spec.clone()).collect(),
        queue: QueueLimits {
            max_requests: pool.queue.max_requests as usize,
            max_bytes: pool.queue.max_bytes,
            timeout: pool.queue.timeout,
        },
        health: pool.health.as_ref().map(|health| HealthLimits { rise: health.rise, fall: health.fall }),
        strategies: Vec::new(),
    }
}

fn pool_bindings(plan: &Plan, applied: &Applied) -> Vec<PoolBinding> {
    let bound = plan.pools.iter().filter_map(|pool| applied.pools.get(&pool.name));
    bound.map(|pool| PoolBinding { id: pool.id, endpoints: pool.endpoints.clone() }).collect()
}

fn upstreams(plan: &Plan, pools: &[PoolBinding], old: Option<&Snapshot>) -> HashMap<EndpointId, Arc<Upstream>> {
    let mut upstreams = HashMap::new();
    for (pool, binding) in plan.pools.iter().zip(pools) {
        for (endpoint, id) in pool.endpoints.iter().zip(&binding.endpoints) {
            let known = old.and_then(|old| old.upstreams.get(id)).map(|upstream| upstream.address.clone());
            let known = known.filter(|address| address.is(&endpoint.host, endpoint.port));
            upstreams.insert(*id, Arc::new(upstream(pool, endpoint, known)));
        }
    }
    upstreams
}

fn upstream(pool: &PoolPlan, endpoint: &EndpointPlan, known: Option<Arc<Address>>) -> Upstream {
    let default_port = if endpoint.tls { 443 } else { 80 };
    let authority = if endpoint.port == default_port {
        endpoint.host.clone()
    } else {
        format!("{}:{}", endpoint.host, endpoint.port)
    };
    Upstream {
        name: endpoint.spec.name.clone(),
        labels: endpoint.labels.clone(),
        address: known.unwrap_or_else(|| Address::new(&endpoint.host, endpoint.port)),
        tls: endpoint.tls,
        host: endpoint.host.clone(),
        authority: HeaderValue::from_str(&authority).unwrap_or(HeaderValue::from_static("")),
        base_path: endpoint.base_path.clone(),
        headers: own_headers(endpoint),
        timers: Timers {
            connect: pool.timeouts.connect,
            first_byte: pool.timeouts.first_byte,
            load_allowance: endpoint.spec.load_allowance,
            between_chunks: pool.timeouts.between_chunks,
        },
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

/// Starts, stops and restarts engine watches so that they fit the current snapshot. Needs a runtime.
pub fn start_watches(gateway: &Gateway) {
    let snapshot = gateway.snapshot.load_full();
    let mut wanted = Vec::new();
    for (pool, binding) in snapshot.plan.pools.iter().zip(&snapshot.pools) {
        for (endpoint, id) in pool.endpoints.iter().zip(&binding.endpoints) {
            let Some(upstream) = snapshot.upstreams.get(id) else { continue };
            wanted.push((*id, watch_spec(pool, endpoint), upstream.address.clone()));
        }
    }
    gateway.watches.become_these(&gateway.herd, wanted);
}

fn watch_spec(pool: &PoolPlan, endpoint: &EndpointPlan) -> WatchSpec {
    let health = pool.health.as_ref();
    WatchSpec {
        target: Target {
            url: endpoint.url.to_string(),
            headers: endpoint.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
            api_key: endpoint.api_key.as_ref().map(|key| key.reveal().to_owned()),
            timeout: health.map_or(PROBE_TIMEOUT, |health| health.timeout),
        },
        kind: engine_kind(endpoint.engine),
        limits: Limits {
            every: health.map_or(Limits::default().every, |health| health.every),
            poll: pool.poll,
            health: health.is_some(),
            ..Limits::default()
        },
        name: endpoint.spec.name.clone(),
    }
}

fn engine_kind(written: config::EngineKind) -> EngineKind {
    match written {
        config::EngineKind::Auto => EngineKind::Auto,
        config::EngineKind::Ollama => EngineKind::Ollama,
        config::EngineKind::LlamaCpp => EngineKind::LlamaCpp,
        config::EngineKind::Vllm => EngineKind::Vllm,
        config::EngineKind::Openai => EngineKind::OpenAi,
    }
}

/// Applies a checked plan to a running gateway. Returns the new generation.
///
/// # Errors
/// The new access log cannot be opened: nothing has changed then.
pub fn apply(gateway: &Gateway, plan: Plan) -> Result<u64, String> {
    let _one_at_a_time = gateway.reloading.lock();
    let old = gateway.snapshot.load_full();
    // A file is opened anew even if its path is the same: log rotation renames it and sends SIGHUP.
    if old.plan.access_log != plan.access_log || matches!(plan.access_log, AccessLogPlan::File(_)) {
        gateway.log.store(Arc::new(AccessLog::open(&plan.access_log)?));
    }
    if old.plan.listeners != plan.listeners || old.plan.admin != plan.admin {
        log::warn!("changed listeners take effect at the next start; everything else is applied");
    }
    gateway.budget.set_limit(plan.limits.bodies);
    let fresh = bind(&gateway.herd, plan, Some(&old));
    let generation = fresh.generation;
    gateway.snapshot.store(Arc::new(fresh));
    start_watches(gateway);
    gateway.metrics.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    Ok(generation)
}

type Reread = Box<dyn Fn() -> std::io::Result<Source> + Send + Sync>;

/// Reloads at every SIGHUP. A bad configuration changes nothing and is told in the log.
pub async fn on_hangup(gateway: Arc<Gateway>, reread: Option<Reread>, modules: Vec<ModuleEntry>) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return log::error!("SIGHUP cannot be watched: {error}"),
    };
    while hangups.recv().await.is_some() {
        let Some(reread) = &reread else {
            log::warn!("SIGHUP: there is no configuration file to read again");
            continue;
        };
        let read = reread().map_err(|error| error.to_string());
        let plan = read.and_then(|source| config::load(&source, &modules).map_err(|errors| config::render(&errors)));
        let applied = plan.and_then(|plan| apply(&gateway, plan));
        match &applied {
            Ok(generation) => log::info!("generation {generation} is in force"),
            Err(error) => log::error!("the configuration is kept as it was, the new one is broken:\n{error}"),
        }
        let ok = applied.is_ok();
        gateway.metrics.reload_ok.set(f64::from(u8::from(ok)));
        gateway.metrics.reloads.with_label_values(&[if ok { "applied" } else { "refused" }]).inc();
    }
}
