//! The routes. Each is taken from its handler's own description, so that the OpenAPI document cannot lack one.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::{Extension, Json, Router, middleware};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::control::Control;
use super::guard::{self, Guard};
use super::{changes, page, reads, reply};

/// The largest body.
const BODY: usize = 1 << 20;
/// The largest body that holds a request to explain.
const EXPLAIN_BODY: usize = 32 << 20;

#[derive(OpenApi)]
#[openapi(
    info(title = "Arriero admin API", description = "What runs, and what can be changed while it runs."),
    security(("token" = [])),
    tags((name = "look", description = "what runs"), (name = "change", description = "changes while it runs"),
        (name = "watch", description = "for monitoring"))
)]
struct Described;

/// The whole API for one listener.
pub(super) fn router(guard: Guard, control: Arc<dyn Control>) -> Router {
    let (router, document) = described().split_for_parts();
    router
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(Extension(Arc::new(document)))
        .layer(middleware::from_fn_with_state(Arc::new(guard), guard::watch))
        .with_state(control)
}

/// The OpenAPI document.
pub fn document() -> Document {
    described().split_for_parts().1
}

fn described() -> OpenApiRouter<Arc<dyn Control>> {
    let mut start = Described::openapi();
    let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    start.components.get_or_insert_default().add_security_scheme("token", token);
    OpenApiRouter::with_openapi(start)
        .routes(routes!(reads::metrics))
        .routes(routes!(reads::health))
        .routes(routes!(reads::ready))
        .routes(routes!(reads::report))
        .routes(routes!(reads::status))
        .routes(routes!(reads::pools))
        .routes(routes!(reads::endpoints))
        .routes(routes!(reads::endpoint, changes::change_endpoint, changes::remove_endpoint))
        .routes(routes!(changes::add_endpoint))
        .routes(routes!(reads::routes))
        .routes(routes!(changes::set_balance))
        .routes(routes!(reads::queues))
        .routes(routes!(reads::affinity, changes::clear_affinity))
        .routes(routes!(changes::reload))
        .routes(routes!(reads::generation))
        .routes(routes!(reads::stats))
        .routes(routes!(reads::stats_csv))
        .routes(routes!(openapi))
        .routes(routes!(page::page))
        .merge(OpenApiRouter::new().routes(routes!(reads::explain)).layer(DefaultBodyLimit::max(EXPLAIN_BODY)))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "look", responses((status = 200, body = Object)))]
async fn openapi(Extension(document): Extension<Arc<Document>>) -> Json<Document> {
    Json(document.as_ref().clone())
}

async fn unknown(uri: Uri) -> Response {
    let allowed = Some("GET /openapi.json lists what there is".to_owned());
    reply::error(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()), allowed)
}

async fn not_allowed(method: Method, uri: Uri) -> Response {
    let message = format!("{method} is not for {}", uri.path());
    let allowed = Some("GET /openapi.json lists what there is".to_owned());
    reply::error(StatusCode::METHOD_NOT_ALLOWED, message, allowed)
}
