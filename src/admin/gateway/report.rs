//! What runs: pools, endpoints, queues, routes, the generation.

use std::sync::Arc;

use arriero_core::endpoint::{Endpoint, Health, ModelState, State};
use arriero_core::{Fleet, Operated, StrategyId, Time};

use crate::admin::control::{
    EndpointReport, GenerationReport, Health as HealthWord, LearnedModel, PoolReport, QueueReport, ReloadReport,
    RouteReport, SetHere, ShadowReport, State as StateWord, Status, TargetReport,
};
use crate::config::{EndpointPlan, Glob, Matcher, PoolPlan, RoutePlan};
use crate::proxy::{Gateway, local};
use crate::snapshot::{PoolBinding, RouteBinding, Snapshot, TargetBinding};

pub(super) fn status(gateway: &Arc<Gateway>) -> Status {
    let snapshot = gateway.snapshot.load_full();
    let now = gateway.herd.now();
    let (pools, routes) = gateway.herd.read(|fleet| {
        let pools = snapshot.plan.pools.iter().zip(&snapshot.pools);
        let routes = snapshot.plan.routes.iter().zip(&snapshot.routes);
        let pools = pools.map(|(plan, binding)| pool(gateway, &snapshot, fleet, now, plan, binding)).collect();
        (pools, routes.map(|(plan, binding)| route(&snapshot, fleet, plan, binding)).collect::<Vec<_>>())
    });
    let (rebalanced, uptime) = {
        let history = gateway.history.lock();
        (history.rebalanced.clone(), history.started.elapsed())
    };
    let set_here = |route: RouteReport| RouteReport { set_here: rebalanced.contains(&route.name), ..route };
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: uptime.as_secs_f64(),
        ready: local::is_ready(gateway),
        stopping: gateway.live.is_draining(),
        requests: gateway.live.count(),
        generation: generation(gateway),
        pools,
        routes: routes.into_iter().map(set_here).collect(),
    }
}

pub(super) fn generation(gateway: &Gateway) -> GenerationReport {
    let history = gateway.history.lock();
    GenerationReport {
        generation: gateway.snapshot.load().generation,
        age_s: history.since.elapsed().as_secs_f64(),
        file: history.file.clone(),
        changed_here: history.edits(),
        last_reload: history.last_reload.as_ref().map(|(at, error)| ReloadReport {
            applied: error.is_none(),
            ago_s: at.elapsed().as_secs_f64(),
            error: error.clone(),
        }),
    }
}

fn pool(
    gateway: &Gateway,
    snapshot: &Snapshot,
    fleet: &Fleet,
    now: Time,
    plan: &PoolPlan,
    binding: &PoolBinding,
) -> PoolReport {
    let endpoints = plan.endpoints.iter().zip(&binding.endpoints).filter_map(|(endpoint, id)| {
        let known = fleet.endpoints().get(*id)?;
        let mut report = endpoint_report(&plan.name, endpoint, known, &fleet.operated(*id), now);
        gateway.watches.heard(*id, |heard| {
            let description = heard.description.as_ref();
            report.engine = description.map(|is| is.kind.to_string());
            report.version = description.and_then(|is| is.version.as_ref().map(ToString::to_string));
        });
        if let Some(upstream) = snapshot.upstreams.get(id) {
            let figures = &upstream.figures;
            report.retries = figures.redispatches.get();
            report.failures = figures.connect_errors.get() + figures.response_errors.get();
            report.ttft_ms = figures.ttft.millis();
        }
        Some(report)
    });
    let endpoints = endpoints.collect();
    let Some(view) = fleet.pool_view(binding.id) else {
        return PoolReport { name: plan.name.to_string(), endpoints, ..PoolReport::default() };
    };
    PoolReport {
        name: plan.name.to_string(),
        endpoints,
        queue: QueueReport {
            pool: plan.name.to_string(),
            queued: view.queued as u64,
            most_queued: view.most_queued as u64,
            max_requests: u64::from(plan.queue.max_requests),
            queued_bytes: view.queued_bytes,
            max_bytes: plan.queue.max_bytes,
            timeout_s: plan.queue.timeout.as_secs_f64(),
            oldest_s: view.oldest_since.map(|since| (now - since).as_secs_f64()),
            drains_per_s: view.drains_per_s,
        },
        in_flight: view.live as u64,
        most_in_flight: view.most_live as u64,
        picks: view.picks,
    }
}

fn endpoint_report(pool: &str, plan: &EndpointPlan, endpoint: &Endpoint, said: &Operated, now: Time) -> EndpointReport {
    let left = |until: Time| (until > now).then(|| (until - now).as_secs_f64());
    let (figures, sample) = (&endpoint.figures, endpoint.sample.as_ref());
    let set = [
        (said.weight.is_some(), SetHere::Weight),
        (said.cap.is_some(), SetHere::MaxInFlight),
        (said.state != State::Ready, SetHere::State),
    ];
    EndpointReport {
        name: endpoint.spec.name.to_string(),
        pool: pool.to_owned(),
        url: plan.url.to_string(),
        backup: endpoint.spec.backup,
        state: state(endpoint.state),
        health: health(endpoint.health),
        health_for_s: (now - figures.health_since).as_secs_f64(),
        ejected_for_s: left(endpoint.ejected_until),
        half_open: endpoint.half_open,
        busy_for_s: left(endpoint.busy_until),
        ramp: endpoint.ramp(now),
        weight: endpoint.spec.weight,
        weight_in_file: plan.spec.weight,
        max_in_flight: endpoint.cap(now),
        max_in_flight_in_file: plan.spec.max_in_flight,
        set_here: set.into_iter().filter(|(set, _)| *set).map(|(_, what)| what).collect(),
        in_flight: endpoint.in_flight(),
        most_in_flight: figures.most_in_flight,
        picks: figures.picks,
        engine_running: sample.and_then(|sample| sample.running),
        engine_waiting: sample.and_then(|sample| sample.waiting),
        kv_used: sample.and_then(|sample| sample.kv_used),
        last_check: figures.last_check,
        checks_failed: figures.checks_failed,
        times_down: figures.times_down,
        times_ejected: figures.times_ejected,
        models: sorted(endpoint.names.keys()),
        loaded: sorted(endpoint.models.iter().filter(|(_, model)| model.resident).map(|(name, _)| name)),
        learned: learned(endpoint),
        ..EndpointReport::default()
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> Vec<String> {
    let mut names: Vec<String> = names.map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

/// What was learned of its models, or lent by other endpoints.
fn learned(endpoint: &Endpoint) -> Vec<LearnedModel> {
    let known = endpoint.models.iter().filter(|(_, model)| model.rates.samples > 0 || model.lent);
    let mut known: Vec<(&Arc<str>, &ModelState)> = known.collect();
    known.sort_unstable_by_key(|(name, _)| *name);
    known
        .into_iter()
        .map(|(name, model)| LearnedModel {
            model: name.to_string(),
            requests: model.rates.samples,
            lent: model.lent,
            prefill_ms_per_token: model.rates.prefill_ms_per_token,
            decode_ms_per_token: model.rates.decode_ms_per_token,
            crowding: model.rates.crowding,
            output_tokens: model.rates.output_tokens,
            load_ms: model.rates.load_ms,
            size_vram: model.size_vram,
        })
        .collect()
}

fn state(state: State) -> StateWord {
    match state {
        State::Ready => StateWord::Ready,
        State::Drain => StateWord::Drain,
        State::Maint => StateWord::Maint,
    }
}

fn health(health: Health) -> HealthWord {
    match health {
        Health::Starting => HealthWord::Starting,
        Health::Up => HealthWord::Up,
        Health::Down => HealthWord::Down,
    }
}

/// What a route takes.
fn in_words(matcher: &Matcher) -> String {
    let glob = |what: &str, glob: &Option<Glob>| glob.as_ref().map(|glob| format!("{what} {}", glob.text()));
    let headers = matcher.headers.iter().map(|(name, glob)| Some(format!("{name}: {}", glob.text())));
    let listeners = matcher.listeners.as_ref().map(|names| format!("listener {}", names.join(" or ")));
    let parts = [listeners, glob("model", &matcher.model), glob("path", &matcher.path)].into_iter().chain(headers);
    let parts: Vec<String> = parts.flatten().collect();
    if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }
}

fn route(snapshot: &Snapshot, fleet: &Fleet, plan: &RoutePlan, binding: &RouteBinding) -> RouteReport {
    let chosen = |pool, strategy: StrategyId| {
        fleet.strategies(pool).find(|running| running.id == strategy).and_then(|running| running.chosen)
    };
    let targets = binding.targets.iter().map(|target| {
        let chosen = chosen(target.pool, target.strategy);
        TargetReport {
            pool: snapshot.plan.pools[target.place].name.to_string(),
            weight: target.weight,
            goes_by: chosen.as_ref().map(|chosen| chosen.module.to_owned()),
            why: chosen.map(|chosen| chosen.why.to_owned()),
            shadow: shadow(fleet, target, &plan.name),
        }
    });
    RouteReport {
        name: plan.name.to_string(),
        matches: in_words(&plan.matcher),
        module: plan.balance.module.to_owned(),
        options: plan.balance.options.clone(),
        why: plan.balance.why.clone(),
        set_here: false,
        targets: targets.collect(),
    }
}

/// What the strategy beside a route's own would have done in one of its pools.
fn shadow(fleet: &Fleet, target: &TargetBinding, route: &str) -> Option<ShadowReport> {
    let running = fleet.strategies(target.pool).find(|running| running.id == target.strategy)?;
    let shadow = running.shadows.into_iter().find(|shadow| **shadow.route == *route)?;
    Some(ShadowReport {
        module: shadow.module.to_owned(),
        goes_by: shadow.chosen.map(|chosen| chosen.module.to_owned()),
        asked: shadow.tally.asked,
        agreed: shadow.tally.agreed,
        differed: shadow.tally.differed,
        waits: shadow.tally.waits,
        estimated_saving_ms: shadow.tally.mean_saved_ms(),
        off: shadow.panics > 0,
    })
}
