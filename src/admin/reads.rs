//! What can be looked at. Each handler asks the control once; its comment is its line in the OpenAPI document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::control::{
    AffinityQuery, AffinityTable, Control, EndpointReport, ExplainRequest, Explained, GenerationReport, PoolReport,
    QueueReport, RouteReport, StatRow, Status,
};
use super::reply::{Answer, Asked, Body, ErrorBody, Name, Tagged};
use super::stat;

pub(super) type Shared = State<Arc<dyn Control>>;

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "watch", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(control): Shared) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], control.metrics()).into_response()
}

/// 200 while the process serves. Needs no token.
#[utoipa::path(get, path = "/health", tag = "watch", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// 200 while every pool has an endpoint that is up and the process is not stopping, else 503. Needs no token.
#[utoipa::path(get, path = "/ready", tag = "watch", security(()), responses(
    (status = 200, body = String, content_type = "text/plain"), (status = 503, body = String, content_type = "text/plain")))]
pub(super) async fn ready(State(control): Shared) -> Response {
    if control.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

/// Endpoints, models and routes in short.
#[utoipa::path(get, path = "/api/health", tag = "watch", responses((status = 200, body = Object)))]
pub(super) async fn report(State(control): Shared) -> Json<serde_json::Value> {
    Json(control.health_report())
}

/// Everything at a glance: generation, pools with endpoints and queues, routes with strategies.
#[utoipa::path(get, path = "/api/status", tag = "look", responses((status = 200, body = Status)))]
pub(super) async fn status(State(control): Shared) -> Tagged<Status> {
    let status = control.status();
    Tagged(status.generation.generation, status)
}

/// The pools with endpoints and queues.
#[utoipa::path(get, path = "/api/pools", tag = "look", responses((status = 200, body = Vec<PoolReport>)))]
pub(super) async fn pools(State(control): Shared) -> Json<Vec<PoolReport>> {
    Json(control.pools())
}

/// The endpoints of all pools.
#[utoipa::path(get, path = "/api/endpoints", tag = "look", responses((status = 200, body = Vec<EndpointReport>)))]
pub(super) async fn endpoints(State(control): Shared) -> Json<Vec<EndpointReport>> {
    Json(control.endpoints())
}

/// One endpoint.
#[utoipa::path(get, path = "/api/endpoints/{name}", tag = "look", params(("name" = String, Path, description = "its name, percent-encoded")),
    responses((status = 200, body = EndpointReport), (status = 404, body = ErrorBody)))]
pub(super) async fn endpoint(State(control): Shared, Name(name): Name) -> Answer<EndpointReport> {
    control.endpoint(&name).map(Json)
}

/// The routes in the order in which they are tried, with what they go by.
#[utoipa::path(get, path = "/api/routes", tag = "look", responses((status = 200, body = Vec<RouteReport>)))]
pub(super) async fn routes(State(control): Shared) -> Json<Vec<RouteReport>> {
    Json(control.routes())
}

/// The pools' queues.
#[utoipa::path(get, path = "/api/queues", tag = "look", responses((status = 200, body = Vec<QueueReport>)))]
pub(super) async fn queues(State(control): Shared) -> Json<Vec<QueueReport>> {
    Json(control.queues())
}

/// Which configuration runs, since when, and what was changed since the file was read.
#[utoipa::path(get, path = "/api/generation", tag = "look", responses((status = 200, body = GenerationReport)))]
pub(super) async fn generation(State(control): Shared) -> Tagged<GenerationReport> {
    let generation = control.generation();
    Tagged(generation.generation, generation)
}

/// Statistics, with HAProxy's names.
#[utoipa::path(get, path = "/api/stats", tag = "watch", responses((status = 200, body = Vec<StatRow>)))]
pub(super) async fn stats(State(control): Shared) -> Json<Vec<StatRow>> {
    Json(control.stats())
}

/// Statistics in HAProxy's CSV form.
#[utoipa::path(get, path = "/api/stats.csv", tag = "watch", responses((status = 200, body = String, content_type = "text/csv")))]
pub(super) async fn stats_csv(State(control): Shared) -> Response {
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], stat::csv(&control.stats())).into_response()
}

/// Where a request would go now, and why. Nothing is sent, nothing is changed.
#[utoipa::path(post, path = "/api/explain", tag = "look", request_body = ExplainRequest,
    responses((status = 200, body = Explained), (status = 422, body = ErrorBody)))]
pub(super) async fn explain(State(control): Shared, Body(request): Body<ExplainRequest>) -> Answer<Explained> {
    control.explain(&request).map(Json)
}

/// The affinity tables: which keys and ids are kept where.
#[utoipa::path(get, path = "/api/affinity", tag = "look", params(AffinityQuery),
    responses((status = 200, body = AffinityTable), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(super) async fn affinity(State(control): Shared, Asked(query): Asked<AffinityQuery>) -> Answer<AffinityTable> {
    query.key_hash()?;
    control.affinity(&query).map(Json)
}
