//! What is answered without an engine: health, readiness, versions, and the lists merged from all engines.

use std::collections::BTreeSet;
use std::sync::Arc;

use arriero_core::endpoint::Health;
use http::StatusCode;
use pingora::Result;
use pingora::proxy::Session;
use serde_json::{Value, json};

use super::ctx::{Ctx, End, Refusal};
use super::{Gateway, reply};
use crate::dialect::errors::{self, ErrorKind};
use crate::dialect::merge;
use crate::dialect::paths::{Local, Merge};
use crate::engine::EngineKind;
use crate::snapshot::Snapshot;
use crate::upstream::watches::Heard;

/// Answers a local path.
pub async fn answer(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx, what: Local) -> Result<bool> {
    ctx.end = End::LOCAL;
    let ok = StatusCode::OK;
    match what {
        Local::Root => reply::text(session, ctx, ok, "Ollama is running").await?,
        Local::Version => {
            let versions = every_heard(gateway, &ctx.snapshot, |heard| {
                let description = heard.description.as_ref().filter(|is| is.kind == EngineKind::Ollama)?;
                description.version.clone()
            });
            let version = merge::lowest_version(versions.iter().map(String::as_str));
            reply::json(session, ctx, ok, &json!({ "version": version.unwrap_or(env!("CARGO_PKG_VERSION")) })).await?;
        }
        Local::Health | Local::Live | Local::Ping => reply::json(session, ctx, ok, &json!({ "status": "ok" })).await?,
        Local::Ready => {
            let ready = is_ready(gateway);
            let status = if ready { ok } else { StatusCode::SERVICE_UNAVAILABLE };
            reply::json(session, ctx, status, &json!({ "ready": ready })).await?;
        }
        Local::ApiHealth => {
            let report = health_report(gateway, &ctx.snapshot);
            let any = report["healthy_nodes"].as_u64().unwrap_or(0) > 0;
            let status = if any { ok } else { StatusCode::SERVICE_UNAVAILABLE };
            reply::json(session, ctx, status, &report).await?;
        }
        Local::Options => reply::text(session, ctx, StatusCode::NO_CONTENT, "").await?,
    }
    Ok(true)
}

/// At least one endpoint of every pool takes work, and the process is not taking leave.
pub fn is_ready(gateway: &Gateway) -> bool {
    if gateway.live.is_draining() {
        return false;
    }
    let snapshot = gateway.snapshot.load();
    gateway.herd.read(|fleet| {
        let up = |id: &arriero_core::EndpointId| fleet.endpoints().get(*id).is_some_and(|endpoint| endpoint.health == Health::Up);
        snapshot.pools.iter().all(|pool| pool.endpoints.iter().any(up))
    })
}

/// Nodes and models, for people and their scripts.
pub fn health_report(gateway: &Gateway, snapshot: &Snapshot) -> Value {
    let mut models = BTreeSet::new();
    let ids: Vec<_> = snapshot.pools.iter().flat_map(|pool| pool.endpoints.iter().copied()).collect();
    let nodes: Vec<Value> = gateway.herd.read(|fleet| {
        let known = ids.iter().filter_map(|id| fleet.endpoints().get(*id));
        known
            .map(|endpoint| {
                let resident: Vec<&str> =
                    endpoint.models.iter().filter(|(_, state)| state.resident).map(|(name, _)| name.as_ref()).collect();
                if endpoint.health == Health::Up {
                    models.extend(endpoint.names.keys().map(ToString::to_string));
                }
                json!({
                    "name": endpoint.spec.name,
                    "healthy": endpoint.health == Health::Up,
                    "state": format!("{:?}", endpoint.health).to_lowercase(),
                    "in_flight": endpoint.in_flight(),
                    "cap": endpoint.cap(),
                    "resident": resident,
                })
            })
            .collect()
    });
    let healthy = nodes.iter().filter(|node| node["healthy"] == true).count();
    json!({
        "status": if healthy == 0 { "unavailable" } else if healthy < nodes.len() { "degraded" } else { "ok" },
        "generation": snapshot.generation,
        "healthy_nodes": healthy,
        "nodes": nodes,
        "models": models,
    })
}

/// Names that clients of this route may ask for: what its pool's engines have, and the route's aliases.
pub fn known_models(gateway: &Gateway, snapshot: &Snapshot, route: Option<usize>) -> Vec<String> {
    let Some(route) = route.and_then(|route| snapshot.plan.routes.get(route)) else { return Vec::new() };
    let ids = &snapshot.pools[route.pool].endpoints;
    let mut names: BTreeSet<String> = gateway.herd.read(|fleet| {
        let endpoints = ids.iter().filter_map(|id| fleet.endpoints().get(*id));
        endpoints.flat_map(|endpoint| endpoint.names.keys().map(ToString::to_string)).collect()
    });
    names.extend(route.aliases.keys().map(ToString::to_string));
    names.into_iter().collect()
}

/// Answers a merged list.
pub async fn merged(gateway: &Arc<Gateway>, session: &mut Session, ctx: &mut Ctx, what: &Merge) -> Result<bool> {
    ctx.end = End::LOCAL;
    let lists = |pick: fn(&Heard) -> Vec<Value>| every_list(gateway, &ctx.snapshot, pick);
    let body = match what {
        Merge::Tags => merge::tags(&lists(|heard| heard.lists.tags.clone())),
        Merge::Ps => merge::ps(&lists(|heard| heard.ps.clone())),
        Merge::Models => merge::models(ctx.dialect, &lists(|heard| heard.lists.models.clone())),
        Merge::ModelById(id) => {
            let all = lists(|heard| heard.lists.models.clone());
            match merge::model(ctx.dialect, &all, id) {
                Some(model) => model,
                None => {
                    let known = merge::names(&all);
                    let message = errors::unknown_model(ctx.dialect, id, known.iter().map(String::as_str));
                    reply::refuse(session, ctx, &Refusal::new(ErrorKind::UnknownModel, message)).await?;
                    return Ok(true);
                }
            }
        }
    };
    reply::json(session, ctx, StatusCode::OK, &body).await?;
    Ok(true)
}

/// What the engines of this generation said, in configuration order.
fn every_heard<T>(gateway: &Gateway, snapshot: &Snapshot, pick: impl Fn(&Heard) -> Option<T>) -> Vec<T> {
    let ids = snapshot.pools.iter().flat_map(|pool| &pool.endpoints);
    ids.filter_map(|id| gateway.watches.heard(*id, &pick).flatten()).collect()
}

fn every_list(gateway: &Gateway, snapshot: &Snapshot, pick: fn(&Heard) -> Vec<Value>) -> Vec<Vec<Value>> {
    every_heard(gateway, snapshot, |heard| Some(pick(heard)))
}
