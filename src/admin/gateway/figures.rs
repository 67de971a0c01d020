//! Statistics in HAProxy's columns, and the gauges that are read when they are asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use arriero_core::Time;
use arriero_core::endpoint::{Endpoint, Health, State};
use prometheus::IntCounter;
use serde_json::Value;

use crate::admin::control::StatRow;
use crate::observe::figures::{Average, Figures};
use crate::proxy::Gateway;

/// A row for each route, then for each pool its endpoints and their sum.
pub(super) fn stats(gateway: &Arc<Gateway>) -> Vec<StatRow> {
    let snapshot = gateway.snapshot.load_full();
    let now = gateway.herd.now();
    let routes = snapshot.plan.routes.iter().zip(&snapshot.routes);
    let mut rows: Vec<StatRow> = routes
        .map(|(plan, binding)| StatRow {
            pxname: plan.name.to_string(),
            svname: "FRONTEND".to_owned(),
            status: Some("OPEN".to_owned()),
            req_tot: Some(binding.figures.started.get()),
            scur: Some(binding.figures.live().0),
            smax: Some(binding.figures.live().1),
            ..counted(&binding.figures)
        })
        .collect();
    gateway.herd.read(|fleet| {
        let waiting = fleet.waiting_by_endpoint();
        for (plan, binding) in snapshot.plan.pools.iter().zip(&snapshot.pools) {
            let name = plan.name.to_string();
            let mut of_pool = Vec::new();
            for id in &binding.endpoints {
                let (Some(endpoint), Some(upstream)) = (fleet.endpoints().get(*id), snapshot.upstreams.get(id)) else {
                    continue;
                };
                let checked = plan.health.is_some();
                of_pool.push(StatRow {
                    pxname: name.clone(),
                    qcur: Some(waiting.get(id).map_or(0, |(now, _)| *now as u64)),
                    qmax: Some(waiting.get(id).map_or(0, |(_, most)| *most as u64)),
                    ..of_endpoint(endpoint, &upstream.figures, checked, now)
                });
            }
            let mut sum = sum(&of_pool);
            if let Some(view) = fleet.pool_view(binding.id) {
                sum.qcur = Some(view.queued as u64);
                sum.qmax = Some(view.most_queued as u64);
                sum.scur = Some(view.live as u64);
                sum.smax = Some(view.most_live as u64);
                sum.lbtot = Some(view.picks);
            }
            rows.extend(of_pool);
            rows.push(StatRow { pxname: name, svname: "BACKEND".to_owned(), ..sum });
        }
    });
    rows
}

fn of_endpoint(endpoint: &Endpoint, figures: &Figures, is_checked: bool, now: Time) -> StatRow {
    let known = &endpoint.figures;
    let serves = u64::from(endpoint.takes_work() && endpoint.works(now)); // one that rests after a busy answer is well
    StatRow {
        svname: endpoint.spec.name.to_string(),
        scur: Some(u64::from(endpoint.in_flight())),
        smax: Some(u64::from(known.most_in_flight)),
        slim: endpoint.cap(now).map(u64::from),
        status: Some(standing(endpoint, is_checked, now).to_owned()),
        weight: Some(u64::from(endpoint.spec.weight)),
        act: Some(if endpoint.spec.backup { 0 } else { serves }),
        bck: Some(if endpoint.spec.backup { serves } else { 0 }),
        chkfail: Some(known.checks_failed),
        chkdown: Some(known.times_down),
        lastchg: Some((now - known.health_since).as_secs()),
        throttle: endpoint.spec.slow_start.map(|_| (endpoint.ramp(now) * 100.0).round() as u64),
        lbtot: Some(known.picks),
        check_status: known.last_check.map(|ok| if ok { "OK" } else { "FAILED" }.to_owned()),
        ..counted(figures)
    }
}

fn standing(endpoint: &Endpoint, is_checked: bool, now: Time) -> &'static str {
    match (endpoint.state, endpoint.health) {
        (State::Maint, _) => "MAINT",
        (_, Health::Down) => "DOWN",
        (_, Health::Starting) => "STARTING",
        (State::Drain, _) => "DRAIN",
        _ if endpoint.ejected_until > now => "EJECTED",
        _ if is_checked => "UP",
        _ => "no check",
    }
}

/// The counts and averages that endpoints and routes have alike.
fn counted(figures: &Figures) -> StatRow {
    let count = |counter: &IntCounter| Some(counter.get());
    let mean = |average: &Average| Some(average.millis()?.round() as u64);
    let [informed, good, moved, refused, failed] = figures.responses.each_ref().map(count);
    StatRow {
        stot: count(&figures.started),
        bin: count(&figures.bytes_in),
        bout: count(&figures.bytes_out),
        econ: count(&figures.connect_errors),
        eresp: count(&figures.response_errors),
        wretr: Some(figures.retries.get() + figures.redispatches.get()),
        wredis: count(&figures.redispatches),
        hrsp_1xx: informed,
        hrsp_2xx: good,
        hrsp_3xx: moved,
        hrsp_4xx: refused,
        hrsp_5xx: failed,
        cli_abrt: count(&figures.client_aborts),
        srv_abrt: count(&figures.server_aborts),
        qtime: mean(&figures.queue),
        ctime: mean(&figures.connect),
        rtime: mean(&figures.response),
        ttime: mean(&figures.total),
        ttft: mean(&figures.ttft),
        tokens: count(&figures.tokens),
        ..StatRow::default()
    }
}

/// What the endpoints of a pool come to: counts added, times weighed by the attempts behind them.
fn sum(rows: &[StatRow]) -> StatRow {
    let add = |of: fn(&StatRow) -> Option<u64>| Some(rows.iter().filter_map(of).sum());
    let mean = |of: fn(&StatRow) -> Option<u64>| {
        let told = rows.iter().filter_map(|row| Some((of(row)?, row.stot?)));
        let (weighed, attempts) = told
            .fold((0u64, 0u64), |(sum, all), (mean, attempts)| (sum + mean.saturating_mul(attempts), all + attempts));
        weighed.checked_div(attempts)
    };
    let serving: u64 = rows.iter().map(|row| row.act.unwrap_or(0) + row.bck.unwrap_or(0)).sum();
    let caps = rows.iter().map(|row| row.slim);
    StatRow {
        slim: caps.sum(),
        status: Some(if serving > 0 { "UP" } else { "DOWN" }.to_owned()),
        stot: add(|row| row.stot),
        bin: add(|row| row.bin),
        bout: add(|row| row.bout),
        econ: add(|row| row.econ),
        eresp: add(|row| row.eresp),
        wretr: add(|row| row.wretr),
        wredis: add(|row| row.wredis),
        weight: Some(rows.iter().filter(|row| row.act == Some(1)).filter_map(|row| row.weight).sum()),
        act: add(|row| row.act),
        bck: add(|row| row.bck),
        chkdown: add(|row| row.chkdown),
        hrsp_1xx: add(|row| row.hrsp_1xx),
        hrsp_2xx: add(|row| row.hrsp_2xx),
        hrsp_3xx: add(|row| row.hrsp_3xx),
        hrsp_4xx: add(|row| row.hrsp_4xx),
        hrsp_5xx: add(|row| row.hrsp_5xx),
        cli_abrt: add(|row| row.cli_abrt),
        srv_abrt: add(|row| row.srv_abrt),
        qtime: mean(|row| row.qtime),
        ctime: mean(|row| row.ctime),
        rtime: mean(|row| row.rtime),
        ttime: mean(|row| row.ttime),
        ttft: mean(|row| row.ttft),
        tokens: add(|row| row.tokens),
        ..StatRow::default()
    }
}

/// The metrics, with gauges fresh. One at a time: gauges vanish for a moment while they are read anew.
pub(super) fn metrics(gateway: &Arc<Gateway>) -> String {
    let _one_at_a_time = gateway.metrics.rendering.lock();
    refresh_gauges(gateway);
    gateway.metrics.render() + &series(&stats(gateway))
}

/// The columns of the statistics that are numbers, each as a series by the same name.
fn series(rows: &[StatRow]) -> String {
    let mut columns: BTreeMap<String, String> = BTreeMap::new();
    for row in rows {
        let Ok(Value::Object(fields)) = serde_json::to_value(row) else { continue };
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels = format!("{{proxy=\"{}\",server=\"{}\"}}", escaped(&row.pxname), escaped(&row.svname));
        for (column, value) in fields.iter().filter(|(_, value)| value.is_u64()) {
            let name = format!("arriero_stat_{column}");
            let lines = columns
                .entry(name.clone())
                .or_insert_with(|| format!("# HELP {name} Column {column} of the statistics.\n# TYPE {name} gauge\n"));
            *lines += &format!("{name}{labels} {value}\n");
        }
    }
    columns.into_values().collect()
}

/// Gauges are read from the fleet when they are asked for; endpoints that left vanish.
fn refresh_gauges(gateway: &Gateway) {
    let metrics = &gateway.metrics;
    metrics.queued.reset();
    metrics.body_bytes.set(i64::try_from(gateway.budget.used()).unwrap_or(i64::MAX));
    metrics.log_dropped.set(i64::try_from(gateway.log.load().dropped()).unwrap_or(i64::MAX));
    for listening in gateway.listeners.iter() {
        let label = [listening.name.as_ref()];
        metrics.connections.with_label_values(&label).set(i64::from(listening.connections.open()));
        let refused = metrics.connections_refused.with_label_values(&label);
        refused.inc_by(listening.connections.refused().saturating_sub(refused.get()));
    }
    let snapshot = gateway.snapshot.load_full();
    let now = gateway.herd.now();
    gateway.herd.read(|fleet| {
        metrics.of_endpoints.reset(fleet.endpoints());
        for endpoint in fleet.endpoints().iter() {
            metrics.of_endpoints.set(endpoint, now);
        }
        let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
        for row in fleet.faults() {
            *faults.entry(row.module).or_default() += row.panics + row.refused_picks;
        }
        for (module, seen) in faults {
            let counter = metrics.strategy_faults.with_label_values(&[module]);
            counter.inc_by(seen.saturating_sub(counter.get()));
        }
        for pool in &snapshot.pools {
            if let Some(view) = fleet.pool_view(pool.id) {
                metrics.queued.with_label_values(&[view.name.as_ref()]).set(i64::try_from(view.queued).unwrap_or(0));
            }
        }
    });
}
