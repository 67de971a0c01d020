//! The admin listener: metrics, health, readiness. Loopback unless configured otherwise; never on a public listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arriero_core::endpoint::Health;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::proxy::{Gateway, local};

/// Serves until the process ends.
pub async fn serve(bind: SocketAddr, gateway: Arc<Gateway>) {
    let listener = match tokio::net::TcpListener::bind(bind).await {
        Ok(listener) => listener,
        Err(error) => return log::error!("admin: cannot listen on {bind}: {error}"),
    };
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/api/health", get(report))
        .with_state(gateway);
    if let Err(error) = axum::serve(listener, app).await {
        log::error!("admin: {error}");
    }
}

async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    refresh_gauges(&gateway);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], gateway.metrics.render()).into_response()
}

async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    if local::is_ready(&gateway) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn report(State(gateway): State<Arc<Gateway>>) -> Response {
    let snapshot = gateway.snapshot.load_full();
    axum::Json(local::health_report(&gateway, &snapshot)).into_response()
}

/// Gauges are read from the fleet when they are asked for; endpoints that left vanish.
fn refresh_gauges(gateway: &Gateway) {
    let metrics = &gateway.metrics;
    metrics.in_flight.reset();
    metrics.up.reset();
    metrics.kv_used.reset();
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
    gateway.herd.read(|fleet| {
        for endpoint in fleet.endpoints().iter() {
            let label = [endpoint.spec.name.as_ref()];
            metrics.in_flight.with_label_values(&label).set(i64::from(endpoint.in_flight()));
            metrics.up.with_label_values(&label).set(i64::from(endpoint.health == Health::Up));
            if let Some(used) = endpoint.sample.as_ref().and_then(|sample| sample.kv_used) {
                metrics.kv_used.with_label_values(&label).set(used);
            }
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
