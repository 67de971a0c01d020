//! What can be changed. `If-Match` with the ETag of an earlier answer holds a change back if another came between.
//!
//! Weight, cap and state survive a reload; membership and balance make a new generation, which a reload takes back.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::control::{AffinityQuery, Changed, Cleared, ControlError, EndpointChange, EndpointReport};
use super::reads::Shared;
use super::reply::{Answer, Asked, Body, ErrorBody, IfMatch, Name, Tagged};

type Generation = Result<Tagged<Changed>, ControlError>;

fn tagged(changed: Changed) -> Tagged<Changed> {
    Tagged(changed.generation, changed)
}

/// Sets an endpoint's weight, cap or state; "file" gives it back to the configuration.
#[utoipa::path(patch, path = "/api/endpoints/{name}", tag = "change", request_body = EndpointChange,
    params(("name" = String, Path, description = "its name, percent-encoded"), ("if-match" = Option<String>, Header)),
    responses((status = 200, body = EndpointReport), (status = 404, body = ErrorBody), (status = 412, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(super) async fn change_endpoint(
    State(control): Shared,
    Name(name): Name,
    IfMatch(expected): IfMatch,
    Body(change): Body<EndpointChange>,
) -> Answer<EndpointReport> {
    if expected.is_some() {
        ControlError::unless_current(expected, control.generation().generation)?;
    }
    change.check()?;
    let changed = control.change_endpoint(&name, &change)?;
    log::info!("admin: endpoint {name:?}: {}", serde_json::to_string(&change).unwrap_or_default());
    Ok(Json(changed))
}

/// Adds an endpoint to a pool: the endpoint's keys as in the configuration, at least `url`.
#[utoipa::path(post, path = "/api/pools/{pool}/endpoints", tag = "change", request_body = Object,
    params(("pool" = String, Path), ("if-match" = Option<String>, Header)),
    responses((status = 200, body = Changed), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 412, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(super) async fn add_endpoint(
    State(control): Shared,
    Name(pool): Name,
    IfMatch(expected): IfMatch,
    Body(endpoint): Body<Value>,
) -> Generation {
    if !endpoint.is_object() {
        return Err(ControlError::invalid(
            "an endpoint is an object of its keys",
            "{ \"url\": \"http://host:port\", ... }",
        ));
    }
    told(control.add_endpoint(&pool, endpoint, expected).await)
}

/// Takes an endpoint out of its pool; it finishes what runs.
#[utoipa::path(delete, path = "/api/endpoints/{name}", tag = "change",
    params(("name" = String, Path, description = "its name, percent-encoded"), ("if-match" = Option<String>, Header)),
    responses((status = 200, body = Changed), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 412, body = ErrorBody)))]
pub(super) async fn remove_endpoint(
    State(control): Shared,
    Name(name): Name,
    IfMatch(expected): IfMatch,
) -> Generation {
    told(control.remove_endpoint(&name, expected).await)
}

/// Changes a route's strategy: a module's name, or `{ name: options }`.
#[utoipa::path(put, path = "/api/routes/{route}/balance", tag = "change", request_body = Object,
    params(("route" = String, Path), ("if-match" = Option<String>, Header)),
    responses((status = 200, body = Changed), (status = 404, body = ErrorBody), (status = 412, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(super) async fn set_balance(
    State(control): Shared,
    Name(route): Name,
    IfMatch(expected): IfMatch,
    Body(balance): Body<Value>,
) -> Generation {
    if !balance.is_string() && !balance.is_object() {
        return Err(ControlError::invalid("a balance is a module", "\"name\", or { \"name\": { options } }"));
    }
    told(control.set_balance(&route, balance, expected).await)
}

/// Reads the configuration again. The answer comes when it is in force, or says what is wrong with it.
#[utoipa::path(post, path = "/api/reload", tag = "change", params(("if-match" = Option<String>, Header)),
    responses((status = 200, body = Changed), (status = 409, body = ErrorBody), (status = 412, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(super) async fn reload(State(control): Shared, IfMatch(expected): IfMatch) -> Generation {
    told(control.reload(expected).await)
}

/// Forgets affinity: of a pool, of a key, or all.
#[utoipa::path(delete, path = "/api/affinity", tag = "change", params(AffinityQuery),
    responses((status = 200, body = Cleared), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(super) async fn clear_affinity(State(control): Shared, Asked(query): Asked<AffinityQuery>) -> Answer<Cleared> {
    query.key_hash()?;
    let cleared = control.clear_affinity(&query)?;
    log::info!("admin: {} entries of affinity forgotten", cleared.cleared);
    Ok(Json(cleared))
}

fn told(changed: Result<Changed, ControlError>) -> Generation {
    if let Ok(changed) = &changed {
        log::info!("admin: generation {}: {}", changed.generation, changed.changes.join("; "));
    }
    changed.map(tagged)
}
