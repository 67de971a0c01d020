//! Applies a plan: all of it, or nothing. The first configuration and every reload go the same way.
//!
//! What can fail (reading, parsing, checking) fails before anything changes. Applying itself cannot fail: the fleet
//! takes pools and strategies by identity under one lock, then one pointer is swapped.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::bind::{Counters, bind};
use crate::changes::changes;
use crate::config::{self, AccessLogPlan, Diagnostic, EndpointPlan, Plan, PoolPlan, Source};
use crate::engine::{Check, EngineKind, Limits, Target, TlsTarget};
use crate::observe::access_log::AccessLog;
use crate::proxy::Gateway;
use crate::registry::ModuleEntry;
use crate::upstream::roots::{self, AllRoots};
use crate::upstream::watches::WatchSpec;

/// How long one question to an engine may take where checks are off.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts, stops and restarts engine watches so that they fit the current snapshot. Needs a runtime.
pub fn start_watches(gateway: &Gateway) {
    let snapshot = gateway.snapshot.load_full();
    let mut wanted = Vec::new();
    for (pool, binding) in snapshot.plan.pools.iter().zip(&snapshot.pools) {
        for (endpoint, id) in pool.endpoints.iter().zip(&binding.endpoints) {
            let Some(upstream) = snapshot.upstreams.get(id) else { continue };
            wanted.push((*id, watch_spec(pool, endpoint, &snapshot.roots), upstream.address.clone()));
        }
    }
    gateway.watches.become_these(&gateway.herd, wanted);
    for id in snapshot.upstreams.keys() {
        gateway.watches.follow(&gateway.herd, *id); // a watch that was started anew is awake
    }
}

fn watch_spec(pool: &PoolPlan, endpoint: &EndpointPlan, roots: &AllRoots) -> WatchSpec {
    let health = pool.health.as_ref();
    WatchSpec {
        target: Target {
            url: endpoint.url.to_string(),
            headers: endpoint.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
            api_key: endpoint.api_key.as_ref().map(|key| key.reveal().to_owned()),
            timeout: health.map_or(PROBE_TIMEOUT, |health| health.timeout),
            tls: TlsTarget {
                ca_pem: endpoint
                    .tls_options
                    .ca
                    .as_ref()
                    .and_then(|path| roots.get(path))
                    .map(|roots| roots.pem.clone()),
                server_name: endpoint.tls_options.server_name.clone(),
                insecure: endpoint.tls_options.insecure,
                http2: endpoint.http2,
            },
        },
        resolve: endpoint.resolve,
        kind: engine_kind(endpoint.engine),
        limits: Limits {
            every: health.map_or(Limits::default().every, |health| health.every),
            fast_every: health.map(|health| health.fast_every),
            down_every: health.map(|health| health.down_every),
            check: health.and_then(|health| health.check.as_ref()).map(|check| Check {
                path: check.path.clone(),
                statuses: check.statuses.clone(),
                body: check.body.clone(),
            }),
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
        config::EngineKind::Sglang => EngineKind::Sglang,
        config::EngineKind::Openai => EngineKind::OpenAi,
    }
}

/// Changes the plan in force: `change` gets it with its generation. Nobody else reloads meanwhile.
///
/// # Errors
/// What `change` or applying says: nothing has changed then.
pub fn edit<E: From<String>>(
    gateway: &Gateway,
    change: impl FnOnce(&mut Plan, u64) -> Result<(), E>,
) -> Result<(u64, Vec<String>), E> {
    let _one_at_a_time = gateway.reloading.lock();
    let snapshot = gateway.snapshot.load_full();
    let mut plan = snapshot.plan.clone();
    change(&mut plan, snapshot.generation)?;
    plan.warnings.clear();
    let (generation, changes) = apply(gateway, plan)?;
    gateway.history.lock().edited(&changes);
    Ok((generation, changes))
}

/// Applies a checked plan to a running gateway, under its lock. Returns the new generation and what changed.
///
/// # Errors
/// A certificate cannot be used, or the new access log cannot be opened: nothing has changed then.
fn apply(gateway: &Gateway, plan: Plan) -> Result<(u64, Vec<String>), String> {
    let roots = roots::load(&plan)?;
    gateway.listeners.check(&plan)?;
    let old = gateway.snapshot.load_full();
    // A file is opened anew even if its path is the same: log rotation renames it and sends SIGHUP.
    if old.plan.access_log != plan.access_log || matches!(plan.access_log, AccessLogPlan::File(_)) {
        gateway.log.store(Arc::new(AccessLog::open(&plan.access_log)?));
    }
    let fixed = |plan: &Plan| -> Vec<_> {
        let listeners = plan.listeners.iter();
        listeners.map(|is| (is.name.clone(), is.bind, is.h2c, is.tls.is_empty())).collect()
    };
    if fixed(&old.plan) != fixed(&plan) || old.plan.admin != plan.admin {
        log::warn!("changed listeners take effect at the next start; everything else is applied");
    }
    warn_of(&plan);
    let changes = changes(&old.plan, &plan);
    gateway.listeners.change(&plan);
    gateway.budget.set_limit(plan.limits.bodies);
    let counters = Counters { metrics: &gateway.metrics, figures: &gateway.figures };
    let fresh = bind(&gateway.herd, plan, roots, Some(&old), counters);
    let generation = fresh.generation;
    let named: HashSet<_> = fresh.upstreams.values().map(|upstream| upstream.name.clone()).collect();
    gateway.figures.keep(&gateway.metrics.figures, |name| named.contains(name));
    gateway.snapshot.store(Arc::new(fresh));
    start_watches(gateway);
    gateway.metrics.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    Ok((generation, changes))
}

/// What is allowed, but should be known.
pub fn warn_of(plan: &Plan) {
    for warning in &plan.warnings {
        log::warn!("{}", config::render(std::slice::from_ref(warning)));
    }
}

/// Reads the configuration anew, as often as it is asked.
pub type Reread = Box<dyn Fn() -> std::io::Result<Source> + Send + Sync>;

/// Where configurations come from.
pub struct Reloader {
    /// `None` = there is no file to read again.
    pub reread: Option<Reread>,
    /// The modules compiled in.
    pub modules: Vec<ModuleEntry>,
}

/// What a reload did.
pub struct Reloaded {
    /// The generation in force now.
    pub generation: u64,
    /// One line for each change; empty = the file means what was in force.
    pub changes: Vec<String>,
    /// What is allowed, but should be known.
    pub warnings: Vec<Diagnostic>,
}

/// Why a reload changed nothing.
#[derive(Debug)]
pub enum Refused {
    /// Another generation is in force than the one that it was asked for: this one.
    Stale(u64),
    /// There is nothing to read.
    NoFile(String),
    /// The file has mistakes: all of them.
    Broken(Vec<Diagnostic>),
    /// A file or a certificate cannot be used.
    Failed(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Stale(found) => write!(out, "generation {found} is in force"),
            Refused::NoFile(words) | Refused::Failed(words) => out.write_str(words),
            Refused::Broken(findings) => {
                let findings: Vec<Diagnostic> = findings.iter().map(Diagnostic::without_source).collect();
                out.write_str(&config::render(&findings))
            }
        }
    }
}

/// Reads the file again and applies it. Membership and balance that were changed at run time are again as the file says:
/// the changes tell so. Weights, caps and states that an operator set stay.
///
/// # Errors
/// Why the configuration is kept as it was.
pub fn reload(gateway: &Gateway, expected: Option<u64>) -> Result<Reloaded, Refused> {
    let applied = read_and_apply(gateway, expected);
    if !matches!(applied, Err(Refused::Stale(_))) {
        let ok = applied.is_ok();
        gateway.metrics.reload_ok.set(f64::from(u8::from(ok)));
        gateway.metrics.reloads.with_label_values(&[if ok { "applied" } else { "refused" }]).inc();
    }
    match &applied {
        Ok(Reloaded { generation, changes, .. }) if changes.is_empty() => {
            log::info!("generation {generation} is in force; nothing changed");
        }
        Ok(Reloaded { generation, changes, .. }) => {
            log::info!("generation {generation} is in force: {}", changes.join("; "));
        }
        Err(error) => log::error!("the configuration is kept as it was, the new one is broken:\n{error}"),
    }
    applied
}

fn read_and_apply(gateway: &Gateway, expected: Option<u64>) -> Result<Reloaded, Refused> {
    let _one_at_a_time = gateway.reloading.lock();
    let applied = read_and_apply_alone(gateway, expected);
    if !matches!(applied, Err(Refused::Stale(_))) {
        let error = applied.as_ref().err().map(ToString::to_string);
        gateway.history.lock().reloaded(error.as_deref());
    }
    applied
}

fn read_and_apply_alone(gateway: &Gateway, expected: Option<u64>) -> Result<Reloaded, Refused> {
    let in_force = gateway.snapshot.load().generation;
    if expected.is_some_and(|expected| expected != in_force) {
        return Err(Refused::Stale(in_force));
    }
    let no_file = |words: &str| Refused::NoFile(words.to_owned());
    let reloader = gateway.reloader.get().ok_or_else(|| no_file("the process is still starting"))?;
    let reread = reloader.reread.as_ref().ok_or_else(|| no_file("there is no configuration file to read again"))?;
    let source = reread().map_err(|error| Refused::Failed(error.to_string()))?;
    let plan = config::load(&source, &reloader.modules).map_err(Refused::Broken)?;
    let warnings = plan.warnings.clone();
    let (generation, changes) = apply(gateway, plan).map_err(Refused::Failed)?;
    Ok(Reloaded { generation, changes, warnings })
}

/// Reloads at every SIGHUP. A bad configuration changes nothing and is told in the log.
pub async fn on_hangup(gateway: Arc<Gateway>) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return log::error!("SIGHUP cannot be watched: {error}"),
    };
    while hangups.recv().await.is_some() {
        let gateway = gateway.clone();
        // off the threads that serve; its outcome is in the log and the metrics
        let _ = tokio::task::spawn_blocking(move || reload(&gateway, None).is_ok()).await;
    }
}
